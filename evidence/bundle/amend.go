package bundle

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// amendable is how long windows are looked at again for what came late, in
// milliseconds: so long before a run, or before the end that it was given, so that what
// an earlier time asks for hangs on no clock.
const amendable = 7 * 24 * hour

// errSame says that a window has the rows that its bundle has.
var errSame = errors.New("there is nothing to amend")

// SupersededError says that a bundle cannot be amended: another has its place.
type SupersededError struct{ Name, By string }

func (e SupersededError) Error() string {
	return fmt.Sprintf("amend bundle %q: %q has taken its place", e.Name, e.By)
}

// Amend writes the bundle of a window anew, with what is known now, whether or not that
// is something else. The error is a [SupersededError] where that was done before.
func (s *Schedule) Amend(ctx context.Context, in Input, key Signer, l *Link) (Summary, error) {
	chain, err := s.To.Chain(ctx)
	if err != nil {
		return Summary{}, err
	}
	for i := range chain {
		if a := chain[i].Amends; a != nil && *a == l.Ref {
			return Summary{}, SupersededError{l.Name, chain[i].Name}
		}
	}
	return s.write(ctx, in, key, l, nil)
}

// amend writes anew each window, of those that ended between two times, both included, that
// has other rows now than the last bundle about it: as rows, pods or NAT evidence came late.
func (s *Schedule) amend(ctx context.Context, in Input, key Signer, chain []Link, ended [2]int64) (out []Summary, err error) {
	latest := make(map[[2]int64]*Link)
	for i := range chain {
		if l := &chain[i]; l.Since != 0 && l.Until != 0 {
			latest[[2]int64{l.Since, l.Until}] = l
		}
	}
	seen, err := readLooked(s.To.Notes())
	if err != nil {
		return nil, err
	}
	state, err := stateOf(&in)
	if err != nil || state == seen.State && seen.Ended[0] <= ended[0] && ended[1] <= seen.Ended[1] {
		return nil, err
	}
	next := &looked{State: state, Ended: ended, Same: make(map[string]string)}
	for i := range chain {
		l := &chain[i]
		if latest[[2]int64{l.Since, l.Until}] != l || l.Until < ended[0] || l.Until > ended[1] {
			continue
		}
		seen.at = l.Digest
		sum, err := s.write(ctx, in, key, l, seen)
		switch {
		case err == nil:
			out = append(out, sum)
			next.State = "" // an amendment has not been looked at
		case errors.Is(err, errSame):
			next.Same[l.Digest] = seen.now
		default:
			return out, err
		}
	}
	return out, next.write(s.To.Notes())
}

// write writes the bundle of a window anew; with seen, only if it has other rows.
func (s *Schedule) write(ctx context.Context, in Input, key Signer, l *Link, seen *looked) (Summary, error) {
	in.Since, in.Until, in.Amends, in.seen = l.Since, l.Until, &l.Ref, seen
	return Write(ctx, s.To, in, key)
}

// reasons says in sentences why a bundle takes the place of another: in what its rows
// differ, and which evidence may have made them differ. Without a difference, the error
// is errSame where one was asked for.
func (in *Input) reasons(ctx context.Context, to Destination, after files) (_ []string, err error) {
	dir, done, err := to.Fetch(ctx, *in.Amends)
	if err != nil {
		return nil, fmt.Errorf("compare with %q: %w", in.Amends.Name, err)
	}
	defer func() { err = errors.Join(err, done()) }()
	before := files(dir)
	c, err := compareRows(before, after)
	if err != nil {
		return nil, fmt.Errorf("compare with %q: %w", in.Amends.Name, err)
	}
	if c == (changes{}) {
		if in.seen != nil {
			return nil, errSame
		}
		return []string{"it was asked for: no row differs"}, nil
	}
	other := make(map[string]bool)
	for _, part := range []string{ledgerFolder, natFolder, nicsFile} {
		a, err1 := before.part(part)
		b, err2 := after.part(part)
		if err := errors.Join(err1, err2); err != nil {
			return nil, fmt.Errorf("compare with %q: %w", in.Amends.Name, err)
		}
		other[part] = a != b
	}
	return c.reasons(other), nil
}

// reasons are sentences about the changes. other says which evidence is other.
func (c *changes) reasons(other map[string]bool) []string {
	out := []string{}
	add := func(n int64, format string) {
		if n > 0 {
			out = append(out, fmt.Sprintf(format, n))
		}
	}
	add(c.late, "late rows: %d")
	add(c.gone, "rows that are in no flow log any more: %d")
	add(c.nat, "late NAT evidence: it decides on %d rows")
	var causes []string
	for _, cause := range []struct {
		likely bool
		name   string
	}{{other[ledgerFolder], "late pods"}, {c.late+c.gone > 0 || other[nicsFile], "rows around them"}, {other[natFolder], "late NAT evidence"}} {
		if cause.likely {
			causes = append(causes, cause.name)
		}
	}
	if len(causes) == 0 {
		causes = []string{"another description of the clusters, or another version of whichpod"}
	}
	add(c.otherwise, strings.Join(causes, ", or ")+": %d rows say otherwise who was there")
	return out
}

// part is a digest of a file, or of all files of a folder; empty where there is none.
func (f files) part(name string) (string, error) {
	var all strings.Builder
	err := filepath.WalkDir(f.path(name), func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		rel, err := filepath.Rel(string(f), path)
		if err != nil {
			return err
		}
		digest, err := f.digest(rel)
		fmt.Fprintf(&all, "%s %s\n", digest, filepath.ToSlash(rel))
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return all.String(), err
}

// looked is what the notes of a destination hold: from what evidence windows were derived
// again and had the same rows. Without them that is done once more.
type looked struct {
	State string            `json:"state"` // of the data folder, when no window was to be amended; else empty
	Ended [2]int64          `json:"ended"` // between which times the windows ended that were looked at
	Same  map[string]string `json:"same"`  // by digest of a bundle: evidence that gives its rows

	at, now string // the bundle that is looked at, and the evidence about its window
}

func readLooked(path string) (*looked, error) {
	l := &looked{}
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("look for late data: %w", err)
	}
	if json.Unmarshal(data, l) != nil {
		return &looked{}, nil // cut short by a crash
	}
	return l, nil
}

func (l *looked) write(path string) error {
	data, err := json.Marshal(l)
	if err == nil && path != "" {
		err = os.WriteFile(path, data, 0o644)
	}
	if err != nil && !errors.Is(err, fs.ErrPermission) && !errors.Is(err, syscall.EROFS) {
		return fmt.Errorf("look for late data: %w", err)
	}
	return nil
}

// knows says whether the evidence in f and the flow logs is what gave the rows of the
// bundle that is looked at.
func (l *looked) knows(f files, q *Question, blobs []Blob) (bool, error) {
	sum := sha256.New()
	for _, part := range []string{ledgerFolder, natFolder, nicsFile} {
		digests, err := f.part(part)
		if err != nil {
			return false, err
		}
		fmt.Fprintln(sum, digests)
	}
	for i := range blobs {
		fmt.Fprintln(sum, blobs[i].Name, blobs[i].Taken)
	}
	if err := json.NewEncoder(sum).Encode(q); err != nil {
		return false, err
	}
	l.now = hex.EncodeToString(sum.Sum(nil))
	return l.Same[l.at] == l.now, nil
}

// stateOf tells states of what bundles are made of apart, without reading it.
func stateOf(in *Input) (string, error) {
	sum := sha256.New()
	for _, dir := range []string{in.Ledger, in.NAT} {
		err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return err
			}
			info, err := e.Info()
			if err == nil {
				fmt.Fprintln(sum, path, info.Size(), info.ModTime().UnixNano())
			}
			return err
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("look for late data: %w", err)
		}
	}
	for _, b := range in.Index.Blobs() {
		fmt.Fprintln(sum, b.Blob, b.Offset, b.Rows)
	}
	if err := json.NewEncoder(sum).Encode(Config{in.Config}); err != nil {
		return "", fmt.Errorf("look for late data: %w", err)
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}
