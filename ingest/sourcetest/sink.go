package sourcetest

import (
	"testing"

	"github.com/whichpod/whichpod/flow"
	"github.com/whichpod/whichpod/ingest"
)

// Sink keeps rows in memory. It fails its test on calls in a wrong order.
type Sink struct {
	t         *testing.T
	committed map[string]state
	advanced  map[string]state // since the last commit
	under     string           // blob with rows appended and not advanced
	rows      []flow.Row       // of it

	Commits int
	Fail    func(call string) error // consulted before each call, where set
}

// state is what a sink knows of a blob. The zero state is that after Restart.
type state struct {
	known    bool
	position flow.Position
	rows     []flow.Row
	rejected []flow.Rejection
}

var _ ingest.Sink = (*Sink)(nil)

// NewSink returns an empty sink.
func NewSink(t *testing.T) *Sink {
	return &Sink{t: t, committed: map[string]state{}, advanced: map[string]state{}}
}

// Position implements [ingest.Sink].
func (s *Sink) Position(blob string) (flow.Position, bool) {
	c := s.committed[blob]
	return c.position, c.known
}

// Restart implements [ingest.Sink].
func (s *Sink) Restart(blob string) error {
	if s.under != "" && s.under != blob {
		s.t.Errorf("restart of %q with rows of %q not advanced", blob, s.under)
	}
	s.under, s.rows = "", nil
	s.advanced[blob] = state{}
	return s.fail("Restart")
}

// Append implements [ingest.Sink].
func (s *Sink) Append(b *flow.Batch) error {
	for i := range b.Len() {
		r := b.Row(i)
		if s.under != "" && s.under != r.Blob {
			s.t.Errorf("append of %q with rows of %q not advanced", r.Blob, s.under)
		}
		s.under = r.Blob
		s.rows = append(s.rows, r)
	}
	return s.fail("Append")
}

// Advance implements [ingest.Sink].
func (s *Sink) Advance(p flow.Position, rejected []flow.Rejection) error {
	if s.under != "" && s.under != p.Blob {
		s.t.Errorf("advance of %q with rows of %q not advanced", p.Blob, s.under)
	}
	old, ok := s.advanced[p.Blob]
	if !ok {
		old = s.committed[p.Blob]
	}
	s.advanced[p.Blob] = state{true, p, append(old.rows[:len(old.rows):len(old.rows)], s.rows...), append(old.rejected[:len(old.rejected):len(old.rejected)], rejected...)}
	s.under, s.rows = "", nil
	return s.fail("Advance")
}

// Commit implements [ingest.Sink].
func (s *Sink) Commit() error {
	if s.under != "" {
		s.t.Errorf("commit with rows of %q not advanced", s.under)
	}
	for blob, st := range s.advanced {
		s.committed[blob] = st
	}
	clear(s.advanced)
	s.Commits++
	return s.fail("Commit")
}

func (s *Sink) fail(call string) error {
	if s.Fail == nil {
		return nil
	}
	return s.Fail(call)
}

// Crash drops what was not committed, as a sink that is opened again does.
func (s *Sink) Crash() {
	clear(s.advanced)
	s.under, s.rows = "", nil
}

// Rows returns the committed rows of a blob, in their order.
func (s *Sink) Rows(blob string) []flow.Row { return s.committed[blob].rows }

// Rejected returns the committed rejections of a blob.
func (s *Sink) Rejected(blob string) []flow.Rejection { return s.committed[blob].rejected }

// Blobs returns how many blobs have a committed position.
func (s *Sink) Blobs() int {
	n := 0
	for _, c := range s.committed {
		if c.known {
			n++
		}
	}
	return n
}
