package disk

import "golang.org/x/sys/unix"

// BeginWriteback has the system begin to bring n bytes of a file to disk, from a place on,
// and does not wait for it. What fails is told by the file's Sync.
func BeginWriteback(f File, from, n int64) {
	_ = unix.SyncFileRange(int(f.Fd()), from, n, unix.SYNC_FILE_RANGE_WRITE)
}
