package ingest

import (
	"fmt"

	"github.com/whichpod/whichpod/flow"
)

// nsgCategory is that of the older flow logs, of network security groups. Source:
// nsg-flow-logs-overview; that macAddress stands in the record too: a real log.
const nsgCategory = "NetworkSecurityGroupFlowEvent"

// nsg reads a record of an NSG flow log: properties.flows[] holds a rule and
// flows[], and each of those a MAC and its tuples. The log's ACL is the group itself,
// resourceId.
func (r *record) nsg(c *cursor, pathNIC string) *shapeError {
	if err := r.head(c); err != nil {
		return err
	}
	if pathNIC != "" || !r.mac.absent() {
		if err := r.setNIC(c, pathNIC); err != nil {
			return err
		}
	}
	if err := c.checkText(r.resource, "resourceId"); err != nil {
		return err
	}
	var version, flows span
	if err := c.members(r.properties, "properties", func(key string, v span) {
		switch {
		case key == "Version" && version.absent():
			version = v
		case key == "flows" && flows.absent():
			flows = v
		}
	}); err != nil {
		return err
	}
	switch v := c.at(version); string(v) {
	case "1":
		r.form = nsgTuple1
	case "2":
		r.form = nsgTuple2
	default:
		return &shapeError{ReasonUnsupported, fmt.Sprintf("properties.Version is %s, want 1 or 2", describe(v))}
	}
	if flows.absent() {
		return wrongShape("properties has no flows")
	}
	c.i = int(flows.lo)
	return r.list(c, "properties.flows", r.nsgRule)
}

// nsgRule takes one entry of properties.flows: a rule and its flows, in either order.
func (r *record) nsgRule(c *cursor) *shapeError {
	var rule, flows span
	entry := c.skip()
	if err := c.members(entry, "entry of flows", func(key string, v span) {
		switch {
		case key == "rule" && rule.absent():
			rule = v
		case key == "flows" && flows.absent():
			flows = v
		}
	}); err != nil {
		return err
	}
	if flows.absent() {
		return wrongShape("entry of flows has no flows")
	}
	if err := c.checkText(rule, "rule"); err != nil {
		return err
	}
	c.i = int(flows.lo)
	if err := r.list(c, "flows of a rule", func(c *cursor) *shapeError { return r.nsgFlow(c, rule) }); err != nil {
		return err
	}
	c.i = int(entry.hi)
	return nil
}

// nsgFlow takes the tuples of one rule at one interface.
func (r *record) nsgFlow(c *cursor, rule span) *shapeError {
	g := group{acl: r.resource, rule: rule}
	entry := c.skip()
	if err := c.members(entry, "flow of a rule", func(key string, v span) {
		switch {
		case key == "mac" && g.mac.absent():
			g.mac = v
		case key == "flowTuples" && g.tuples.absent():
			g.tuples = v
		}
	}); err != nil {
		return err
	}
	if g.tuples.absent() || c.b[g.tuples.lo] != '[' {
		return wrongShape("flowTuples is %s, want an array", describe(c.at(g.tuples)))
	}
	if g.mac.absent() && r.nic == "" {
		return wrongShape("mac is absent, and so is macAddress")
	}
	if _, ok := NormalMAC(string(c.unquote(g.mac))); !ok && !g.mac.absent() {
		return wrongShape("mac is %s, want 12 hexadecimal digits", describe(c.at(g.mac)))
	}
	return r.addGroup(g)
}

// members calls fn with each member of the object at s and stands behind it.
func (c *cursor) members(s span, name string, fn func(key string, v span)) *shapeError {
	c.i = int(s.lo)
	if s.absent() || !c.enter('{') {
		return wrongShape("%s is %s, want an object", name, describe(c.at(s)))
	}
	for {
		k, ok := c.key()
		if !ok {
			return nil
		}
		fn(string(c.text(k)), c.skip())
	}
}

// parseNSG reads a tuple of an NSG flow log (nsg-flow-logs-overview, "Log format"):
//
//	time, source IP, destination IP, source port, destination port, T or U,
//	I or O, A or D
//
// and, in version 2, a state and four counters as in a VNet flow log. Time is in
// seconds. What was denied is a row of state D, whatever its own state. A row of
// version 1 does not say where in its flow it stands, so it is taken for one of a flow
// under way, which promises least.
func (p *tupleParser) parseNSG(form tupleForm, b []byte, r *flow.Row) (int, bool) {
	f := fields{b: b}
	var protocol, decision byte
	end := byte(',')
	if form == nsgTuple1 {
		end = '"'
	}
	ok := f.time(&r.Time) &&
		p.address(&f, &r.Src) && p.address(&f, &r.Dst) &&
		f.port(&r.SrcPort) && f.port(&r.DstPort) &&
		f.letter(&protocol, 'T', 'U', 0, 0) &&
		f.letter(&r.Direction, flow.Inbound, flow.Outbound, 0, 0) &&
		f.letterBefore(end, &decision, 'A', 'D', 0, 0)
	if !ok {
		return 0, false
	}
	r.State, r.Counters = flow.Continue, flow.Counters{Null: flow.NullAll}
	if form == nsgTuple2 {
		ok = f.letter(&r.State, flow.Begin, flow.Continue, flow.End, 0) && f.counters(&r.Counters)
	}
	r.Protocol = 6
	if protocol == 'U' {
		r.Protocol = 17
	}
	r.Allowed = decision == 'A'
	if !r.Allowed {
		r.State = flow.Denied
	}
	r.Encryption = ""
	n := f.i - 1
	return n, ok && n <= maxTuple
}

// mac is the normal form of a MAC that is one. Those of one record are mostly equal.
func (p *tupleParser) mac(b []byte) string {
	if string(b) != p.macText {
		p.macText = string(b)
		p.macNormal, _ = NormalMAC(p.macText)
	}
	return p.macNormal
}
