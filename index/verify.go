package index

import (
	"context"
	"errors"
	"fmt"
	"os"
)

// Verify reads every byte of every segment that counts and compares it with its
// checksum. Each damaged part is reported, with the rows that cannot be read because
// of it; an error means that the check itself could not be finished.
func (s *Store) Verify(ctx context.Context, report func(damage CorruptError, rows int)) error {
	u, err := newUnpacker()
	if err != nil {
		return fmt.Errorf("verify index: %w", err)
	}
	defer u.close()
	for _, seg := range s.manifest().segments {
		if err := errors.Join(ctx.Err(), s.verifySegment(u, seg, report)); err != nil {
			return fmt.Errorf("verify index: %w", err)
		}
	}
	return nil
}

func (s *Store) verifySegment(u *unpacker, seg *segment, report func(CorruptError, int)) error {
	name := segmentName(s.segments, seg.id)
	f, err := os.Open(name)
	if errors.Is(err, os.ErrNotExist) {
		report(CorruptError{Path: name, Offset: 0, Detail: "file is missing"}, seg.rows)
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	check := func(p part, rows int) error {
		_, err := u.read(f, p)
		var damage CorruptError
		if errors.As(err, &damage) {
			report(damage, rows)
			return nil
		}
		return err
	}
	err = errors.Join(check(seg.head, seg.rows), check(seg.postings, seg.rows), check(seg.footer, 0))
	for _, b := range seg.batches {
		err = errors.Join(err, check(b.part, b.rows))
	}
	info, serr := f.Stat()
	if serr == nil && info.Size() > seg.size {
		report(CorruptError{Path: name, Offset: seg.size, Detail: fmt.Sprintf("file has %d bytes, want %d", info.Size(), seg.size)}, seg.rows)
	}
	return errors.Join(err, serr)
}
