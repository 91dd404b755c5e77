package evidence

import (
	"strings"

	"github.com/whichpod/whichpod/attribution"
	"github.com/whichpod/whichpod/internal/parquet"
)

// endBook numbers what is said of ends, and its texts. Groups of rows that follow each
// other have much the same, so it is kept from group to group; a group only says in which
// order its rows first have a number. Who has a copy of its slices may read them while
// numbers are added. Number 0 is nobody's.
type endBook struct {
	numbers map[*attribution.Resolution]uint32
	said    []*attribution.Resolution // by number
	ends    []endTexts                // by number
	lists   []uint32                  // of candidates, one after the other

	known      map[*attribution.Candidate]uint32
	candidates []candidateTexts
	texts      [endColumns]textBook
	sources    map[attribution.Sources]uint32 // numbers of their texts
}

// Limits of what a book holds when a group begins, else it begins anew: about 15 MB, and what
// is said of those ends, which the view's cache may have dropped meanwhile.
const (
	mostEnds       = 1 << 17 // and a quarter for each candidate that they list
	mostCandidates = 1 << 15
)

// Columns of an end.
const (
	endVerdict = iota
	endCluster
	endNamespace
	endPod
	endPodUID
	endNode
	endCandidates
	endSource
)

// endTexts are numbers of the texts of an end, or None, and where in the book's lists those
// of the UIDs of its candidates are.
type endTexts struct {
	texts    [endColumns]uint32
	from, to uint32
}

// candidateTexts are what an end says of a candidate, alone or beside others.
type candidateTexts struct {
	cluster, namespace, pod, uid, node uint32
	sources                            attribution.Sources
}

// textBook numbers texts.
type textBook struct {
	numbers map[string]uint32
	texts   []string // by number
}

// number is that of a text, which the book keeps a copy of. An empty one is null.
func (b *textBook) number(text string) uint32 {
	if text == "" {
		return parquet.None
	}
	n, ok := b.numbers[text]
	if !ok {
		n, text = uint32(len(b.texts)), strings.Clone(text)
		b.numbers[text], b.texts = n, append(b.texts, text)
	}
	return n
}

// newEndBook returns a book with nobody's end.
func newEndBook() endBook {
	b := endBook{
		numbers: make(map[*attribution.Resolution]uint32), said: make([]*attribution.Resolution, 1), ends: make([]endTexts, 1),
		known: make(map[*attribution.Candidate]uint32), sources: make(map[attribution.Sources]uint32),
	}
	for k := range b.texts {
		b.texts[k].numbers = make(map[string]uint32)
	}
	return b
}

// trim forgets what is too much. No group may be gathering. What a copy of the book may
// still be read for is left as it is.
func (b *endBook) trim() {
	full := len(b.candidates) > mostCandidates
	if full {
		clear(b.known)
		clear(b.sources)
		b.candidates = b.candidates[:0]
		for k := range b.texts {
			clear(b.texts[k].numbers)
			b.texts[k].texts = nil
		}
	}
	if full || len(b.said)+len(b.lists)/4 > mostEnds {
		clear(b.numbers)
		clear(b.said)
		b.said, b.ends = b.said[:1], make([]endTexts, 1, cap(b.ends))
		b.lists = make([]uint32, 0, cap(b.lists))
	}
}

// append appends numbers of what is said of ends. Whether that is what was said of the row
// before can not be foretold, so each hint is read, and with many of them under way.
func (b *endBook) append(numbers []uint32, said []*attribution.Resolution) []uint32 {
	out := extend(&numbers, len(said))
	for i, r := range said {
		number := r.Hint()
		if int(number) >= len(b.said) || b.said[number] != r {
			number = b.number(r)
		}
		out[i] = number
	}
	return numbers
}

// number is that of what is said of an end, which it leaves as a hint for the next time.
// Where two exports have the same resolutions, they take each other's hints away.
func (b *endBook) number(r *attribution.Resolution) uint32 {
	n, ok := b.numbers[r]
	if !ok {
		n = uint32(len(b.said))
		b.numbers[r], b.said, b.ends = n, append(b.said, r), append(b.ends, b.textsOf(r))
	}
	r.SetHint(n)
	return n
}

// textsOf says of an end what newEnd does, in numbers.
func (b *endBook) textsOf(r *attribution.Resolution) endTexts {
	out := endTexts{from: uint32(len(b.lists))}
	for k := range out.texts {
		out.texts[k] = parquet.None
	}
	cluster, node, sources := uint32(parquet.None), uint32(parquet.None), attribution.Sources(0)
	for i := range r.Candidates {
		c := b.candidate(r.Candidates[i])
		sources |= c.sources
		if i == 0 {
			cluster, node = c.cluster, c.node
		}
		if cluster != c.cluster {
			cluster = parquet.None
		}
		if node != c.node {
			node = parquet.None
		}
		if c.uid != parquet.None {
			b.lists = append(b.lists, c.uid)
		}
	}
	out.to = uint32(len(b.lists))
	out.texts[endVerdict], out.texts[endSource] = b.texts[endVerdict].number(r.Verdict.String()), b.source(sources)
	out.texts[endCluster], out.texts[endNode] = cluster, node
	if p := r.Pod(); p != nil {
		c := b.candidate(p)
		out.texts[endNamespace], out.texts[endPod], out.texts[endPodUID] = c.namespace, c.pod, c.uid
	}
	return out
}

// candidate is how a candidate is written. Many ends share one, so it is looked at once.
func (b *endBook) candidate(c *attribution.Candidate) *candidateTexts {
	n, ok := b.known[c]
	if !ok {
		n = uint32(len(b.candidates))
		b.known[c] = n
		b.candidates = append(b.candidates, candidateTexts{
			b.texts[endCluster].number(c.Cluster), b.texts[endNamespace].number(c.Namespace), b.texts[endPod].number(c.Name),
			b.texts[endPodUID].number(c.UID), b.texts[endNode].number(c.Node), c.Sources})
	}
	return &b.candidates[n]
}

// source is the number of the text of sources.
func (b *endBook) source(s attribution.Sources) uint32 {
	n, ok := b.sources[s]
	if !ok {
		n = b.texts[endSource].number(s.String())
		b.sources[s] = n
	}
	return n
}
