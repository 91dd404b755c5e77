//go:build unix

package journal

import (
	"errors"
	"syscall"

	"github.com/whichpod/whichpod/internal/journal/disk"
)

// lock takes the file's exclusive advisory lock, which goes with the open file: it
// ends when the file is closed or the process dies.
func lock(f disk.File) error {
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case errors.Is(err, syscall.EINTR):
		case errors.Is(err, syscall.EWOULDBLOCK):
			return ErrLocked
		default:
			return err
		}
	}
}
