package main

import (
	"os"

	"github.com/whichpod/whichpod/internal/journal/disk"
)

// writeback is a file that goes to disk while it is written, so that little is left to
// wait for when it is synced. A disk that others keep busy stops nobody who writes.
type writeback struct {
	file           *os.File
	written, begun int64 // bytes; of the latter the kernel was told to begin
	telling        chan struct{}
}

// writebackBytes is how much is begun at once, at least.
const writebackBytes = 4 << 20

func newWriteback(f *os.File) *writeback {
	return &writeback{file: f, telling: make(chan struct{}, 1)}
}

func (w *writeback) Write(b []byte) (int, error) {
	n, err := w.file.Write(b)
	if w.written += int64(n); w.written-w.begun < writebackBytes {
		return n, err
	}
	select {
	case w.telling <- struct{}{}:
		go func(from, to int64) {
			disk.BeginWriteback(w.file, from, to-from)
			<-w.telling
		}(w.begun, w.written)
		w.begun = w.written
	default: // the disk is behind
	}
	return n, err
}

// Sync returns once all is on disk.
func (w *writeback) Sync() error {
	w.telling <- struct{}{}
	defer func() { <-w.telling }()
	return w.file.Sync()
}
