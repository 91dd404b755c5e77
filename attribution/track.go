package attribution

import (
	"net/netip"
	"sort"
	"sync"
	"sync/atomic"

	"github.com/whichpod/whichpod/flow"
)

// A track is what a view keeps of an address for good once it was asked about it: runs
// of time in each of which the same can be said, and the stays that they name. It is
// worked out from a timeline, which takes a hundred times the memory and is let go.
//
// Its words of 32 bits are, in this order:
//
//	1                runs, and stays in the upper half
//	2 for each run   its begin, in 256 ms since trackEpoch, rounded down, 0 in the first;
//	                 the rest of the begin in ms (8 bits), outcome (8), first stay (16 bits)
//	stays            number of the pod, and in the highest bit whether its neighbours at
//	                 the address tell more of its brackets than the pod itself
//	8 for each of    its four brackets, the lower half of each first
//	those stays
type track []uint32

// trackEpoch is the start of 2014, the year of the first Kubernetes: no cluster has
// earlier times. The words of a track reach 2^40 ms further, to 2048. What a question
// asks about other times is worked out each time.
const (
	trackEpoch = 1_388_534_400_000
	trackSpan  = 1 << 40
	closer     = 1 << 31 // in the word of a stay
)

func (t track) runs() int  { return int(t[0] & 0xffff) }
func (t track) stays() int { return int(t[0] >> 16) }

// at is where the words of a run stand.
func (t track) at(run int) int { return 1 + 2*run }

func (t track) begin(run int) int64 {
	words := t[t.at(run):][:2]
	return trackEpoch + int64(words[0])<<8 + int64(words[1]>>24)
}

func (t track) outcome(run int) int { return int(t[t.at(run)+1] >> 16 & 0xff) }
func (t track) first(run int) int   { return int(t[t.at(run)+1] & 0xffff) }

// pod is the number of the pod of a stay.
func (t track) pod(stay int) uint32 { return t[t.at(t.runs())+stay] &^ closer }

// brackets are those of a stay, where its pod does not tell them.
func (t track) brackets(stay int) (b [4]int64, ok bool) {
	stays := t[t.at(t.runs()):]
	if stays[stay]&closer == 0 {
		return b, false
	}
	at := t.stays()
	for _, w := range stays[:stay] {
		if w&closer != 0 {
			at += 8
		}
	}
	for i := range b {
		b[i] = int64(stays[at+2*i]) | int64(stays[at+2*i+1])<<32
	}
	return b, true
}

// tracks are those of all addresses of an archive. Reading takes no lock.
type tracks struct {
	where  [2][]uint32                   // by family and number of the address: 0 not known yet, 1 none, 2 asked for once, else 3 + where its track stands
	blocks atomic.Pointer[[]*trackBlock] // only ever longer

	mu       sync.Mutex
	used     int // words of the last block
	outcomes outcomes
	known    atomic.Pointer[[]outcome] // those of outcomes
}

// trackBlock holds many tracks; a track that is longer is not kept.
type trackBlock [trackWords]uint32

const (
	trackWordsBits = 14
	trackWords     = 1 << trackWordsBits
	noTrack        = 1
	askedOnce      = 2
)

func newTracks(a *archive) *tracks {
	t := &tracks{where: [2][]uint32{make([]uint32, len(a.v4.keys)), make([]uint32, len(a.v6.keys))}}
	t.blocks.Store(new([]*trackBlock))
	t.known.Store(new([]outcome))
	return t
}

// get is the track of an address by its number, or nil, and whether that is known.
func (t *tracks) get(id uint32) (track, bool) {
	switch at := atomic.LoadUint32(&t.where[id&1][id>>1]); at {
	case 0, askedOnce:
		return nil, false
	case noTrack:
		return nil, true
	default:
		at -= askedOnce + 1
		block := (*t.blocks.Load())[at>>trackWordsBits]
		return block[at&(trackWords-1):], true
	}
}

// first says whether nobody asked it, or for the track of the address, before.
func (t *tracks) first(id uint32) bool {
	return atomic.CompareAndSwapUint32(&t.where[id&1][id>>1], 0, askedOnce)
}

// set keeps a track, or that there is none.
func (t *tracks) set(id uint32, words track) {
	at := uint32(noTrack)
	if words != nil && len(words) <= trackWords {
		blocks := *t.blocks.Load()
		if len(blocks) == 0 || t.used+len(words) > trackWords {
			blocks = append(blocks[:len(blocks):len(blocks)], new(trackBlock))
			t.blocks.Store(&blocks)
			t.used = 0
		}
		last := len(blocks) - 1
		copy(blocks[last][t.used:], words)
		at = askedOnce + 1 + uint32(last)<<trackWordsBits + uint32(t.used)
		t.used += len(words)
	}
	atomic.StoreUint32(&t.where[id&1][id>>1], at)
}

// run is one run in the making.
type run struct {
	begin          int64
	outcome, first int
	gap            bool
}

// outcome is one by its number.
func (t *tracks) outcome(n int) *outcome { return &(*t.known.Load())[n] }

// make works out the track of an address from what is known of it. Evidence says that the
// address was a node's too.
func (t *tracks) make(id uint32, av *addressView, evidence bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, done := t.get(id); done {
		return
	}
	if evidence || len(av.owners) != 1 || len(av.owners[0].nodes) > 0 {
		t.set(id, nil)
		return
	}
	o := &av.owners[0]
	runs, ok := t.runsOf(o.pods)
	if known := t.outcomes.list; len(known) > len(*t.known.Load()) {
		t.known.Store(&known)
	}
	if !ok || len(runs) > 0xffff || len(o.pods.stays) > 0xffff {
		t.set(id, nil)
		return
	}
	t.set(id, pack(runs, o))
}

func (t *tracks) runsOf(tl *timeline) ([]run, bool) {
	numbers := make(map[string]int, len(tl.stays))
	for i := range tl.stays {
		numbers[tl.stays[i].pod.uid] = i
	}
	number := func(c *Candidate) int { return numbers[c.UID] }
	gap := [3]Verdict{Gap, Gap, Gap}
	var runs []run
	from := sort.Search(len(tl.bounds), func(i int) bool { return tl.bounds[i] > trackEpoch })
	for i := from; i <= len(tl.bounds); i++ {
		begin := int64(trackEpoch)
		if i > from {
			begin = tl.bounds[i-1]
		}
		if begin >= trackEpoch+trackSpan {
			break
		}
		r := tl.work(i)
		n, first, ok := t.outcomes.of(r, number)
		if !ok {
			return nil, false
		}
		if last := len(runs) - 1; last >= 0 && runs[last].outcome == n && runs[last].first == first {
			continue
		}
		runs = append(runs, run{begin, n, first, r.verdicts() == gap})
	}
	return t.shorten(runs)
}

// gapRuns is how many runs that are all gaps may follow each other. Each time at which
// nobody watched makes one more, at every address.
const gapRuns = 2

// shorten makes one run of many gaps in a row, of which only the verdict is kept.
func (t *tracks) shorten(runs []run) ([]run, bool) {
	out := runs[:0]
	for i := 0; i < len(runs); {
		j := i
		for j < len(runs) && runs[j].gap {
			j++
		}
		switch {
		case j-i > gapRuns:
			n, ok := t.outcomes.bare([3]Verdict{Gap, Gap, Gap})
			if !ok {
				return nil, false
			}
			out = append(out, run{begin: runs[i].begin, outcome: n})
		case j > i:
			out = append(out, runs[i:j]...)
		default:
			j = i + 1
			out = append(out, runs[i])
		}
		i = j
	}
	return out, true
}

func pack(runs []run, o *ownedAddress) track {
	stays := o.pods.stays
	words := make(track, 1, 1+2*len(runs)+len(stays))
	words[0] = uint32(len(runs)) | uint32(len(stays))<<16
	for _, r := range runs {
		words = append(words, uint32((r.begin-trackEpoch)>>8), uint32(r.begin-trackEpoch)<<24|uint32(r.outcome)<<16|uint32(r.first))
	}
	var brackets []uint32
	for i := range stays {
		s := &stays[i]
		word := s.pod.filed - 1
		if alone := o.cluster.rawStay(s.pod, s.address); alone.brackets() != s.brackets() {
			word |= closer
			for _, t := range s.brackets() {
				brackets = append(brackets, uint32(t), uint32(t>>32))
			}
		}
		words = append(words, word)
	}
	return append(words, brackets...)
}

func (s *stay) brackets() [4]int64 {
	return [4]int64{s.fromEarliest, s.fromLatest, s.toEarliest, s.toLatest}
}

func inTrack(s flow.Span) bool { return s.From >= trackEpoch && s.To < trackEpoch+trackSpan }

// track is that of an address, with the address's number, or nil where there is none:
// the address is a node's by the ledger or by NAT evidence, several clusters may own it,
// or no pod ever had it.
func (v *View) track(a netip.Addr) (track, uint32) {
	id, ok := v.pods.addressID(a)
	if !ok {
		return nil, 0
	}
	return v.trackOf(id, a), id
}

func (v *View) trackOf(id uint32, a netip.Addr) track {
	t, known := v.tracks.get(id)
	if !known {
		av, ok := v.addresses.get(a)
		if !ok {
			av = v.work(a)
		}
		v.tracks.make(id, av, len(v.translates(av, a)) > 0)
		t, _ = v.tracks.get(id)
	}
	return t
}

// brief says whether a few questions about an address are best answered from its timeline,
// which takes a third of the time of a track: it has no track, and either this is the first
// that anybody asks, or the timeline is still there.
func (v *View) brief(id uint32, a netip.Addr) bool {
	if v.tracks.first(id) {
		return true
	}
	if _, known := v.tracks.get(id); known {
		return false
	}
	_, ok := v.addresses.get(a)
	return ok
}
