package index

import (
	"golang.org/x/sys/unix"

	"github.com/whichpod/whichpod/internal/journal/disk"
)

// beginWriteback has the kernel begin to write a part of a file, and does not wait for it.
// What fails is told by the file's Sync.
func beginWriteback(f disk.File, from, n int64) {
	_ = unix.SyncFileRange(int(f.Fd()), from, n, unix.SYNC_FILE_RANGE_WRITE)
}
