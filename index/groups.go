package index

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/klauspost/compress/zstd"
)

// group is what a stretch of rows shares that stands together in a blob: the tuples of
// one rule in one record. In it time and place in the blob grow together, so that
// little more than the time has to be kept of a row.
type group struct {
	ordinal, setting uint32 // codes
	record           int64  // the record's time
	// The first row's time and offset, and how many 65,536ths of a byte the rows
	// advance in a millisecond.
	time, offset, slope int64

	origin uint32 // once read: of its ordinal and setting
}

// expected is about where a row of time t stands in the blob. It wraps where it
// overflows, on both ways.
func (g *group) expected(t int64) int64 { return g.offset + (t-g.time)*g.slope>>16 }

const (
	// segmentGroups bounds the groups of a segment, which a scan holds in memory for each
	// open one, 48 bytes each. A segment is sealed before it has more; one batch may
	// exceed it.
	segmentGroups = 1 << 16
	// maxGroups is what a reader takes, of anything in a segment's tables.
	maxGroups = 8 * segmentRows
	// maxSlope is where an expectation is no longer worth anything: 1 MiB in a millisecond.
	maxSlope = 1 << 36
)

// fit is how far apart the rows of a group are.
type fit struct {
	any         bool
	first, last rowPlace // in time
}

// rowPlace is when a row was, and where it stands in the blob.
type rowPlace struct{ time, offset int64 }

func (f *fit) add(p rowPlace) {
	if !f.any || p.time < f.first.time {
		f.first = p
	}
	if !f.any || p.time > f.last.time {
		f.last = p
	}
	f.any = true
}

// fitGroups sets where the rows of each group are expected.
func (c *columns) fitGroups() {
	for k := range c.groups {
		g, f := &c.groups[k], &c.fits[k]
		g.time, g.offset, g.slope = f.first.time, f.first.offset, 0
		if span, bytes := f.last.time-f.first.time, f.last.offset-f.first.offset; span > 0 && bytes > -1<<40 && bytes < 1<<40 {
			g.slope = min(max(bytes<<16/span, -maxSlope), maxSlope)
		}
	}
}

// Tables of a segment, one zstd frame behind its length when decoded: 32 bits.
//
//	texts     count, and each with its length: NICs, encryptions, rules, ACLs, paths
//	ordinals  count, and for each the distance from the one before and its path's text
//	settings  count, and for each the texts of NIC, encryption, rule and ACL
//	groups    count, and by column, each value by its distance from the one before:
//	          ordinal, setting, record, time less record, offset, slope
type tables struct {
	texts    []string
	ordinals []uint32
	paths    []uint32 // by ordinal code: the text
	settings [][4]uint32
	groups   []group

	origins []origin // of groups, once they were found
}

// origin is an ordinal and a setting that groups have.
type origin struct {
	ordinal uint32    // code
	texts   [5]uint32 // of its dictionaries
}

// originOrder are the dictionaries of an origin's texts. The first four are a setting's.
var originOrder = [5]int{dictNIC, dictEncryption, dictRule, dictACL, dictBlob}

// findOrigins sets the origins of groups. Those of one setting are nearly always of the
// blob that the one before is of.
func (t *tables) findOrigins() {
	known := make(map[[2]uint32]uint32)
	last := make([]uint32, len(t.settings)) // by setting, as origin + 1
	for i := range t.groups {
		g := &t.groups[i]
		if n := last[g.setting]; n > 0 && t.origins[n-1].ordinal == g.ordinal {
			g.origin = n - 1
			continue
		}
		key, s := [2]uint32{g.ordinal, g.setting}, &t.settings[g.setting]
		n, ok := known[key]
		if !ok {
			n = uint32(len(t.origins))
			known[key] = n
			t.origins = append(t.origins, origin{g.ordinal, [5]uint32{s[0], s[1], s[2], s[3], t.paths[g.ordinal]}})
		}
		g.origin, last[g.setting] = n, n+1
	}
}

func (c *columns) tables() tables {
	t := tables{ordinals: c.ordinals, groups: c.groups}
	known := make(map[string]uint32)
	text := func(s string) uint32 {
		code, ok := known[s]
		if !ok {
			code = uint32(len(t.texts))
			known[s] = code
			t.texts = append(t.texts, s)
		}
		return code
	}
	for _, x := range c.settings {
		t.settings = append(t.settings, [4]uint32{text(x.nic), text(x.encryption), text(x.rule), text(x.acl)})
	}
	for _, p := range c.paths {
		t.paths = append(t.paths, text(p))
	}
	return t
}

// fields are the columns of a group, for reading and writing.
func (g *group) fields() [6]int64 {
	return [6]int64{int64(g.ordinal), int64(g.setting), g.record, g.time - g.record, g.offset, g.slope}
}

func (t *tables) encode(z *zstd.Encoder) []byte {
	e := encoder{}
	e.uint(uint64(len(t.texts)))
	for _, s := range t.texts {
		e.text(s)
	}
	e.ordinals(t.ordinals)
	for _, p := range t.paths {
		e.uint(uint64(p))
	}
	e.uint(uint64(len(t.settings)))
	for _, s := range t.settings {
		for _, text := range s {
			e.uint(uint64(text))
		}
	}
	e.uint(uint64(len(t.groups)))
	for col := range 6 {
		last := int64(0)
		for i := range t.groups {
			v := t.groups[i].fields()[col]
			e.int(v - last)
			last = v
		}
	}
	return z.EncodeAll(e.b, binary.LittleEndian.AppendUint32(nil, uint32(len(e.b))))
}

const (
	// maxTables bounds what is allocated for tables, whatever a file says: a path for each
	// row takes half of it.
	maxTables = 256 << 20
	// zstdRatio is how much more a zstd frame can become than it is: a block of it takes
	// at least four bytes, and makes at most 128 KiB.
	zstdRatio = 1 << 15
)

// decodeTables reads what encode wrote.
func (u *unpacker) decodeTables(raw []byte) (*tables, error) {
	if len(raw) < 4 {
		return nil, fmt.Errorf("tables have %d bytes", len(raw))
	}
	n := int64(binary.LittleEndian.Uint32(raw))
	if n > maxTables || n > zstdRatio*int64(len(raw)) {
		return nil, fmt.Errorf("tables claim %d bytes", n)
	}
	u.flat = slices.Grow(u.flat[:0], int(n))
	b, err := u.zstd.DecodeAll(raw[4:], u.flat[:0:n])
	if err != nil {
		return nil, fmt.Errorf("tables: %w", err)
	}
	d := &decoder{b: b}
	t := &tables{texts: make([]string, d.few())}
	for i := range t.texts {
		t.texts[i] = d.text()
	}
	t.ordinals = d.ordinals()
	t.paths = d.codes(len(t.ordinals), len(t.texts))
	t.settings = make([][4]uint32, d.few())
	for i := range t.settings {
		copy(t.settings[i][:], d.codes(4, len(t.texts)))
	}
	t.groups = make([]group, d.few())
	d.groups(t.groups)
	for i := range t.groups {
		g := &t.groups[i]
		if int(g.ordinal) >= len(t.ordinals) || int(g.setting) >= len(t.settings) {
			return nil, fmt.Errorf("group %d has ordinal %d of %d and setting %d of %d", i, g.ordinal, len(t.ordinals), g.setting, len(t.settings))
		}
		g.time += g.record
	}
	return t, d.done()
}

// groups reads the columns of groups.
func (d *decoder) groups(list []group) {
	column := func(set func(g *group, v int64)) {
		last := int64(0)
		for i := range list {
			last += d.int()
			set(&list[i], last)
		}
	}
	column(func(g *group, v int64) { g.ordinal = uint32(v) })
	column(func(g *group, v int64) { g.setting = uint32(v) })
	column(func(g *group, v int64) { g.record = v })
	column(func(g *group, v int64) { g.time = v }) // less record, until all columns are read
	column(func(g *group, v int64) { g.offset = v })
	column(func(g *group, v int64) { g.slope = v })
}

// few reads the number of elements of a table, none of which has more than groups.
func (d *decoder) few() int {
	n := d.count()
	if n > maxGroups {
		d.fail("a table")
		return 0
	}
	return n
}

// codes reads n numbers below a limit.
func (d *decoder) codes(n, limit int) []uint32 {
	list := make([]uint32, n)
	for i := range list {
		v := d.uint()
		if v >= uint64(limit) {
			d.fail("a code")
		}
		list[i] = uint32(v)
	}
	return list
}
