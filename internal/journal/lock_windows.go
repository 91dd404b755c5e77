package journal

import (
	"errors"

	"golang.org/x/sys/windows"

	"github.com/whichpod/whichpod/internal/journal/disk"
)

// lockOffset is far past the end of any journal. Windows locks bytes, and refuses
// readers the locked ones: so lock one that nobody reads.
const lockOffset = 0x7fffffff

// lock takes an exclusive lock, which ends when the file is closed.
func lock(f disk.File) error {
	at := windows.Overlapped{OffsetHigh: lockOffset}
	err := windows.LockFileEx(windows.Handle(f.Fd()), windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, &at)
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) {
		return ErrLocked
	}
	return err
}
