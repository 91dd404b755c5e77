package index

import (
	"fmt"
	"hash/crc32"
	"maps"
	"slices"

	"github.com/whichpod/whichpod/internal/journal"
)

// CorruptError names the file and the byte where what was read is not what was
// written. It is returned as a value; its Hint says what to do.
type CorruptError = journal.CorruptError

// NewerVersionError says that a newer program wrote the folder.
type NewerVersionError = journal.NewerVersionError

// version of the manifest. The segments that it names are of this version or an older
// one.
const version = 2

// Kinds of manifest frames. A frame of another kind is an error: a program that does
// not know it would miss rows.
const (
	frameArrow   = 1 // a segment of version 1
	frameBlob    = 2 // the whole state of one blob, in place of the one before
	frameSegment = 3 // a segment
	frameDrop    = 4 // segments that count no longer
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// manifest is what counts: its segments, and of their rows those of live ordinals. A
// published manifest is immutable; a commit makes the next one.
type manifest struct {
	segments []*segment
	blobs    map[string]*blobState
	live     ordinalSet
	nextID   uint64
	nextOrd  uint32

	generation uint64 // counts commits of this process
}

func newManifest() *manifest {
	return &manifest{blobs: make(map[string]*blobState), nextID: 1, nextOrd: 1}
}

// next returns a manifest to which a commit can be applied.
func (m *manifest) next() *manifest {
	return &manifest{
		segments: m.segments[:len(m.segments):len(m.segments)],
		blobs:    maps.Clone(m.blobs),
		live:     m.live.clone(),
		nextID:   m.nextID,
		nextOrd:  m.nextOrd,

		generation: m.generation + 1,
	}
}

// apply replays one frame.
func (m *manifest) apply(payload []byte) error {
	d := &decoder{b: payload}
	switch kind := d.byte(); kind {
	case frameSegment, frameArrow:
		decode := decodeSegment
		if kind == frameArrow {
			decode = decodeArrow
		}
		s, err := decode(d)
		if err != nil {
			return err
		}
		m.addSegment(s)
	case frameBlob:
		b, err := decodeBlob(d)
		if err != nil {
			return err
		}
		m.setBlob(b)
	case frameDrop:
		ids := make([]uint64, d.count())
		for i := range ids {
			ids[i] = d.uint()
		}
		if err := d.done(); err != nil {
			return err
		}
		m.drop(ids)
	default:
		return fmt.Errorf("frame is of kind %d, known are 1 to 4", kind)
	}
	return nil
}

func (m *manifest) addSegment(s *segment) {
	m.segments = append(m.segments, s)
	m.nextID = max(m.nextID, s.id+1)
	for _, o := range s.ordinals {
		m.nextOrd = max(m.nextOrd, o+1)
	}
}

// drop takes segments out. The numbers stay used.
func (m *manifest) drop(ids []uint64) {
	m.segments = slices.DeleteFunc(slices.Clone(m.segments), func(s *segment) bool { return slices.Contains(ids, s.id) })
}

func encodeDrop(segments []*segment) []byte {
	e := encoder{b: []byte{frameDrop}}
	e.uint(uint64(len(segments)))
	for _, s := range segments {
		e.uint(s.id)
	}
	return e.b
}

func (m *manifest) setBlob(b *blobState) {
	if old := m.blobs[b.position.Blob]; old != nil {
		for _, o := range old.ordinals {
			m.live.remove(o)
		}
	}
	m.blobs[b.position.Blob] = b
	for _, o := range b.ordinals {
		m.live.add(o)
		m.nextOrd = max(m.nextOrd, o+1)
	}
}

// frames is the whole manifest as one group.
func (m *manifest) frames() [][]byte {
	var list [][]byte
	for _, s := range m.segments {
		list = append(list, s.encode())
	}
	for _, blob := range slices.Sorted(maps.Keys(m.blobs)) {
		list = append(list, m.blobs[blob].encode())
	}
	return list
}

// ordinalSet is a set of small numbers. Ordinals count up from one for each stretch
// of a blob between two Advances.
type ordinalSet []uint64

func (s *ordinalSet) add(o uint32) {
	for int(o/64) >= len(*s) {
		*s = append(*s, 0)
	}
	(*s)[o/64] |= 1 << (o % 64)
}

func (s ordinalSet) remove(o uint32) {
	if s.has(o) {
		s[o/64] &^= 1 << (o % 64)
	}
}

func (s ordinalSet) has(o uint32) bool { return int(o/64) < len(s) && s[o/64]&(1<<(o%64)) != 0 }

func (s ordinalSet) clone() ordinalSet { return append(ordinalSet(nil), s...) }
