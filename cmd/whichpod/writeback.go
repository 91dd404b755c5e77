package main

import "os"

// writeback is a file that goes to disk while it is written, so that little is left to
// wait for when it is synced.
type writeback struct {
	file           *os.File
	written, begun int64 // bytes; of the latter the kernel was told to begin
}

// writebackBytes is how much is begun at once.
const writebackBytes = 16 << 20

func (w *writeback) Write(b []byte) (int, error) {
	n, err := w.file.Write(b)
	w.written += int64(n)
	if more := w.written - w.begun; more >= writebackBytes {
		beginWriteback(w.file, w.begun, more)
		w.begun = w.written
	}
	return n, err
}
