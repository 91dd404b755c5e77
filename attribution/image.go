package attribution

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/whichpod/whichpod/internal/journal"
)

// image is what a checkpoint holds: the ledger as it was when its journal had a
// certain length. Its bytes are described in docs/format/checkpoint.md.
type image struct {
	journal fingerprint
	facts   int
	damage  []journal.CorruptError
	others  [][]byte // what is not about pods, as payloads of the journal
	store   *store
}

// fingerprint tells a journal from another one, and from one that was cut or replaced.
type fingerprint struct {
	Length     int64  // of what the checkpoint covers
	Head, Tail uint32 // checksums of its first and of its last bytes, fingerprintBytes of each
}

const fingerprintBytes = 64 << 10

// take reads the fingerprint of the first length bytes of a journal.
func takeFingerprint(r io.ReaderAt, length int64) (fingerprint, error) {
	fp := fingerprint{Length: length}
	part := make([]byte, min(length, fingerprintBytes))
	for _, p := range []struct {
		at  int64
		crc *uint32
	}{{0, &fp.Head}, {length - int64(len(part)), &fp.Tail}} {
		if _, err := r.ReadAt(part, p.at); err != nil {
			return fp, err
		}
		*p.crc = crc32.Checksum(part, castagnoli)
	}
	return fp, nil
}

// imageVersion is the one that is written. Of version 1 the suspects are missing.
const imageVersion = 2

var imageMagic = [4]byte{'w', 'p', 'l', 'c'}

func imageHeader(version uint16) []byte {
	return append(binary.LittleEndian.AppendUint16(imageMagic[:4:4], version), 0, 0)
}

// write writes the image. Of the store it reads only what does not change.
func (im *image) write(to io.Writer) error {
	if _, err := to.Write(imageHeader(imageVersion)); err != nil {
		return err
	}
	w := &blockWriter{w: to, block: make([]byte, 0, blockSize)}
	w.uint(uint64(im.journal.Length))
	w.uint(uint64(im.journal.Head))
	w.uint(uint64(im.journal.Tail))
	w.uint(uint64(im.facts))
	w.uint(uint64(len(im.damage)))
	for _, d := range im.damage {
		w.uint(uint64(d.Offset))
		w.bytes([]byte(d.Detail))
	}
	w.uint(uint64(len(im.others)))
	for _, payload := range im.others {
		w.bytes(payload)
	}
	s := im.store
	w.uint(uint64(len(s.words.at)))
	for id := range s.words.at {
		w.bytes(s.words.get(uint32(id)))
	}
	w.numbers(s.v4.keys)
	writeChains(w, &s.v4)
	w.uint(uint64(len(s.v6.keys)))
	for _, key := range s.v6.keys {
		w.raw(key[:])
	}
	writeChains(w, &s.v6)
	w.numbers(s.places.keys)
	writeChains(w, &s.places)
	w.uint(uint64(len(s.clusters)))
	for name, total := range s.clusters {
		w.bytes([]byte(name))
		w.uint(uint64(total.pods))
		w.uint(uint64(total.forced))
	}
	w.uint(uint64(s.pods))
	for _, p := range s.pages {
		w.numbers(p.starts)
		w.bytes(p.data)
	}
	w.numbers(s.suspectIDs())
	w.flush(lastBlock)
	return w.err
}

// writeChains writes links as they were when the image was taken.
func writeChains[K comparable](w *blockWriter, c *chains[K]) {
	w.numbers(c.upTo(c.heads))
	w.numbers(c.tails)
	pods, next := make([]uint32, len(c.links)), make([]uint32, len(c.links))
	for i := range c.links {
		pods[i], next[i] = c.links[i].pod, c.nextOf(i)
	}
	w.numbers(pods)
	w.numbers(next)
}

// readImage reads what write wrote, or says why it can not be used. path is of the
// journal.
func readImage(from io.Reader, path string) (*image, error) {
	want := imageHeader(imageVersion)
	head := make([]byte, len(want))
	if _, err := io.ReadFull(from, head); err != nil {
		return nil, err
	}
	first := string(head) == string(imageHeader(1))
	if string(head) != string(want) && !first {
		return nil, fmt.Errorf("it begins with %x, want %x", head, want)
	}
	r := &blockReader{r: from}
	im := &image{store: newStore()}
	im.journal = fingerprint{int64(r.uint()), uint32(r.uint()), uint32(r.uint())}
	im.facts = r.length()
	for n := r.length(); n > 0 && r.err == nil; n-- {
		im.damage = append(im.damage, journal.CorruptError{Path: path, Offset: int64(r.uint()), Detail: string(r.bytes())})
	}
	for n := r.length(); n > 0 && r.err == nil; n-- {
		im.others = append(im.others, r.bytes())
	}
	s := im.store
	for n := r.length(); n > 0 && r.err == nil; n-- {
		s.words.id(r.bytes())
	}
	s.v4.keys = r.numbers()
	readChains(r, &s.v4)
	for n := r.length(); n > 0 && r.err == nil; n-- {
		s.v6.keys = append(s.v6.keys, [16]byte(r.raw(16)))
	}
	readChains(r, &s.v6)
	s.places.keys = r.numbers()
	readChains(r, &s.places)
	for n := range uint32(len(s.places.keys)) {
		if r.err == nil {
			s.known = append(s.known, s.readPlace(n))
		}
	}
	for n := r.length(); n > 0 && r.err == nil; n-- {
		s.clusters[string(r.bytes())] = clusterTotal{pods: r.length(), forced: r.length()}
	}
	s.pods = uint32(r.length())
	for n := 0; n < int(s.pods) && r.err == nil; n += pagePods {
		s.pages = append(s.pages, &page{starts: r.numbers(), data: r.bytes()})
	}
	if !first {
		s.suspicion = suspicion{known: true, suspects: r.numbers()}
		for _, id := range s.suspicion.suspects {
			if int(id>>1) >= [2]int{len(s.v4.keys), len(s.v6.keys)}[id&1] {
				r.fail(errImage)
			}
		}
	}
	if r.err == nil && (!r.last || len(r.block) > 0) {
		r.fail(errImage)
	}
	if r.err != nil {
		return nil, r.err
	}
	s.index()
	return im, nil
}

func readChains[K comparable](r *blockReader, c *chains[K]) {
	c.heads, c.tails = r.numbers(), r.numbers()
	n := r.length()
	c.links = make([]link, 0, n)
	r.each(n, func(pod uint32) { c.links = append(c.links, link{pod: pod}) })
	if len(c.heads) != len(c.keys) || len(c.tails) != len(c.keys) || r.length() != len(c.links) {
		r.fail(errImage)
		return
	}
	i := 0
	r.each(n, func(next uint32) {
		c.links[i].next = next
		i++
	})
}
