package ingest

import (
	"bytes"
	"context"
	"errors"
	"io"

	"github.com/whichpod/whichpod/flow"
)

// aheadBytes bounds what is read of a blob before its turn. The new part of a blob
// that is followed, a record or two, is much shorter.
const aheadBytes = 256 << 10

// ahead is a blob on its way: opened, and perhaps read, while others before it are
// decoded. So many small reads wait for the network together.
type ahead struct {
	blob      Blob
	from      flow.Position
	rewritten bool // what was read of it before does not count

	body   io.ReadCloser
	err    error // of Open, or of a read that showed the blob changed
	opened chan struct{}
}

// openAhead opens a blob, in a goroutine of its own where it may read ahead.
func openAhead(ctx context.Context, src Source, a *ahead, parallel bool) {
	a.opened = make(chan struct{})
	if !parallel {
		a.body, a.err = src.Open(ctx, a.blob, ResumeAt(a.from))
		close(a.opened)
		return
	}
	go func() {
		defer close(a.opened)
		body, err := src.Open(ctx, a.blob, ResumeAt(a.from))
		if err != nil {
			a.err = err
			return
		}
		head := make([]byte, min(aheadBytes, a.blob.Length-ResumeAt(a.from)+1)) // one more, to see its end
		n, err := io.ReadFull(body, head)
		switch {
		case errors.Is(err, ErrChanged):
			a.err = errors.Join(err, body.Close())
			return
		case err == io.EOF || err == io.ErrUnexpectedEOF:
			err = io.EOF
		}
		a.body = &readAhead{ReadCloser: body, head: bytes.NewReader(head[:n]), err: err}
	}()
}

// wait returns the opened blob. The caller MUST close it.
func (a *ahead) wait() (io.ReadCloser, error) {
	<-a.opened
	return a.body, a.err
}

// abandon closes a blob that will not be read.
func (a *ahead) abandon() {
	if body, err := a.wait(); err == nil {
		body.Close()
	}
}

// readAhead gives what was read, then the error that it ended with, or the rest.
type readAhead struct {
	io.ReadCloser
	head *bytes.Reader
	err  error
}

func (r *readAhead) Read(p []byte) (int, error) {
	if r.head.Len() > 0 {
		return r.head.Read(p)
	}
	if r.err != nil {
		return 0, r.err
	}
	return r.ReadCloser.Read(p)
}
