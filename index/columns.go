package index

import (
	"slices"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"

	"github.com/whichpod/whichpod/flow"
)

// columns holds the rows of a segment that is being filled, 40 bytes a row that is not
// wide, and so 21 MB for a full one. Its memory is taken at the first row and kept from
// one segment to the next.
type columns struct {
	rows      []row
	ends      []ends    // of rows
	dropped   bool      // some of those that there were
	protocols [256]bool // of them all

	wide []wideRow

	addresses   addressCodes
	ordinals    []uint32
	paths       []string // of ordinals
	ordinalCode map[uint32]uint32
	settings    []setting
	settingCode map[setting]uint32
	groups      []group
	groupCode   map[groupKey]uint32

	bases []rowPlace // of groups: what times and offsets of rows count from
	fits  []fit      // of groups

	stretches []uint32    // scratch: by row, the group
	counters  [4][]uint64 // scratch: of rows, 0 where null
}

// row is one row, but for its ends. Rows are read out of order, so they are short, and two
// share a cache line. A row of which a number does not fit is wide.
type row struct {
	time, offset int32 // from its group's base; of a wide row time says where in wide
	group        uint32
	bytes        [2]uint32 // sent, received; 0 where null
	packets      [2]uint16 // the same
	ports        uint32    // source above destination
	kind         uint16    // direction above protocol
	state        uint8
	flags        uint8 // nulls in bits 0 to 3, then allowed, quiet, wide
}

// ends are a row's source and destination, into addresses.
type ends struct{ src, dst uint32 }

// wideRow has what does not fit into a row.
type wideRow struct {
	rowPlace
	counters [4]uint64 // 0 where null
}

func (r *row) protocol() uint8  { return uint8(r.kind) }
func (r *row) direction() uint8 { return uint8(r.kind >> 8) }

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
		c.rows, c.ends = make([]row, 0, segmentRows), make([]ends, 0, segmentRows)
	}
}

// takeRows takes over the memory of rows that nobody needs any more.
func (c *columns) takeRows(others *columns) {
	c.rows, others.rows = others.rows[:0], nil
	c.ends, others.ends = others.ends[:0], nil
}

// reset drops the rows and the dictionaries and keeps the memory.
func (c *columns) reset() {
	c.rows, c.ends, c.wide, c.dropped = c.rows[:0], c.ends[:0], c.wide[:0], false
	c.ordinals, c.paths, c.settings = c.ordinals[:0], c.paths[:0], c.settings[:0]
	c.groups, c.bases, c.fits = c.groups[:0], c.bases[:0], c.fits[:0]
	c.addresses.reset()
	c.protocols = [256]bool{}
	clear(c.ordinalCode)
	clear(c.settingCode)
	clear(c.groupCode)
}

// keep drops the rows of which the ordinal's code is not wanted. Addresses and wide rows
// of theirs stay.
func (c *columns) keep(wanted func(code uint32) bool) {
	c.dropped = true
	n := 0
	for i, r := range c.rows {
		if wanted(c.groups[r.group].ordinal) {
			c.rows[n], c.ends[n] = r, c.ends[i]
			n++
		}
	}
	c.rows, c.ends = c.rows[:n], c.ends[:n]
}

// place is when a row was, and where it stands in its blob.
func (c *columns) place(r *row) rowPlace {
	if r.flags&flagWide != 0 {
		return c.wide[r.time].rowPlace
	}
	b := &c.bases[r.group]
	return rowPlace{b.time + int64(r.time), b.offset + int64(r.offset)}
}

// counted returns the counters of a row.
func (c *columns) counted(r *row) (v0, v1, v2, v3 uint64) {
	if r.flags&flagWide != 0 {
		w := &c.wide[r.time].counters
		return w[0], w[1], w[2], w[3]
	}
	return uint64(r.packets[0]), uint64(r.bytes[0]), uint64(r.packets[1]), uint64(r.bytes[1])
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
	n := c.grow(to - from)
	c.appendGroups(s, from, to, ordinals)
	c.addresses.begin(s.Addresses, s.Dictionary)
	c.addresses.copyCodes(c.ends[n:], s.Addresses, s.Src[from:to], s.Dst[from:to])
	for at := from; at < to; at += blockOfRows {
		rows := c.rows[n+at-from:]
		rows = rows[:min(blockOfRows, len(rows))]
		c.copyKinds(s, rows, at)
		c.copyNulls(s, rows, at)
		setNumbers(c, rows, c.stretches[at-from:], s.Time[at:], s.Offset[at:])
	}
}

// grow makes room for rows that are to be set, and returns the place of the first.
func (c *columns) grow(rows int) int {
	c.reserve()
	n := len(c.rows)
	c.rows, c.ends = slices.Grow(c.rows, rows)[:n+rows], slices.Grow(c.ends, rows)[:n+rows]
	return n
}

// copyKinds sets of rows what has the same length in every row.
func (c *columns) copyKinds(s *source, rows []row, from int) {
	n := len(rows)
	srcPorts, dstPorts := s.SrcPort[from:][:n], s.DstPort[from:][:n]
	protocols, states, directions := s.Protocol[from:][:n], s.State[from:][:n], s.Direction[from:][:n]
	for i := range rows {
		r := &rows[i]
		r.ports = uint32(srcPorts[i])<<16 | uint32(dstPorts[i])
		r.kind = uint16(directions[i])<<8 | uint16(protocols[i])
		bit := s.allowedAt + from + i
		r.state, r.flags = states[i], s.allowed[bit>>3]>>(bit&7)&1*flagAllowed
		c.protocols[protocols[i]] = true
	}
}

// copyNulls sets the counters of rows that setNumbers takes, and flags those that are null.
func (c *columns) copyNulls(s *source, rows []row, from int) {
	for k, col := range s.counters {
		c.counters[k] = col.Uint64Values()[from:][:len(rows)]
		if col.NullN() == 0 {
			continue
		}
		own := make([]uint64, len(rows)) // what stands where there is none may be anything
		for i := range own {
			if col.IsNull(from + i) {
				rows[i].flags |= 1 << k
			} else {
				own[i] = c.counters[k][i]
			}
		}
		c.counters[k] = own
	}
}

// setNumbers sets group, time, offset and counters of rows, which have their other flags.
// Which rows are quiet nobody could foresee, so that is no jump.
func setNumbers[T ~int64](c *columns, rows []row, groups []uint32, times []T, offsets []int64) {
	n := len(rows)
	groups, times, offsets = groups[:n], times[:n], offsets[:n]
	v0, v1, v2, v3 := c.counters[0][:n], c.counters[1][:n], c.counters[2][:n], c.counters[3][:n]
	for i := range rows {
		r, b := &rows[i], &c.bases[groups[i]]
		time, offset := int64(times[i])-b.time, offsets[i]-b.offset
		packets, bytes, packets2, bytes2 := v0[i], v1[i], v2[i], v3[i]
		r.group, r.time, r.offset = groups[i], int32(time), int32(offset)
		r.packets[0], r.bytes[0], r.packets[1], r.bytes[1] = uint16(packets), uint32(bytes), uint16(packets2), uint32(bytes2)
		all := packets | bytes | packets2 | bytes2
		r.flags |= uint8((all-1)&^all>>63) * flagQuiet
		if (packets|packets2)>>16|(bytes|bytes2|uint64(time+1<<31)|uint64(offset+1<<31))>>32 != 0 {
			r.flags |= flagWide
			r.time = int32(len(c.wide))
			c.wide = append(c.wide, wideRow{rowPlace{int64(times[i]), offsets[i]}, [4]uint64{packets, bytes, packets2, bytes2}})
		}
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

// appendGroups finds the groups of rows [from, to), a stretch of equal rows at a time.
func (c *columns) appendGroups(s *source, from, end int, ordinals []uint32) {
	c.stretches = slices.Grow(c.stretches[:0], end-from)[:end-from]
	known := make(map[[4]uint32]uint32) // the batch's codes to ours: cheaper than hashing texts
	codes := [5][]uint32{s.nicCodes, s.encryption.codes, s.rule.codes, s.acl.codes, s.blob.codes}
	var until [6]int // where the stretch of each column ends; the last is of RecordTime
	for k, values := range [5]int{len(s.nics), s.encryption.values.Len(), s.rule.values.Len(), s.acl.values.Len(), s.blob.values.Len()} {
		if values == 1 {
			until[k] = end
		}
	}
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
		code := c.groupOf(groupKey{c.ordinal(ordinals[blob], s.blob.values.Value(int(blob))), own, int64(s.RecordTime[at])}, rowPlace{int64(s.Time[at]), s.Offset[at]})
		stretch := c.stretches[at-from : to-from]
		for i := range stretch {
			stretch[i] = code
		}
		c.fit(code, s.Time[at:to], s.Offset[at:to])
		at = to
	}
}

// fit takes in when rows of a group were, and where they stand.
func (c *columns) fit(group uint32, times []arrow.Timestamp, offsets []int64) {
	first, last := 0, 0
	for i, t := range times {
		if t < times[first] {
			first = i
		}
		if t > times[last] {
			last = i
		}
	}
	c.fits[group].add(rowPlace{int64(times[first]), offsets[first]})
	c.fits[group].add(rowPlace{int64(times[last]), offsets[last]})
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

// groupOf is the code of a group, of which a row has the given place.
func (c *columns) groupOf(k groupKey, place rowPlace) uint32 {
	code, ok := c.groupCode[k]
	if !ok {
		code = uint32(len(c.groups))
		c.groupCode[k] = code
		c.groups = append(c.groups, group{ordinal: k.ordinal, setting: k.setting, record: k.record})
		c.bases, c.fits = append(c.bases, place), append(c.fits, fit{})
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
