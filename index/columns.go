package index

import (
	"net/netip"
	"slices"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"

	"github.com/whichpod/whichpod/flow"
)

// columns holds the rows of a segment that is being filled, 72 bytes a row and so 38
// MB for a full one. Its memory is taken at the first row and kept from one segment
// to the next.
type columns struct {
	rows     []row
	counters [][4]uint64 // of rows; 0 where null

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

// row is one row without its counters. Rows are put in order and read out of order, so
// what is needed of one stands together.
type row struct {
	time, offset     int64
	src, dst         uint32 // into addresses
	group            uint32 // into groups
	srcPort, dstPort uint16
	protocol, state  uint8
	direction        uint8
	flags            uint8 // nulls in bits 0 to 3, then allowed, then quiet
}

// setting is what a stretch of rows has in common. Few combinations occur, so that
// one number stands for four texts.
type setting struct{ nic, encryption, rule, acl string }

// groupKey tells groups apart.
type groupKey struct {
	ordinal, setting uint32 // codes
	record           int64
}

const (
	flagAllowed = 1 << 4
	flagQuiet   = 1 << 5
)

func newColumns() *columns {
	return &columns{
		addressCode: make(map[[16]byte]uint32),
		ordinalCode: make(map[uint32]uint32),
		settingCode: make(map[setting]uint32),
		groupCode:   make(map[groupKey]uint32),
	}
}

func (c *columns) len() int { return len(c.rows) }

// reserve takes the memory of a whole segment at once: growing by doubling would
// need half as much again.
func (c *columns) reserve() {
	if cap(c.rows) == 0 {
		c.rows, c.counters = make([]row, 0, segmentRows), make([][4]uint64, 0, segmentRows)
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

func (c *columns) truncate(n int) { c.rows, c.counters = c.rows[:n], c.counters[:n] }

// keep drops the rows of which the ordinal's code is not wanted.
func (c *columns) keep(wanted func(code uint32) bool) {
	n := 0
	for i := range c.rows {
		if wanted(c.groups[c.rows[i].group].ordinal) {
			c.rows[n], c.counters[n] = c.rows[i], c.counters[i]
			n++
		}
	}
	c.truncate(n)
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
	n := len(c.rows)
	c.rows = slices.Grow(c.rows, to-from)[:n+to-from]
	rows := c.rows[n:]
	for i := range rows {
		k := from + i
		rows[i] = row{time: int64(s.Time[k]), offset: s.Offset[k], srcPort: s.SrcPort[k], dstPort: s.DstPort[k],
			protocol: s.Protocol[k], state: s.State[k], direction: s.Direction[k]}
		if s.allowed.Value(k) {
			rows[i].flags = flagAllowed
		}
	}
	c.appendAddresses(s, rows, from)
	c.appendCounters(s, rows, from)
	c.appendGroups(s, rows, from, ordinals)
}

const noCode = ^uint32(0)

func (c *columns) appendAddresses(s *source, rows []row, from int) {
	c.remap = c.remap[:0]
	for range s.Addresses {
		c.remap = append(c.remap, noCode)
	}
	for i := range rows {
		src, dst := s.Src[from+i], s.Dst[from+i]
		if c.remap[src] == noCode {
			c.remap[src] = c.address(s.Addresses[src])
		}
		if c.remap[dst] == noCode {
			c.remap[dst] = c.address(s.Addresses[dst])
		}
		rows[i].src, rows[i].dst = c.remap[src], c.remap[dst]
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

func (c *columns) appendCounters(s *source, rows []row, from int) {
	n := len(c.counters)
	c.counters = slices.Grow(c.counters, len(rows))[:n+len(rows)]
	mine := c.counters[n:]
	for k, col := range s.counters {
		values := col.Uint64Values()[from:]
		for i := range mine {
			mine[i][k] = values[i]
		}
		if col.NullN() == 0 {
			continue
		}
		for i := range mine {
			if col.IsNull(from + i) {
				rows[i].flags |= 1 << k
				mine[i][k] = 0
			}
		}
	}
	for i, v := range mine {
		if v == [4]uint64{} {
			rows[i].flags |= flagQuiet
		}
	}
}

func (c *columns) appendGroups(s *source, rows []row, from int, ordinals []uint32) {
	known := make(map[[4]uint32]uint32) // the batch's codes to ours: cheaper than hashing texts
	var last [5]uint32
	var record arrow.Timestamp
	code := noCode
	for i := range rows {
		at := from + i
		k := [5]uint32{s.nicCodes[at], s.encryption.codes[at], s.rule.codes[at], s.acl.codes[at], s.blob.codes[at]}
		if code == noCode || k != last || s.RecordTime[at] != record {
			last, record = k, s.RecordTime[at]
			own, ok := known[[4]uint32(k[:4])]
			if !ok {
				own = c.settingOf(setting{s.nics[k[0]], s.encryption.at(k[1]), s.rule.at(k[2]), s.acl.at(k[3])})
				known[[4]uint32(k[:4])] = own
			}
			code = c.groupOf(groupKey{c.ordinal(ordinals[k[4]], s.blob.values.Value(int(k[4]))), own, int64(record)})
		}
		rows[i].group = code
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
