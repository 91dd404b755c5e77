// Package journal keeps an append-only log of checksummed frames in one file: the
// ledger's record of what was known when, and the index's list of what counts.
//
// In: payloads, opaque bytes of at most [MaxPayload], appended in groups. Out: the
// same payloads in order, to a callback, whenever the file is opened or read. The
// bytes are described in docs/format/journal.md.
//
// One process writes, under an advisory lock; any number read beside it with [Read]
// and see whole groups only. A Journal is safe for concurrent use.
//
// A group is durable when Append returns nil, and not before: after a crash, all of
// its payloads replay or none. An unfinished group at the end of the file is what a
// crash leaves; it never counted and is cut off without a word. Anything else that
// does not check is damage: it is reported with its offset, and what stands before
// and after it still replays, the intact frames of the damaged frame's own group
// too. So the promise "all or none" holds for a journal without Damage.
package journal

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"github.com/whichpod/whichpod/internal/journal/disk"
)

// Journal is an open log. See the package comment.
type Journal struct {
	fs     disk.FS
	path   string
	header [headerSize]byte
	damage []CorruptError

	mu     sync.Mutex
	file   disk.File
	size   int64
	poison error // set when it is unknown what of the file is durable
}

// Open opens or creates the journal at path, takes its lock, cuts off an unfinished
// group at its end and calls replay for each intact frame in order. The payload is
// valid during the call only; an error from replay ends Open with that error.
//
// Errors: [ErrLocked], [NewerVersionError], [CorruptError] where the file is no
// journal of this kind. Damage further on is no error: see [Journal.Damage].
func Open(path string, magic [4]byte, version uint16, replay func(offset int64, payload []byte) error) (*Journal, error) {
	return OpenOn(disk.OS{}, path, magic, version, replay)
}

// OpenOn is [Open] on another file system.
func OpenOn(fsys disk.FS, path string, magic [4]byte, version uint16, replay func(offset int64, payload []byte) error) (*Journal, error) {
	return OpenFrom(fsys, path, magic, version, 0, replay)
}

// OpenFrom is [OpenOn] for who knows what the first bytes of the journal hold: from
// MUST be 0 or a Size that the same journal had. What stands before it is not read.
func OpenFrom(fsys disk.FS, path string, magic [4]byte, version uint16, from int64, replay func(offset int64, payload []byte) error) (*Journal, error) {
	f, err := openLocked(fsys, path)
	if err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	j := &Journal{fs: fsys, path: path, header: headerOf(magic, version), file: f}
	if err := j.load(magic, version, from, replay); err != nil {
		return nil, errors.Join(fmt.Errorf("open journal: %w", err), f.Close())
	}
	return j, nil
}

// load replays the file and makes durable what was replayed: a process that died
// before its fsync may have left a whole group in the page cache only.
func (j *Journal) load(magic [4]byte, version uint16, from int64, replay func(int64, []byte) error) error {
	info, err := j.file.Stat()
	if err != nil {
		return err
	}
	size := info.Size()
	fresh, err := checkHeader(j.path, j.file, size, magic, version)
	if err != nil {
		return err
	}
	if fresh {
		if _, err := j.file.WriteAt(j.header[:], 0); err != nil {
			return err
		}
		size = headerSize
	}
	s := scanner{path: j.path, from: from, window: window{r: j.file, size: size}, replay: replay}
	if j.size, err = s.run(); err != nil {
		return err
	}
	j.damage = s.damage
	if j.size < size {
		if err := j.file.Truncate(j.size); err != nil {
			return err
		}
	}
	if err := j.file.Sync(); err != nil {
		return err
	}
	return j.fs.SyncDir(filepath.Dir(j.path))
}

// Read replays the journal at path without creating, locking or changing it. Beside
// a writer it sees the groups that were whole when it began. A file that is not
// there is an error that matches [fs.ErrNotExist].
func Read(path string, magic [4]byte, version uint16, replay func(offset int64, payload []byte) error) ([]CorruptError, error) {
	return ReadFrom(path, magic, version, 0, replay)
}

// ReadFrom is [Read] from an offset on, as [OpenFrom] is [Open].
func ReadFrom(path string, magic [4]byte, version uint16, from int64, replay func(offset int64, payload []byte) error) ([]CorruptError, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read journal: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("read journal: %w", err)
	}
	fresh, err := checkHeader(path, f, info.Size(), magic, version)
	if err != nil {
		return nil, fmt.Errorf("read journal: %w", err)
	}
	if fresh {
		return nil, nil
	}
	s := scanner{path: path, from: from, window: window{r: f, size: info.Size()}, replay: replay}
	if _, err := s.run(); err != nil {
		return s.damage, fmt.Errorf("read journal: %w", err)
	}
	return s.damage, nil
}

// Unfinished says from where on, and how many bytes, at the end of the journal at path
// do not count: those of a write that did not finish, or that is under way. An offset of
// 0 says that not even the header is whole, so nothing counts. What the journal holds,
// by its magic and version, is not looked at; damage before the end is no error.
func Unfinished(path string) (offset, size int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, 0, fmt.Errorf("read journal: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return 0, 0, fmt.Errorf("read journal: %w", err)
	}
	if info.Size() < headerSize {
		return 0, info.Size(), nil
	}
	s := scanner{path: path, window: window{r: f, size: info.Size()}}
	offset, err = s.run()
	if err != nil {
		return 0, 0, fmt.Errorf("read journal: %w", err)
	}
	return offset, info.Size() - offset, nil
}

// Append writes the payloads as one group and returns nil once it is durable.
//
// After an error nothing of the group will be seen by this Journal's readers, with
// one exception: when fsync fails, it is unknown what is on disk. The Journal then
// refuses all later Appends with that error; closing and opening it anew shows
// whether the group is there, all of it or nothing.
func (j *Journal) Append(payloads ...[]byte) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.poison != nil {
		return fmt.Errorf("append to journal %q: %w", j.path, j.poison)
	}
	if len(payloads) == 0 {
		return nil
	}
	end, err := writeGroup(j.file, j.size, payloads)
	if err != nil {
		if terr := j.file.Truncate(j.size); terr != nil {
			j.poison = fmt.Errorf("an earlier group could not be taken back: %w", errors.Join(err, terr))
		}
		return fmt.Errorf("append to journal %q: %w", j.path, err)
	}
	if err := j.file.Sync(); err != nil {
		j.poison = fmt.Errorf("an earlier fsync failed: %w", err)
		return fmt.Errorf("append to journal %q: fsync: %w", j.path, err)
	}
	j.size = end
	return nil
}

// Size is the length of the file in bytes, of what counts.
func (j *Journal) Size() int64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.size
}

// Damage is what Open found broken and skipped, in the order of offsets. A stretch
// of unreadable bytes is one entry.
func (j *Journal) Damage() []CorruptError {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.damage
}

// Close releases the lock and the file. It deletes nothing.
func (j *Journal) Close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.poison == nil {
		j.poison = os.ErrClosed
	}
	return j.file.Close()
}

// checkHeader says whether the file is new: empty, or cut short inside its header by
// a crash while it was made.
func checkHeader(path string, r io.ReaderAt, size int64, magic [4]byte, version uint16) (fresh bool, err error) {
	got := make([]byte, min(size, headerSize))
	if _, err := r.ReadAt(got, 0); err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	want := headerOf(magic, version)
	if size < headerSize {
		if !bytes.HasPrefix(want[:], got) {
			return false, CorruptError{Path: path, Offset: 0, Detail: fmt.Sprintf("file has %d bytes and they are not the start of a journal", size)}
		}
		return true, nil
	}
	v := le.Uint16(got[4:])
	switch {
	case !bytes.Equal(got[:4], magic[:]):
		return false, CorruptError{Path: path, Offset: 0, Detail: fmt.Sprintf("magic is %q, want %q", got[:4], magic[:])}
	case v > version:
		return false, NewerVersionError{Path: path, Got: v, Max: version}
	case v == 0:
		return false, CorruptError{Path: path, Offset: 4, Detail: "format version is 0, want at least 1"}
	case got[6] != 0 || got[7] != 0:
		return false, CorruptError{Path: path, Offset: 6, Detail: fmt.Sprintf("reserved bytes are %x, want 0000", got[6:8])}
	}
	return false, nil
}
