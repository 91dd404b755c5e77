package bundle

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/whichpod/whichpod/attribution"
	"github.com/whichpod/whichpod/attribution/nat"
	"github.com/whichpod/whichpod/evidence"
	"github.com/whichpod/whichpod/evidence/claim"
	"github.com/whichpod/whichpod/evidence/stamp"
	"github.com/whichpod/whichpod/index"
	"github.com/whichpod/whichpod/ingest"
	"github.com/whichpod/whichpod/query"
)

// Input is what a bundle is made of. Nothing of it is changed.
type Input struct {
	Index        *index.Store
	Ledger, NAT  string // folders; one that is not there is empty
	Since, Until int64  // Unix milliseconds, half-open; 0 is open
	AsKnownAt    int64
	Config       attribution.Config
	Claims       []claim.Claim
	Raw          ingest.Source // where the flow logs are, to note their SHA-256; nil leaves it out
	Amends       *Ref          // the bundle whose place this one takes, or nil
	Missing      []string      // what else is known to be missing, in sentences
	Stamper      Stamper       // who says when it was written, or nil
	Progress     func(rows int64)
	seen         *looked // with Amends: write only what has other rows, errSame else
}

// Summary is what was written or checked, for a person and for a script.
type Summary struct {
	Name     string         `json:"name"`
	Digest   string         `json:"sha256"` // of the manifest: it stands for all of the bundle
	Sequence int64          `json:"sequence"`
	Rows     int64          `json:"rows"`
	Amends   *Ref           `json:"amends"`  // the bundle whose place it takes, or null
	Reasons  []string       `json:"reasons"` // of that
	Missing  []string       `json:"missing"`
	Claims   []claim.Result `json:"claims"`
	Stamp    *stamp.Stamp   `json:"timestamp"` // of the manifest, or null
}

// Write writes the next bundle of a chain, of which the caller MUST hold the lock. The
// bundle is there, and durable, when it returns nil; after an error or a crash it is
// there whole or not at all.
func Write(ctx context.Context, to Destination, in Input, key Signer) (s Summary, err error) {
	chain, err := to.Chain(ctx)
	if err != nil {
		return s, err
	}
	p := predicate{Sequence: 1, Amends: in.Amends, Reasons: []string{}, Since: query.Time(in.Since), Until: query.Time(in.Until)}
	if len(chain) > 0 {
		last := &chain[len(chain)-1]
		p.Sequence, p.Previous = last.Sequence+1, &last.Ref
	}
	p.Name = nameOf(p.Sequence, in.Since, in.Until)
	dir, err := to.Workspace(p.Name)
	if err != nil {
		return s, fmt.Errorf("write bundle: %w", err)
	}
	f := files(dir)
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(dir))
		}
	}()
	for _, sub := range []string{ledgerFolder, natFolder} {
		if err := os.Mkdir(f.path(sub), 0o755); err != nil {
			return s, fmt.Errorf("write bundle: %w", err)
		}
	}
	if s, err = fill(ctx, to, f, in, &p); err != nil {
		return s, fmt.Errorf("write bundle %q: %w", p.Name, err)
	}
	if s.Digest, err = seal(ctx, f, &p, key); err != nil {
		return s, fmt.Errorf("write bundle %q: %w", p.Name, err)
	}
	if s.Stamp, err = putStamp(ctx, f, in.Stamper); err != nil {
		return s, fmt.Errorf("write bundle %q: %w", p.Name, err)
	}
	if err := f.settle(); err != nil {
		return s, fmt.Errorf("write bundle %q: %w", p.Name, err)
	}
	return s, to.Publish(ctx, dir, p.Name)
}

// nameOf is the name of a bundle's folder: what sorts by name is in the chain's order.
func nameOf(sequence, since, until int64) string {
	const layout = "20060102T150405Z"
	from, to := "begin", "end"
	if since != 0 {
		from = time.UnixMilli(since).UTC().Format(layout)
	}
	if until != 0 {
		to = time.UnixMilli(until).UTC().Format(layout)
	}
	return fmt.Sprintf("%06d-%s-%s", sequence, from, to)
}

// fill writes all files but the manifest. to is where the bundles are.
func fill(ctx context.Context, to Destination, f files, in Input, p *predicate) (s Summary, err error) {
	q := &Question{Since: query.Time(in.Since), Until: query.Time(in.Until), AsKnownAt: query.Time(in.AsKnownAt), Config: Config{in.Config}, Claims: in.Claims}
	if q.Claims == nil {
		q.Claims = []claim.Claim{}
	}
	if in.Since != 0 {
		q.ContextFrom = query.Time(max(1, in.Since-contextSpan))
	}
	c := &Completeness{Blobs: blobsOf(in.Index, q)}
	if err := writeSlices(ctx, f, in, q); err != nil {
		return s, err
	}
	if in.seen != nil {
		same, err := in.seen.knows(f, q, c.Blobs)
		if err == nil && same {
			err = errSame
		}
		if err != nil {
			return s, err
		}
	}
	d, err := openDerivation(f, q)
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, d.close()) }()
	seen, judges := newCensus(), newJudges(q.Claims, d.view)
	if err := f.write(rowsFile, func(w io.Writer) error { return writeRows(ctx, w, in, d, seen, judges) }); err != nil {
		return s, err
	}
	if in.Amends != nil {
		if p.Reasons, err = in.reasons(ctx, to, f); err != nil {
			return s, err
		}
	}
	if in.Raw != nil {
		if err := digestBlobs(ctx, in.Raw, c.Blobs); err != nil {
			return s, err
		}
	}
	c.complete(seen, q, d, append(slices.Clone(in.Missing), silent(in.Index, d.view, in.Since, in.Until)...))
	results := judges.results(c.Missing)
	p.Rows, p.Complete = c.Verdicts.Rows, len(c.Missing) == 0
	s = Summary{Name: p.Name, Sequence: p.Sequence, Rows: p.Rows, Amends: p.Amends, Reasons: p.Reasons, Missing: c.Missing, Claims: results}
	for name, v := range map[string]any{questionFile: q, completenessFile: c, claimsFile: results} {
		if err := f.write(name, func(w io.Writer) error { return writeJSON(w, v) }); err != nil {
			return s, err
		}
	}
	return s, writePages(f, &page{Predicate: p, Question: q, Completeness: c, Claims: results})
}

// writeSlices writes what the rows rest on.
func writeSlices(ctx context.Context, f files, in Input, q *Question) (err error) {
	nics, err := encodeNICs(in.Index.NICs(ctx), q)
	if err != nil {
		return err
	}
	if err := f.writeBytes(nicsFile, nics); err != nil {
		return err
	}
	addresses, err := addressesOf(ctx, in.Index, q)
	if err != nil {
		return err
	}
	err = attribution.SliceLedger(in.Ledger, f.path(ledgerFolder), attribution.Slice{From: int64(q.ContextFrom), To: in.Until, AsKnownAt: in.AsKnownAt, Addresses: addresses})
	if err != nil {
		return err
	}
	store, err := nat.Open(in.NAT, nat.Options{ReadOnly: true, AsKnownAt: in.AsKnownAt})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	if store.Empty() {
		return os.Remove(f.path(natFolder))
	}
	return store.Slice(f.path(natFolder), int64(q.ContextFrom), in.Until)
}

// addressesOf is all addresses in the rows that are read for an answer.
func addressesOf(ctx context.Context, store *index.Store, q *Question) (map[netip.Addr]bool, error) {
	scan, err := store.Scan(ctx, index.Filter{From: int64(q.ContextFrom), To: int64(q.Until)})
	if err != nil {
		return nil, err
	}
	out := make(map[netip.Addr]bool)
	for {
		b, err := scan.Next()
		if errors.Is(err, io.EOF) {
			return out, scan.Close()
		}
		if err != nil {
			return nil, errors.Join(err, scan.Close())
		}
		for _, a := range b.Addresses {
			out[a] = true
		}
		b.Release()
	}
}

// writeRows writes the rows and counts them.
func writeRows(ctx context.Context, w io.Writer, in Input, d *derivation, seen *census, judges judges) error {
	rows, err := evidence.NewRowWriter(w, "parquet", memory.DefaultAllocator)
	if err != nil {
		return err
	}
	writers := append([]rowWriter{rows, seen, progress(in.Progress)}, judges.writers()...)
	return errors.Join(d.each(ctx, in.Index, writers...), rows.Close())
}

// progress is told how many rows were looked at.
type progress func(rows int64)

func (p progress) Write(a query.Attributed, _ []int32) error {
	if p != nil {
		p(int64(a.Len()))
	}
	return nil
}

// judges decide the claims of a question.
type judges []*claim.Judge

func newJudges(claims []claim.Claim, view *attribution.View) judges {
	var out judges
	for _, c := range claims {
		out = append(out, claim.NewJudge(c, view))
	}
	return out
}

func (j judges) writers() []rowWriter {
	var out []rowWriter
	for _, one := range j {
		out = append(out, one)
	}
	return out
}

func (j judges) results(missing []string) []claim.Result {
	out := []claim.Result{}
	for _, one := range j {
		out = append(out, one.Result(missing))
	}
	return out
}

// writeJSON writes a document for a person to read too.
func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")
	return enc.Encode(v)
}

// seal writes the manifest of the files that are there and returns its digest.
func seal(ctx context.Context, f files, p *predicate, key Signer) (string, error) {
	names, err := f.list()
	if err != nil {
		return "", err
	}
	s := statement{Type: statementType, PredicateType: predicateType, Predicate: *p}
	for _, name := range names {
		digest, err := f.digest(name)
		if err != nil {
			return "", err
		}
		s.Subject = append(s.Subject, subject{name, map[string]string{"sha256": digest}})
	}
	manifest, err := s.sign(ctx, key)
	if err != nil {
		return "", err
	}
	if err := f.writeBytes(manifestFile, manifest); err != nil {
		return "", err
	}
	return digestOf(manifest), nil
}
