package index

import (
	"net/netip"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"

	"github.com/whichpod/whichpod/flow"
)

// columns holds the rows of a segment that is being filled, 70 bytes a row and so 37
// MB for a full one. Its memory is taken at the first row and kept from one segment
// to the next.
type columns struct {
	time, offset     []int64
	counters         [4][]uint64
	src, dst         []uint32 // into addresses
	group            []uint32 // into groups
	srcPort, dstPort []uint16
	protocol, state  []uint8
	direction        []uint8
	flags            []uint8 // nulls in bits 0 to 3, then allowed

	addresses   []netip.Addr
	addressCode map[[16]byte]uint32 // by As16
	ordinals    []uint32
	paths       []string // of ordinals
	ordinalCode map[uint32]uint32
	settings    []setting
	settingCode map[setting]uint32
	groups      []group
	groupCode   map[groupKey]uint32

	remap []uint32 // scratch: a batch's address codes to ours
}

// setting is what a stretch of rows has in common. Few combinations occur, so that
// one number stands for four texts.
type setting struct{ nic, encryption, rule, acl string }

// groupKey tells groups apart.
type groupKey struct {
	ordinal, setting uint32 // codes
	record           int64
}

const flagAllowed = 1 << 4

func newColumns() *columns {
	return &columns{
		addressCode: make(map[[16]byte]uint32),
		ordinalCode: make(map[uint32]uint32),
		settingCode: make(map[setting]uint32),
		groupCode:   make(map[groupKey]uint32),
	}
}

func (c *columns) len() int { return len(c.time) }

// reserve takes the memory of a whole segment at once: growing by doubling would
// need half as much again.
func (c *columns) reserve() {
	if cap(c.time) > 0 {
		return
	}
	for _, s := range []*[]int64{&c.time, &c.offset} {
		*s = make([]int64, 0, segmentRows)
	}
	for i := range c.counters {
		c.counters[i] = make([]uint64, 0, segmentRows)
	}
	for _, s := range []*[]uint32{&c.src, &c.dst, &c.group} {
		*s = make([]uint32, 0, segmentRows)
	}
	c.srcPort, c.dstPort = make([]uint16, 0, segmentRows), make([]uint16, 0, segmentRows)
	for _, s := range []*[]uint8{&c.protocol, &c.state, &c.direction, &c.flags} {
		*s = make([]uint8, 0, segmentRows)
	}
}

// reset drops the rows and the dictionaries and keeps the memory of the former.
func (c *columns) reset() {
	c.truncate(0)
	c.addresses, c.ordinals, c.paths, c.settings, c.groups = c.addresses[:0], c.ordinals[:0], c.paths[:0], c.settings[:0], c.groups[:0]
	clear(c.addressCode)
	clear(c.ordinalCode)
	clear(c.settingCode)
	clear(c.groupCode)
}

func (c *columns) truncate(n int) {
	c.time, c.offset = c.time[:n], c.offset[:n]
	for i := range c.counters {
		c.counters[i] = c.counters[i][:n]
	}
	c.src, c.dst, c.group = c.src[:n], c.dst[:n], c.group[:n]
	c.srcPort, c.dstPort = c.srcPort[:n], c.dstPort[:n]
	c.protocol, c.state = c.protocol[:n], c.state[:n]
	c.direction, c.flags = c.direction[:n], c.flags[:n]
}

// keep drops the rows of which the ordinal's code is not wanted.
func (c *columns) keep(wanted func(code uint32) bool) {
	n := 0
	for i := range c.len() {
		if !wanted(c.groups[c.group[i]].ordinal) {
			continue
		}
		if n != i {
			c.move(n, i)
		}
		n++
	}
	c.truncate(n)
}

func (c *columns) move(to, from int) {
	c.time[to], c.offset[to] = c.time[from], c.offset[from]
	for k := range c.counters {
		c.counters[k][to] = c.counters[k][from]
	}
	c.src[to], c.dst[to], c.group[to] = c.src[from], c.dst[from], c.group[from]
	c.srcPort[to], c.dstPort[to] = c.srcPort[from], c.dstPort[from]
	c.protocol[to], c.state[to] = c.protocol[from], c.state[from]
	c.direction[to], c.flags[to] = c.direction[from], c.flags[from]
}

// source is a batch with what append needs of it at hand.
type source struct {
	*flow.Batch
	nics       []string
	nicCodes   []uint32
	encryption textDictionary
	rule, acl  textDictionary
	blob       textDictionary
	allowed    *array.Boolean
	counters   [4]*array.Uint64
}

// textDictionary is a dictionary column of a batch. Its values are views into it.
type textDictionary struct {
	values *array.String
	codes  []uint32
}

func (d *textDictionary) at(code uint32) string { return d.values.Value(int(code)) }

func newSource(b *flow.Batch) source {
	rec := b.Record()
	dict := func(col int) textDictionary {
		d := rec.Column(col).(*array.Dictionary)
		return textDictionary{d.Dictionary().(*array.String), d.Indices().(*array.Uint32).Uint32Values()}
	}
	s := source{Batch: b, encryption: dict(flow.ColEncryption), rule: dict(flow.ColRule), acl: dict(flow.ColACL), blob: dict(flow.ColBlob)}
	s.nics, s.nicCodes = b.NICs()
	s.allowed = rec.Column(flow.ColAllowed).(*array.Boolean)
	for i := range s.counters {
		s.counters[i] = rec.Column(flow.ColPacketsSent + i).(*array.Uint64)
	}
	return s
}

// append copies rows [from, to) of the batch. ordinals are those of its blob codes.
func (c *columns) append(s *source, from, to int, ordinals []uint32) {
	c.reserve()
	c.time = appendTimes(c.time, s.Time[from:to])
	c.offset = append(c.offset, s.Offset[from:to]...)
	c.srcPort = append(c.srcPort, s.SrcPort[from:to]...)
	c.dstPort = append(c.dstPort, s.DstPort[from:to]...)
	c.protocol = append(c.protocol, s.Protocol[from:to]...)
	c.state = append(c.state, s.State[from:to]...)
	c.direction = append(c.direction, s.Direction[from:to]...)
	c.appendAddresses(s, from, to)
	c.appendCounters(s, from, to)
	c.appendGroups(s, from, to, ordinals)
}

func appendTimes(dst []int64, src []arrow.Timestamp) []int64 {
	for _, t := range src {
		dst = append(dst, int64(t))
	}
	return dst
}

const noCode = ^uint32(0)

func (c *columns) appendAddresses(s *source, from, to int) {
	c.remap = c.remap[:0]
	for range s.Addresses {
		c.remap = append(c.remap, noCode)
	}
	code := func(k uint32) uint32 {
		if c.remap[k] == noCode {
			c.remap[k] = c.address(s.Addresses[k])
		}
		return c.remap[k]
	}
	for i := from; i < to; i++ {
		c.src = append(c.src, code(s.Src[i]))
		c.dst = append(c.dst, code(s.Dst[i]))
	}
}

func (c *columns) address(a netip.Addr) uint32 {
	key := a.As16() // cheaper to hash than a; a batch's addresses are unmapped
	code, ok := c.addressCode[key]
	if !ok {
		code = uint32(len(c.addresses))
		c.addressCode[key] = code
		c.addresses = append(c.addresses, a)
	}
	return code
}

func (c *columns) ordinal(o uint32, path string) uint32 {
	code, ok := c.ordinalCode[o]
	if !ok {
		code = uint32(len(c.ordinals))
		c.ordinalCode[o] = code
		c.ordinals = append(c.ordinals, o)
		c.paths = append(c.paths, string([]byte(path))) // a copy: it outlives the batch
	}
	return code
}

func (c *columns) appendCounters(s *source, from, to int) {
	start := len(c.flags)
	for i := from; i < to; i++ {
		f := byte(0)
		if s.allowed.Value(i) {
			f |= flagAllowed
		}
		c.flags = append(c.flags, f)
	}
	for k, col := range s.counters {
		values := col.Uint64Values()
		c.counters[k] = append(c.counters[k], values[from:to]...)
		if col.NullN() == 0 {
			continue
		}
		mine := c.counters[k][start:]
		for i := from; i < to; i++ {
			if col.IsNull(i) {
				c.flags[start+i-from] |= 1 << k
				mine[i-from] = 0
			}
		}
	}
}

func (c *columns) appendGroups(s *source, from, to int, ordinals []uint32) {
	known := make(map[[4]uint32]uint32) // the batch's codes to ours: cheaper than hashing texts
	var last [5]uint32
	var record arrow.Timestamp
	code := noCode
	for i := from; i < to; i++ {
		k := [5]uint32{s.nicCodes[i], s.encryption.codes[i], s.rule.codes[i], s.acl.codes[i], s.blob.codes[i]}
		if code == noCode || k != last || s.RecordTime[i] != record {
			last, record = k, s.RecordTime[i]
			own, ok := known[[4]uint32(k[:4])]
			if !ok {
				own = c.settingOf(setting{s.nics[k[0]], s.encryption.at(k[1]), s.rule.at(k[2]), s.acl.at(k[3])})
				known[[4]uint32(k[:4])] = own
			}
			code = c.groupOf(groupKey{c.ordinal(ordinals[k[4]], s.blob.values.Value(int(k[4]))), own, int64(record)})
		}
		c.group = append(c.group, code)
	}
}

func (c *columns) groupOf(k groupKey) uint32 {
	code, ok := c.groupCode[k]
	if !ok {
		code = uint32(len(c.groups))
		c.groupCode[k] = code
		c.groups = append(c.groups, group{ordinal: k.ordinal, setting: k.setting, record: k.record})
	}
	return code
}

func (c *columns) settingOf(x setting) uint32 {
	code, ok := c.settingCode[x]
	if !ok {
		x = setting{string([]byte(x.nic)), string([]byte(x.encryption)), string([]byte(x.rule)), string([]byte(x.acl))}
		code = uint32(len(c.settings))
		c.settingCode[x] = code
		c.settings = append(c.settings, x)
	}
	return code
}
