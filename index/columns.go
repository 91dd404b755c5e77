package index

import (
	"net/netip"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"

	"github.com/whichpod/whichpod/flow"
)

// columns holds the rows of a segment that is being filled, 82 bytes a row and so 43
// MB for a full one. Its memory is taken at the first row and kept from one segment
// to the next.
type columns struct {
	time, record, offset []int64
	counters             [4][]uint64
	src, dst             []uint32 // into addresses
	blob                 []uint32 // into ordinals
	setting              []uint32 // into settings
	srcPort, dstPort     []uint16
	protocol, state      []uint8
	direction            []uint8
	flags                []uint8 // nulls in bits 0 to 3, then allowed

	addresses   []netip.Addr
	addressCode map[[16]byte]uint32 // by As16
	ordinals    []uint32
	paths       []string // of ordinals
	ordinalCode map[uint32]uint32
	settings    []setting
	settingCode map[setting]uint32

	remap []uint32 // scratch: a batch's address codes to ours
}

// setting is what a stretch of rows has in common. Few combinations occur, so that
// one number stands for four texts.
type setting struct{ nic, encryption, rule, acl string }

const (
	flagAllowed = 1 << 4
	flagNulls   = byte(flow.NullAll)
)

func newColumns() *columns {
	return &columns{
		addressCode: make(map[[16]byte]uint32),
		ordinalCode: make(map[uint32]uint32),
		settingCode: make(map[setting]uint32),
	}
}

func (c *columns) len() int { return len(c.time) }

// reserve takes the memory of a whole segment at once: growing by doubling would
// need half as much again.
func (c *columns) reserve() {
	if cap(c.time) > 0 {
		return
	}
	for _, s := range []*[]int64{&c.time, &c.record, &c.offset} {
		*s = make([]int64, 0, segmentRows)
	}
	for i := range c.counters {
		c.counters[i] = make([]uint64, 0, segmentRows)
	}
	for _, s := range []*[]uint32{&c.src, &c.dst, &c.blob, &c.setting} {
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
	c.addresses, c.ordinals, c.paths, c.settings = c.addresses[:0], c.ordinals[:0], c.paths[:0], c.settings[:0]
	clear(c.addressCode)
	clear(c.ordinalCode)
	clear(c.settingCode)
}

func (c *columns) truncate(n int) {
	c.time, c.record, c.offset = c.time[:n], c.record[:n], c.offset[:n]
	for i := range c.counters {
		c.counters[i] = c.counters[i][:n]
	}
	c.src, c.dst, c.blob, c.setting = c.src[:n], c.dst[:n], c.blob[:n], c.setting[:n]
	c.srcPort, c.dstPort = c.srcPort[:n], c.dstPort[:n]
	c.protocol, c.state = c.protocol[:n], c.state[:n]
	c.direction, c.flags = c.direction[:n], c.flags[:n]
}

// keep drops the rows of which the ordinal's code is not wanted.
func (c *columns) keep(wanted func(code uint32) bool) {
	n := 0
	for i := range c.len() {
		if !wanted(c.blob[i]) {
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
	c.time[to], c.record[to], c.offset[to] = c.time[from], c.record[from], c.offset[from]
	for k := range c.counters {
		c.counters[k][to] = c.counters[k][from]
	}
	c.src[to], c.dst[to], c.blob[to], c.setting[to] = c.src[from], c.dst[from], c.blob[from], c.setting[from]
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
	c.record = appendTimes(c.record, s.RecordTime[from:to])
	c.offset = append(c.offset, s.Offset[from:to]...)
	c.srcPort = append(c.srcPort, s.SrcPort[from:to]...)
	c.dstPort = append(c.dstPort, s.DstPort[from:to]...)
	c.protocol = append(c.protocol, s.Protocol[from:to]...)
	c.state = append(c.state, s.State[from:to]...)
	c.direction = append(c.direction, s.Direction[from:to]...)
	c.appendAddresses(s, from, to)
	c.appendCounters(s, from, to)
	c.appendSettings(s, from, to)
	codes := make([]uint32, len(ordinals))
	for i, o := range ordinals {
		if o != 0 {
			codes[i] = c.ordinal(o, s.blob.values.Value(i))
		}
	}
	for _, code := range s.blob.codes[from:to] {
		c.blob = append(c.blob, codes[code])
	}
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

func (c *columns) appendSettings(s *source, from, to int) {
	known := make(map[[4]uint32]uint32) // the batch's codes to ours: cheaper than hashing texts
	var last [4]uint32
	code := noCode
	for i := from; i < to; i++ {
		k := [4]uint32{s.nicCodes[i], s.encryption.codes[i], s.rule.codes[i], s.acl.codes[i]}
		if code == noCode || k != last {
			var ok bool
			if code, ok = known[k]; !ok {
				code = c.settingOf(setting{s.nics[k[0]], s.encryption.at(k[1]), s.rule.at(k[2]), s.acl.at(k[3])})
				known[k] = code
			}
			last = k
		}
		c.setting = append(c.setting, code)
	}
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
