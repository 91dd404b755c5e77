package journal

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/whichpod/whichpod/internal/journal/disk"
)

// fileMode is that of a new journal: flows and pod names are nobody else's business.
const fileMode = 0o600

// openLocked opens or creates the file and locks it. A file that was replaced by
// another process's Rewrite between the two steps is let go, and the new one taken.
func openLocked(fsys disk.FS, path string) (disk.File, error) {
	for {
		f, err := openOrCreate(fsys, path)
		if err != nil {
			return nil, err
		}
		if err := lock(f); err != nil {
			return nil, errors.Join(fmt.Errorf("lock %q: %w", path, err), f.Close())
		}
		same, err := isAt(f, path)
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
		if same {
			return f, nil
		}
		if err := f.Close(); err != nil {
			return nil, err
		}
	}
}

func openOrCreate(fsys disk.FS, path string) (disk.File, error) {
	f, err := fsys.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return fsys.OpenFile(path, os.O_RDWR|os.O_CREATE, fileMode)
	}
	return f, err
}

func isAt(f disk.File, path string) (bool, error) {
	mine, err := f.Stat()
	if err != nil {
		return false, err
	}
	there, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && os.SameFile(mine, there), err
}
