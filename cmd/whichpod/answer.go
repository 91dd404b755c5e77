package main

import "io"

// answerWriter is standard output. It keeps the first error of a write, and writes
// nothing after it: an answer that was cut is a failure, whoever printed it.
type answerWriter struct {
	w   io.Writer
	err error
}

func (a *answerWriter) Write(b []byte) (n int, err error) {
	if a.err == nil {
		n, a.err = a.w.Write(b)
	}
	return n, a.err
}
