package attribution

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/whichpod/whichpod/attribution/nat"
	"github.com/whichpod/whichpod/flow"
)

// Joined is what can be said of both ends of each row of a batch.
type Joined struct {
	Src, Dst []*Resolution // one per row; rows of one holder share theirs
	// NAT is, for a row whose source is exact by NAT evidence, what the node
	// translated; nil for others. It is empty where there is no such row.
	NAT []*nat.Flow
}

// Translated is what the node translated of row i, or nil.
func (j *Joined) Translated(i int) *nat.Flow {
	if j.NAT == nil {
		return nil
	}
	return j.NAT[i]
}

// Join attributes the rows of one batch: see [Joiner.Join].
func (v *View) Join(b *flow.Batch, begins []flow.Span, answered []bool) (Joined, error) {
	return v.Joiner().Join(b, begins, answered, Joined{})
}

// Joiner attributes batches that follow each other. It is for one goroutine.
type Joiner struct {
	// Few says of the next call that its batch has few rows and is the only one: of its
	// addresses no more is worked out than the rows need. What is said of them is the same.
	Few bool

	view *View

	// What was found out about addresses, for as long as batches have one dictionary and
	// the view keeps what is said.
	places     []uint32 // by the address's code: 1 more than where its end is; 0 is nowhere
	ends       []endOfBatch
	free       []uint32 // places that are
	touched    int64    // what was read ahead: that it is kept makes it read
	dictionary *flow.Dictionary
	drops      int // how many values the view's cache had dropped

	// Of the batch under way.
	batch    *flow.Batch
	begins   []flow.Span
	answered []bool
	same     []bool
	span     flow.Span // see whole
	spanned  bool
	passing  []uint32 // places of what holds for this batch only
	nics     []string
	nicCodes []uint32
	terms    [][]nicTerm // by the NIC's code
	joined   Joined
	question Question // of the row under way: it is handed around, and kept by nobody
	*scratch
}

// scratch is of a stretch of rows, of which one does not hang on the one before it, so that
// many are under way at once in the processor.
type scratch struct {
	again  [stretchRows]uint8 // whether a row has the end of the row before it, 1 or 0
	near   [stretchRows]uint8 // whether the end is at the interface, 1 or 0
	as     [stretchRows]end
	rows   [stretchRows]int32 // to be looked at one by one
	behind [stretchRows]int32 // to be held against the interface
}

// Joiner returns one that answers from the view.
func (v *View) Joiner() *Joiner { return &Joiner{view: v, scratch: new(scratch)} }

// Join attributes the rows of a batch; begins says for each when its flow began
// ([flow.Begins]), answered whether its destination sent anything back
// ([flow.Answered]). Each address is looked up once for batches that share their
// dictionary; rows are looked at one by one only where it changed hands, or where the
// answer hangs on the destination. Join keeps nothing of the batch. It uses the memory
// of spare, of a batch that is done with.
func (j *Joiner) Join(b *flow.Batch, begins []flow.Span, answered []bool, spare Joined) (Joined, error) {
	if len(begins) != b.Len() || len(answered) != b.Len() {
		return Joined{}, fmt.Errorf("join batch: %d begins and %d answers for %d rows", len(begins), len(answered), b.Len())
	}
	j.batch, j.begins, j.answered, j.same = b, begins, answered, b.Follows()
	j.joined = Joined{Src: slices.Grow(spare.Src[:0], b.Len())[:b.Len()], Dst: slices.Grow(spare.Dst[:0], b.Len())[:b.Len()]}
	j.lookUp()
	for from := 0; from < b.Len(); from += stretchRows {
		j.stretch(from, min(from+stretchRows, b.Len()))
	}
	for _, place := range j.passing {
		j.forget(place)
	}
	out := j.joined
	*j = Joiner{view: j.view, places: j.places, ends: j.ends, free: j.free, dictionary: j.dictionary, drops: j.drops, passing: j.passing[:0], terms: j.terms, scratch: j.scratch}
	return out, nil
}

// lookUp makes room for the addresses of the batch, and looks up its interfaces.
func (j *Joiner) lookUp() {
	if j.batch.Dictionary == nil || j.batch.Dictionary != j.dictionary {
		clear(j.places)
		clear(j.ends)
		j.ends, j.free = append(j.ends[:0], endOfBatch{fixed: external}), j.free[:0]
		j.dictionary = j.batch.Dictionary
	}
	if n := j.view.said.dropped(); n != j.drops {
		for i := range j.ends {
			if s := j.ends[i].said; s != nil && s.dropped() {
				j.forget(uint32(i + 1))
			}
		}
		j.drops = n
	}
	if more := len(j.batch.Addresses) - len(j.places); more > 0 {
		j.places = append(j.places, make([]uint32, more)...)
	}
	j.nics, j.nicCodes = j.batch.NICs()
	j.terms = j.terms[:0]
	for _, nic := range j.nics {
		j.terms = append(j.terms, j.view.termsFor(nic))
	}
}

// stretchRows is how many rows are joined together: what they need stays in the first
// caches.
const stretchRows = 512

// stretch joins some rows: one of their ends, then the other. It takes no jump that hangs
// on a row until it has put aside those that need nothing of their own: most have the end
// of the row before them, as rows of one flow follow each other, or one that is nobody's.
func (j *Joiner) stretch(from, to int) {
	same, begins, direction, again := j.same[from:to], j.begins[from:to], j.batch.Direction[from:to], j.again[:to-from]
	begin := begins[0]
	if from > 0 {
		begin = j.begins[from-1]
	}
	for i, s := range begins {
		again[i] = bit(same[i]) & bit((s.From^begin.From)|(s.To^begin.To) == 0)
		j.as[i], j.near[i] = sender, bit(direction[i] == flow.Outbound)
		begin = s
	}
	for _, i := range j.quick(from, to, j.batch.Src, j.joined.Src) {
		j.resolveSrc(from + int(i))
	}
	repeat(j.joined.Src, again, from)
	if j.joined.NAT != nil {
		repeat(j.joined.NAT, again, from)
	}
	answered := j.answered[from:to]
	before := from > 0 && j.answered[from-1]
	for i, a := range answered {
		again[i] &^= bit(a) ^ bit(before)
		j.as[i], j.near[i] = called-end(bit(a)), j.near[i]^1
		before = a
	}
	for _, i := range j.quick(from, to, j.batch.Dst, j.joined.Dst) {
		j.resolveDst(from + int(i))
	}
	repeat(j.joined.Dst, again, from)
}

func bit(b bool) uint8 {
	if b {
		return 1
	}
	return 0
}

// own lists the rows that have neither the end of the row before them nor one that is
// nobody's, and sets the latter. It finds out about the ends with these codes, and reads
// that: it is far away in memory, and who needs it could not go on before it has it; here
// nothing hangs on it, so that many reads are under way.
func (j *Joiner) own(codes []uint32, out []*Resolution) []int32 {
	n, rows, places, again := 0, &j.rows, j.places, j.again[:len(codes)]
	out = out[:len(codes)]
	for i, code := range codes {
		out[i], rows[n] = external, int32(i)
		n += int(1 &^ (again[i] | bit(places[code] == outside)))
	}
	touched := int64(0)
	for _, i := range rows[:n] {
		touched |= j.end(codes[i]).said.head()
	}
	j.touched = touched
	return rows[:n]
}

// quick sets one end of a stretch of rows where that takes no more than reading, and
// lists the others.
func (j *Joiner) quick(from, to int, codes []uint32, out []*Resolution) []int32 {
	codes, out, begins := codes[from:to], out[from:to], j.begins[from:to]
	rows, left, near := j.own(codes, out), 0, 0
	for _, i := range rows {
		rows[left], j.behind[near] = i, i
		s := j.ends[j.places[codes[i]]-1].said
		if s == nil {
			left++
			continue
		}
		r, known := s.quick(begins[i], j.as[i])
		out[i] = r
		left += int(1 ^ known)
		near += int(known & j.near[i])
	}
	for _, i := range j.behind[:near] {
		out[i] = j.checked(out[i], from+int(i), true)
	}
	return rows[:left]
}

// repeat gives rows from the given one on that have it again what the row before has.
func repeat[T any](out []*T, again []uint8, from int) {
	if from == 0 {
		again, from = again[1:], 1 // the first has none before it
	}
	before := out[from-1]
	for i, a := range again {
		r := out[from+i]
		if a != 0 {
			r = before
		}
		out[from+i], before = r, r
	}
}

// end is what is found out about an address. Nearly all of the world's have one place, so
// that what is read of them is in the caches.
func (j *Joiner) end(code uint32) *endOfBatch {
	place := j.places[code]
	if place == 0 {
		place = j.find(code)
	}
	return &j.ends[place-1]
}

// find finds out about an address, and says where that is.
func (j *Joiner) find(code uint32) uint32 {
	e, place := j.view.endOf(j.batch.Addresses[code], j.Few, j.whole), uint32(outside)
	e.code = code
	if e.view != nil || e.said != nil {
		place = j.place(e)
	}
	if e.view != nil {
		j.passing = append(j.passing, place)
	}
	j.places[code] = place
	return place
}

// place is where an end is put.
func (j *Joiner) place(e endOfBatch) uint32 {
	if n := len(j.free) - 1; n >= 0 {
		place := j.free[n]
		j.free, j.ends[place-1] = j.free[:n], e
		return place
	}
	j.ends = append(j.ends, e)
	return uint32(len(j.ends))
}

// forget lets go of what is found out about an address.
func (j *Joiner) forget(place uint32) {
	e := &j.ends[place-1]
	j.places[e.code], *e = 0, endOfBatch{}
	j.free = append(j.free, place)
}

// outside is the place of all addresses that are known to be nobody's.
const outside = 1

// whole is the time in which flows of the batch began, worked out when it is first asked
// for.
func (j *Joiner) whole() flow.Span {
	if !j.spanned {
		j.span, j.spanned = j.begins[0], true
		for _, s := range j.begins {
			j.span.From, j.span.To = min(j.span.From, s.From), max(j.span.To, s.To)
		}
	}
	return j.span
}

func (j *Joiner) resolveDst(i int) {
	e, as, near := j.end(j.batch.Dst[i]), called, j.batch.Direction[i] != flow.Outbound
	if j.answered[i] {
		as = answerer
	}
	if r := e.quick(j.begins[i], as); r != nil {
		j.joined.Dst[i] = j.checked(r, i, near)
		return
	}
	q := j.ask(i)
	q.Address, q.Near, q.Sent, q.Answered = q.Destination, near, false, as == answerer
	j.joined.Dst[i], _ = e.resolve(j.view, q)
}

func (j *Joiner) resolveSrc(i int) {
	e, near := j.end(j.batch.Src[i]), j.batch.Direction[i] == flow.Outbound
	if e.view == nil || j.view.nat == nil { // else see lift
		if r := e.quick(j.begins[i], sender); r != nil {
			j.joined.Src[i] = j.checked(r, i, near)
			return
		}
	}
	var translated *nat.Flow
	if j.joined.Src[i], translated = e.resolve(j.view, j.ask(i)); translated != nil {
		if j.joined.NAT == nil {
			j.joined.NAT = make([]*nat.Flow, j.batch.Len())
		}
		j.joined.NAT[i] = translated
	}
}

// ask is the question of row i about its source.
func (j *Joiner) ask(i int) *Question {
	j.question = Question{Address: j.batch.Addresses[j.batch.Src[i]], Begin: j.begins[i], NIC: j.nics[j.nicCodes[i]], Near: j.batch.Direction[i] == flow.Outbound,
		Sent: true, Destination: j.batch.Addresses[j.batch.Dst[i]], DestinationPort: j.batch.DstPort[i], SourcePort: j.batch.SrcPort[i], Protocol: j.batch.Protocol[i]}
	return &j.question
}

// checked is [View.checked], with the interface looked up already.
func (j *Joiner) checked(r *Resolution, i int, near bool) *Resolution {
	if !near || len(j.terms[j.nicCodes[i]]) == 0 {
		return r
	}
	return j.against(r, i)
}

// against is a resolution held against the interface of row i.
func (j *Joiner) against(r *Resolution, i int) *Resolution {
	if r.Verdict != Exact {
		return r
	}
	if t, ok := termAt(j.terms[j.nicCodes[i]], j.begins[i]); ok && t.elsewhere(r.Candidates[0]) {
		return r.contradict()
	}
	return r
}

// endOfBatch is an address within the time that a batch covers.
type endOfBatch struct {
	code  uint32       // of the address
	fixed *Resolution  // the answer for every row; nil where rows differ
	view  *addressView // where anything hangs on it, and then the rest holds for one batch

	said *saidAt // or nil
}

// endOf finds out about an address. Where few rows ask about it, its track need not be
// made.
func (v *View) endOf(a netip.Addr, few bool, whole func() flow.Span) (e endOfBatch) {
	id, held := v.pods.addressID(a)
	if !held && v.nat == nil && v.outside(a) {
		e.fixed = external // and no evidence can say what is behind it
		return e
	}
	if held && !(few && v.brief(id, a)) {
		if t := v.trackOf(id, a); t != nil {
			e.said = v.saidBy(t, id)
			return e
		}
	}
	av := v.address(a)
	e.view = av
	switch {
	case len(av.owners) == 0:
		e.fixed = external
	case len(av.owners) == 1 && len(av.owners[0].nodes) == 0:
		time := whole()
		if tl := av.owners[0].pods; tl.interval(time.From) == tl.interval(time.To) {
			e.fixed = tl.resolve(tl.interval(time.From))
		}
	}
	return e
}

// quick is what is said of an end where neither the destination nor the interface has
// a say; nil where that is not known.
func (e *endOfBatch) quick(begin flow.Span, as end) *Resolution {
	switch {
	case e.fixed != nil:
		return e.fixed.at(as)
	case e.said != nil:
		return e.said.over(begin, as)
	default:
		return nil
	}
}

// resolve is what is said of an end, and what the node translated where that hangs on
// it. An address with a track is never a node's.
func (e *endOfBatch) resolve(v *View, q *Question) (*Resolution, *nat.Flow) {
	switch {
	case e.fixed != nil:
		return v.lift(e.view, v.checked(e.fixed.at(q.end()), q), q)
	case e.said == nil:
		return v.lift(e.view, e.view.resolve(v, q), q)
	}
	av := v.address(q.Address)
	return v.lift(av, av.resolve(v, q), q)
}
