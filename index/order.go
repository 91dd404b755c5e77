package index

import (
	"cmp"
	"encoding/binary"
	"math/bits"
	"net/netip"
	"slices"
	"strings"

	"github.com/whichpod/whichpod/flow"
)

// sorter finds the flow order of a segment's rows. Its memory is kept from one
// segment to the next.
type sorter struct {
	words, spare []uint64 // a row's key, as far as it fits, above the row's number
	keys

	addresses   []netip.Addr // those that rows hold, in their order
	held        []uint32     // scratch: their codes
	addressRank []uint32     // by the code that it had
	nicRank     []uint32     // by group code; equal NICs have equal ranks, as have paths
	pathRank    []uint32     // by ordinal code
}

// sort ranks the addresses, so that the code of an address is its place in the order
// of netip.Addr.Compare, and puts words in the order of their keys. Rows of one key are
// left as they came: [sorter.settle] puts them in flow order.
//
// A key takes source, destination, protocol and, as far as there is room, the source
// port, which leaves few ties in traffic.
func (s *sorter) sort(c *columns) {
	rank := s.rankAddresses(c)
	s.rank(c)
	n := c.len()
	s.words, s.spare = slices.Grow(s.words[:0], n)[:n], slices.Grow(s.spare[:0], n)[:n]
	s.keys = newKeys(c)
	s.keys.words(s.words, c, rank)
	s.words, s.spare = radix(s.words, s.spare, s.rowBits, s.rowBits+s.bits)
}

// tied says whether the rows at a place and before it have one key.
func (s *sorter) tied(place int) bool {
	return (s.words[place]^s.words[place-1])>>s.rowBits == 0
}

// keys are those that a segment's rows are first sorted by.
type keys struct {
	rowBits, addressBits int
	bits                 int // of a key
	protocol             [256]uint64
	drop                 int // bits of protocol and source port that do not fit
}

// newKeys shares out the 64 bits of a word: the row's number takes at most 19, each
// address at most 20, as segmentRows is 2^19. Of protocols few occur, so that a place
// among them is enough. As a whole digit less costs more ties than it saves, only the
// start of one is left out.
func newKeys(c *columns) (k keys) {
	k.rowBits, k.addressBits = bits.Len(uint(c.len()-1)), bits.Len(uint(len(c.addresses.list)-1))
	seen := uint64(0)
	for p, has := range c.protocols {
		k.protocol[p] = seen
		if has {
			seen++
		}
	}
	tail := bits.Len64(seen-1) + 16
	room := min(64-k.rowBits-2*k.addressBits, tail)
	if over := (2*k.addressBits + room) % digit; over < room-8 {
		room -= over
	}
	k.drop, k.bits = tail-room, 2*k.addressBits+room
	return k
}

// shifts are how far up a word has its row's source, destination, and the rest of the key.
func (k *keys) shifts() (src, dst, rest uint) {
	rest = uint(k.rowBits)
	dst = uint(k.rowBits + k.bits - 2*k.addressBits)
	return (dst + uint(k.addressBits)) & 63, dst & 63, rest & 63
}

// words sets those of all rows, and gives their ends the codes of the new order.
func (k *keys) words(to []uint64, c *columns, rank []uint32) {
	src, dst, rest := k.shifts()
	rows, drop := c.rows[:len(to)], uint(k.drop)&63
	for i, e := range c.ends[:len(to)] {
		r := &rows[i]
		e = ends{rank[e.src], rank[e.dst]}
		c.ends[i] = e
		tail := k.protocol[r.protocol()]<<16 | uint64(r.ports>>16)
		to[i] = uint64(e.src)<<src | uint64(e.dst)<<dst | tail>>drop<<rest | uint64(i)
	}
}

// row is the number of a word's row.
func (k *keys) row(word uint64) uint64 { return word & (1<<k.rowBits - 1) }

// ends sets those of the words' rows.
func (k *keys) ends(to []ends, words []uint64) {
	src, dst, _ := k.shifts()
	mask := uint32(1)<<k.addressBits - 1
	to = to[:len(words)]
	for i, w := range words {
		to[i] = ends{uint32(w >> src), uint32(w>>dst) & mask}
	}
}

// digit is how many bits the radix sort takes at once: so few that the lines it writes to,
// one a value, fit into the fastest cache.
const digit = 9

// radix sorts words by bits [from, to), above which they MUST be 0, from the lowest digit
// up, and keeps the order of equal ones; a digit that is the same everywhere is passed
// over. It returns the sorted words and, of the same length, what is free again.
func radix(words, spare []uint64, from, to int) (sorted, free []uint64) {
	for ; from < to; from += digit {
		const mask = 1<<digit - 1
		shift := uint(from) & 63
		var counts [1 << digit]uint32
		for _, w := range words {
			counts[w>>shift&mask]++
		}
		if int(counts[words[0]>>shift&mask]) == len(words) {
			continue
		}
		at := uint32(0)
		for v := range counts {
			at, counts[v] = at+counts[v], at
		}
		for _, w := range words {
			place := &counts[w>>shift&mask]
			spare[*place] = w
			*place++
		}
		words, spare = spare, words
	}
	return words, spare
}

// settle puts rows in flow order, of which those of one key stand together and at the
// given place in the order. There are few of one key, as a rule rows of one flow, and most
// are in the order of time already. Where that is so nobody could foresee where a key
// ends, so up to there it is no jump.
func (s *sorter) settle(c *columns, rows []row, place int) {
	words, nics := s.words[place:place+len(rows)], s.nicRank
	for i := 1; i < len(rows); i++ {
		a, b := &rows[i-1], &rows[i]
		tied := ((words[i]^words[i-1])>>(s.rowBits&63) - 1) >> 63 // 1, or 0
		other := (a.ports ^ b.ports) | uint32(a.kind^b.kind) | (nics[a.group] ^ nics[b.group])
		later := uint64(0)
		if c.place(a).time < c.place(b).time {
			later = 1
		}
		if tied&^(later&((uint64(other)-1)>>63)) == 0 {
			continue
		}
		from, to := i-1, i+1
		for from > 0 && s.tied(place+from) {
			from--
		}
		for to < len(rows) && s.tied(place+to) {
			to++
		}
		s.sortTied(c, rows[from:to])
		i = to
	}
}

// settleAt puts those rows of places [low, high) in flow order that have the key of both
// the row at a place and the one before it: so what is up to there and what is behind it
// can be settled apart. It returns where their key ends.
func (s *sorter) settleAt(c *columns, place, low, high int) int {
	if !s.tied(place) {
		return place
	}
	from, to := place-1, place+1
	for from > low && s.tied(from) {
		from--
	}
	for to < high && s.tied(to) {
		to++
	}
	slices.SortFunc(s.words[from:to], func(a, b uint64) int {
		return s.compareTied(c, &c.rows[s.row(a)], &c.rows[s.row(b)])
	})
	return to
}

func (s *sorter) sortTied(c *columns, rows []row) {
	if len(rows) > 12 {
		slices.SortFunc(rows, func(a, b row) int { return s.compareTied(c, &a, &b) })
		return
	}
	for i := 1; i < len(rows); i++ {
		for k := i; k > 0 && s.compareTied(c, &rows[k-1], &rows[k]) > 0; k-- {
			rows[k-1], rows[k] = rows[k], rows[k-1]
		}
	}
}

// compareTied is flow.Compare of rows with one source and one destination.
func (s *sorter) compareTied(c *columns, a, b *row) int {
	if a.protocol() != b.protocol() {
		return cmp.Compare(a.protocol(), b.protocol())
	}
	if a.ports != b.ports {
		return cmp.Compare(a.ports, b.ports)
	}
	if x := cmp.Compare(s.nicRank[a.group], s.nicRank[b.group]); x != 0 {
		return x
	}
	if a.kind != b.kind {
		return cmp.Compare(a.kind, b.kind)
	}
	if x := cmp.Compare(c.place(a).time, c.place(b).time); x != 0 {
		return x
	}
	return cmp.Or(
		cmp.Compare(flow.StateRank(a.state), flow.StateRank(b.state)),
		cmp.Compare(s.pathRank[c.groups[a.group].ordinal], s.pathRank[c.groups[b.group].ordinal]),
		cmp.Compare(c.place(a).offset, c.place(b).offset),
	)
}

func (s *sorter) rank(c *columns) {
	nics := make([]string, len(c.settings))
	for i, x := range c.settings {
		nics[i] = x.nic
	}
	ranks := rankTexts(nics)
	s.nicRank = s.nicRank[:0]
	for i := range c.groups {
		s.nicRank = append(s.nicRank, ranks[c.groups[i].setting])
	}
	s.pathRank = rankTexts(c.paths)
}

func rankTexts(list []string) []uint32 {
	sorted := slices.Clone(list)
	slices.SortFunc(sorted, strings.Compare)
	sorted = slices.Compact(sorted)
	ranks := make([]uint32, len(list))
	for i, t := range list {
		k, _ := slices.BinarySearch(sorted, t)
		ranks[i] = uint32(k)
	}
	return ranks
}

// rankAddresses sorts the dictionary and returns the new code of each old one that a row
// holds. Addresses that no row holds any more are dropped. The ranks, and the list that the
// columns have then, are valid until the next time.
func (s *sorter) rankAddresses(c *columns) (rank []uint32) {
	list := c.addresses.list
	s.addressRank = slices.Grow(s.addressRank[:0], len(list))[:len(list)]
	s.addresses = s.addresses[:0]
	for i, code := range s.addressOrder(list, s.heldAddresses(c)) {
		s.addressRank[code] = uint32(i)
		s.addresses = append(s.addresses, list[code])
	}
	c.addresses.list = s.addresses
	return s.addressRank
}

// heldAddresses are the codes of those that rows hold.
func (s *sorter) heldAddresses(c *columns) []uint32 {
	held := c.addresses.held
	if c.dropped {
		clear(held)
		for _, e := range c.ends {
			held[e.src], held[e.dst] = 1, 1
		}
	}
	s.held = s.held[:0]
	for code, h := range held {
		if h == 1 {
			s.held = append(s.held, uint32(code))
		}
	}
	return s.held
}

// addressOrder sorts codes by their addresses: IPv4 first.
func (s *sorter) addressOrder(list []netip.Addr, codes []uint32) []uint32 {
	four := slices.Grow(s.words[:0], len(codes)) // address above code
	var six []uint32
	for _, code := range codes {
		if a := list[code]; a.Is4() {
			v := a.As4()
			four = append(four, uint64(binary.BigEndian.Uint32(v[:]))<<32|uint64(code))
		} else {
			six = append(six, code)
		}
	}
	s.words, s.spare = four, slices.Grow(s.spare[:0], len(four))[:len(four)]
	if len(four) > 0 {
		s.words, s.spare = radix(four, s.spare, 32, 64)
	}
	slices.SortFunc(six, func(a, b uint32) int { return list[a].Compare(list[b]) })
	order := codes[:0]
	for _, w := range s.words {
		order = append(order, uint32(w))
	}
	return append(order, six...)
}
