package main

import (
	"os"

	"golang.org/x/sys/unix"
)

// beginWriteback has the kernel begin to write a part of a file, and does not wait for it.
// What fails is told by the file's Sync.
func beginWriteback(f *os.File, from, n int64) {
	_ = unix.SyncFileRange(int(f.Fd()), from, n, unix.SYNC_FILE_RANGE_WRITE)
}
