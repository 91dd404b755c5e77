package podlog

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/whichpod/whichpod/attribution"
)

// Blob is one hour of an audit log as a source lists it. AKS writes it as
// resourceId=ID/y=YYYY/m=MM/d=DD/h=HH/m=00/PT1H.json, and appends to it during its hour.
type Blob struct {
	Name   string // the same for a container and a copy of it
	ETag   string
	Length int64
	// Path and Modified are for the source's use.
	Path     string
	Modified time.Time
}

// BlobSource is a container of audit logs, or a folder with a copy of one.
type BlobSource interface {
	List(ctx context.Context, fn func(Blob) error) error
	// Open returns the listed version from an offset on. An error says that it changed.
	Open(ctx context.Context, b Blob, offset int64) (io.ReadCloser, error)
}

// BlobOptions select blobs and say what was read before.
type BlobOptions struct {
	Options
	Since, Until time.Time // hours; zero is open
	// State is a file that keeps what was read, beside the ledger. Source names where
	// the blobs are, in it.
	State, Source string
	Progress      func(done, of int) // may be nil
	// ChangesUntil is until when the ledger knows that all changes were seen, before a
	// time, and ChangesFrom from when after it; or 0. May be nil.
	ChangesUntil, ChangesFrom func(int64) int64
}

// BlobSummary counts what was read of a source.
type BlobSummary struct {
	Summary
	Listed, Read, Unchanged, Resumed, Rewritten int
	Bytes                                       int64
	Skipped                                     []SkippedBlob
}

// SkippedBlob could not be read to its end. It is read again the next time.
type SkippedBlob struct{ Blob, Reason string }

// lateLines is how long after the end of an hour its last lines may be written, which
// puts them into the next hour's blob.
const lateLines = 2 * time.Minute

// ReadBlobs reads what is new in a source's blobs, in order of time, as one log. What
// was read is kept in the state file once it is in the ledger. Where the source has
// the logs of several resources and none is named, it fails with a *SeveralError, and
// reads nothing.
func ReadBlobs(ctx context.Context, src BlobSource, opt BlobOptions, emit func([]attribution.Fact) error) (BlobSummary, error) {
	b := blobReader{opt: opt, src: src, emit: emit}
	blobs, err := b.list(ctx)
	if err != nil {
		return b.sum, err
	}
	if err := b.load(); err != nil {
		return b.sum, err
	}
	opt.Format = KubeAudit
	b.opt = opt
	for i, blob := range blobs {
		if err := ctx.Err(); err != nil {
			return b.sum, err
		}
		if opt.Progress != nil {
			opt.Progress(i, len(blobs))
		}
		if err := b.read(ctx, blob); err != nil {
			return b.sum, errors.Join(fmt.Errorf("read audit log %q: %w", blob.Name, err), b.save())
		}
	}
	if err := b.close(false); err != nil {
		return b.sum, err
	}
	return b.sum, b.save()
}

// close ends a run of blobs that were read as one log. followed says that the blob
// after it was read before, to its end.
func (b *blobReader) close(followed bool) error {
	b.joined = followed
	if b.reader == nil {
		return nil
	}
	if followed {
		b.reader.r.followed = b.opt.ChangesFrom
	}
	err := b.reader.Close()
	b.sum.Summary.add(b.reader.Summary())
	b.reader = nil
	if err != nil {
		return err
	}
	b.settle(attribution.Open)
	return nil
}

// add joins what was read of a later part in.
func (s *Summary) add(o Summary) {
	s.Documents, s.Pods, s.Rejections, s.Undated = s.Documents+o.Documents, s.Pods+o.Pods, s.Rejections+o.Rejections, s.Undated+o.Undated
	s.Rejected = append(s.Rejected, o.Rejected[:min(len(o.Rejected), keepRejections-len(s.Rejected))]...)
	s.From, s.To, s.Format = earlier(s.From, o.From), max(s.To, o.To), o.Format
	s.Jumps, s.Partial = append(s.Jumps, o.Jumps...), o.Partial
	for _, w := range o.Watched {
		s.watched(w)
	}
	for cluster, n := range o.Foreign {
		if s.Foreign == nil {
			s.Foreign = make(map[string]int)
		}
		s.Foreign[cluster] += n
	}
}

// blobReader is the state of one ReadBlobs.
type blobReader struct {
	opt    BlobOptions
	src    BlobSource
	emit   func([]attribution.Fact) error
	reader *Reader
	joined bool // the blob before was read to its end, at an earlier time
	sum    BlobSummary

	state   blobState
	waiting []readBlob // read, and perhaps not all in the ledger yet
	unsaved int
}

// blobState is the state file: by cluster and source, then by blob.
type blobState map[string]map[string]blobPosition

// blobPosition is how far a blob was read.
type blobPosition struct {
	ETag   string `json:"etag"`
	Length int64  `json:"length"`
	Offset int64  `json:"offset"` // after the last whole line
	Tail   string `json:"tail"`   // SHA-256 of up to tailBytes before Offset
}

type readBlob struct {
	name   string
	at     blobPosition
	newest int64
}

// tailBytes is how much before a position is compared when a blob has grown.
const tailBytes = 1024

// saveEvery is after how many blobs the state is kept.
const saveEvery = 24

var blobPath = regexp.MustCompile(`(?i)^resourceId=(.*)/y=(\d{4})/m=(\d{2})/d=(\d{2})/h=(\d{2})/`)

// list returns the blobs to look at, in order of time.
func (b *blobReader) list(ctx context.Context) ([]Blob, error) {
	type dated struct {
		Blob
		hour time.Time
	}
	var blobs []dated
	ids := make(map[string]string) // as first written, by lower case
	err := b.src.List(ctx, func(blob Blob) error {
		m := blobPath.FindStringSubmatch(blob.Name)
		if m == nil {
			blobs = append(blobs, dated{blob, time.Time{}})
			return nil
		}
		hour, err := time.Parse("2006/01/02/15", strings.Join(m[2:], "/"))
		if err != nil {
			return nil // no hour of any day
		}
		key := strings.ToLower(m[1])
		if _, ok := ids[key]; !ok {
			ids[key] = m[1]
		}
		if b.opt.ResourceID != "" && !strings.EqualFold(trimID(m[1]), trimID(b.opt.ResourceID)) {
			return nil
		}
		blobs = append(blobs, dated{blob, hour})
		return nil
	})
	if err != nil {
		return nil, err
	}
	found := slices.Sorted(maps.Values(ids))
	switch {
	case b.opt.ResourceID == "" && len(found) > 1:
		return nil, &SeveralError{IDs: found}
	case b.opt.ResourceID != "" && len(found) > 0 && len(blobs) == 0:
		return nil, fmt.Errorf("no audit log of resource %q, only of: %s", b.opt.ResourceID, strings.Join(found, ", "))
	}
	b.sum.Listed = len(blobs)
	blobs = slices.DeleteFunc(blobs, func(d dated) bool {
		early := !b.opt.Since.IsZero() && d.hour.Before(b.opt.Since.Truncate(time.Hour))
		late := !b.opt.Until.IsZero() && !d.hour.Before(b.opt.Until.Add(lateLines))
		return !d.hour.IsZero() && (early || late)
	})
	slices.SortStableFunc(blobs, func(a, b dated) int { return cmp.Or(a.hour.Compare(b.hour), strings.Compare(a.Name, b.Name)) })
	out := make([]Blob, len(blobs))
	for i := range blobs {
		out[i] = blobs[i].Blob
	}
	return out, nil
}

// trimID drops the slash with which a resource id begins, or not.
func trimID(id string) string { return strings.Trim(id, "/") }

// read takes in what is new of a blob. One that can not be read is left for the next
// time; other errors are of the ledger or of the context.
func (b *blobReader) read(ctx context.Context, blob Blob) error {
	have := b.positions()[blob.Name]
	if have.ETag == blob.ETag && have.Length == blob.Length && have.Length != 0 {
		b.sum.Unchanged++
		return b.close(have.Offset == have.Length) // what comes after it is another run
	}
	in, at, err := b.open(ctx, blob, have)
	if err != nil {
		return b.skip(ctx, blob, err)
	}
	defer in.Close()
	if at > 0 {
		b.sum.Resumed++
	}
	if b.reader == nil {
		b.reader = NewReader(b.opt.Options, b.emit)
		if b.joined || at > 0 {
			b.reader.r.goesOn = b.opt.ChangesUntil
		}
	}
	pos := &positionReader{in: in, offset: at, lineEnd: at}
	if err := b.reader.read(blob.Name, at, pos); err != nil {
		if pos.err == nil {
			return err // not of the blob
		}
		return b.skip(ctx, blob, pos.err)
	}
	b.sum.Read++
	b.sum.Bytes += pos.offset - at
	if a := b.reader.r.audit; a == nil || !a.seen {
		return nil // no audit log so far
	}
	end, tail := pos.end()
	b.waiting = append(b.waiting, readBlob{blob.Name, blobPosition{blob.ETag, blob.Length, end, tail}, b.reader.newest()})
	until, err := b.reader.Settle()
	if err != nil {
		return err
	}
	b.settle(until)
	if b.unsaved >= saveEvery {
		return b.save()
	}
	return nil
}

func (b *blobReader) skip(ctx context.Context, blob Blob, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	b.joined = false
	if b.reader != nil {
		b.reader.lost()
	}
	b.sum.Skipped = append(b.sum.Skipped, SkippedBlob{blob.Name, err.Error()})
	return nil
}

// open returns a blob from where it was read to, or from its start where it is new,
// shorter, or not what was read.
func (b *blobReader) open(ctx context.Context, blob Blob, have blobPosition) (io.ReadCloser, int64, error) {
	if have.Offset > 0 && blob.Length >= have.Offset {
		from := max(0, have.Offset-tailBytes)
		in, err := b.src.Open(ctx, blob, from)
		if err != nil {
			return nil, 0, err
		}
		tail := make([]byte, have.Offset-from)
		if _, err := io.ReadFull(in, tail); err != nil {
			return nil, 0, errors.Join(err, in.Close())
		}
		if digest(tail) == have.Tail {
			return in, have.Offset, nil
		}
		if err := in.Close(); err != nil {
			return nil, 0, err
		}
	}
	if have.Offset > 0 {
		b.sum.Rewritten++
	}
	in, err := b.src.Open(ctx, blob, 0)
	return in, 0, err
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// settle notes as read what is in the ledger: all lines up to a time.
func (b *blobReader) settle(until int64) {
	for len(b.waiting) > 0 && b.waiting[0].newest <= until {
		b.positions()[b.waiting[0].name] = b.waiting[0].at
		b.waiting = b.waiting[1:]
		b.unsaved++
	}
}

func (b *blobReader) positions() map[string]blobPosition {
	key := b.opt.Cluster + " " + b.opt.Source
	if b.state[key] == nil {
		b.state[key] = make(map[string]blobPosition)
	}
	return b.state[key]
}

// load reads the state file. One that can not be read costs reading again, which adds
// nothing to the ledger that it has.
func (b *blobReader) load() error {
	b.state = make(blobState)
	data, err := os.ReadFile(b.opt.State)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if json.Unmarshal(data, &b.state) != nil {
		b.state = make(blobState)
	}
	return nil
}

func (b *blobReader) save() error {
	if b.unsaved == 0 {
		return nil
	}
	data, err := json.Marshal(b.state)
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(b.opt.State), ".audit-*")
	if err != nil {
		return fmt.Errorf("keep what was read: %w", err)
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(data)
	if err = errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return fmt.Errorf("keep what was read: %w", err)
	}
	if err := os.Rename(tmp.Name(), b.opt.State); err != nil {
		return fmt.Errorf("keep what was read: %w", err)
	}
	b.unsaved = 0
	return nil
}

// positionReader knows where the last whole line that was read ended.
type positionReader struct {
	in      io.Reader
	offset  int64
	lineEnd int64  // after the last newline
	recent  []byte // up to offset: the line that is not closed, and tailBytes before it
	err     error  // of in, other than io.EOF
}

func (p *positionReader) Read(buf []byte) (int, error) {
	n, err := p.in.Read(buf)
	p.offset += int64(n)
	p.recent = append(p.recent, buf[:n]...)
	if i := bytes.LastIndexByte(buf[:n], '\n'); i >= 0 {
		p.lineEnd = p.offset - int64(n-i-1)
	}
	if keep := p.offset - p.lineEnd + tailBytes; int64(len(p.recent)) > 2*keep+1<<16 {
		p.recent = append(p.recent[:0], p.recent[int64(len(p.recent))-keep:]...)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		p.err = err
	}
	return n, err
}

// end is where to go on another time, and what stands before it. A last line without
// a newline counts if it is whole.
func (p *positionReader) end() (int64, string) {
	open := p.recent[int64(len(p.recent))-(p.offset-p.lineEnd):]
	if whole(open) {
		p.lineEnd = p.offset
	}
	upTo := p.recent[:int64(len(p.recent))-(p.offset-p.lineEnd)]
	return p.lineEnd, digest(upTo[max(0, len(upTo)-tailBytes):])
}
