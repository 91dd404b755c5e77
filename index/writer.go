package index

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"

	"github.com/whichpod/whichpod/flow"
)

// Writer adds rows and positions. It is for one goroutine, but for Position, which
// another one may call during Append. It holds at most two segments of rows in memory,
// one that is filled and one that another goroutine writes, about 50 MB with what
// sorting needs and twice that where most rows are wide, and up to 50 MB of dictionaries;
// more rows than that go to temporary files until the next Commit.
//
// After an error from Append or Commit the Writer is of no more use: Close it, and
// the Store, and open both anew; what was not committed is gone and comes again.
type Writer struct {
	store  *Store
	sealer *sealer
	rows   *columns
	spare  []*columns // that are neither filled nor written

	behind  []*background // segments that are being written, in their order: at most two
	syncing *background   // the one before them, which may not be durable yet

	open    map[string]*stretch   // of blobs with rows since their last Advance
	changed map[string]*blobState // since the last Commit
	dead    map[uint32]bool       // ordinals that Restart gave up and that rows still carry
	sealed  []*segment            // written under a temporary name
	nextID  uint64
	nextOrd uint32
	err     error
	closed  bool

	unreadable map[uint64]bool // segments that could not be merged
}

// stretch is the rows of one blob between two Advances: what becomes live as one.
// Its ordinal is what the rows carry to disk.
type stretch struct {
	ordinal     uint32
	rows        int64
	first, last int64
}

// Writer starts writing. There is one at a time; the caller MUST Close it.
func (s *Store) Writer() (*Writer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.journal == nil:
		return nil, fmt.Errorf("write index %q: it is open for reading only", s.root)
	case s.broken != nil:
		return nil, fmt.Errorf("write index %q: it must be opened anew after an error: %w", s.root, s.broken)
	case s.writing:
		return nil, fmt.Errorf("write index %q: another writer is open", s.root)
	}
	sealer, err := newSealer(s.fs)
	if err != nil {
		return nil, fmt.Errorf("write index %q: %w", s.root, err)
	}
	s.writing = true
	w := &Writer{store: s, sealer: sealer, rows: newColumns(), nextID: s.current.nextID, nextOrd: s.current.nextOrd, unreadable: make(map[uint64]bool)}
	w.forget()
	return w, nil
}

// forget drops what is not committed, except files and the counting up of numbers.
func (w *Writer) forget() {
	w.rows.reset()
	w.open = make(map[string]*stretch)
	w.changed = make(map[string]*blobState)
	w.dead = make(map[uint32]bool)
	w.sealed = nil
}

// Position is how far the blob was read: as committed, or as advanced in this Writer.
func (w *Writer) Position(blob string) (flow.Position, bool) {
	if b := w.state(blob); b != nil && b.position != (flow.Position{Blob: blob}) {
		return b.position, true
	}
	return flow.Position{}, false
}

func (w *Writer) state(blob string) *blobState {
	if b := w.changed[blob]; b != nil {
		return b
	}
	return w.store.manifest().blobs[blob]
}

// change returns the blob's state to write to.
func (w *Writer) change(blob string) *blobState {
	b := w.changed[blob]
	if b == nil {
		if b = w.store.manifest().blobs[blob]; b != nil {
			b = b.clone()
		} else {
			b = &blobState{position: flow.Position{Blob: blob}}
		}
		w.changed[blob] = b
	}
	return b
}

// Restart forgets the blob, from the next Commit on: its rows, its position, its
// rejections. What was appended for it and not advanced is dropped at once.
func (w *Writer) Restart(blob string) error {
	if w.err != nil {
		return w.err
	}
	if s := w.open[blob]; s != nil {
		w.dead[s.ordinal] = true
		delete(w.open, blob)
	}
	for _, o := range w.change(blob).ordinals {
		w.dead[o] = true
	}
	w.changed[blob] = &blobState{position: flow.Position{Blob: blob}}
	return nil
}

// Append adds the rows of the batch, which may be of several blobs. It copies them
// and takes no reference. They count once their blobs are advanced and that is
// committed.
func (w *Writer) Append(b *flow.Batch) error {
	if w.err != nil {
		return w.err
	}
	src := newSource(b)
	if w.rows.len() > 0 && (w.rows.addresses.atMost(b) > segmentAddresses || len(w.rows.groups) > segmentGroups) {
		w.seal()
	}
	ordinals := w.count(&src)
	for from := 0; from < b.Len() && w.err == nil; {
		most := w.most()
		to := min(from+max(most-w.rows.len(), 1), b.Len())
		w.rows.append(&src, from, to, ordinals)
		from = to
		if w.rows.len() >= most {
			w.seal()
		}
	}
	return w.err
}

// most is how many rows the segment that is filled will have: fewer where nothing is
// being written, as another core may be idle until then.
func (w *Writer) most() int {
	if len(w.behind) == 0 && w.syncing == nil && len(w.sealed) == 0 {
		return segmentRows / 4
	}
	return segmentRows
}

// count notes the rows in their blobs' stretches and returns the ordinal for each
// code of the batch's blob dictionary; 0 where no row has the code.
func (w *Writer) count(b *source) []uint32 {
	stretches := make([]*stretch, b.blob.values.Len())
	ordinals := make([]uint32, len(stretches))
	for at := 0; at < b.Len(); {
		code, to := b.blob.codes[at], b.Len()
		if len(stretches) > 1 {
			to = stretchEnd(b.blob.codes, at)
		}
		s := stretches[code]
		if s == nil {
			s = w.stretch(b.blob.values.Value(int(code)))
			stretches[code], ordinals[code] = s, s.ordinal
		}
		if s.rows == 0 {
			s.first, s.last = int64(b.Time[at]), int64(b.Time[at])
		}
		for _, t := range b.Time[at:to] {
			s.first, s.last = min(s.first, int64(t)), max(s.last, int64(t))
		}
		s.rows += int64(to - at)
		at = to
	}
	return ordinals
}

func (w *Writer) stretch(blob string) *stretch {
	s := w.open[blob]
	if s == nil {
		s = &stretch{ordinal: w.nextOrd}
		w.nextOrd++
		w.open[string([]byte(blob))] = s
	}
	return s
}

// Advance says that the blob's rows up to p were appended, all of them, and what was
// left out of it since the last Advance. Rejections of [ReasonTruncated] and
// [ReasonTail] describe the blob's end as it is now and replace those before.
func (w *Writer) Advance(p flow.Position, rejected []flow.Rejection) error {
	if w.err != nil {
		return w.err
	}
	b := w.change(p.Blob)
	b.position = p
	b.reject(rejected)
	if s := w.open[p.Blob]; s != nil {
		b.cover(s.first, s.last)
		b.rows += s.rows
		b.ordinals = append(b.ordinals, s.ordinal)
		delete(w.open, p.Blob)
	}
	return nil
}

// Commit makes durable what was advanced since the last Commit, all of it or, after
// an error or a crash, nothing. Rows that were appended and not advanced wait for
// the Commit after their Advance. When it fails because fsync did, it is unknown
// which of the two it was; opening the Store anew shows it.
func (w *Writer) Commit() error {
	if w.err != nil {
		return w.err
	}
	if len(w.changed) == 0 {
		return nil
	}
	w.seal()
	if w.wait(); w.err == nil {
		if w.err = w.commit(); w.err != nil {
			w.store.fail(w.err)
		}
	}
	return w.err
}

func (w *Writer) commit() error {
	fsys, dir := w.store.fs, w.store.segments
	next := w.store.manifest().next()
	var frames [][]byte
	for _, seg := range w.sealed {
		name := seg.name(dir)
		if err := fsys.Rename(name+tempSuffix, name); err != nil {
			return fmt.Errorf("commit: %w", err)
		}
		next.addSegment(seg)
		frames = append(frames, seg.encode())
	}
	if len(w.sealed) > 0 {
		if err := fsys.SyncDir(dir); err != nil {
			return fmt.Errorf("commit: %w", err)
		}
	}
	for _, blob := range slices.Sorted(maps.Keys(w.changed)) {
		next.setBlob(w.changed[blob])
		frames = append(frames, w.changed[blob].encode())
	}
	if err := w.store.journal.Append(frames...); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	next.nextID, next.nextOrd = w.nextID, w.nextOrd
	w.store.publish(next)
	open := w.open
	w.forget()
	w.open = open
	return w.tidy()
}

// Close drops what was not committed, and lets the next Writer begin. The files of
// a Commit that failed stay: it may be unknown whether the manifest names them. The
// next Open for writing removes those that it does not.
func (w *Writer) Close() error {
	if w.closed {
		return nil
	}
	w.closed = true
	w.wait()
	var errs []error
	for _, seg := range w.sealed {
		err := w.store.fs.Remove(seg.name(w.store.segments) + tempSuffix)
		if !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	w.forget()
	if w.err == nil {
		w.err = fmt.Errorf("write index %q: %w", w.store.root, os.ErrClosed)
	}
	w.store.mu.Lock()
	w.store.writing = false
	w.store.mu.Unlock()
	return errors.Join(errs...)
}
