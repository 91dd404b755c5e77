package bundle

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/whichpod/whichpod/evidence"
	"github.com/whichpod/whichpod/evidence/claim"
	"github.com/whichpod/whichpod/ingest"
)

// Report is what checking a bundle found.
type Report struct {
	Summary
	Signed  bool `json:"signed"`  // the manifest is by the key
	Derived bool `json:"derived"` // all rows were derived again from the flow logs, and are the same
	// Problems are sentences, empty where there is none.
	Problems []string `json:"problems"`
	// Differences are of derived rows, the first hundred.
	Differences []Difference `json:"differences"`
	Different   int64        `json:"rows_different"`
	AmendedBy   string       `json:"amended_by"` // of a chain: the bundle that takes its place; empty for most
	statement   *statement
}

// newReport is a report of nothing yet, in which no list is nil.
func newReport(name string) Report {
	return Report{Summary: Summary{Name: name, Reasons: []string{}, Missing: []string{}, Claims: []claim.Result{}}, Problems: []string{}, Differences: []Difference{}}
}

// OK says whether nothing is wrong.
func (r *Report) OK() bool { return len(r.Problems) == 0 }

func (r *Report) problem(format string, args ...any) {
	r.Problems = append(r.Problems, fmt.Sprintf(format, args...))
}

// Options of [Verify].
type Options struct {
	Raw      ingest.Source // the flow logs, to derive every row again; nil leaves that out
	Progress func(rows int64)
	// Authorities are the certificates that stand behind time stamps, of which each
	// bundle MUST have one then. Where there are none, a stamp that is there MUST be of
	// its manifest, whoever made it.
	Authorities []*x509.Certificate
}

// Verify checks a bundle, or all bundles of a folder and that none is missing among
// them or in another's place. Each is a folder or a tar file, as a container keeps it.
// What is wrong is in the reports; an error means that the check itself could not be
// done. Nothing is written but temporary files: what was in a tar file, with Raw an index.
func Verify(ctx context.Context, path string, key *PublicKey, opt Options) ([]Report, error) {
	if _, err := os.Stat(filepath.Join(path, manifestFile)); err == nil {
		return []Report{verifyOne(ctx, path, key, opt)}, nil
	}
	if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && strings.HasSuffix(path, tarSuffix) {
		r, err := verifyTar(ctx, path, key, opt)
		return []Report{r}, err
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, fmt.Errorf("verify: %w", err)
	}
	var out []Report
	for _, e := range entries {
		at := filepath.Join(path, e.Name())
		switch {
		case e.Name()[0] == '.':
			continue
		case e.IsDir():
			out = append(out, verifyOne(ctx, at, key, opt))
		case strings.HasSuffix(e.Name(), tarSuffix):
			r, err := verifyTar(ctx, at, key, opt)
			if err != nil {
				return out, err
			}
			out = append(out, r)
		}
		if err := ctx.Err(); err != nil {
			return out, err
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("verify: %q is no bundle, and no folder of bundles", path)
	}
	verifyChain(out)
	return out, nil
}

// VerifyContainer checks the bundles of a container as [Verify] does those of a folder;
// where a name is given, that blob alone. Each is fetched into a temporary file.
func VerifyContainer(ctx context.Context, c *Container, name string, key *PublicKey, opt Options) (out []Report, err error) {
	names := []string{name}
	if name == "" {
		if names, err = c.names(ctx); err != nil {
			return nil, fmt.Errorf("verify: %w", err)
		}
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("verify: no bundle is in %s", c.Blobs)
	}
	tmp, err := os.MkdirTemp("", "whichpod-verify-")
	if err != nil {
		return nil, fmt.Errorf("verify: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
	for _, n := range names {
		path := filepath.Join(tmp, filepath.Base(n))
		if err := c.fetch(ctx, n, path); err != nil {
			return out, fmt.Errorf("verify: %w", err)
		}
		r, err := verifyTar(ctx, path, key, opt)
		if err = errors.Join(err, ctx.Err(), os.Remove(path)); err != nil {
			return out, err
		}
		out = append(out, r)
	}
	if name == "" {
		verifyChain(out)
	}
	return out, nil
}

// verifyChain checks that each bundle names the one before it.
func verifyChain(reports []Report) {
	at := make(map[int64]*Report)
	refs := make(map[Ref]*Report)
	for i := range reports {
		r := &reports[i]
		if r.statement == nil {
			continue
		}
		refs[Ref{r.statement.Predicate.Name, r.Digest}] = r
		if twin := at[r.Sequence]; twin != nil {
			r.problem("it is number %d of the chain, and so is %s", r.Sequence, twin.Name)
			continue
		}
		at[r.Sequence] = r
	}
	for i := range reports {
		r := &reports[i]
		if r.statement == nil {
			continue
		}
		p := &r.statement.Predicate
		before := at[r.Sequence-1]
		switch {
		case p.Previous == nil && p.Sequence == 1:
		case p.Previous == nil:
			r.problem("it is number %d of the chain and names none before it", r.Sequence)
		case before == nil:
			r.problem("number %d of the chain, %s, is missing: this bundle names it as the one before", r.Sequence-1, p.Previous.Name)
		case *p.Previous != Ref{before.statement.Predicate.Name, before.Digest}:
			r.problem("the bundle before it is not the one it was written after: want %s with the manifest %s", p.Previous.Name, p.Previous.Digest)
		}
		if p.Amends != nil {
			r.amends(p, refs[*p.Amends])
		}
	}
}

// amends checks an amendment against what it amends, nil where that is not there.
func (r *Report) amends(p *predicate, old *Report) {
	switch {
	case old == nil:
		r.problem("it amends %s with the manifest %s, which is missing", p.Amends.Name, p.Amends.Digest)
	case old.Sequence >= r.Sequence || old.statement.Predicate.Since != p.Since || old.statement.Predicate.Until != p.Until:
		r.problem("it amends %s, which is about another time or was written later", old.Name)
	case old.AmendedBy != "":
		r.problem("it amends %s, and so does %s", old.Name, old.AmendedBy)
	default:
		old.AmendedBy = r.Name
	}
}

func verifyOne(ctx context.Context, dir string, key *PublicKey, opt Options) Report {
	dir = filepath.Clean(dir)
	if abs, err := filepath.Abs(dir); err == nil {
		dir = abs
	}
	r := newReport(filepath.Base(dir))
	f := files(dir)
	data, err := readManifest(f)
	if err != nil {
		r.problem("%s: %v", manifestFile, err)
		return r
	}
	s, err := openManifest(ctx, data, key)
	if err != nil {
		r.problem("%s: %v", manifestFile, err)
		return r
	}
	r.Signed, r.statement, r.Digest = true, s, digestOf(data)
	r.Sequence, r.Rows, r.Amends, r.Reasons = s.Predicate.Sequence, s.Predicate.Rows, s.Predicate.Amends, append(r.Reasons, s.Predicate.Reasons...)
	r.stamp(f, data, opt.Authorities)
	if r.Name != s.Predicate.Name {
		r.problem("the folder is %s, but what is in it was written as %s", r.Name, s.Predicate.Name)
	}
	if !r.digests(f, s) {
		return r // what follows would be about other bytes than those that were signed
	}
	if err := r.consistency(ctx, f, s, opt); err != nil {
		r.problem("%v", err)
	}
	return r
}

// digests compares the files with those of the manifest.
func (r *Report) digests(f files, s *statement) bool {
	before := len(r.Problems)
	names, err := f.list()
	if err != nil {
		r.problem("%v", err)
		return false
	}
	signed := make(map[string]bool)
	for _, sub := range s.Subject {
		signed[sub.Name] = true
		if !slices.Contains(names, sub.Name) {
			r.problem("%s is missing", sub.Name)
			continue
		}
		digest, err := f.digest(sub.Name)
		switch {
		case err != nil:
			r.problem("%s: %v", sub.Name, err)
		case digest != sub.Digest["sha256"]:
			r.problem("%s was changed: its SHA-256 is %s, was signed as %s", sub.Name, digest, sub.Digest["sha256"])
		}
	}
	for _, name := range names {
		if !signed[name] && name != manifestFile && name != stampFile {
			r.problem("%s is no part of what was signed", name)
		}
	}
	return len(r.Problems) == before
}

// consistency checks that the files agree with each other, and with Raw that the rows
// follow from the flow logs and what lies in the bundle.
func (r *Report) consistency(ctx context.Context, f files, s *statement, opt Options) (err error) {
	var q Question
	var c Completeness
	for name, into := range map[string]any{questionFile: &q, completenessFile: &c} {
		data, err := f.read(name)
		if err == nil {
			err = json.Unmarshal(data, into)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	r.Missing = append(r.Missing, c.Missing...)
	if q.Since != s.Predicate.Since || q.Until != s.Predicate.Until {
		r.problem("%s asks about another time than the manifest", questionFile)
	}
	d, err := openDerivation(f, &q)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.close()) }()
	if err := r.rows(f, &q, &c); err != nil {
		return err
	}
	if opt.Raw == nil {
		return nil
	}
	return r.derive(ctx, f, d, &c, opt)
}

// rows reads all rows and compares them with what the other files say of them.
func (r *Report) rows(f files, q *Question, c *Completeness) error {
	taken := make(map[string]int64)
	for i := range c.Blobs {
		taken[c.Blobs[i].Name] = c.Blobs[i].Taken
	}
	seen := newCensus().verdicts()
	stray, outside := int64(0), int64(0)
	err := eachRow(f, func(row *evidence.Row) error {
		seen.Rows++
		seen.add(row)
		if row.Offset < 0 || row.Offset >= taken[row.Blob] {
			stray++
		}
		if at, err := moment(&row.Time); err != nil || !q.has(int64(at)) {
			outside++
		}
		return nil
	})
	if err != nil {
		return err
	}
	if stray > 0 {
		r.problem("%d rows of %s are from no blob that %s lists", stray, rowsFile, completenessFile)
	}
	if outside > 0 {
		r.problem("%d rows of %s are outside of the time that %s asks about", outside, rowsFile, questionFile)
	}
	if seen.Rows != r.Rows {
		r.problem("%s has %d rows, the manifest says %d", rowsFile, seen.Rows, r.Rows)
	}
	if same, err := sameJSON(seen, c.Verdicts); err != nil || !same {
		r.problem("%s counts other verdicts than %s has", completenessFile, rowsFile)
	}
	return nil
}

func sameJSON(a, b any) (bool, error) {
	x, err1 := json.Marshal(a)
	y, err2 := json.Marshal(b)
	return bytes.Equal(x, y), errors.Join(err1, err2)
}

// eachRow reads the rows of a bundle. A row is valid during the call only.
func eachRow(f files, fn func(*evidence.Row) error) error {
	rows, err := openRows(f)
	if err != nil {
		return err
	}
	var row evidence.Row
	for err == nil {
		if err = rows.Next(&row); err == nil {
			err = fn(&row)
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return errors.Join(err, rows.Close())
}

// rowsOf is an open file of rows.
type rowsOf struct {
	*evidence.RowReader
	file *os.File
}

func openRows(f files) (*rowsOf, error) {
	in, err := os.Open(f.path(rowsFile))
	if err != nil {
		return nil, err
	}
	rows, err := evidence.OpenRows(in)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", rowsFile, err), in.Close())
	}
	return &rowsOf{rows, in}, nil
}

// Next reads the next row, or returns io.EOF.
func (r *rowsOf) Next(row *evidence.Row) error {
	err := r.RowReader.Next(row)
	if err != nil && !errors.Is(err, io.EOF) {
		err = fmt.Errorf("%s: %w", rowsFile, err)
	}
	return err
}

func (r *rowsOf) Close() error { return errors.Join(r.RowReader.Close(), r.file.Close()) }
