package index

import (
	"slices"

	"github.com/apache/arrow/go/v17/arrow/array"

	"github.com/whichpod/whichpod/flow"
)

// columns holds the rows of a segment that is being filled, 64 bytes a row where
// counters are below 2^32, and so 34 MB for a full one. Its memory is taken at the
// first row and kept from one segment to the next.
type columns struct {
	rows      []row
	dropped   bool      // some of those that there were
	protocols [256]bool // of them all

	wide [][4]uint64 // counters of rows of which one is 2^32 or more

	addresses   addressCodes
	ordinals    []uint32
	paths       []string // of ordinals
	ordinalCode map[uint32]uint32
	settings    []setting
	settingCode map[setting]uint32
	groups      []group
	groupCode   map[groupKey]uint32

	fits []fit // of groups

	stretches []uint32 // scratch: by row, the group
}

// row is one row. Rows are put in order and read out of order, so what is needed of one
// stands together, in one cache line.
type row struct {
	time, offset     int64
	src, dst         uint32    // into addresses
	group            uint32    // into groups
	counters         [4]uint32 // 0 where null; of a wide row the first says where in wide
	srcPort, dstPort uint16
	protocol, state  uint8
	direction        uint8
	flags            uint8 // nulls in bits 0 to 3, then allowed, quiet, wide
	_                [8]byte
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
	flagWide    = 1 << 6
)

func newColumns() *columns {
	return &columns{
		addresses:   addressCodes{addressTable: newAddressTable()},
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
		c.rows = make([]row, 0, segmentRows)
	}
}

// takeRows takes over the memory of rows that nobody needs any more.
func (c *columns) takeRows(others *columns) {
	c.rows, others.rows = others.rows[:0], nil
}

// reset drops the rows and the dictionaries and keeps the memory.
func (c *columns) reset() {
	c.rows, c.wide, c.dropped = c.rows[:0], c.wide[:0], false
	c.ordinals, c.paths, c.settings, c.groups, c.fits = c.ordinals[:0], c.paths[:0], c.settings[:0], c.groups[:0], c.fits[:0]
	c.addresses.reset()
	c.protocols = [256]bool{}
	clear(c.ordinalCode)
	clear(c.settingCode)
	clear(c.groupCode)
}

// keep drops the rows of which the ordinal's code is not wanted. Addresses and counters
// of theirs stay.
func (c *columns) keep(wanted func(code uint32) bool) {
	c.dropped = true
	c.rows = slices.DeleteFunc(c.rows, func(r row) bool { return !wanted(c.groups[r.group].ordinal) })
}

// count sets the counters of a row: 0 where null. Which rows are quiet nobody could
// foresee, so that is no jump.
func (c *columns) count(r *row, v0, v1, v2, v3 uint64) {
	all := v0 | v1 | v2 | v3
	if all>>32 != 0 {
		r.flags |= flagWide
		r.counters[0] = uint32(len(c.wide))
		c.wide = append(c.wide, [4]uint64{v0, v1, v2, v3})
		return
	}
	r.flags |= uint8((all-1)>>63) * flagQuiet
	v := &r.counters
	v[0], v[1], v[2], v[3] = uint32(v0), uint32(v1), uint32(v2), uint32(v3)
}

// counted returns the counters of a row.
func (c *columns) counted(r *row) (v0, v1, v2, v3 uint64) {
	v := &r.counters
	if r.flags&flagWide != 0 {
		w := &c.wide[v[0]]
		return w[0], w[1], w[2], w[3]
	}
	return uint64(v[0]), uint64(v[1]), uint64(v[2]), uint64(v[3])
}

// source is a batch with what append needs of it at hand.
type source struct {
	*flow.Batch
	nics       []string
	nicCodes   []uint32
	encryption textDictionary
	rule, acl  textDictionary
	blob       textDictionary
	allowed    []byte // a bit a row, from bit allowedAt on
	allowedAt  int
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
	allowed := rec.Column(flow.ColAllowed).Data()
	s.allowed, s.allowedAt = allowed.Buffers()[1].Bytes(), allowed.Offset()
	for i := range s.counters {
		s.counters[i] = rec.Column(flow.ColPacketsSent + i).(*array.Uint64)
	}
	return s
}

// blockOfRows is how many rows are copied at once: so few that they stay in the fastest
// cache until all of their fields are set.
const blockOfRows = 256

// append copies rows [from, to) of the batch. ordinals are those of its blob codes.
func (c *columns) append(s *source, from, to int, ordinals []uint32) {
	c.reserve()
	n := len(c.rows)
	c.rows = slices.Grow(c.rows, to-from)[:n+to-from]
	c.appendGroups(s, from, to, ordinals)
	c.addresses.begin(s.Addresses, s.Dictionary)
	for at := from; at < to; at += blockOfRows {
		rows := c.rows[n+at-from:]
		rows = rows[:min(blockOfRows, len(rows))]
		c.copyRows(s, rows, at, c.stretches[at-from:])
		c.addresses.copyCodes(rows, s.Addresses, s.Src[at:], s.Dst[at:])
		c.copyCounters(s, rows, at)
	}
}

// copyRows sets rows but for their addresses and counters.
func (c *columns) copyRows(s *source, rows []row, from int, groups []uint32) {
	n := len(rows)
	times, offsets, srcPorts, dstPorts := s.Time[from:][:n], s.Offset[from:][:n], s.SrcPort[from:][:n], s.DstPort[from:][:n]
	protocols, states, directions := s.Protocol[from:][:n], s.State[from:][:n], s.Direction[from:][:n]
	groups = groups[:n]
	for i := range rows {
		r := &rows[i]
		r.time, r.offset, r.group = int64(times[i]), offsets[i], groups[i]
		r.srcPort, r.dstPort = srcPorts[i], dstPorts[i]
		bit := s.allowedAt + from + i
		r.protocol, r.state, r.direction, r.flags = protocols[i], states[i], directions[i], s.allowed[bit>>3]>>(bit&7)&1*flagAllowed
		c.protocols[r.protocol] = true
		c.fits[r.group].add(r.time, r.offset)
	}
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

func (c *columns) copyCounters(s *source, rows []row, from int) {
	var values [4][]uint64
	for k, col := range s.counters {
		values[k] = col.Uint64Values()[from:][:len(rows)]
		if col.NullN() == 0 {
			continue
		}
		own := make([]uint64, len(rows)) // what stands where there is none may be anything
		for i := range own {
			if col.IsNull(from + i) {
				rows[i].flags |= 1 << k
			} else {
				own[i] = values[k][i]
			}
		}
		values[k] = own
	}
	a, b, d, e := values[0], values[1][:len(rows)], values[2][:len(rows)], values[3][:len(rows)]
	for i := range a[:len(rows)] {
		c.count(&rows[i], a[i], b[i], d[i], e[i])
	}
}

// appendGroups finds the groups of rows [from, to), a stretch of equal rows at a time.
func (c *columns) appendGroups(s *source, from, end int, ordinals []uint32) {
	c.stretches = c.stretches[:0]
	known := make(map[[4]uint32]uint32) // the batch's codes to ours: cheaper than hashing texts
	codes := [5][]uint32{s.nicCodes, s.encryption.codes, s.rule.codes, s.acl.codes, s.blob.codes}
	var until [6]int // where the stretch of each column ends; the last is of RecordTime
	for at := from; at < end; {
		to := end
		for k, list := range codes {
			if until[k] <= at {
				until[k] = stretchEnd(list[:end], at)
			}
			to = min(to, until[k])
		}
		if until[5] <= at {
			until[5] = stretchEnd(s.RecordTime[:end], at)
		}
		to = min(to, until[5])
		key := [4]uint32{codes[0][at], codes[1][at], codes[2][at], codes[3][at]}
		own, ok := known[key]
		if !ok {
			own = c.settingOf(setting{s.nics[key[0]], s.encryption.at(key[1]), s.rule.at(key[2]), s.acl.at(key[3])})
			known[key] = own
		}
		blob := codes[4][at]
		code := c.groupOf(groupKey{c.ordinal(ordinals[blob], s.blob.values.Value(int(blob))), own, int64(s.RecordTime[at])})
		for ; at < to; at++ {
			c.stretches = append(c.stretches, code)
		}
	}
}

// stretchEnd is where the values equal to the one at from end.
func stretchEnd[T comparable](list []T, from int) int {
	for i, v := range list[from:] {
		if v != list[from] {
			return from + i
		}
	}
	return len(list)
}

func (c *columns) groupOf(k groupKey) uint32 {
	code, ok := c.groupCode[k]
	if !ok {
		code = uint32(len(c.groups))
		c.groupCode[k] = code
		c.groups = append(c.groups, group{ordinal: k.ordinal, setting: k.setting, record: k.record})
		c.fits = append(c.fits, fit{})
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
