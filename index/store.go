package index

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/whichpod/whichpod/internal/journal"
	"github.com/whichpod/whichpod/internal/journal/disk"
)

// Names inside the data folder.
const (
	folderName   = "index"
	manifestName = "manifest.journal"
	segmentsName = "segments"
)

// shortenBytes is how long a manifest may be before an Open for writing looks whether
// it can be shorter: it is read in a few milliseconds up to there.
const shortenBytes = 4 << 20

// Options of [Open]. The zero value opens for writing.
type Options struct {
	// ReadOnly opens without a lock and changes nothing. A folder that is not there is
	// an empty store. What others commit later is not seen, until a merge takes a file
	// away that a scan needs: that scan and later ones see all that was committed by then.
	ReadOnly bool
	// Mem allocates the batches of scans; nil is memory.DefaultAllocator.
	Mem memory.Allocator
	// OnDamage, when set, is told of each damaged part and reading goes on without it:
	// without the rest of a damaged segment, without what a damaged frame of the
	// manifest said. Without it damage is an error. It needs ReadOnly: nothing is
	// written on top of a damaged manifest.
	OnDamage func(CorruptError)

	disk    disk.FS // for tests; nil is the real one
	shorten int64   // for tests; 0 is shortenBytes
}

// Store is an open index. Its methods may be called from any number of goroutines.
type Store struct {
	root, segments string // folders
	fs             disk.FS
	mem            memory.Allocator
	onDamage       func(CorruptError)
	journal        *journal.Journal // nil when read-only
	cache          cache

	mu      sync.Mutex
	current *manifest
	writing bool                // a Writer is open
	broken  error               // of a Commit: what is on disk may be more than current says
	seen    map[uint64]seenNICs // by segment, of those that carry no summary
}

func magic() [4]byte { return [4]byte{'w', 'p', 'i', 'x'} }

// Open opens the index of the data folder dir. The caller MUST Close it.
//
// Opened for writing, it creates what is missing and removes what a crash left:
// temporary files and segments that the manifest does not name. Errors:
// journal.ErrLocked, [NewerVersionError], [CorruptError].
func Open(dir string, opt Options) (*Store, error) {
	s := &Store{root: filepath.Join(dir, folderName), fs: opt.disk, mem: opt.Mem, onDamage: opt.OnDamage, current: newManifest()}
	s.segments = filepath.Join(s.root, segmentsName)
	if s.fs == nil {
		s.fs = disk.OS{}
	}
	if s.mem == nil {
		s.mem = memory.DefaultAllocator
	}
	var err error
	switch {
	case opt.ReadOnly:
		err = s.openReadOnly()
	case opt.OnDamage != nil:
		err = errors.New("OnDamage is for read-only stores")
	default:
		if opt.shorten == 0 {
			opt.shorten = shortenBytes
		}
		err = s.openWritable(dir, opt.shorten)
	}
	if err != nil {
		return nil, fmt.Errorf("open index %q: %w", s.root, err)
	}
	return s, nil
}

func (s *Store) replay(_ int64, payload []byte) error { return s.current.apply(payload) }

// overtaken says whether a segment of a manifest, of which the file is not what was
// written, counts no longer: a merge took it away. A store that only reads learns it
// from the disk, and everything else that was committed by then.
func (s *Store) overtaken(m *manifest, seg *segment) (bool, error) {
	if s.manifest() != m || s.journal != nil {
		return s.manifest() != m, nil
	}
	now := newManifest()
	now.generation = m.generation + 1
	damage, err := journal.Read(filepath.Join(s.root, manifestName), magic(), version, func(_ int64, payload []byte) error { return now.apply(payload) })
	same := func(x *segment) bool { return x.id == seg.id && x.directory == seg.directory }
	if err != nil || len(damage) > 0 || slices.ContainsFunc(now.segments, same) {
		return false, err
	}
	s.publish(now)
	return true, nil
}

func (s *Store) openReadOnly() error {
	damage, err := journal.Read(filepath.Join(s.root, manifestName), magic(), version, s.replay)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, d := range damage {
		if s.onDamage == nil {
			return d
		}
		s.onDamage(d)
	}
	return nil
}

func (s *Store) openWritable(dir string, shorten int64) error {
	if err := s.fs.MkdirAll(s.segments, 0o700); err != nil {
		return err
	}
	for _, d := range []string{s.root, dir, filepath.Dir(dir)} { // the names of the folders just made
		if err := s.fs.SyncDir(d); err != nil {
			return err
		}
	}
	older, err := s.isOlder()
	if err != nil {
		return err
	}
	j, err := journal.OpenOn(s.fs, filepath.Join(s.root, manifestName), magic(), version, s.replay)
	if err != nil {
		return err
	}
	if d := j.Damage(); len(d) > 0 {
		return errors.Join(d[0], j.Close())
	}
	s.journal = j
	if older { // a program before this version must not go on there
		shorten = 0
	}
	if err := errors.Join(s.shorten(shorten), s.sweep()); err != nil {
		return errors.Join(err, j.Close())
	}
	return nil
}

// isOlder says whether the manifest is there and of an older version.
func (s *Store) isOlder() (bool, error) {
	f, err := os.Open(filepath.Join(s.root, manifestName))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	head := make([]byte, 6) // magic, version
	if n, err := f.ReadAt(head, 0); n < len(head) {
		return false, ignoreEOF(err) // a crash while it was made
	}
	return binary.LittleEndian.Uint16(head[4:]) < version, nil
}

func ignoreEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// shorten rewrites a manifest that is longer than the given number of bytes where
// that makes it half as long: following blobs adds the state of each with every commit,
// and only the last one counts. 0 rewrites it whatever its length.
func (s *Store) shorten(longer int64) error {
	if s.journal.Size() <= longer {
		return nil
	}
	frames := s.current.frames()
	if longer == 0 {
		return s.journal.Rewrite(frames...)
	}
	size := int64(0)
	for _, f := range frames {
		size += int64(len(f))
	}
	if size > s.journal.Size()/2 {
		return nil
	}
	return s.journal.Rewrite(frames...)
}

// sweep removes leftovers. Only files with names that this package gives are touched.
func (s *Store) sweep() error {
	entries, err := s.fs.ReadDir(s.segments)
	if err != nil {
		return err
	}
	named := make(map[string]bool)
	for _, seg := range s.current.segments {
		named[filepath.Base(seg.name(s.segments))] = true
	}
	for _, e := range entries {
		n := e.Name()
		whole := strings.TrimSuffix(n, tempSuffix)
		if named[n] || !strings.HasSuffix(whole, segmentSuffix) && !strings.HasSuffix(whole, arrowSuffix) {
			continue
		}
		if err := s.fs.Remove(filepath.Join(s.segments, n)); err != nil {
			return err
		}
	}
	return nil
}

// manifest is what counts now.
func (s *Store) manifest() *manifest {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current
}

func (s *Store) publish(m *manifest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current = m
}

// fail ends writing. Another commit could overwrite a segment that the manifest names
// after all.
func (s *Store) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken = err
}

// Close gives up the lock. It deletes nothing. Scanners go on; a Writer that is still
// open can no longer commit.
func (s *Store) Close() error {
	s.cache.close()
	if s.journal == nil {
		return nil
	}
	return s.journal.Close()
}
