package index

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// Check reads every byte of the index of the data folder dir and reports what is not as
// it was written, with the rows that cannot be read because of it, or 0 where that is
// not known. An error means that the check itself could not be finished, or that a newer
// program wrote there.
func Check(ctx context.Context, dir string, report func(damage CorruptError, rows int)) error {
	s, err := Open(dir, Options{ReadOnly: true, OnDamage: func(d CorruptError) { report(d, 0) }})
	var damage CorruptError
	if errors.As(err, &damage) {
		report(damage, 0)
		return nil
	}
	if err != nil {
		return err
	}
	older, err := s.isOlder()
	if err != nil {
		return errors.Join(err, s.Close())
	}
	if newest := slices.ContainsFunc(s.current.segments, func(x *segment) bool { return x.arrow == nil }); older && newest {
		report(CorruptError{Path: filepath.Join(s.root, manifestName), Offset: 4, Detail: fmt.Sprintf("format version is older than %d, which it names segments of", version)}, 0)
	}
	return errors.Join(s.Verify(ctx, report), s.Close())
}

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

// verifier checks the parts of one file.
type verifier struct {
	file   *os.File
	unpack *unpacker
	report func(CorruptError, int)
}

// check says whether a part, without which so many rows cannot be read, is as it was
// written.
func (v *verifier) check(p part, rows int) (bool, error) {
	_, err := v.unpack.read(v.file, p)
	var damage CorruptError
	if errors.As(err, &damage) {
		v.report(damage, rows)
		return false, nil
	}
	return err == nil, err
}

func (v *verifier) damaged(offset int64, rows int, format string, args ...any) {
	v.report(CorruptError{Path: v.file.Name(), Offset: offset, Detail: fmt.Sprintf(format, args...)}, rows)
}

func (s *Store) verifySegment(u *unpacker, seg *segment, report func(CorruptError, int)) error {
	name := seg.name(s.segments)
	f, err := os.Open(name)
	if errors.Is(err, os.ErrNotExist) {
		report(CorruptError{Path: name, Offset: 0, Detail: "file is missing"}, seg.rows)
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	v := &verifier{f, u, report}
	if seg.arrow != nil {
		err = v.arrow(seg)
	} else {
		err = v.segment(seg)
	}
	info, serr := f.Stat()
	if serr == nil && info.Size() > seg.size {
		v.damaged(seg.size, seg.rows, "file has %d bytes, want %d", info.Size(), seg.size)
	}
	return errors.Join(err, serr)
}

// segment checks the magic, and all that the directory names: it names every byte
// between the magic and itself.
func (v *verifier) segment(seg *segment) error {
	magic := make([]byte, len(segmentMagic))
	if n, err := v.file.ReadAt(magic, 0); n < len(magic) {
		v.damaged(int64(n), seg.rows, "file ends here: %v", err)
		return nil
	}
	for i := range magic {
		if magic[i] != segmentMagic[i] {
			v.damaged(int64(i), 0, "magic is %q, want %q", magic, segmentMagic)
			break
		}
	}
	ok, err := v.check(seg.directory, seg.rows)
	if err != nil || !ok {
		return err
	}
	raw, err := v.unpack.read(v.file, seg.directory)
	if err != nil {
		return err
	}
	o := &opened{seg: seg}
	if err := o.readDirectory(raw); err != nil {
		v.damaged(seg.directory.offset, seg.rows, "%v", err)
		return nil
	}
	return v.named(o)
}

func (v *verifier) named(o *opened) error {
	at := int64(len(segmentMagic))
	next := func(p part, rows int) error {
		if p.offset != at {
			v.damaged(at, rows, "next part is said to begin at %d", p.offset)
		}
		at = p.end()
		_, err := v.check(p, rows)
		return err
	}
	var errs []error
	for i := range o.blocks {
		errs = append(errs, next(o.blockPart(i), min(blockRows, o.seg.rows-i*blockRows)))
	}
	for i := range o.pages {
		errs = append(errs, next(o.pagePart(i), o.seg.rows))
	}
	errs = append(errs, next(o.tablesPart(), o.seg.rows))
	if at != o.seg.directory.offset {
		v.damaged(at, 0, "directory is said to begin at %d", o.seg.directory.offset)
	}
	return errors.Join(errs...)
}

// arrow checks the parts of a file of version 1.
func (v *verifier) arrow(seg *segment) error {
	var errs []error
	check := func(p part, rows int) {
		_, err := v.check(p, rows)
		errs = append(errs, err)
	}
	check(seg.arrow.head, seg.rows)
	check(seg.arrow.postings, seg.rows)
	check(seg.arrow.footer, 0)
	for _, b := range seg.arrow.batches {
		check(b.part, b.rows)
	}
	return errors.Join(errs...)
}
