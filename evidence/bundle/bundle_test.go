package bundle

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/apache/arrow/go/v17/parquet"
	"github.com/apache/arrow/go/v17/parquet/file"
	"github.com/apache/arrow/go/v17/parquet/pqarrow"
	"github.com/google/go-cmp/cmp"

	"github.com/whichpod/whichpod/attribution"
	"github.com/whichpod/whichpod/attribution/nat"
	"github.com/whichpod/whichpod/benchmarks/sim"
	"github.com/whichpod/whichpod/evidence"
	"github.com/whichpod/whichpod/evidence/claim"
	"github.com/whichpod/whichpod/ingest"
	"github.com/whichpod/whichpod/query"
)

// What is written checks, alone and against the flow logs, and has the rows that an
// export of the whole data folder gives: what was left out of the slices is not missed.
func TestBundleHoldsWhatAnExportGives(t *testing.T) {
	t.Parallel()
	l := newLab(t, smallCluster(), true)
	for name, in := range map[string]Input{"all": {}, "window": {Since: l.minute(8), Until: l.minute(14)}} {
		since, until := in.Since, in.Until
		in = l.input()
		in.Since, in.Until = since, until
		dir := l.write(in)
		r := l.good(dir, l.raw)[0]
		if r.Rows < 50 {
			t.Errorf("%s: %d rows show nothing", name, r.Rows)
		}
		want := l.export(since, until)
		got, err := os.ReadFile(filepath.Join(dir, rowsFile))
		must(t, err)
		if !bytes.Equal(want, got) {
			t.Errorf("%s: rows are not those of an export", name)
		}
	}
	l.good(l.out, l.raw)
}

// export writes rows from the whole data folder, as "whichpod export" does.
func (l *lab) export(since, until int64) []byte {
	l.t.Helper()
	ledger, err := attribution.OpenLedger(filepath.Join(l.data, "ledger"), attribution.Options{ReadOnly: true})
	must(l.t, err)
	store, err := nat.Open(filepath.Join(l.data, "nat"), nat.Options{ReadOnly: true})
	must(l.t, err)
	var out bytes.Buffer
	rows, err := evidence.NewRowWriter(&out, "parquet", memory.DefaultAllocator)
	must(l.t, err)
	e := query.New(l.store, ledger.View(l.config).WithNAT(store))
	must(l.t, errors.Join(e.All(context.Background(), since, until, rows.Write), rows.Close(), store.Close(), ledger.Close()))
	return out.Bytes()
}

// The same input gives the same bytes, with either kind of key.
func TestSameInputSameBytes(t *testing.T) {
	t.Parallel()
	l := newLab(t, smallCluster(), true)
	for _, key := range []any{nil, ecdsaKey(t)} {
		if key != nil {
			l.key, l.public = keys(t, key)
		}
		var first string
		for range 2 {
			l.out = filepath.Join(t.TempDir(), "bundles")
			dir := l.window(5, 10)
			l.good(dir, nil)
			if first == "" {
				first = dir
				continue
			}
			names, err := files(dir).list()
			must(t, err)
			for _, name := range names {
				a, err1 := files(first).read(name)
				b, err2 := files(dir).read(name)
				must(t, errors.Join(err1, err2))
				if !bytes.Equal(a, b) {
					t.Errorf("%s differs", name)
				}
			}
		}
	}
}

// wants says that exactly the problem with these words is named.
func wants(t *testing.T, r Report, words ...string) {
	t.Helper()
	all := strings.Join(r.Problems, "\n")
	for _, w := range words {
		if !strings.Contains(all, w) {
			t.Errorf("%s: problems are %q, want %q", r.Name, all, w)
		}
	}
}

// Whatever byte is flipped, of whichever file, the file is named: each byte of a small
// file, many of a large one.
func TestEveryByteCounts(t *testing.T) {
	t.Parallel()
	l := newLab(t, smallCluster(), true)
	dir := copied(t, l.window(9, 10))
	names, err := files(dir).list()
	must(t, err)
	if len(names) < 10 {
		t.Fatalf("only %q", names)
	}
	for _, name := range names {
		path := files(dir).path(name)
		data, err := os.ReadFile(path)
		must(t, err)
		step := 1
		if len(data) > 4096 {
			step = max(1, len(data)/150)
		}
		for at := 0; at < len(data); at += step {
			data[at] ^= 1 << (at % 8)
			must(t, os.WriteFile(path, data, 0o644))
			if r := l.check(dir, nil)[0]; r.OK() || !strings.Contains(strings.Join(r.Problems, " "), name) {
				t.Fatalf("byte %d of %s: %q", at, name, r.Problems)
			}
			data[at] ^= 1 << (at % 8)
		}
		must(t, os.WriteFile(path, data, 0o644))
	}
	l.good(dir, nil)
}

// A file that ends early is named, at every 4 KiB and at its edges; so is one that is
// gone or was added.
func TestTruncations(t *testing.T) {
	t.Parallel()
	l := newLab(t, smallCluster(), true)
	dir := copied(t, l.write(l.input()))
	names, err := files(dir).list()
	must(t, err)
	for _, name := range names {
		path := files(dir).path(name)
		data, err := os.ReadFile(path)
		must(t, err)
		for at := 0; at < len(data); at += 4096 {
			for _, n := range []int{at, min(at+1, len(data)-1)} {
				must(t, os.WriteFile(path, data[:n], 0o644))
				wants(t, l.check(dir, nil)[0], name)
			}
		}
		must(t, os.WriteFile(path, append(slices.Clone(data), '\n'), 0o644))
		wants(t, l.check(dir, nil)[0], name)
		must(t, os.Remove(path))
		if name != manifestFile {
			wants(t, l.check(dir, nil)[0], name+" is missing")
		}
		must(t, os.WriteFile(path, data, 0o644))
	}
	must(t, os.WriteFile(files(dir).path("extra"), nil, 0o644))
	wants(t, l.check(dir, nil)[0], "extra is no part of what was signed")
}

// A chain tells what is missing, swapped or amended.
func TestChain(t *testing.T) {
	t.Parallel()
	l := newLab(t, smallCluster(), false)
	var dirs []string
	for i := range 4 {
		dirs = append(dirs, l.window(4+i, 5+i))
	}
	l.good(l.out, l.raw)
	named := func(dir string, words ...string) {
		t.Helper()
		var all []string
		for _, r := range l.check(dir, nil) {
			for _, p := range r.Problems {
				all = append(all, r.Name+": "+p)
			}
		}
		for _, w := range words {
			if !strings.Contains(strings.Join(all, "\n"), w) {
				t.Errorf("problems are %q, want %q", all, w)
			}
		}
		if (len(words) == 0) != (len(all) == 0) {
			t.Errorf("problems are %q", all)
		}
	}
	base := func(i int) string { return filepath.Base(dirs[i]) }
	for i := range 3 {
		broken := copied(t, l.out)
		must(t, os.RemoveAll(filepath.Join(broken, base(i))))
		named(broken, base(i+1)+": number", base(i)+", is missing")
	}
	broken := copied(t, l.out) // two swapped
	a, b, c := filepath.Join(broken, base(1)), filepath.Join(broken, base(2)), filepath.Join(broken, "c")
	must(t, errors.Join(os.Rename(a, c), os.Rename(b, a), os.Rename(c, b)))
	named(broken, base(1)+": the folder is "+base(1)+", but what is in it was written as "+base(2), base(2)+": the folder is "+base(2))

	broken = copied(t, l.out) // one written anew, with the same key, after others were built on it
	must(t, os.RemoveAll(filepath.Join(broken, base(2))))
	must(t, os.RemoveAll(filepath.Join(broken, base(3))))
	whole := l.out
	l.out = broken
	in := l.input()
	in.Since, in.Until, in.Missing = l.minute(6), l.minute(7), []string{"something else"}
	must(t, os.Rename(l.write(in), filepath.Join(broken, base(2)+".new")))
	must(t, os.Rename(filepath.Join(broken, base(2)+".new"), filepath.Join(broken, base(2))))
	must(t, os.CopyFS(filepath.Join(broken, base(3)), os.DirFS(dirs[3])))
	named(broken, base(3)+": the bundle before it is not the one it was written after")

	l.out = whole
	in = l.input()
	in.Since, in.Until, in.Amends = l.minute(5), l.minute(6), &Ref{base(1), l.check(dirs[1], nil)[0].Digest}
	l.write(in)
	named(l.out)
	in.Amends = &Ref{base(1), strings.Repeat("0", 64)}
	l.write(in)
	named(l.out, "it amends "+base(1))
}

// Another key checks nothing, of either kind.
func TestOtherKey(t *testing.T) {
	t.Parallel()
	l := newLab(t, smallCluster(), false)
	dir := l.window(5, 6)
	_, l.public = keys(t, ecdsaKey(t))
	r := l.check(dir, nil)[0]
	wants(t, r, "manifest.json: it is not signed by this key")
	if r.Signed {
		t.Error("it says that it is signed")
	}
}

// A row that was dropped, added or changed before the bundle was signed shows against
// the flow logs.
func TestRowsAgainstTheLogs(t *testing.T) {
	t.Parallel()
	l := newLab(t, smallCluster(), true)
	dir := l.window(5, 10)
	rows := tableOf(t, dir)
	defer rows.Release()
	n := rows.NumRows()
	for name, c := range map[string]struct {
		parts [][2]int64
		want  string
	}{
		"dropped": {[][2]int64{{0, 4}, {5, n}}, "dropped"},
		"added":   {[][2]int64{{0, 5}, {4, n}}, "added"},
	} {
		broken := copied(t, dir)
		l.resign(broken, rows, c.parts)
		r := l.check(broken, l.raw)[0]
		wants(t, r, "1 rows are not as the flow logs")
		if len(r.Differences) != 1 || r.Differences[0].Kind != c.want || r.Differences[0].Blob == "" {
			t.Errorf("%s: %+v", name, r.Differences)
		}
	}
}

func tableOf(t *testing.T, dir string) arrow.Table {
	t.Helper()
	data, err := files(dir).read(rowsFile)
	must(t, err)
	f, err := file.NewParquetReader(bytes.NewReader(data))
	must(t, err)
	r, err := pqarrow.NewFileReader(f, pqarrow.ArrowReadProperties{}, memory.DefaultAllocator)
	must(t, err)
	table, err := r.ReadTable(context.Background())
	must(t, err)
	return table
}

// resign puts parts of the rows in the place of all, and signs that as somebody with
// the key could.
func (l *lab) resign(dir string, rows arrow.Table, parts [][2]int64) {
	l.t.Helper()
	f := files(dir)
	data, err := readManifest(f)
	must(l.t, err)
	s, err := openManifest(context.Background(), data, l.public)
	must(l.t, err)
	out, err := os.Create(f.path(rowsFile))
	must(l.t, err)
	w, err := pqarrow.NewFileWriter(rows.Schema(), out, parquet.NewWriterProperties(), pqarrow.DefaultWriterProps())
	must(l.t, err)
	for _, p := range parts {
		reader := array.NewTableReader(rows, 1<<20)
		for reader.Next() {
			rec := reader.Record().NewSlice(p[0], p[1])
			must(l.t, w.WriteBuffered(rec))
			rec.Release()
		}
		reader.Release()
	}
	must(l.t, w.Close())
	must(l.t, os.Remove(f.path(manifestFile)))
	_, err = seal(context.Background(), f, &s.Predicate, l.key)
	must(l.t, err)
}

// A flow log that is not the one that was read is named: with its digest on record, or
// by the rows that it gives.
func TestBlobReplaced(t *testing.T) {
	t.Parallel()
	l := newLab(t, smallCluster(), true)
	with := l.window(5, 10)
	in := l.input()
	in.Since, in.Until, in.Raw = l.minute(5), l.minute(10), nil
	without := l.write(in)
	blobs := copied(t, filepath.Join(filepath.Dir(l.data), "blobs"))
	name := ""
	var before []byte
	must(t, filepath.WalkDir(blobs, func(path string, e os.DirEntry, err error) error {
		if err == nil && !e.IsDir() && name == "" {
			data, err := os.ReadFile(path)
			must(t, err)
			name, before = path, data
		}
		return err
	}))
	at := bytes.Index(before, []byte(",B,")) // a begin becomes a refusal
	if at < 0 {
		t.Fatal("no begin in the blob")
	}
	changed := slices.Clone(before)
	changed[at+1] = 'D'
	raw := func(data []byte) ingest.Source {
		must(t, os.WriteFile(name, data, 0o644))
		src, err := ingest.OpenFolder(blobs)
		must(t, err)
		return src
	}
	l.good(with, raw(before))
	wants(t, l.check(with, raw(changed))[0], "was replaced: the SHA-256")
	l.good(with, raw(append(bytes.TrimSuffix(slices.Clone(before), []byte("]}")), []byte(`,{"time":"2026-01-01T00:00:00Z"}]}`)...))) // it grew
	wants(t, l.check(with, raw(before[:len(before)/2]))[0], "had at least")
	all := l.write(func() Input { in := l.input(); in.Raw = nil; return in }())
	r := l.check(all, raw(changed))[0]
	wants(t, r, "rows are not as the flow logs")
	if len(r.Differences) == 0 || !slices.ContainsFunc(r.Differences, func(d Difference) bool { return len(d.Columns) > 0 && d.Columns[0].Column == "state" }) {
		t.Errorf("differences: %+v", r.Differences)
	}
	must(t, os.Remove(name))
	src, err := ingest.OpenFolder(blobs)
	must(t, err)
	wants(t, l.check(without, src)[0], "is not in the source")
}

// A bundle of which the flow logs were changed since they were ingested is not written.
func TestDigestsOfOtherBytes(t *testing.T) {
	t.Parallel()
	l := newLab(t, smallCluster(), false)
	must(t, filepath.WalkDir(filepath.Join(filepath.Dir(l.data), "blobs"), func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		must(t, err)
		data[len(data)-40]++
		return os.WriteFile(path, data, 0o644)
	}))
	lock, err := Folder(l.out).Lock()
	must(t, err)
	defer lock.Close()
	_, err = Write(context.Background(), Folder(l.out), l.input(), l.key)
	if err == nil || !strings.Contains(err.Error(), "not those that were ingested") {
		t.Errorf("got %v", err)
	}
	left, err := os.ReadDir(l.out)
	must(t, err)
	if len(left) != 1 || left[0].Name() != lockFile {
		t.Errorf("left behind: %v", left)
	}
	if _, err := Folder(l.out).Lock(); err == nil {
		t.Error("the lock was given twice")
	}
}

// Of a year of pods, a bundle takes those that its rows can be about.
func TestSliceLeavesOutOthers(t *testing.T) {
	t.Parallel()
	l := newLab(t, smallCluster(), false)
	before := files(l.window(5, 10)).path(ledgerFolder)
	ledger, err := attribution.OpenLedger(filepath.Join(l.data, "ledger"), attribution.Options{})
	must(t, err)
	const day = 24 * 60 * 60 * 1000
	for i := range int64(500) {
		at := l.minute(0) - (400-i%300)*day
		b := attribution.Bounds{NotBefore: at, SeenBy: at, SeenLast: at + 10, AliveAt: at + 5, StoppedFirst: at + 20, StoppedLast: at + 20}
		_, err := ledger.Append(attribution.Fact{Cluster: l.world.Config.Cluster, Pod: attribution.PodFact{UID: strings.Repeat("x", 30) + string(rune('0'+i)), Presence: b,
			Deleted: attribution.Removal{At: at + 30, After: at}, Identity: &attribution.Identity{Namespace: "old", Name: "old", Node: "old"}}})
		must(t, err)
	}
	must(t, ledger.Close())
	after := files(l.window(5, 10)).path(ledgerFolder)
	a, err1 := os.ReadFile(filepath.Join(before, "ledger.journal"))
	b, err2 := os.ReadFile(filepath.Join(after, "ledger.journal"))
	must(t, errors.Join(err1, err2))
	if !bytes.Equal(a, b) {
		t.Errorf("slices have %d and %d bytes", len(a), len(b))
	}
	l.good(l.out, l.raw)
}

// Claims in a bundle are decided, and decided again.
func TestClaimsInABundle(t *testing.T) {
	t.Parallel()
	l := newLab(t, smallCluster(), true)
	in := l.input()
	for tr := range l.world.Truth() {
		if tr.Masked && tr.State != 'D' && tr.DstPort > 0 {
			only, err := claim.ParseSelector("namespace=" + tr.SrcPod.Namespace)
			must(t, err)
			in.Claims = append(in.Claims, claim.Claim{To: addrPort(tr), Only: only})
			break
		}
	}
	dir := l.write(in)
	r := l.good(dir, l.raw)[0]
	if len(r.Claims) != 1 || r.Claims[0].Rows == 0 {
		t.Fatalf("claims: %+v", r.Claims)
	}
	f := files(dir)
	data, err := f.read(claimsFile)
	must(t, err)
	write := func(data []byte) {
		must(t, os.WriteFile(f.path(claimsFile), data, 0o644))
		s, err := openManifest(context.Background(), mustRead(t, f, manifestFile), l.public)
		must(t, err)
		must(t, os.Remove(f.path(manifestFile)))
		_, err = seal(context.Background(), f, &s.Predicate, l.key)
		must(t, err)
	}
	// Another version has other words for what would be needed.
	if len(r.Claims[0].Needed) == 0 {
		t.Fatal("nothing is needed to prove the claim")
	}
	advice := bytes.Replace(data, []byte(`"needed": [`), []byte(`"needed": ["other words", `), 1)
	if bytes.Equal(advice, data) {
		t.Fatal("the advice is as before")
	}
	write(advice)
	l.good(dir, l.raw)
	write(bytes.Replace(data, []byte(`"denied": 0`), []byte(`"denied": 1`), 1))
	wants(t, l.check(dir, l.raw)[0], "claims.json is not what the flow logs give")
}

func addrPort(tr sim.Truth) netip.AddrPort { return netip.AddrPortFrom(tr.Dst, tr.DstPort) }

func mustRead(t testing.TB, f files, name string) []byte {
	t.Helper()
	data, err := f.read(name)
	must(t, err)
	return data
}

// Pages load nothing, and names in them are text.
func TestPages(t *testing.T) {
	t.Parallel()
	l := newLab(t, smallCluster(), false)
	in := l.input()
	in.Missing = []string{"<script>alert(1)</script>"}
	only, err := claim.ParseSelector("namespace=web")
	must(t, err)
	in.Claims = []claim.Claim{{Name: "web alone", To: netip.MustParseAddrPort("203.0.113.66:8443"), Only: only}}
	f := files(l.write(in))
	page, plain, readme := mustRead(t, f, pageFile), mustRead(t, f, textFile), mustRead(t, f, readmeFile)
	if bytes.Contains(page, []byte("<script")) || bytes.Contains(page, []byte("src=")) || bytes.Contains(page, []byte("href")) || !bytes.Contains(page, []byte("default-src &#39;none&#39;")) && !bytes.Contains(page, []byte("default-src 'none'")) {
		t.Errorf("page:\n%s", page)
	}
	if !bytes.Contains(page, []byte("&lt;script&gt;")) || !bytes.Contains(plain, in.missingLine()) || bytes.Count(readme, []byte("\n")) > 60 {
		t.Errorf("text:\n%s", plain)
	}
	for name, text := range map[string][]byte{pageFile: page, textFile: plain} {
		if want := "web alone: only namespace=web reached 203.0.113.66:8443"; !bytes.Contains(text, []byte(want)) {
			t.Errorf("%s does not say %q", name, want)
		}
	}
	for _, word := range verdictWords() {
		if meanings[word] == "" {
			t.Errorf("nothing says what %q means", word)
		}
	}
	if diff := cmp.Diff([]string{"<script>alert(1)</script>"}, l.good(string(f), l.raw)[0].Missing); diff != "" {
		t.Error(diff)
	}
}

func (in Input) missingLine() []byte { return []byte("  " + in.Missing[0] + "\n") }
