package index

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"net/netip"
	"slices"

	"github.com/whichpod/whichpod/flow"
)

// Sighting is an address behind a NIC: the source of rows that it logged as outbound,
// the destination of those that it logged as inbound.
type Sighting struct {
	NIC         string // as in the rows
	Address     netip.Addr
	First, Last int64 // event times of the rows, Unix milliseconds, both included
	Sent        int64 // outbound rows
	Received    int64 // inbound rows
	// Capped says that more addresses are behind the NIC than a segment keeps; then it
	// stands for those, and nothing but NIC is set.
	Capped bool
}

const (
	// nicAddresses is how many addresses a segment keeps of one NIC and ordinal. Behind
	// a node are its own and those of at most 250 pods at once.
	nicAddresses = 512
	// segmentSightings is how many it keeps of all, 9 bytes each in the manifest.
	segmentSightings = 1 << 15
)

// nicGroup are the sightings of one NIC in the rows of one ordinal.
type nicGroup struct {
	nic       string
	ordinal   uint32
	capped    bool
	sightings []Sighting // by address; none where capped
}

// collector finds the sightings of a segment. Rows come in any order; those of one
// blob one after the other are taken fastest.
type collector struct {
	groups  []nicGroup
	byGroup map[nicKey]int
	newest  []int32 // by address code: 1 + where its last entry stands, 0: none
	entries []sightingEntry
	room    int
}

type nicKey struct{ nic, ordinal uint32 }

type sightingEntry struct {
	group, code uint32
	before      int32 // of the same address: as newest
	first, last int64
	rows        [2]int64 // sent, received
}

// sightings are those of the rows, by NIC and ordinal.
func (c *columns) sightings() []nicGroup {
	k := collector{byGroup: make(map[nicKey]int), newest: make([]int32, len(c.addresses.list)), room: segmentSightings}
	nics := make(map[string]uint32)
	of := make([]int, len(c.groups)) // of each group, -1: no NIC's
	for i := range c.groups {
		g := &c.groups[i]
		of[i] = -1
		if nic := c.settings[g.setting].nic; nic != "" { // else no NIC logged it
			if _, ok := nics[nic]; !ok {
				nics[nic] = uint32(len(nics))
			}
			of[i] = k.group(nicKey{nics[nic], g.ordinal}, nic, c.ordinals[g.ordinal])
		}
	}
	for i, ends := range c.ends {
		r := &c.rows[i]
		group := of[r.group]
		if group < 0 {
			continue
		}
		side, near := 0, ends.src
		if r.direction() != flow.Outbound {
			side, near = 1, ends.dst
		}
		t := c.place(r).time
		at := k.newest[near]
		if at == 0 || k.entries[at-1].group != uint32(group) {
			if at = k.find(group, near, t); at == 0 {
				continue
			}
		}
		e := &k.entries[at-1]
		e.first, e.last = min(e.first, t), max(e.last, t)
		e.rows[side]++
	}
	return k.finish(c.addresses.list)
}

func (k *collector) group(key nicKey, nic string, ordinal uint32) int {
	g, ok := k.byGroup[key]
	if !ok {
		g = len(k.groups)
		k.byGroup[key] = g
		k.groups = append(k.groups, nicGroup{nic: nic, ordinal: ordinal})
	}
	return g
}

// find returns 1 + where the entry of an address in a group stands, 0 where there is no
// room for it.
func (k *collector) find(group int, code uint32, t int64) int32 {
	at := k.newest[code]
	for at != 0 && k.entries[at-1].group != uint32(group) {
		at = k.entries[at-1].before
	}
	if at != 0 || k.groups[group].capped {
		return at
	}
	if k.room == 0 {
		k.groups[group].capped = true
		return 0
	}
	k.room--
	k.entries = append(k.entries, sightingEntry{group: uint32(group), code: code, before: k.newest[code], first: t, last: t})
	k.newest[code] = int32(len(k.entries))
	return k.newest[code]
}

func (k *collector) finish(addresses []netip.Addr) []nicGroup {
	slices.SortFunc(k.entries, func(a, b sightingEntry) int { return cmp.Compare(a.code, b.code) }) // as addresses ascend
	for _, e := range k.entries {
		g := &k.groups[e.group]
		if g.capped = g.capped || len(g.sightings) == nicAddresses; g.capped {
			g.sightings = nil
			continue
		}
		g.sightings = append(g.sightings, Sighting{NIC: g.nic, Address: addresses[e.code], First: e.first, Last: e.last, Sent: e.rows[0], Received: e.rows[1]})
	}
	return k.groups
}

func encodeSightings(groups []nicGroup) []byte {
	e := encoder{}
	e.uint(uint64(len(groups)))
	for _, g := range groups {
		e.text(g.nic)
		e.uint(uint64(g.ordinal))
		if g.capped {
			e.uint(nicAddresses + 1)
			continue
		}
		e.uint(uint64(len(g.sightings)))
		var before [16]byte
		start := int64(0)
		for _, s := range g.sightings {
			a := s.Address.As16()
			same := 0
			for same < 15 && a[same] == before[same] {
				same++
			}
			e.uint(uint64(same))
			e.b = append(e.b, a[same:]...)
			e.int(s.First - start)
			e.uint(uint64(s.Last - s.First))
			e.uint(uint64(s.Sent))
			e.uint(uint64(s.Received))
			before, start = a, s.First
		}
	}
	return e.b
}

// sightingReader reads what encodeSightings wrote, of one segment after the other.
type sightingReader struct {
	group  nicGroup
	names  map[string]string     // of NICs: each is one text
	wanted func(netip.Addr) bool // nil: all are
}

// read calls yield with each group, which is valid during the call.
func (r *sightingReader) read(b []byte, yield func(*nicGroup) bool) error {
	d, g := &decoder{b: b}, &r.group
	for range d.count() {
		g.nic, g.ordinal = r.name(d.take(d.uint(), "a text")), uint32(d.uint())
		n := d.uint()
		if g.capped = n == nicAddresses+1; g.capped {
			n = 0
		}
		if n > nicAddresses {
			d.fail("the addresses behind a NIC")
		}
		if g.sightings = g.sightings[:0]; d.err == nil {
			d.sightings(g, int(n), r.wanted)
		}
		if d.err != nil || !yield(g) {
			return d.err
		}
	}
	return d.done()
}

func (r *sightingReader) name(raw []byte) string {
	name, ok := r.names[string(raw)]
	if !ok {
		name = string(raw)
		r.names[name] = name
	}
	return name
}

// sightings reads those of a group: of addresses that are not wanted only the first.
func (d *decoder) sightings(g *nicGroup, n int, wanted func(netip.Addr) bool) {
	var a [16]byte
	first := int64(0)
	for i := range n {
		same := d.uint()
		if same > 15 {
			d.fail("an address")
			return
		}
		copy(a[same:], d.take(16-same, "an address"))
		first += d.int()
		address := netip.AddrFrom16(a).Unmap()
		if i > 0 && wanted != nil && !wanted(address) {
			d.skip(3)
			continue
		}
		s := Sighting{NIC: g.nic, Address: address, First: first, Last: first + int64(d.uint())}
		s.Sent, s.Received = int64(d.uint()), int64(d.uint())
		g.sightings = append(g.sightings, s)
	}
}

// Generation counts what was committed: it changes when [Store.NICs] may. It is never 0.
func (s *Store) Generation() uint64 { return s.manifest().generation + 1 }

// NICs yields what is behind each NIC, from the summaries that segments carry: the same
// pair once for each stretch of a blob in a segment. Rows that do not count are left
// out. A segment that was written without a summary is read through, at the first call.
func (s *Store) NICs(ctx context.Context) iter.Seq2[Sighting, error] { return s.NICsOf(ctx, nil) }

// NICsOf is NICs, but that of addresses that are not wanted only those sightings are there
// that are the first of a NIC in a stretch: so every NIC has some. nil wants all.
func (s *Store) NICsOf(ctx context.Context, wanted func(netip.Addr) bool) iter.Seq2[Sighting, error] {
	return func(yield func(Sighting, error) bool) {
		m, r, more := s.manifest(), sightingReader{names: make(map[string]string), wanted: wanted}, true
		for _, seg := range m.segments {
			err := s.sightingsOf(ctx, m, seg, &r, func(g *nicGroup) bool {
				if g.capped {
					more = yield(Sighting{NIC: g.nic, Capped: true}, nil)
				}
				for i := 0; more && i < len(g.sightings); i++ {
					more = yield(g.sightings[i], nil)
				}
				return more
			})
			if err != nil {
				yield(Sighting{}, fmt.Errorf("read NICs of segment %d: %w", seg.id, err))
			}
			if err != nil || !more {
				return
			}
		}
	}
}

// sightingsOf calls yield with each group of a segment that counts, until it returns false.
func (s *Store) sightingsOf(ctx context.Context, m *manifest, seg *segment, r *sightingReader, yield func(*nicGroup) bool) error {
	if seg.sightings != nil {
		return r.read(seg.sightings, func(g *nicGroup) bool { return !m.live.has(g.ordinal) || yield(g) })
	}
	groups, err := s.lookThrough(ctx, m, seg)
	for i := 0; err == nil && i < len(groups) && yield(&groups[i]); i++ {
	}
	return err
}

// seenNICs is what a look through a segment found, of so many ordinals that count.
type seenNICs struct {
	live   int
	groups []nicGroup
}

// lookThrough reads the rows of a segment that carries no summary, once.
func (s *Store) lookThrough(ctx context.Context, m *manifest, seg *segment) ([]nicGroup, error) {
	live := 0
	for _, o := range seg.ordinals {
		if m.live.has(o) {
			live++
		}
	}
	s.mu.Lock()
	seen, ok := s.seen[seg.id]
	s.mu.Unlock()
	if ok && seen.live == live {
		return seen.groups, nil
	}
	groups, err := s.readNICs(ctx, m, seg)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seen == nil {
		s.seen = make(map[uint64]seenNICs)
	}
	s.seen[seg.id] = seenNICs{live, groups}
	return groups, nil
}

func (s *Store) readNICs(ctx context.Context, m *manifest, seg *segment) (groups []nicGroup, err error) {
	u, err := newUnpacker()
	if err != nil {
		return nil, err
	}
	sc := s.newScanner(ctx, m, u)
	defer func() { err = errors.Join(err, sc.Close()) }()
	p := newPlan(Filter{}, m.live)
	if !p.wants(seg) {
		return nil, nil
	}
	if err := sc.add(seg, p); err != nil {
		return nil, err
	}
	byNIC := make(map[string]map[netip.Addr]*Sighting)
	for {
		b, err := sc.Next()
		if errors.Is(err, io.EOF) {
			return grouped(byNIC), nil
		}
		if err != nil {
			return nil, err
		}
		see(byNIC, b)
		b.Release()
	}
}

// see takes in the rows of a batch. Of a NIC that is past its bound nothing is added.
func see(byNIC map[string]map[netip.Addr]*Sighting, b *flow.Batch) {
	for i := range b.Len() {
		row := b.Row(i)
		if row.NIC == "" {
			continue
		}
		behind := byNIC[row.NIC]
		if behind == nil {
			behind = make(map[netip.Addr]*Sighting)
			byNIC[row.NIC] = behind
		}
		near := row.Dst
		if row.Direction == flow.Outbound {
			near = row.Src
		}
		one := behind[near]
		if one == nil {
			if len(behind) > nicAddresses {
				continue
			}
			one = &Sighting{NIC: row.NIC, Address: near, First: row.Time, Last: row.Time}
			behind[near] = one
		}
		one.First, one.Last = min(one.First, row.Time), max(one.Last, row.Time)
		if row.Direction == flow.Outbound {
			one.Sent++
		} else {
			one.Received++
		}
	}
}

func grouped(byNIC map[string]map[netip.Addr]*Sighting) []nicGroup {
	var groups []nicGroup
	for _, nic := range slices.Sorted(maps.Keys(byNIC)) {
		g := nicGroup{nic: nic, capped: len(byNIC[nic]) > nicAddresses}
		for _, a := range slices.SortedFunc(maps.Keys(byNIC[nic]), netip.Addr.Compare) {
			if !g.capped {
				g.sightings = append(g.sightings, *byNIC[nic][a])
			}
		}
		groups = append(groups, g)
	}
	return groups
}
