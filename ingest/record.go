package ingest

import (
	"fmt"
	"time"
)

const (
	// maxGroups bounds the rule groups of a record to 32 MiB of memory. The samples
	// have up to a dozen.
	maxGroups = 1 << 20

	// maxText bounds a rule or ACL, in bytes. The longest in the samples, a resource
	// id, has 150.
	maxText = 4096
)

// span is a part of a record. The zero span is that of an absent key: no value
// starts at byte 0, where the record's brace is.
type span struct{ lo, hi int32 }

func (s span) absent() bool { return s.hi == 0 }

// group is one flowTuples array with what stands around it.
type group struct{ acl, rule, mac, tuples span }

// kind is what a record tells of.
type kind uint8

const (
	tupleRecord    kind = iota // tuples of a flow log, in groups
	decisionRecord             // one decision of a firewall
)

// record is what one record says, beside its tuples. Source of the keys:
// vnet-flow-logs-overview, "Log format"; for the other formats nsg.go and firewall.go.
type record struct {
	kind     kind
	time     int64     // Unix milliseconds
	nic      string    // normal form; empty for a decision
	form     tupleForm // of the tuples
	groups   []group
	decision decision

	stamp, version, mac, category span
	resource, properties          span
	unused                        [4]span // see headKey
	wrapper                       bool    // has a key "records": holds records, is none
}

// shapeError says why a whole record is rejected.
type shapeError struct{ reason, detail string }

func (e *shapeError) Error() string { return e.reason + ": " + e.detail }

func wrongShape(format string, args ...any) *shapeError {
	return &shapeError{ReasonRecord, fmt.Sprintf(format, args...)}
}

// parse reads the record in data, whose syntax the framer checked. pathNIC is the
// MAC in the blob's name, or "". Keys may come in any order, unknown ones are
// skipped; of a key that comes twice, the first counts.
func (r *record) parse(data []byte, pathNIC string) *shapeError {
	*r = record{groups: r.groups[:0]}
	c := cursor{b: data}
	seen, shape := false, (*shapeError)(nil) // of flowRecords
	c.enter('{')
	for {
		key, ok := c.key()
		if !ok {
			break
		}
		var into *span
		switch string(c.text(key)) {
		case "time":
			into = &r.stamp
		case "flowLogVersion":
			into = &r.version
		case "macAddress":
			into = &r.mac
		case "category":
			into = &r.category
		case "resourceId":
			into = &r.resource
		case "properties":
			into = &r.properties
		case "flowRecords":
			if !seen {
				seen = true
				shape = c.descend(r.flowRecords)
				continue
			}
		case "records":
			r.wrapper = true
		}
		v := c.skip()
		if into != nil && into.absent() {
			*into = v
		}
	}
	category := string(c.unquote(r.category))
	unnamed := r.category.absent()
	switch _, firewall := firewallCategories[category]; {
	case category == vnetCategory, unnamed && (seen || r.properties.absent()):
		if err := r.vnet(&c, pathNIC); err != nil {
			return err
		}
		if !seen {
			return wrongShape("flowRecords is absent")
		}
		return shape
	case category == nsgCategory, unnamed:
		return r.nsg(&c, pathNIC)
	case firewall:
		return r.firewall(&c, category)
	}
	return &shapeError{ReasonUnsupported, fmt.Sprintf("category is %s, want %q, %q or a rule log of Azure Firewall", describe(c.at(r.category)), vnetCategory, nsgCategory)}
}

// vnetCategory is that of VNet flow logs. A record without a category is taken by
// its keys: version and shape say enough.
const vnetCategory = "FlowLogFlowEvent"

// vnet checks the scalars of a record of a VNet flow log.
func (r *record) vnet(c *cursor, pathNIC string) *shapeError {
	if v := c.at(r.version); string(v) != "4" {
		return &shapeError{ReasonUnsupported, fmt.Sprintf("flowLogVersion is %s, want 4", describe(v))}
	}
	if err := r.head(c); err != nil {
		return err
	}
	return r.setNIC(c, pathNIC)
}

// head reads what all formats share: the record's own time.
func (r *record) head(c *cursor) *shapeError {
	t, err := time.Parse(time.RFC3339, string(c.unquote(r.stamp)))
	if err != nil {
		return wrongShape("time is %s, want RFC 3339", describe(c.at(r.stamp)))
	}
	r.time = t.UnixMilli()
	return nil
}

// setNIC takes the interface from the record, else from the blob's name.
func (r *record) setNIC(c *cursor, pathNIC string) *shapeError {
	if r.mac.absent() {
		if pathNIC == "" {
			return wrongShape("macAddress is absent, and the blob's name has none")
		}
		r.nic = pathNIC
		return nil
	}
	var ok bool
	if r.nic, ok = NormalMAC(string(c.unquote(r.mac))); !ok {
		return wrongShape("macAddress is %s, want 12 hexadecimal digits", describe(c.at(r.mac)))
	}
	return nil
}

// flowRecords collects the groups: flowRecords.flows[].flowGroups[].flowTuples.
func (r *record) flowRecords(c *cursor) *shapeError {
	from, seen := c.i, false
	if !c.enter('{') {
		return wrongShape("flowRecords is %s, want an object", describe(c.at(c.skip())))
	}
	for {
		k, ok := c.key()
		if !ok {
			break
		}
		if seen || string(c.text(k)) != "flows" {
			c.skip()
			continue
		}
		seen = true
		if err := r.list(c, "flows", r.flow); err != nil {
			return err
		}
	}
	if !seen {
		return wrongShape("flowRecords has no flows: %s", quote(c.b[from:c.i]))
	}
	return nil
}

// list takes an array, item by item.
func (r *record) list(c *cursor, name string, item func(*cursor) *shapeError) *shapeError {
	if !c.enter('[') {
		return wrongShape("%s is %s, want an array", name, describe(c.at(c.skip())))
	}
	for c.item() {
		if err := item(c); err != nil {
			return err
		}
	}
	return nil
}

// flow takes one entry of flows: an ACL and its groups, in either order.
func (r *record) flow(c *cursor) *shapeError {
	if !c.enter('{') {
		return wrongShape("entry of flows is %s, want an object", describe(c.at(c.skip())))
	}
	first := len(r.groups)
	var acl span
	seen := false
	for {
		k, ok := c.key()
		if !ok {
			break
		}
		switch key := string(c.text(k)); {
		case key == "aclID" && acl.absent():
			acl = c.skip()
		case key == "flowGroups" && !seen:
			seen = true
			if err := r.list(c, "flowGroups", r.group); err != nil {
				return err
			}
		default:
			c.skip()
		}
	}
	if !seen {
		return wrongShape("entry of flows has no flowGroups")
	}
	if err := c.checkText(acl, "aclID"); err != nil {
		return err
	}
	for i := range r.groups[first:] {
		r.groups[first+i].acl = acl
	}
	return nil
}

// group takes one entry of flowGroups: a rule and its tuples, in either order.
func (r *record) group(c *cursor) *shapeError {
	if !c.enter('{') {
		return wrongShape("entry of flowGroups is %s, want an object", describe(c.at(c.skip())))
	}
	var g group
	for {
		k, ok := c.key()
		if !ok {
			break
		}
		var into *span
		switch string(c.text(k)) {
		case "rule":
			into = &g.rule
		case "flowTuples":
			into = &g.tuples
		}
		v := c.skip()
		if into != nil && into.absent() {
			*into = v
		}
	}
	if g.tuples.absent() || c.b[g.tuples.lo] != '[' {
		return wrongShape("flowTuples is %s, want an array", describe(c.at(g.tuples)))
	}
	if err := c.checkText(g.rule, "rule"); err != nil {
		return err
	}
	return r.addGroup(g)
}

func (r *record) addGroup(g group) *shapeError {
	if len(r.groups) == maxGroups {
		return wrongShape("more than %d rule groups", maxGroups)
	}
	r.groups = append(r.groups, g)
	return nil
}
