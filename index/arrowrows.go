package index

import (
	"slices"

	"github.com/whichpod/whichpod/flow"
)

// arrowColumns are a decoded batch of a segment of version 1.
type arrowColumns struct {
	rows []uint32    // those that match
	ends [2][]uint32 // of those rows: codes of addresses

	data                 [numColumns][]byte
	valid                [4][]byte // of the counters; nil where none is null
	time, record, offset []int64
	counters             [4][]uint64
	src, dst             []uint32
	codes                [numDictionaries][]uint32 // of the text columns
	srcPort, dstPort     []uint16
}

// arrowOrigins makes origins of rows, which segments of version 1 have not.
type arrowOrigins struct {
	entries [numDictionaries]int // texts of each dictionary
	first   [numDictionaries]int // and where they begin among the cursor's
	origins map[[5]uint32]uint32
}

// addTexts puts the dictionaries one behind the other.
func (g *arrowOrigins) addTexts(c *cursor, o *arrowOpened) {
	g.origins = make(map[[5]uint32]uint32)
	for dict, texts := range o.texts {
		g.entries[dict], g.first[dict] = len(texts), len(c.texts)
		c.texts = append(c.texts, texts...)
	}
}

// fill gives the cursor the rows that match, each as a run of its own.
func (s *arrowSource) fill(c *cursor) error {
	c.time, c.record, c.offset = pick(c.time, s.time, s.rows), pick(c.record, s.record, s.rows), pick(c.offset, s.offset, s.rows)
	c.state, c.flags = pick(c.state, s.data[flow.ColState], s.rows), c.flags[:0]
	for _, row := range s.rows {
		c.flags = append(c.flags, s.flagsOf(row))
	}
	s.fillCounters(c)
	s.fillOrigins(c)
	return s.fillRuns(c)
}

func (s *arrowSource) fillRuns(c *cursor) error {
	s.ends[0], s.ends[1] = pick(s.ends[0], s.src, s.rows), pick(s.ends[1], s.dst, s.rows)
	if err := c.addresses.encode(s.ends[0], s.ends[1]); err != nil {
		return err
	}
	protocols, directions := s.data[flow.ColProtocol], s.data[flow.ColDirection]
	c.runs = c.runs[:0]
	for i, row := range s.rows {
		c.runs = append(c.runs, run{src: s.ends[0][i], dst: s.ends[1][i], ports: uint32(s.srcPort[row])<<16 | uint32(s.dstPort[row]),
			kind: uint16(directions[row])<<8 | uint16(protocols[row]), until: i + 1})
	}
	return nil
}

func (s *arrowSource) fillCounters(c *cursor) {
	c.counted = c.counted[:0]
	for i := range s.rows {
		c.counted = append(c.counted, uint32(i+1))
	}
	for k := range c.counters {
		c.counters[k] = append(c.counters[k][:0], 0)
		for i, row := range s.rows {
			v := s.counters[k][row]
			if c.flags[i]>>k&1 != 0 {
				v = 0 // whatever the file has there
			}
			c.counters[k] = append(c.counters[k], v)
		}
	}
}

func (s *arrowColumns) flagsOf(row uint32) (flags uint8) {
	for k, valid := range s.valid {
		if valid != nil && valid[row/8]>>(row%8)&1 == 0 {
			flags |= 1 << k
		}
	}
	if s.data[flow.ColAllowed][row/8]>>(row%8)&1 != 0 {
		flags |= flagAllowed
	}
	return flags
}

func (s *arrowSource) fillOrigins(c *cursor) {
	c.origin = c.origin[:0]
	for _, row := range s.rows {
		var texts [5]uint32
		for i, dict := range originOrder {
			texts[i] = uint32(s.first[dict]) + s.codes[dict][row]
		}
		code, ok := s.origins[texts]
		if !ok {
			code = uint32(len(c.origins))
			s.origins[texts], c.origins = code, append(c.origins, origin{s.codes[dictBlob][row], texts})
		}
		c.origin = append(c.origin, code)
	}
}

// pick puts the values of rows into dst, from its start.
func pick[T any](dst, values []T, rows []uint32) []T {
	dst = slices.Grow(dst[:0], len(rows))[:len(rows)]
	for i, r := range rows {
		dst[i] = values[r]
	}
	return dst
}
