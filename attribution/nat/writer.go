package nat

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/whichpod/whichpod/internal/journal/disk"
)

// bufferFlows is how many records an import holds before it writes them sorted to a
// segment: about 20 MB.
const bufferFlows = 1 << 17

// Writer takes the records of one import. It is for one goroutine.
type Writer struct {
	store   *Store
	im      Import
	buffer  []Flow
	written []segmentName
	closed  bool
}

// Begin begins an import. Only one at a time can be open; Commit or Discard MUST end
// it. Of im, Number, KnownAt, Covered and Flows are set here.
func (s *Store) Begin(im Import) (*Writer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.journal == nil:
		return nil, errors.New("import NAT evidence: the store is open for reading")
	case s.writing:
		return nil, errors.New("import NAT evidence: another import is open")
	}
	s.writing = true
	im.Number, im.KnownAt, im.Covered, im.Flows = s.next, 0, nil, 0
	return &Writer{store: s, im: im}, nil
}

// Add takes a record; Import is set here.
func (w *Writer) Add(f Flow) error {
	if !f.Src.IsValid() || !f.Dst.IsValid() || f.FromEarliest < 0 || f.FromEarliest > f.FromLatest || f.FromLatest > f.ToEarliest || f.ToEarliest > f.ToLatest {
		return fmt.Errorf("take NAT evidence: %+v is no connection in time", f)
	}
	f.Import = w.im.Number
	w.buffer = append(w.buffer, f)
	w.im.Flows++
	if len(w.buffer) >= bufferFlows {
		return w.spill()
	}
	return nil
}

// Cover says that all that the node translated from one time to another was seen, in
// one session: an agent's, or with the empty name the import itself.
func (w *Writer) Cover(node, session string, from, to int64) {
	if from <= to {
		w.im.Covered = append(w.im.Covered, Covered{node, session, Range{from, to}})
	}
}

// Batch says that a batch was taken, and returns the Place of its records.
func (w *Writer) Batch(node, session string, number uint64) uint64 {
	for i := len(w.im.Batches) - 1; i >= 0; i-- { // an agent's batches come one after the other
		if b := &w.im.Batches[i]; b.Session == session && b.Last+1 == number {
			b.Last = number
			return uint64(i)<<40 | number
		}
	}
	w.im.Batches = append(w.im.Batches, Batches{node, session, number, number})
	return uint64(len(w.im.Batches)-1)<<40 | number
}

// BatchAt is the session of an import and the number of the batch that a Place means.
func (im *Import) BatchAt(place uint64) (session string, number uint64) {
	if i := int(place >> 40); i < len(im.Batches) {
		session = im.Batches[i].Session
	}
	return session, place & (1<<40 - 1)
}

// spill writes the buffer to a segment that does not count yet.
func (w *Writer) spill() error {
	if len(w.buffer) == 0 {
		return nil
	}
	sortFlows(w.buffer)
	name := segmentName{File: fmt.Sprintf("%08d-%03d%s", w.im.Number, len(w.written), segmentSuffix), Cluster: w.im.Cluster}
	sw, err := newSegmentWriter(w.store.opt.FS, filepath.Join(w.store.dir, name.File), name.Cluster)
	if err != nil {
		return fmt.Errorf("write NAT evidence: %w", err)
	}
	w.written = append(w.written, name)
	for i := range w.buffer {
		if err = sw.add(&w.buffer[i]); err != nil {
			break
		}
	}
	if err == nil {
		err = sw.finish()
	}
	if err = errors.Join(err, sw.f.Close()); err != nil {
		return fmt.Errorf("write NAT evidence: %w", err)
	}
	w.written[len(w.written)-1].Flows = sw.c.flows
	w.buffer = w.buffer[:0]
	return nil
}

// Commit makes the import count; it is durable when Commit returns nil. digest is
// that of a file which was read to its end: an import of the same file for the same
// cluster and node is left out, and known returned.
func (w *Writer) Commit(digest string) (known bool, err error) {
	if digest != "" {
		w.im.Digest = digest
		if w.store.digests[digest] {
			return true, w.Discard()
		}
	}
	if err := w.spill(); err != nil {
		return false, errors.Join(err, w.Discard())
	}
	s := w.store
	s.mu.Lock()
	defer s.mu.Unlock()
	w.im.KnownAt = s.opt.Now().UnixMilli()
	w.im.Covered = joined(w.im.Covered)
	w.closed, s.writing = true, false
	if err := s.commit(&commit{Import: &w.im, Segments: w.written}); err != nil {
		// It may count all the same: what of the journal is on disk is not known. If it
		// does not, the next Open removes its segments.
		s.next++
		return false, err
	}
	for _, name := range w.written {
		if _, err := s.open(name); err != nil {
			return false, fmt.Errorf("open NAT evidence: %w", err)
		}
	}
	return false, s.merge(w.im.Cluster)
}

func sortFlows(flows []Flow) {
	slices.SortFunc(flows, func(a, b Flow) int { return a.compare(&b) })
}

// joined are the stretches, those of one session that touch as one.
func joined(list []Covered) []Covered {
	type where struct{ node, session string }
	by := make(map[where]ranges)
	var order []where
	for _, c := range list {
		k := where{c.Node, c.Session}
		if by[k] == nil {
			order = append(order, k)
		}
		by[k] = by[k].add(c.Range)
	}
	out := []Covered{}
	for _, k := range order {
		for _, r := range by[k] {
			out = append(out, Covered{k.node, k.session, r})
		}
	}
	return out
}

// commit writes a line of the journal and applies it. Segments MUST be on disk.
func (s *Store) commit(c *commit) error {
	if len(c.Segments) > 0 {
		if err := s.opt.FS.SyncDir(s.dir); err != nil {
			return fmt.Errorf("write NAT evidence: %w", err)
		}
	}
	line, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("write NAT evidence: %w", err)
	}
	if err := s.journal.Append(line); err != nil {
		return err
	}
	s.apply(c)
	return nil
}

// Discard forgets the import. After Commit it does nothing.
func (w *Writer) Discard() error {
	w.store.mu.Lock()
	defer w.store.mu.Unlock()
	return w.discard()
}

func (w *Writer) discard() error {
	if w.closed {
		return nil
	}
	w.closed, w.store.writing = true, false
	return removeFiles(w.store.opt.FS, w.store.dir, w.written)
}

func removeFiles(fsys disk.FS, dir string, names []segmentName) error {
	var all error
	for _, n := range names {
		all = errors.Join(all, fsys.Remove(filepath.Join(dir, n.File)))
	}
	return all
}
