package podlog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/whichpod/whichpod/attribution"
)

// container is a source in memory. It lists in the order of names.
type container struct {
	blobs map[string]string
	read  []string // names and offsets of what was opened
	fail  string   // this blob breaks off after half of it
}

func (c *container) List(_ context.Context, fn func(Blob) error) error {
	var names []string
	for n := range c.blobs {
		names = append(names, n)
	}
	slices.Sort(names)
	for _, n := range names {
		if err := fn(Blob{Name: n, ETag: digest([]byte(c.blobs[n])), Length: int64(len(c.blobs[n]))}); err != nil {
			return err
		}
	}
	return nil
}

func (c *container) Open(_ context.Context, b Blob, offset int64) (io.ReadCloser, error) {
	c.read = append(c.read, fmt.Sprintf("%s@%d", b.Name[strings.Index(b.Name, "h="):], offset))
	text := c.blobs[b.Name][offset:]
	if b.Name == c.fail {
		return io.NopCloser(io.MultiReader(strings.NewReader(text[:len(text)/2]), broke{})), nil
	}
	return io.NopCloser(strings.NewReader(text)), nil
}

type broke struct{}

func (broke) Read([]byte) (int, error) { return 0, errors.New("connection reset") }

const resource = "/SUBSCRIPTIONS/S/RESOURCEGROUPS/G/PROVIDERS/MICROSOFT.CONTAINERSERVICE/MANAGEDCLUSTERS/C"

func hourName(id string, hour int) string {
	return fmt.Sprintf("resourceId=%s/y=2026/m=11/d=23/h=%02d/m=00/PT1H.json", id, hour)
}

// hour is a blob: something each minute, and more lines.
func hour(n int, more ...string) string {
	lines := auditTicks(float64((n-10)*3600), float64((n-10)*3600)+3570)
	return journal(append(lines, more...)...)
}

var (
	madeA    = auditAt(10, "create", "", "a", "", podJSON("a", "", 5, 10, ""))
	addressA = auditAt(12, "patch", "status", "a", `{"metadata":{"uid":"a"},"status":{"podIP":"10.244.0.9","containerStatuses":[{"state":{"running":{"startedAt":"`+clockText(11)+`"}}}]}}`, "")
)

func readBlobs(t *testing.T, l *attribution.Ledger, src *container, state string, change func(*BlobOptions)) (BlobSummary, error) {
	t.Helper()
	src.read = nil
	opt := BlobOptions{State: state, Source: "here", Options: Options{Cluster: "c", ReadBy: sec(86400)},
		ChangesUntil: func(before int64) int64 { return l.ChangesUntil("c", before) },
		ChangesFrom:  func(after int64) int64 { return l.ChangesFrom("c", after) }}
	if change != nil {
		change(&opt)
	}
	return ReadBlobs(context.Background(), src, opt, func(f []attribution.Fact) error { _, err := l.Append(f...); return err })
}

// Hours are one log: a pod that changes in the first is still known in the third.
func TestBlobsAreOneLog(t *testing.T) {
	src := &container{blobs: map[string]string{
		hourName(resource, 9): hour(9), hourName(resource, 10): hour(10, madeA, addressA), hourName(resource, 11): hour(11), hourName(resource, 12): hour(12),
	}}
	state, l := filepath.Join(t.TempDir(), "state"), attribution.NewLedger()
	sum, err := readBlobs(t, l, src, state, nil)
	if err != nil || sum.Listed != 4 || sum.Read != 4 || sum.Rejections != 0 || !sum.Partial || len(sum.Watched) != 1 || sum.Watched[0] != (attribution.Range{From: sec(-3600), To: sec(7200 + 3540)}) {
		t.Fatalf("%+v, %v", sum, err)
	}
	v := l.View(config())
	if got := who(v, theIP, 9000); got != "exact a" {
		t.Errorf("two hours later: %q", got)
	}
	// Nothing is read again; it adds nothing where it is.
	if sum, err := readBlobs(t, l, src, state, nil); err != nil || sum.Read != 0 || sum.Unchanged != 4 || len(src.read) != 0 {
		t.Errorf("at the second time: %+v, %v, opened %v", sum, err, src.read)
	}
	facts := 0
	again, err := ReadBlobs(context.Background(), src, BlobOptions{State: filepath.Join(t.TempDir(), "none"), Options: Options{Cluster: "c"}}, func(f []attribution.Fact) error {
		n, err := l.Append(f...)
		facts += n
		return err
	})
	if err != nil || again.Read != 4 || facts != 0 {
		t.Errorf("without the state: %d facts are new, %+v, %v", facts, again, err)
	}
}

// One that grew goes on after its last whole line; one that is not what it was is read
// again.
func TestBlobsGrow(t *testing.T) {
	name, whole := hourName(resource, 10), hour(10)
	src := &container{blobs: map[string]string{name: whole + madeA + "\n" + addressA[:len(addressA)/2]}}
	state, l := filepath.Join(t.TempDir(), "state"), attribution.NewLedger()
	sum, err := readBlobs(t, l, src, state, nil)
	end := int64(len(whole) + len(madeA) + 1)
	if err != nil || sum.Rejections != 1 || sum.Rejected[0].Offset != end || sum.Rejected[0].File != name {
		t.Fatalf("a line cut in half: %+v, %v, want byte %d", sum, err, end)
	}
	src.blobs[name] = whole + madeA + "\n" + addressA + "\n" + auditAt(3570, "get", "", "x", "", "") + "\n"
	sum, err = readBlobs(t, l, src, state, nil)
	if err != nil || sum.Resumed != 1 || sum.Rejections != 0 || sum.Bytes != int64(len(src.blobs[name]))-end || !cmp.Equal(src.read, []string{fmt.Sprintf("h=10/m=00/PT1H.json@%d", end-tailBytes)}) {
		t.Errorf("after it grew: %+v, %v, opened %v", sum, err, src.read)
	}
	if got := who(l.View(config()), theIP, 30); got != "exact a" {
		t.Errorf("what came later: %q", got)
	}
	src.blobs[name] = strings.Replace(src.blobs[name], "web", "WEB", -1) + auditAt(3580, "get", "", "x", "", "") + "\n"
	if sum, err := readBlobs(t, l, src, state, nil); err != nil || sum.Rewritten != 1 || sum.Bytes != int64(len(src.blobs[name])) {
		t.Errorf("after it was rewritten: %+v, %v", sum, err)
	}
}

// Two clusters in one container are never mixed.
func TestBlobsOfSeveralClusters(t *testing.T) {
	other := strings.Replace(resource, "/C", "/D", 1) + "D"
	src := &container{blobs: map[string]string{hourName(resource, 10): hour(10, madeA, addressA), hourName(other, 10): hour(10)}}
	state, l := filepath.Join(t.TempDir(), "state"), attribution.NewLedger()
	_, err := readBlobs(t, l, src, state, nil)
	var several *SeveralError
	if !errors.As(err, &several) || len(several.IDs) != 2 || l.Facts() != 0 || len(src.read) != 0 {
		t.Errorf("got %v after %d facts", err, l.Facts())
	}
	sum, err := readBlobs(t, l, src, state, func(o *BlobOptions) { o.ResourceID = strings.ToLower(strings.Trim(resource, "/")) })
	if err != nil || sum.Read != 1 || sum.Listed != 1 {
		t.Errorf("with one named: %+v, %v", sum, err)
	}
	_, err = readBlobs(t, l, src, state, func(o *BlobOptions) { o.ResourceID = "/x" })
	if err == nil || !strings.Contains(err.Error(), resource) || !strings.Contains(err.Error(), other) {
		t.Errorf("with one named that is not there: %v", err)
	}
	// The same in one file, whose lines say whose they are.
	of := func(id, line string) string {
		return strings.Replace(auditLine(0, "get", "", "x", "", ""), `{"category"`, `{"resourceId":"`+id+`","category"`, 1) + line
	}
	file := of(resource, "\n") + of(other, "\n")
	if _, err := Read(strings.NewReader(file), Options{Cluster: "c", Format: Auto}, func([]attribution.Fact) error { return nil }); !errors.As(err, &several) {
		t.Errorf("one file of two clusters: %v", err)
	}
	sum1, err := Read(strings.NewReader(file), Options{Cluster: "c", Format: Auto, ResourceID: other}, func([]attribution.Fact) error { return nil })
	if err != nil || sum1.Foreign[resource] != 1 {
		t.Errorf("one file of two clusters, one named: %+v, %v", sum1, err)
	}
}

// Where the ledger can not be written any more, no blob counts as read whose facts, and
// whose proof of coverage, are not in it; the next time makes it whole.
func TestBlobsAreKeptAfterTheirFacts(t *testing.T) {
	for fails := range 6 {
		src := &container{blobs: map[string]string{}}
		for h := 10; h < 16; h++ { // quiet hours, but for two
			src.blobs[hourName(resource, h)] = hour(h)
		}
		src.blobs[hourName(resource, 10)] = hour(10, madeA)
		src.blobs[hourName(resource, 12)] = hour(12, strings.ReplaceAll(addressA, clockText(12), clockText(7212)))
		state, l := filepath.Join(t.TempDir(), "state"), attribution.NewLedger()
		opt := BlobOptions{State: state, Options: Options{Cluster: "c"}, ChangesUntil: func(at int64) int64 { return l.ChangesUntil("c", at) }, ChangesFrom: func(at int64) int64 { return l.ChangesFrom("c", at) }}
		calls := 0
		_, err := ReadBlobs(context.Background(), src, opt, func(f []attribution.Fact) error {
			if calls++; calls > fails {
				return errors.New("disk is full")
			}
			_, err := l.Append(f...)
			return err
		})
		if err == nil && fails < 5 {
			t.Fatalf("after %d batches: no error", fails)
		}
		if _, err := ReadBlobs(context.Background(), src, opt, func(f []attribution.Fact) error { _, err := l.Append(f...); return err }); err != nil {
			t.Fatal(err)
		}
		v := l.View(config())
		if got := watchedText(v); got != "0-21540" {
			t.Errorf("after %d batches: watched %s", fails, got)
		}
		if got := who(v, theIP, 15_000); got != "exact a" {
			t.Errorf("after %d batches: %q", fails, got)
		}
	}
}

func TestBlobsOfSomeHours(t *testing.T) {
	src := &container{blobs: map[string]string{}}
	for h := 8; h < 14; h++ {
		src.blobs[hourName(resource, h)] = hour(h)
	}
	sum, err := readBlobs(t, attribution.NewLedger(), src, filepath.Join(t.TempDir(), "state"), func(o *BlobOptions) {
		o.Since, o.Until = ten.Add(30*time.Minute), ten.Add(2*time.Hour-time.Minute)
	})
	want := []string{"h=10/m=00/PT1H.json@0", "h=11/m=00/PT1H.json@0", "h=12/m=00/PT1H.json@0"} // the last for late lines
	if err != nil || sum.Listed != 6 || !cmp.Equal(src.read, want) {
		t.Errorf("%+v, %v, opened %v, want %v", sum, err, src.read, want)
	}
}

// A blob that can not be read to its end breaks the log off there, and is read again.
func TestBlobBreaksOff(t *testing.T) {
	src := &container{blobs: map[string]string{hourName(resource, 10): hour(10, madeA, addressA), hourName(resource, 11): hour(11), hourName(resource, 12): hour(12)}, fail: hourName(resource, 11)}
	state, l := filepath.Join(t.TempDir(), "state"), attribution.NewLedger()
	sum, err := readBlobs(t, l, src, state, nil)
	if err != nil || len(sum.Skipped) != 1 || sum.Read != 2 || len(sum.Watched) != 2 {
		t.Fatalf("%+v, %v", sum, err)
	}
	if got := who(l.View(config()), theIP, 9000); got == "exact a" {
		t.Errorf("after the hole: %q", got)
	}
	src.fail = ""
	if sum, err := readBlobs(t, l, src, state, nil); err != nil || sum.Read != 1 || sum.Unchanged != 2 {
		t.Errorf("at the second time: %+v, %v", sum, err)
	}
	if got := who(l.View(config()), theIP, 9000); got != "exact a" {
		t.Errorf("with the hole filled: %q", got)
	}
}

// Logs that are not known to be one are not joined, however close: what changed
// between them was not seen.
func TestLogsAreNotJoined(t *testing.T) {
	l := attribution.NewLedger()
	readInto(t, l, journal(auditTicks(0, 600)...), Options{})
	readInto(t, l, journal(auditTicks(630, 1200)...), Options{})
	if got := watchedText(l.View(config())); got != "0-600 630-1170" {
		t.Errorf("watched %s", got)
	}
}

// A cut line is found without parsing it whole.
func TestWhole(t *testing.T) {
	line := auditLine(0, "get", "", "admin", `{"a":["}\"{"]}`, "")
	if !whole([]byte(line)) || !whole([]byte(line+"\r\n")) {
		t.Error("a whole line is not taken for one")
	}
	for i := range len(line) {
		if whole([]byte(line[:i])) {
			t.Errorf("cut after %d bytes, it is taken for whole: %s", i, line[:i])
		}
	}
	for _, bad := range []string{"", "{", "[]", "{}{}", `{"a":1}]`, `"{}"`} {
		if whole([]byte(bad)) {
			t.Errorf("%q is taken for whole", bad)
		}
	}
}

func BenchmarkAuditMostlyOther(b *testing.B) {
	var file strings.Builder
	other := strings.ReplaceAll(auditLine(1, "update", "", "system:node:n1", `{"kind":"Lease","spec":{"holderIdentity":"n1","x":"`+strings.Repeat("y", 1500)+`"}}`, `{"kind":"Lease","spec":{"holderIdentity":"n1","x":"`+strings.Repeat("y", 1500)+`"}}`), "pods", "leases")
	for i := range 3000 {
		if i%100 == 0 {
			file.WriteString(auditLine(i/100, "patch", "status", "system:node:n1", auditAddress, "") + "\n")
		}
		file.WriteString(other + "\n")
	}
	b.SetBytes(int64(file.Len()))
	for b.Loop() {
		sum, err := Read(strings.NewReader(file.String()), Options{Cluster: "c", Format: KubeAudit}, func([]attribution.Fact) error { return nil })
		if err != nil || sum.Pods != 30 || sum.Rejections != 0 {
			b.Fatalf("%+v, %v", sum, err)
		}
	}
}
