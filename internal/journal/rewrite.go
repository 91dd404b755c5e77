package journal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/whichpod/whichpod/internal/journal/disk"
)

// tempSuffix marks a file that is being written by Rewrite. One that a crash left
// is overwritten by the next Rewrite.
const tempSuffix = ".new"

// Rewrite replaces the content of the journal by the payloads, as one group, in one
// step: after a crash or an error the journal is the old one or the new one. Readers
// that had the old file open go on reading it. When it is unknown which of the two
// a crash would leave, the Journal refuses all later Appends.
func (j *Journal) Rewrite(payloads ...[]byte) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.poison != nil {
		return fmt.Errorf("rewrite journal %q: %w", j.path, j.poison)
	}
	f, size, err := j.writeNew(payloads)
	if err != nil {
		return fmt.Errorf("rewrite journal %q: %w", j.path, err)
	}
	if err := j.fs.Rename(j.path+tempSuffix, j.path); err != nil {
		err = errors.Join(err, f.Close(), j.fs.Remove(j.path+tempSuffix))
		return fmt.Errorf("rewrite journal %q: %w", j.path, err)
	}
	old := j.file
	j.file, j.size, j.damage = f, size, nil
	if err := j.fs.SyncDir(filepath.Dir(j.path)); err != nil {
		j.poison = fmt.Errorf("an earlier fsync of the folder failed: %w", err)
		return fmt.Errorf("rewrite journal %q: fsync of the folder: %w", j.path, errors.Join(err, old.Close()))
	}
	return old.Close()
}

// writeNew makes the new file, durable and locked under its temporary name.
func (j *Journal) writeNew(payloads [][]byte) (f disk.File, size int64, err error) {
	name := j.path + tempSuffix
	f, err = j.fs.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, fileMode)
	if err != nil {
		return nil, 0, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close(), j.fs.Remove(name))
		}
	}()
	if err := lock(f); err != nil {
		return f, 0, err
	}
	if _, err := f.WriteAt(j.header[:], 0); err != nil {
		return f, 0, err
	}
	if size, err = writeGroup(f, headerSize, payloads); err != nil {
		return f, 0, err
	}
	return f, size, f.Sync()
}
