package attribution

import (
	"cmp"
	"hash/maphash"
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// store is the archive that the ledger writes to. Only one goroutine may use it;
// snapshots of it are read beside it.
type store struct {
	archive
	key, scratch, page []byte // reused
}

func newStore() *store {
	s := &store{}
	s.clusters = make(map[string]clusterTotal)
	s.v4.hash, s.places.hash = hashNumber, hashNumber
	s.v6.hash = func(k [16]byte) uint64 { return maphash.Bytes(hashSeed, k[:]) }
	return s
}

// hashNumber spreads numbers over the upper bits (Knuth's multiplicative hashing).
func hashNumber(k uint32) uint64 { return uint64(k) * 0x9e3779b97f4a7c15 }

// snapshot is the archive as it is now.
func (s *store) snapshot() *archive {
	a := s.archive
	a.words = s.words.snapshot()
	a.pages = slices.Clone(s.pages)
	a.v4, a.v6, a.places = s.v4.snapshot(), s.v6.snapshot(), s.places.snapshot()
	a.clusters = maps.Clone(s.clusters)
	return &a
}

// frozen is the store as it is now, to be written down. Nothing may be added to it.
func (s *store) frozen() *store {
	out := &store{archive: *s.snapshot()}
	out.v4.tails, out.v6.tails, out.places.tails = slices.Clone(s.v4.tails), slices.Clone(s.v6.tails), slices.Clone(s.places.tails)
	return out
}

// index makes the tables that a checkpoint leaves out.
func (s *store) index() {
	s.v4.index()
	s.v6.index()
	s.places.index()
	s.uids = newTable(int(s.pods))
	for n := range s.pods {
		s.uids.add(s.hashOf(n), n, s.hashOf)
	}
}

// find is the number of a pod.
func (s *store) find(key podKey) (uint32, bool) {
	s.key = s.recordKey(s.key[:0], key.cluster, key.uid)
	return s.numberOf(s.key)
}

func (s *store) hashOf(n uint32) uint64 { return maphash.Bytes(hashSeed, s.keyOf(n)) }

// numberOf is the number of the pod of which the record begins with a key.
func (a *archive) numberOf(key []byte) (uint32, bool) {
	return a.uids.find(maphash.Bytes(hashSeed, key), func(n uint32) bool { return n < a.pods && string(a.keyOf(n)) == string(key) })
}

// file takes pods in, or puts them in the place of what it knew of them. It keeps
// nothing of them.
func (s *store) file(pods []*pod) {
	for _, p := range pods {
		if p.filed == 0 {
			s.pods++
			p.filed = s.pods
		}
	}
	slices.SortFunc(pods, func(a, b *pod) int { return cmp.Compare(a.filed, b.filed) })
	for len(pods) > 0 {
		number := int(pods[0].filed-1) / pagePods
		n := 1
		for n < len(pods) && int(pods[n].filed-1)/pagePods == number {
			n++
		}
		s.filePage(number, pods[:n])
		pods = pods[n:]
	}
}

// filePage writes a page anew.
func (s *store) filePage(number int, changed []*pod) {
	old := &page{}
	if number < len(s.pages) {
		old = s.pages[number]
	} else {
		s.pages = append(s.pages, nil)
	}
	count := min(pagePods, int(s.pods)-number*pagePods)
	starts, data := make([]uint32, 0, count), s.page[:0]
	rest := changed
	for i := range count {
		starts = append(starts, uint32(len(data)))
		if len(rest) == 0 || int(rest[0].filed-1)%pagePods != i {
			data = append(data, old.record(i)...)
			continue
		}
		var before *pod
		if i < len(old.starts) {
			before = s.pod(rest[0].filed - 1)
		}
		s.link(rest[0], before)
		data = s.record(data, rest[0])
		rest = rest[1:]
	}
	s.page = data
	s.pages[number] = &page{starts: starts, data: slices.Clone(data)}
	for _, p := range changed {
		if n := p.filed - 1; int(n)%pagePods >= len(old.starts) {
			s.uids.add(s.hashOf(n), n, s.hashOf)
		}
	}
}

// link takes a pod into the chains of its addresses and of its place, and into the
// totals. before is what was known of it, or nil. Who is no longer at a place stays in
// its chain: whoever walks it has to look.
func (s *store) link(p, before *pod) {
	n := p.filed - 1
	total := s.clusters[p.cluster]
	if before == nil {
		total.pods++
		before = &pod{}
	}
	total.forced += count(p.forced()) - count(before.forced())
	s.clusters[p.cluster] = total
	for i := range p.holdings {
		a := p.holdings[i].Address
		id := s.address(a)
		s.suspicion.note(id, len(s.v4.keys)+len(s.v6.keys))
		switch {
		case before.has(a):
		case id&1 == 0:
			s.v4.add(id>>1, n)
		default:
			s.v6.add(id>>1, n)
		}
	}
	here := s.place(p)
	if before.uid == "" || s.place(before) != here {
		s.places.add(here, n)
	}
}

func count(b bool) int {
	if b {
		return 1
	}
	return 0
}

// has says whether the pod is known to have had an address.
func (p *pod) has(a netip.Addr) bool {
	return slices.ContainsFunc(p.holdings, func(h Holding) bool { return h.Address == a })
}

// HasLabel says whether a pod on record has or had a label with this key.
func (v *View) HasLabel(key string) bool {
	words := &v.pods.words // labels are words of their own, and no other word has this form
	for id := range words.at {
		if strings.HasPrefix(words.text(uint32(id)), key+"=") {
			return true
		}
	}
	return false
}
