//go:build e2e

package azurite_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const (
	nics  = 500
	kills = 200
)

// proxy stands between whichpod and Azurite: it counts requests, and fails some of
// them where it is told to.
type proxy struct {
	*httptest.Server
	reads, lists atomic.Int64
	faulty       atomic.Bool
	faults       atomic.Int64
}

func newProxy(t testing.TB) *proxy {
	to, err := url.Parse(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	forward := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: to.Scheme, Host: to.Host})
	p := &proxy{}
	forward.ModifyResponse = func(r *http.Response) error {
		if p.faulty.Load() && r.Request.Method == http.MethodGet && rand.IntN(30) == 0 {
			p.faults.Add(1)
			r.Body = struct {
				io.Reader
				io.Closer
			}{io.MultiReader(io.LimitReader(r.Body, r.ContentLength/2), brokenReader{}), r.Body}
		}
		return nil
	}
	p.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Query().Get("comp") == "list":
			p.lists.Add(1)
		default:
			p.reads.Add(1)
		}
		if p.faulty.Load() && rand.IntN(30) == 0 {
			p.faults.Add(1)
			status := []int{http.StatusServiceUnavailable, http.StatusTooManyRequests}[rand.IntN(2)]
			w.Header().Set("x-ms-error-code", "ServerBusy")
			if rand.IntN(2) == 0 {
				w.Header().Set("Retry-After", "1")
			}
			w.WriteHeader(status)
			return
		}
		forward.ServeHTTP(w, r)
	}))
	p.Config.ErrorLog = log.New(io.Discard, "", 0)
	forward.ErrorLog = p.Config.ErrorLog
	p.Start()
	t.Cleanup(p.Close)
	return p
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// growing is the log of one interface as its writer knows it.
type growing struct {
	name    string
	mac     string
	rule    string
	records []string
	rows    int
	ids     []string // of the blocks that were staged, without the closing one
}

// writer appends a block to the blobs of all interfaces, as Azure does each minute.
type writer struct {
	*store
	blobs   []*growing
	changes int // commits of a block list
}

func newWriter(t testing.TB, s *store) *writer {
	w := &writer{store: s}
	hour := time.Now().UTC().Format("y=2006/m=01/d=02/h=15")
	for i := range nics {
		mac := fmt.Sprintf("000D3A%06X", i)
		w.blobs = append(w.blobs, &growing{mac: mac, rule: "first",
			name: "flowLogResourceID=/SUB_NETWORKWATCHERRG/NETWORKWATCHER_EASTUS_VNET-FLOWLOG/" + hour + "/m=00/macAddress=" + mac + "/PT1H.json"})
	}
	return w
}

// grow adds a record of four tuples, of which two are the same denied attempt.
func (g *growing) grow() {
	var tuples []string
	for k := range 3 {
		at := 1795438800000 + int64(g.rows)
		state := "B"
		if k == 2 {
			state = "D"
			tuples = append(tuples, fmt.Sprintf(`"%d,10.224.0.4,203.0.113.66,%d,8443,6,O,D,NX,0,0,0,0"`, at, g.rows%60000))
		}
		tuples = append(tuples, fmt.Sprintf(`"%d,10.224.0.4,203.0.113.66,%d,8443,6,O,%s,NX,0,0,0,0"`, at, g.rows%60000, state))
		g.rows++
	}
	g.records = append(g.records, fmt.Sprintf(`{"time":"2026-11-23T13:00:52.2837112Z","flowLogVersion":4,"macAddress":"%s","category":"FlowLogFlowEvent",`+
		`"flowRecords":{"flows":[{"aclID":"acl","flowGroups":[{"rule":"%s","flowTuples":[%s]}]}]}}`, g.mac, g.rule, strings.Join(tuples, ",")))
}

// rewrite has other records from now on.
func (g *growing) rewrite() {
	n := len(g.records)
	g.rule, g.rows, g.records, g.ids = g.rule+" again", 0, nil, nil
	for range n {
		g.grow()
	}
}

// minute grows the chosen blobs and commits them, four at a time.
func (w *writer) minute(t testing.TB, chosen []*growing) {
	t.Helper()
	var group sync.WaitGroup
	queue := make(chan *growing)
	for range 4 {
		group.Add(1)
		go func() {
			defer group.Done()
			for g := range queue {
				w.append(t, g)
			}
		}()
	}
	for _, g := range chosen {
		g.grow()
		queue <- g
	}
	close(queue)
	group.Wait()
	w.changes += len(chosen)
}

// append stages the new blocks of a blob and commits the list of all.
func (w *writer) append(t testing.TB, g *growing) {
	c := w.client.NewBlockBlobClient(g.name)
	all := blocks(g.records...)
	stage := func(id string, block []byte) string {
		id = base64.StdEncoding.EncodeToString([]byte(id))
		if _, err := c.StageBlock(context.Background(), id, nopCloser{bytes.NewReader(block)}, nil); err != nil {
			t.Error(err)
		}
		return id
	}
	for i := len(g.ids); i < len(all)-1; i++ {
		g.ids = append(g.ids, stage(fmt.Sprintf("D%015d%017d", len(g.rule), i), all[i]))
	}
	end := stage(fmt.Sprintf("Z%032d", 0), all[len(all)-1])
	if _, err := c.CommitBlockList(context.Background(), append(g.ids[:len(g.ids):len(g.ids)], end), nil); err != nil {
		t.Error(err)
	}
}

// command is the program under test, built once.
var command = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "whichpod")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "whichpod")
	out, err := exec.Command("go", "build", "-o", path, "../../cmd/whichpod").CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, out)
	}
	return path, err
})

// follower is a running "whichpod ingest --follow".
type follower struct {
	cmd     *exec.Cmd
	metrics string
	stderr  *bytes.Buffer
	read    chan struct{}
}

func startFollower(t testing.TB, data, source string) *follower {
	t.Helper()
	path, err := command()
	if err != nil {
		t.Fatal(err)
	}
	f := &follower{cmd: exec.Command(path, "ingest", "--follow", "--every", "1s", "--metrics", "127.0.0.1:0", "--data", data, source), stderr: &bytes.Buffer{}, read: make(chan struct{})}
	pipe, err := f.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := f.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(pipe)
	first, _ := lines.ReadString('\n')
	f.metrics = regexp.MustCompile(`http://\S+`).FindString(first)
	go func() {
		defer close(f.read)
		io.Copy(f.stderr, lines)
	}()
	return f
}

// kill ends it as a power cut would.
func (f *follower) kill() {
	f.cmd.Process.Kill()
	<-f.read
	f.cmd.Wait()
}

// rows is how many rows it has taken, and false while it does not say.
func (f *follower) rows() (int, bool) {
	resp, err := http.Get(f.metrics)
	if err != nil {
		return 0, false
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	m := regexp.MustCompile(`whichpod_ingest_rows_total\{.*\} (\S+)`).FindSubmatch(text)
	if err != nil || m == nil {
		return 0, false
	}
	n, err := strconv.ParseFloat(string(m[1]), 64)
	return int(n), err == nil
}

// until waits until the follower has taken so many rows since it began.
func (f *follower) until(t testing.TB, rows int) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Minute); ; {
		n, ok := f.rows()
		if ok && n >= rows {
			return
		}
		if time.Now().After(deadline) {
			f.kill()
			t.Fatalf("%d rows after five minutes, want %d; %s", n, rows, f.stderr)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// check exports all rows and compares them with what was written.
func (w *writer) check(t testing.TB, data string) {
	t.Helper()
	path, err := command()
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(path, "export", "--format", "jsonl", "--data", data).Output()
	if err != nil {
		t.Fatal(err)
	}
	type place struct {
		blob   string
		offset int64
	}
	type key struct{ nic, rule, state, time string }
	places, got := map[place]bool{}, map[key]int{}
	for line := range bytes.Lines(out) {
		var row struct {
			NIC, Rule, State, Time, Blob string
			Offset                       int64
		}
		if err := json.Unmarshal(line, &row); err != nil {
			t.Fatal(err)
		}
		if p := (place{row.Blob, row.Offset}); places[p] {
			t.Errorf("the row at %d of %s is there twice", row.Offset, row.Blob)
		} else {
			places[p] = true
		}
		got[key{row.NIC, row.Rule, row.State, row.Time}]++
	}
	want, lost := 0, 0
	for _, g := range w.blobs {
		for i := range g.rows {
			k := key{g.mac, g.rule, "B", time.UnixMilli(1795438800000 + int64(i)).UTC().Format("2006-01-02T15:04:05.000Z")}
			n := 1
			if i%3 == 2 {
				k.state, n = "D", 2
			}
			want += n
			if got[k] != n {
				lost++
			}
		}
	}
	if lost > 0 || len(places) != want {
		t.Errorf("%d rows are wrong; got %d, want %d", lost, len(places), want)
	}
	t.Logf("%d rows in %d blobs", want, len(w.blobs))
}

func (w *writer) total() int {
	n := 0
	for _, g := range w.blobs {
		n += g.rows / 3 * 4
	}
	return n
}

// A follower reads a block a minute of 500 interfaces with one request each.
func TestFollowRequests(t *testing.T) {
	s, p, data := newContainer(t), newProxy(t), t.TempDir()
	w := newWriter(t, s)
	w.minute(t, w.blobs)
	f := startFollower(t, data, p.URL+"/"+account+"/"+s.name)
	defer func() { f.kill() }()
	f.until(t, w.total())
	p.reads.Store(0)
	p.lists.Store(0)
	w.changes = 0
	start := time.Now()
	for range 5 {
		w.minute(t, w.blobs)
		f.until(t, w.total())
	}
	reads, lists := p.reads.Load(), p.lists.Load()
	t.Logf("%d changes of blobs in %v: %d reads, %d requests for lists", w.changes, time.Since(start), reads, lists)
	if ratio := float64(reads) / float64(w.changes); ratio > 1.05 {
		t.Errorf("%.3f reads for each blob that changed, want at most 1.05", ratio)
	}
	f.cmd.Process.Signal(os.Interrupt)
	<-f.read
	if err := f.cmd.Wait(); err != nil {
		t.Errorf("stopped with %v: %s", err, f.stderr)
	}
	w.check(t, data)
}

// Killed again and again while the logs grow, with and without a service that fails
// and a blob that is written anew, a follower loses no row and has none twice.
func TestFollowKilled(t *testing.T) {
	for name, faulty := range map[string]bool{"calm": false, "faulty": true} {
		t.Run(name, func(t *testing.T) {
			s, p, data := newContainer(t), newProxy(t), t.TempDir()
			p.faulty.Store(faulty)
			w := newWriter(t, s)
			source := p.URL + "/" + account + "/" + s.name
			ctx, stop := context.WithCancel(context.Background())
			written := make(chan struct{})
			go func() {
				defer close(written)
				for minute := 0; ctx.Err() == nil && minute < 55; minute++ {
					if minute%10 == 5 {
						w.blobs[minute].rewrite()
					}
					w.minute(t, w.blobs)
				}
			}()
			for range kills {
				f := startFollower(t, data, source)
				select {
				case <-f.read: // it ended by itself
					t.Errorf("ended: %s", f.stderr)
				case <-time.After(time.Duration(rand.Int64N(int64(2 * time.Second)))):
				}
				f.kill()
			}
			stop()
			<-written
			f := startFollower(t, data, source)
			defer func() { f.kill() }()
			w.settle(t, f)
			f.cmd.Process.Signal(os.Interrupt)
			<-f.read
			t.Logf("%d kills, %d changes of blobs, %d reads, %d faults", kills, w.changes, p.reads.Load(), p.faults.Load())
			w.check(t, data)
		})
	}
}

// settle waits until a pass has read all that there is.
func (w *writer) settle(t testing.TB, f *follower) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Minute); ; time.Sleep(100 * time.Millisecond) {
		if resp, err := http.Get(f.metrics); err == nil {
			text, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			// The second pass that ends well has nothing left to read.
			m := regexp.MustCompile(`passes_total\{.*outcome="ok"\} (\d+)`).FindSubmatch(text)
			if m != nil && string(m[1]) != "0" && string(m[1]) != "1" {
				return
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("not settled: %s", f.stderr)
		}
	}
}

// BenchmarkFollow measures how long after the last of 500 blobs got its block all rows
// can be asked for, when the follower looks each second.
func BenchmarkFollow(b *testing.B) {
	s, p, data := newContainer(b), newProxy(b), b.TempDir()
	w := newWriter(b, s)
	w.minute(b, w.blobs)
	f := startFollower(b, data, p.URL+"/"+account+"/"+s.name)
	defer func() { f.kill() }()
	f.until(b, w.total())
	var waited time.Duration
	for b.Loop() {
		w.minute(b, w.blobs)
		start := time.Now()
		f.until(b, w.total())
		waited += time.Since(start)
	}
	b.ReportMetric(waited.Seconds()/float64(b.N), "s/answerable")
}
