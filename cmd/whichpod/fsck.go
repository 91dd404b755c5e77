package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/whichpod/whichpod/attribution"
	"github.com/whichpod/whichpod/attribution/nat"
	"github.com/whichpod/whichpod/evidence/caselog"
	"github.com/whichpod/whichpod/index"
	"github.com/whichpod/whichpod/ingest"
	"github.com/whichpod/whichpod/internal/journal"
)

// checked is the document that "fsck -o json" prints.
type checked struct {
	Damage  []lost       `json:"damage"`
	Ends    []unfinished `json:"unfinished"`
	Rebuilt *rebuilt     `json:"rebuilt"` // with --rebuild, where there was something to do
}

// lost is a place that is not as it was written.
type lost struct {
	Path   string `json:"path"`
	Offset int64  `json:"offset"` // of the first byte that cannot be trusted
	Detail string `json:"detail"`
	Rows   int    `json:"rows"` // that cannot be read because of it; 0 where it is not known
}

// unfinished is the end of a journal that does not count, which is no damage: a write
// that is killed leaves it.
type unfinished struct {
	Path   string `json:"path"`
	Offset int64  `json:"offset"` // of its first byte; 0: nothing of the file counts
	Bytes  int64  `json:"bytes"`
}

// store is a part of the data folder: its journal, and a pattern of the files that are
// beside it only where it was.
type store struct{ journal, beside string }

var (
	indexStore  = store{"index/manifest.journal", "index/segments/*"}
	ledgerStore = store{"ledger/ledger.journal", "ledger/*"}
	natStore    = store{"nat/evidence.journal", "nat/*"}
	caseStore   = store{"cases.journal", "cases.journal"}
)

// rebuilt is what came back from the blobs.
type rebuilt struct {
	Blobs  int      `json:"blobs"`  // that were read again
	Rows   int64    `json:"rows"`   // that were read
	Kept   string   `json:"kept"`   // where the damaged index is now; empty where only segments were replaced
	Absent []string `json:"absent"` // blobs with damaged rows that the sources do not have, or not in a state to be read to the end
}

func (a *app) fsckCommand() *cobra.Command {
	rebuild := false
	cmd := &cobra.Command{
		Use:   "fsck [--rebuild SOURCE...]",
		Short: "Check every byte of the data folder, and build the index again from blobs",
		Long: `Reads every byte of index, ledger, NAT evidence and case log and compares it with its
checksum. Each damaged place is named with file and offset; the exit code is 2 then.
The end of a journal that does not count is said too, and is no damage: a command that
is killed while it writes leaves that, and what it was to keep comes when it runs again.

With --rebuild, rows of damaged segments are read again from the sources that
follow, and what else is new there. A damaged manifest means the whole index: it is
put aside and made anew.

Ledger and NAT evidence have no blobs to come from: restore them from a copy. Or move
the folder "ledger" or "nat" out of the data folder and import again all that it was
made from; what only a watch saw is a gap then. An import into a damaged ledger adds
what is missing from it, and answers stay as weak as they are: what else was lost is
not known. The case log can only be restored.`,
		Args: func(cmd *cobra.Command, sources []string) error {
			if rebuild != (len(sources) > 0) {
				return usage(cmd, "got %s, want at least one with --rebuild and none without", count(int64(len(sources)), "source"))
			}
			return args(0, len(sources), "sources")(cmd, sources)
		},
		RunE: func(cmd *cobra.Command, sources []string) error { return a.fsck(cmd.Context(), sources) },
	}
	cmd.Flags().BoolVar(&rebuild, "rebuild", false, "read the rows of damaged segments again from the sources")
	return cmd
}

func (a *app) fsck(ctx context.Context, sources []string) error {
	if err := a.needStore(); err != nil {
		return err
	}
	out := checked{Damage: []lost{}, Ends: []unfinished{}}
	if err := a.checkIndex(ctx, &out); err != nil {
		return err
	}
	ofIndex := slices.Clone(out.Damage)
	if err := errors.Join(a.checkLedger(&out), a.checkNAT(&out), a.checkCases(&out)); err != nil {
		return err
	}
	if len(sources) > 0 && len(ofIndex) > 0 {
		var err error
		if out.Rebuilt, err = a.rebuild(ctx, ofIndex, sources); err != nil {
			return err
		}
	}
	if a.output == "json" {
		if err := a.json(out); err != nil {
			return err
		}
	} else {
		a.printChecked(out)
	}
	return out.verdict(len(ofIndex))
}

// verdict is the error that tells of what is still damaged.
func (c *checked) verdict(ofIndex int) error {
	left := len(c.Damage)
	if c.Rebuilt != nil {
		left -= ofIndex
	}
	hint := `"whichpod fsck --rebuild SOURCE" reads the rows of the index again from the blobs; restore other files from a copy, or see "whichpod fsck --help"`
	switch {
	case c.Rebuilt != nil && len(c.Rebuilt.Absent) > 0:
		return hinted{fmt.Errorf("%s with damaged rows could not be read again", count(int64(len(c.Rebuilt.Absent)), "blob")), "the sources do not have them, or they cannot be read to their end"}
	case left > 0:
		return hinted{fmt.Errorf("%s damaged", count(int64(left), "place")), hint}
	}
	return nil
}

// needStore is needData, and refuses a folder in which whichpod keeps nothing.
func (a *app) needStore() error {
	if err := a.needData(); err != nil {
		return err
	}
	for _, s := range []store{indexStore, ledgerStore, natStore, caseStore} {
		for _, pattern := range []string{s.journal, s.beside} {
			if found, err := fs.Glob(os.DirFS(a.data), pattern); err != nil || len(found) > 0 {
				return err
			}
		}
	}
	return hinted{fmt.Errorf("open data folder: %q has nothing of whichpod in it", a.data), `"whichpod ingest" and "whichpod import pods" make it; --data names another`}
}

func (c *checked) add(list ...journal.CorruptError) {
	for _, d := range list {
		c.Damage = append(c.Damage, lost{Path: d.Path, Offset: d.Offset, Detail: d.Detail})
	}
}

// take adds damage, and an error that says where something is damaged.
func (c *checked) take(list []journal.CorruptError, err error) error {
	c.add(list...)
	if one := (journal.CorruptError{}); errors.As(err, &one) {
		c.add(one)
		return nil
	}
	return err
}

// checkEnd looks for what of a journal does not count, and for a journal that is gone.
func (a *app) checkEnd(s store, out *checked) error {
	path := filepath.Join(a.data, filepath.FromSlash(s.journal))
	offset, size, err := journal.Unfinished(path)
	if errors.Is(err, fs.ErrNotExist) {
		beside, err := fs.Glob(os.DirFS(a.data), s.beside)
		if len(beside) > 0 {
			out.add(journal.CorruptError{Path: path, Detail: "file is missing"})
		}
		return err
	}
	if err == nil && (size > 0 || offset == 0) {
		out.Ends = append(out.Ends, unfinished{path, offset, size})
	}
	return err
}

func (a *app) checkIndex(ctx context.Context, out *checked) error {
	if err := a.checkEnd(indexStore, out); err != nil {
		return err
	}
	return index.Check(ctx, a.data, func(d index.CorruptError, rows int) {
		out.Damage = append(out.Damage, lost{d.Path, d.Offset, d.Detail, rows})
	})
}

// checkLedger checks the journal, and the checkpoint where the journal is as it was.
func (a *app) checkLedger(out *checked) error {
	if err := a.checkEnd(ledgerStore, out); err != nil {
		return err
	}
	ledger, err := attribution.OpenLedger(a.ledgerFolder(), attribution.Options{ReadOnly: true})
	if err != nil {
		return out.take(nil, err)
	}
	damage, err := attribution.Check(a.ledgerFolder(), ledger.Damage())
	if err == nil && len(damage) == 0 {
		damage, err = attribution.CheckCheckpoint(a.ledgerFolder())
	}
	return errors.Join(out.take(damage, err), ledger.Close())
}

func (a *app) checkNAT(out *checked) error {
	if err := a.checkEnd(natStore, out); err != nil {
		return err
	}
	evidence, err := nat.Open(a.natFolder(), nat.Options{ReadOnly: true})
	if err != nil {
		return out.take(nil, err)
	}
	return errors.Join(out.take(evidence.Check()), evidence.Close())
}

func (a *app) checkCases(out *checked) error {
	if err := a.checkEnd(caseStore, out); err != nil {
		return err
	}
	return out.take(caselog.Check(a.caseLog()))
}

// warnWriter says what is damaged of what is about to be written to.
func (a *app) warnWriter(damage []journal.CorruptError) {
	for _, d := range damage {
		fmt.Fprintf(a.stderr, "whichpod: warning: %v; it stays so with what is added: see \"whichpod fsck --help\"\n", d)
	}
}

func (a *app) printChecked(c checked) {
	for _, d := range c.Damage {
		fmt.Fprintf(a.stdout, "%s: byte %d: %s", d.Path, d.Offset, d.Detail)
		if d.Rows > 0 {
			fmt.Fprintf(a.stdout, "; %s cannot be read", count(int64(d.Rows), "row"))
		}
		fmt.Fprintln(a.stdout)
	}
	for _, e := range c.Ends {
		what := fmt.Sprintf("%d bytes at the end do not count", e.Bytes)
		if e.Offset == 0 {
			what = fmt.Sprintf("nothing of its %d bytes counts", e.Bytes)
		}
		fmt.Fprintf(a.stdout, "%s: byte %d: %s: a write that did not finish, or is under way\n", e.Path, e.Offset, what)
	}
	switch r := c.Rebuilt; {
	case r != nil:
		fmt.Fprintf(a.stdout, "rebuilt: %s from %s\n", count(r.Rows, "row"), count(int64(r.Blobs), "blob"))
		if r.Kept != "" {
			fmt.Fprintf(a.stdout, "the damaged index is kept in %s\n", r.Kept)
		}
		for _, b := range r.Absent {
			fmt.Fprintf(a.stdout, "not in the sources: %s\n", b)
		}
	case len(c.Damage) == 0:
		fmt.Fprintln(a.stdout, "no damage")
	}
}

// rebuild reads again what damaged files of the index held.
func (a *app) rebuild(ctx context.Context, damage []lost, sources []string) (*rebuilt, error) {
	var segments []string
	whole := false
	for _, d := range damage {
		if filepath.Base(filepath.Dir(d.Path)) == "segments" {
			segments = append(segments, d.Path)
		} else {
			whole = true
		}
	}
	out := &rebuilt{Absent: []string{}}
	var err error
	if whole {
		if out.Kept, err = a.putAside(); err != nil {
			return nil, err
		}
	} else if out.Absent, err = a.giveUp(ctx, segments, sources); err != nil {
		return nil, err
	}
	sum, err := a.ingest(ctx, sources, ingest.Options{}, &natSummary{})
	if err != nil {
		return nil, err
	}
	out.Blobs, out.Rows = sum.Read, sum.Rows
	for _, skip := range sum.Skipped {
		out.Absent = append(out.Absent, skip.Blob)
	}
	return out, nil
}

// putAside renames the folder of the index, unless somebody writes there.
func (a *app) putAside() (string, error) {
	from := filepath.Join(a.data, "index")
	if _, err := os.Lstat(filepath.Join(a.data, filepath.FromSlash(indexStore.journal))); err == nil { // a new manifest would take its segments away
		store, err := index.Open(a.data, index.Options{})
		if errors.Is(err, journal.ErrLocked) {
			return "", err
		}
		if err == nil { // it opens, with a damaged byte or without
			if err := store.Close(); err != nil {
				return "", err
			}
		}
	}
	for n := 1; ; n++ {
		to := fmt.Sprintf("%s.damaged-%d", from, n)
		if _, err := os.Lstat(to); errors.Is(err, fs.ErrNotExist) {
			return to, os.Rename(from, to)
		}
	}
}

// giveUp makes the index forget the blobs that have rows in damaged segments and that
// the sources have, and then the segments. It returns the blobs that the sources do not
// have: what healthy segments hold of them stays.
func (a *app) giveUp(ctx context.Context, segments, sources []string) (absent []string, err error) {
	there := make(map[string]bool)
	for _, s := range sources {
		src, err := a.source(s)
		if err != nil {
			return nil, err
		}
		err = src.List(ctx, ingest.Hours{}, func(b ingest.Blob) error {
			there[strings.Clone(b.Name)] = true
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("list %q: %w", redacted(s), err)
		}
	}
	absent = []string{}
	err = a.change(func(store *index.Store, w *index.Writer) error {
		for _, blob := range store.BlobsIn(segments) {
			if !there[blob] {
				absent = append(absent, blob)
			} else if err := w.Restart(blob); err != nil {
				return err
			}
		}
		if err := w.Commit(); err != nil { // before the segments go: what is not read counts as not read
			return err
		}
		_, err := w.Discard(ctx, segments)
		return err
	})
	return absent, err
}
