package evidence

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"testing"

	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/google/go-cmp/cmp"

	"github.com/whichpod/whichpod/attribution"
	"github.com/whichpod/whichpod/flow"
	"github.com/whichpod/whichpod/internal/parquet"
	"github.com/whichpod/whichpod/query"
)

// sayings makes what can be said of ends: of few candidates in many ways.
type sayings struct {
	*rand.Rand
	candidates []*attribution.Candidate
	said       []*attribution.Resolution
}

func newSayings(r *rand.Rand) *sayings {
	s := &sayings{Rand: r}
	for i := range 200 {
		s.candidates = append(s.candidates, &attribution.Candidate{
			Cluster: []string{"", "prod", "test"}[i%3], Namespace: fmt.Sprint("ns", i%4), Name: fmt.Sprint("pod-", i/2), UID: fmt.Sprint("uid-", i),
			Node: []string{"n", "m", ""}[r.IntN(3)], Sources: attribution.Sources(r.IntN(8))})
		if i%10 == 0 {
			s.candidates[i].UID, s.candidates[i].IsNode = "", true
		}
	}
	return s
}

// next is something new, or what was said before.
func (s *sayings) next(fresh int) *attribution.Resolution {
	if len(s.said) > 0 && s.IntN(100) >= fresh {
		return s.said[s.IntN(len(s.said))]
	}
	r := &attribution.Resolution{Verdict: []attribution.Verdict{attribution.Exact, attribution.Boundary, attribution.Masked, attribution.Gap, attribution.External}[s.IntN(5)]}
	n := map[attribution.Verdict]int{attribution.Exact: 1, attribution.External: 0}
	count, ok := n[r.Verdict]
	if !ok {
		count = s.IntN(20)
	}
	for range count {
		r.Candidates = append(r.Candidates, s.candidates[s.IntN(len(s.candidates))])
	}
	s.said = append(s.said, r)
	return r
}

// attributed is a batch of n rows, in which most rows are like the one before.
func (s *sayings) attributed(n, fresh int, nulls bool) query.Attributed {
	b := flow.NewBuilder(memory.DefaultAllocator)
	defer b.Release()
	a := query.Attributed{}
	address := func() netip.Addr {
		if s.IntN(4) == 0 {
			return netip.AddrFrom16([16]byte{0x20, 1, 15: byte(s.IntN(200))})
		}
		return netip.AddrFrom4([4]byte{10, byte(s.IntN(3)), byte(s.IntN(20)), byte(s.Uint32())})
	}
	row := flow.Row{Blob: "b", Encryption: "X", ACL: "acl"}
	var src, dst *attribution.Resolution
	for i := range n {
		if i == 0 || s.IntN(3) == 0 {
			row.Src, row.Dst, row.SrcPort, row.DstPort = address(), address(), uint16(s.Uint32()), uint16(s.IntN(300))
			if s.IntN(20) == 0 {
				row.Dst = flow.Unknown
			}
			row.NIC, row.Rule, row.Protocol = []string{"", "000D3A00000A"}[s.IntN(2)], fmt.Sprint("rule ", s.IntN(9)), byte(6+s.IntN(12))
			row.Direction = []byte{0, flow.Inbound, flow.Outbound}[s.IntN(3)]
		}
		if i == 0 || s.IntN(4) == 0 {
			src, dst = s.next(fresh), s.next(fresh)
		}
		row.Time, row.RecordTime, row.Offset = sec(int64(s.IntN(3600))), sec(3600), s.Int64N(1<<30)
		row.State = "BCED"[s.IntN(4)]
		row.Counters = flow.Counters{PacketsSent: s.Uint64N(20), BytesSent: s.Uint64N(1 << (8 * (1 + s.IntN(3)))), PacketsReceived: s.Uint64(), BytesReceived: s.Uint64N(1 << 16)}
		if nulls && s.IntN(3) == 0 {
			row.Counters.Null = flow.Nulls(s.IntN(16))
		}
		b.Append(&row)
		a.Joined.Src, a.Joined.Dst = append(a.Joined.Src, src), append(a.Joined.Dst, dst)
	}
	a.Batch = b.NewBatch()
	return a
}

// A row in Parquet says what the row says: over several groups, with batches that begin
// and end anywhere in them, with rows left out one by one or in stretches, with more
// ends than are remembered from group to group, and whether counters are null or not.
func TestGroupsSayWhatRowsSay(t *testing.T) {
	t.Parallel()
	for seed, c := range []struct {
		name        string
		rows, fresh int
		keep        func(i int) bool
	}{
		{"all rows, few ends", 3 * rowGroupRows / 2, 1, func(int) bool { return true }},
		{"all rows, many ends", 3 * rowGroupRows / 2, 100, func(int) bool { return true }},
		{"some rows", rowGroupRows, 10, func(i int) bool { return i%5 != 2 }},
		{"stretches", rowGroupRows, 10, func(i int) bool { return i/700%2 == 0 }},
		{"no rows", 5000, 10, func(int) bool { return false }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newSayings(rand.New(rand.NewPCG(uint64(seed), 8)))
			var out bytes.Buffer
			w, err := NewRowWriter(&out, "parquet", memory.DefaultAllocator)
			must(t, err)
			var want []Row
			known := make(ends)
			for rows := 0; rows < c.rows; {
				a := s.attributed(1+s.IntN(9000), c.fresh, rows > rowGroupRows/4)
				var kept []int32
				for i := range a.Len() {
					if c.keep(i) {
						var row Row
						row.fill(a, i, known)
						want, kept = append(want, row), append(kept, int32(i))
					}
				}
				rows += a.Len()
				must(t, w.Write(a, kept))
				a.Release()
			}
			must(t, w.Close())
			equalRows(t, want, fromParquet(t, out.Bytes()))
		})
	}
}

// Columns become wider in the middle of a group, where its dictionaries or numbers ask for
// it, and the next group begins narrow again.
func TestGroupsBecomeWider(t *testing.T) {
	t.Parallel()
	s := newSayings(rand.New(rand.NewPCG(10, 8)))
	src := s.next(100)
	var out bytes.Buffer
	w, err := NewRowWriter(&out, "parquet", memory.DefaultAllocator)
	must(t, err)
	var want []Row
	known := make(ends)
	const batch = rowGroupRows / 16
	for n := range 40 { // two groups and a half
		b := flow.NewBuilder(memory.DefaultAllocator)
		a := query.Attributed{}
		for i := range batch {
			at := n*batch + i
			most := 1 + at%rowGroupRows/150 // different values: more than 255 from a place within a batch on
			row := flow.Row{
				Time: sec(1000), RecordTime: sec(1000), Src: netip.AddrFrom4([4]byte{10, 0, 0, 1}), Dst: flow.Unknown, State: byte(1 + s.IntN(min(most, 255))),
				Direction: byte(s.IntN(min(most, 256))), Protocol: byte(s.IntN(min(most, 256))), DstPort: uint16(s.IntN(most)), Blob: fmt.Sprint("blob ", s.IntN(most)),
				Counters: flow.Counters{PacketsSent: uint64(s.IntN(most)), BytesSent: s.Uint64N(1 << 32), PacketsReceived: 1<<32 - 1},
			}
			if name := s.IntN(most); name > 0 {
				row.Rule = fmt.Sprint("rule ", name)
			}
			if at%rowGroupRows > 30_000 && s.IntN(1000) == 0 {
				row.Time += []int64{-1 << 31, -1<<31 - 1, 1<<31 - 1, 1 << 31}[n%4]
				row.Offset = 1<<32 - int64(s.IntN(2))
				row.Counters.BytesSent, row.Counters.PacketsReceived, row.Counters.BytesReceived = 1<<32, 1<<63, 1<<64-1
				row.Counters.Null = flow.Nulls(s.IntN(16))
			}
			b.Append(&row)
			a.Joined.Src, a.Joined.Dst = append(a.Joined.Src, src), append(a.Joined.Dst, src)
		}
		a.Batch = b.NewBatch()
		want = append(want, writeAll(t, w, a, known)...)
		b.Release()
	}
	must(t, w.Close())
	equalRows(t, want, fromParquet(t, out.Bytes()))
}

// writeAll writes all rows of a batch, which it releases, and returns what they are.
func writeAll(t *testing.T, w RowWriter, a query.Attributed, known ends) (want []Row) {
	t.Helper()
	for i := range a.Len() {
		var row Row
		row.fill(a, i, known)
		want = append(want, row)
	}
	must(t, w.Write(a, upTo(a.Len())))
	a.Release()
	return want
}

func equalRows(t *testing.T, want, got []Row) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d rows, want %d", len(got), len(want))
	}
	for i := range want {
		if !reflect.DeepEqual(want[i], got[i]) {
			t.Fatalf("row %d: -want +got:\n%s", i, cmp.Diff(want[i], got[i]))
		}
	}
}

// upTo are the numbers of n rows.
func upTo(n int) []int32 {
	rows := make([]int32, n)
	for i := range rows {
		rows[i] = int32(i)
	}
	return rows
}

// Columns of ends may have no value in a whole group, and then one in some rows.
func TestGroupsWithoutPods(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	w, err := NewRowWriter(&out, "parquet", memory.DefaultAllocator)
	must(t, err)
	var want []Row
	known := make(ends)
	for seed, fresh := range []int{0, 0, 50} { // nobody is known, but in the last group
		s := newSayings(rand.New(rand.NewPCG(uint64(seed), 9)))
		s.said = append(s.said, &attribution.Resolution{Verdict: attribution.External})
		for range rowGroupRows / 4096 {
			a := s.attributed(4096, fresh, false)
			want = append(want, writeAll(t, w, a, known)...)
		}
	}
	must(t, w.Close())
	equalRows(t, want, fromParquet(t, out.Bytes()))
}

// What a book says of an end is what newEnd says, and stays so while it learns more.
func TestEndBook(t *testing.T) {
	t.Parallel()
	s := newSayings(rand.New(rand.NewPCG(3, 8)))
	b := newEndBook()
	known := make(ends)
	for range 3000 {
		r := s.next(50)
		before := b
		e, want := &b.ends[b.number(r)], known.of(r)
		for k, text := range [endColumns]*string{&want.verdict, want.cluster, want.namespace, want.pod, want.uid, want.node, nil, want.source} {
			if got := textIn(&b, k, e.texts[k]); k != endCandidates && cmp.Diff(text, got) != "" {
				t.Fatalf("column %d of %+v: got %v, want %v", k, r, got, text)
			}
		}
		var candidates []string
		for _, n := range b.lists[e.from:e.to] {
			candidates = append(candidates, b.texts[endPodUID].texts[n])
		}
		if diff := cmp.Diff(want.candidates, candidates); diff != "" {
			t.Fatalf("candidates: -want +got:\n%s", diff)
		}
		if n, m := len(before.ends), len(before.lists); before.ends[n-1] != b.ends[n-1] || !slices.Equal(before.lists, b.lists[:m]) {
			t.Fatal("a copy of the book changed")
		}
	}
	if b.trim(); len(b.said) < 1000 {
		t.Errorf("the book forgot all but %d ends", len(b.said))
	}
	before := b
	ends, lists, texts := slices.Clone(b.ends), slices.Clone(b.lists), slices.Clone(b.texts[endPodUID].texts)
	b.lists = make([]uint32, 5*mostEnds)
	if b.trim(); len(b.said) != 1 || len(b.candidates) == 0 || b.number(s.said[0]) != 1 {
		t.Errorf("%d ends and %d candidates after the book began anew", len(b.said), len(b.candidates))
	}
	b.candidates = append(b.candidates, make([]candidateTexts, mostCandidates)...)
	if b.trim(); len(b.said) != 1 || len(b.candidates) != 0 || len(b.texts[endPodUID].texts) != 0 || b.number(s.said[9]) != 1 {
		t.Errorf("%d ends and %d candidates after the book began anew", len(b.said), len(b.candidates))
	}
	if !slices.Equal(before.ends, ends) || !slices.Equal(before.lists, lists) || !slices.Equal(before.texts[endPodUID].texts, texts) {
		t.Error("a copy of the book changed")
	}
}

// Two books number the same ends, each in its own order, and one of them forgets all now
// and then: the hints of the other one mislead neither.
func TestEndBooksShareEnds(t *testing.T) {
	t.Parallel()
	s := newSayings(rand.New(rand.NewPCG(6, 8)))
	books := [2]endBook{newEndBook(), newEndBook()}
	for range 300 {
		k := s.IntN(2)
		b, said := &books[k], make([]*attribution.Resolution, 1+s.IntN(50))
		for i := range said {
			said[i] = s.next(20)
		}
		numbers := b.append([]uint32{7}, said)
		if numbers[0] != 7 || len(numbers) != 1+len(said) {
			t.Fatalf("%d numbers of %d ends behind another", len(numbers)-1, len(said))
		}
		for i, n := range numbers[1:] {
			if b.said[n] != said[i] || b.numbers[said[i]] != n {
				t.Fatalf("%+v has number %d, which is %+v", said[i], n, b.said[n])
			}
		}
		if k == 1 && s.IntN(20) == 0 {
			b.lists = make([]uint32, 5*mostEnds)
			b.trim()
		}
	}
}

func textIn(b *endBook, column int, number uint32) *string {
	if int(number) >= len(b.texts[column].texts) {
		return nil // None
	}
	return &b.texts[column].texts[number]
}

// Addresses have one number each, in the order in which rows have them, whichever
// dictionaries their batches have.
func TestAddressCodes(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(4, 8))
	g := newGatherer(&rowGroup{})
	for range 2 {
		var want, got []netip.Addr // of rows
		b := flow.NewBuilder(memory.DefaultAllocator)
		for batch := range 60 {
			if batch%7 == 6 { // another dictionary
				b.Release()
				b = flow.NewBuilder(memory.DefaultAllocator)
			}
			for range 200 {
				row := flow.Row{Src: flow.Unknown, Dst: netip.AddrFrom4([4]byte{10, 0, byte(r.IntN(30)), byte(r.Uint32())}), State: flow.Begin}
				switch r.IntN(8) {
				case 0:
					row.Dst = netip.AddrFrom16([16]byte{0x20, 1, 5: byte(r.IntN(30)), 15: byte(r.Uint32())})
				case 1:
					row.Dst = flow.Unknown
				}
				b.Append(&row)
			}
			rows := b.NewBatch()
			codes := pick(rows.Dst, []int32{3, 5, 6, 100, 199}, &g.picked.codes)
			for _, code := range codes {
				want = append(want, rows.Addresses[code])
			}
			g.addAddresses(1, codes, rows)
			g.addAddresses(0, pick(rows.Src, []int32{0}, &g.picked.codes), rows)
			rows.Release()
		}
		b.Release()
		numbers := g.addresses[1].addresses
		for _, n := range g.group.chunks[colDstIP].Codes {
			if n == parquet.None {
				got = append(got, flow.Unknown)
			} else {
				got = append(got, numbers[n])
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("rows have %v, want %v", got, want)
		}
		inOrder := slices.DeleteFunc(want, func(a netip.Addr) bool { return a == flow.Unknown })
		seen := make(map[netip.Addr]bool)
		inOrder = slices.DeleteFunc(inOrder, func(a netip.Addr) bool { again := seen[a]; seen[a] = true; return again })
		if !slices.Equal(numbers, inOrder) {
			t.Errorf("numbers are of %v, want %v", numbers, inOrder)
		}
		if src := g.addresses[0].addresses; !slices.Equal(src, []netip.Addr{flow.Unknown}) {
			t.Errorf("sources are %v, want only the unknown one", src)
		}
		g.finish()
		g.group.reset()
	}
}

// Codes get numbers in the order in which they come first, those that have one keep it, and
// those that came before it stay as they are.
func TestNumberNew(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(8, 8))
	for range 200 {
		table := slices.Repeat([]uint32{unset}, 1+r.IntN(50))
		table[0] = parquet.None
		want, numbered := slices.Clone(table), []uint32{99}
		inOrder := slices.Clone(numbered)
		for range 5 {
			var codes []uint32
			for n := r.IntN(60); len(codes) < n; {
				codes = append(codes, slices.Repeat([]uint32{r.Uint32N(uint32(len(table)))}, 1+r.IntN(3))...)
			}
			for _, code := range codes {
				if want[code] == unset {
					want[code], inOrder = 1000+uint32(len(inOrder)), append(inOrder, code)
				}
			}
			numbered = numberNew(table, codes, numbered, 1000+uint32(len(numbered)))
			if !slices.Equal(table, want) || !slices.Equal(numbered, inOrder) {
				t.Fatalf("codes %d: table %d of %d, want %d of %d", codes, table, numbered, want, inOrder)
			}
		}
	}
}

// A group numbers addresses anew also where it goes on with the dictionary of the group
// before it, of which it knows the unknown address's code already.
func TestAddressCodesOfNextGroup(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(7, 8))
	b := flow.NewBuilder(memory.DefaultAllocator)
	defer b.Release()
	g := newGatherer(&rowGroup{})
	for group := range 6 {
		var want, inOrder []netip.Addr
		for range 4 {
			for range 150 {
				row := flow.Row{Src: flow.Unknown, Dst: netip.AddrFrom4([4]byte{10, 0, byte(group + r.IntN(3)), byte(r.IntN(40))}), State: flow.Begin}
				if group > 1 && r.IntN(9) == 0 {
					row.Dst = flow.Unknown
				}
				b.Append(&row)
			}
			rows := b.NewBatch()
			for _, code := range rows.Dst {
				a := rows.Addresses[code]
				if want = append(want, a); a != flow.Unknown && !slices.Contains(inOrder, a) {
					inOrder = append(inOrder, a)
				}
			}
			g.addAddresses(0, rows.Src, rows)
			g.addAddresses(1, rows.Dst, rows)
			rows.Release()
		}
		for i, n := range g.group.chunks[colDstIP].Codes {
			if unknown := n == parquet.None; unknown != (want[i] == flow.Unknown) || !unknown && inOrder[n] != want[i] {
				t.Fatalf("group %d: row %d has number %d, want that of %v", group, i, n, want[i])
			}
		}
		if !slices.Equal(g.addresses[1].addresses, inOrder) || !slices.Equal(g.addresses[0].addresses, []netip.Addr{flow.Unknown}) {
			t.Errorf("group %d: numbers are of %v and %v, want %v and the unknown one", group, g.addresses[1].addresses, g.addresses[0].addresses, inOrder)
		}
		g.finish()
		g.group.reset()
	}
}

// The same rows make the same bytes, whatever was written by the process before.
func TestParquetIsDetermined(t *testing.T) {
	t.Parallel()
	s := newSayings(rand.New(rand.NewPCG(5, 8)))
	var batches []query.Attributed
	for rows := 0; rows < 3*rowGroupRows/2; rows += batches[len(batches)-1].Len() {
		batches = append(batches, s.attributed(5000, 5, true))
	}
	var files [2]bytes.Buffer
	for i := range files {
		w, err := NewRowWriter(&files[i], "parquet", memory.DefaultAllocator)
		must(t, err)
		for k := range batches {
			a := batches[k]
			part := a.Len() / (1 + i) // the second time in halves
			rows := upTo(a.Len())
			err = errors.Join(err, w.Write(a, rows[:part]), w.Write(a, rows[part:]))
		}
		must(t, errors.Join(err, w.Close()))
	}
	if !bytes.Equal(files[0].Bytes(), files[1].Bytes()) {
		t.Error("the same rows made other bytes")
	}
	for i := range batches {
		batches[i].Release()
	}
}
