package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/whichpod/whichpod/ingest"
	"github.com/whichpod/whichpod/ingest/sourcetest"
)

// TestFollow follows a folder over the command line until it is told to stop, and
// reads the metrics meanwhile.
func TestFollow(t *testing.T) {
	dir := t.TempDir()
	hour := time.Now().UTC().Format("y=2006/m=01/d=02/h=15") // older ones are looked at once an hour
	blob := filepath.Join(dir, "logs", filepath.FromSlash(strings.Replace(sourcetest.Name(1), "y=2026/m=08/d=20/h=14", hour, 1)))
	write := func(records ...string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(blob), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(blob+".new", []byte(sourcetest.Blob(records...)), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(blob+".new", blob); err != nil {
			t.Fatal(err)
		}
	}
	write(sourcetest.Record(0, 7))
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	r, w := io.Pipe()
	var stdout bytes.Buffer
	code := make(chan int)
	go func() {
		defer w.Close()
		code <- run(ctx, []string{"ingest", "--follow", "--every", "1s", "--metrics", "127.0.0.1:0", "--data", filepath.Join(dir, "data"), filepath.Join(dir, "logs")}, &stdout, w, func(string) string { return "" })
	}()
	lines := bufio.NewReader(r)
	first, err := lines.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	go io.Copy(io.Discard, lines)
	url := regexp.MustCompile(`http://127\.0\.0\.1:\d+/metrics`).FindString(first)
	text := ""
	until := func(want string) string {
		t.Helper()
		for {
			resp, err := http.Get(url)
			if err != nil {
				t.Fatalf("%v; no %q in\n%s", err, want, text)
			}
			data, err := io.ReadAll(resp.Body)
			text = string(data)
			resp.Body.Close()
			if strings.Contains(text, want) {
				return text
			}
			if err != nil || ctx.Err() != nil {
				t.Fatalf("no %q in\n%s", want, text)
			}
		}
	}
	source := `{source="` + filepath.Join(dir, "logs") + `"} `
	until("whichpod_ingest_rows_total" + source + "7\n")
	write(sourcetest.Record(0, 7), strings.Replace(sourcetest.Record(7, 5), ",6,O,B", ",6,O,b", 1))
	text = until("whichpod_ingest_rows_total" + source + "11\n")
	for _, want := range []string{
		`whichpod_ingest_rejections_total{source="` + filepath.Join(dir, "logs") + `",reason="tuple"} 1`,
		"whichpod_ingest_lag_seconds" + source + "0\n", "whichpod_ingest_silent_nics" + source + "0\n", `,outcome="failed"} 0`, "whichpod_ingest_newest_block_timestamp_seconds",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	cancel()
	if got := <-code; got != answered || stdout.String() != "11 rows from 2 changed blobs\n" {
		t.Errorf("ended with %d and %q", got, stdout.String())
	}
}

// What is said of waiting, of coming back and of silence.
func TestFollowText(t *testing.T) {
	at := time.Date(2026, 8, 20, 14, 0, 0, 0, time.UTC)
	var out bytes.Buffer
	w := newFollowWriter(&out)
	denied := ingest.Pass{Source: "S", Err: io.ErrUnexpectedEOF, Since: at, Start: at.Add(time.Hour), Next: time.Now().Add(30*time.Second + time.Millisecond)}
	quiet := ingest.Pass{Source: "S", Since: at, Start: at.Add(time.Hour), Silent: []ingest.Silent{{NIC: "000D3A1B2C3D", Last: at}}}
	for _, p := range []ingest.Pass{denied, denied, quiet, quiet, {Source: "S"}, quiet} {
		w.pass(p)
	}
	want := "whichpod: waiting for S since 2026-08-20T14:00:00Z, trying again in 30s: unexpected EOF\n" +
		"whichpod: S is back after 1h0m0s\n" +
		"whichpod: warning: interface 000D3A1B2C3D fell silent: its last block came at 2026-08-20T14:00:00Z\n" +
		"whichpod: warning: interface 000D3A1B2C3D fell silent: its last block came at 2026-08-20T14:00:00Z\n"
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
}

// While a source cannot be read, the lag grows.
func TestFollowLag(t *testing.T) {
	st := newFollowing(nil)
	at := time.Date(2026, 8, 20, 14, 0, 0, 0, time.UTC)
	st.add(ingest.Pass{Source: "S", Start: at, Newest: at, Summary: ingest.Summary{Read: 2, Rows: 3, Rejected: map[string]int64{"tuple": 4}}})
	st.add(ingest.Pass{Source: "S", Start: at.Add(time.Minute), Newest: at, Err: io.EOF, Since: at, Summary: ingest.Summary{Rows: 1}})
	got := map[string]float64{}
	for _, f := range st.families(at.Add(time.Hour)) {
		for _, s := range f.Samples {
			got[strings.Join(append([]string{f.Name}, s.Labels...), " ")] = s.Value
		}
	}
	for name, want := range map[string]float64{
		"whichpod_ingest_lag_seconds source S":                    3600,
		"whichpod_ingest_rows_total source S":                     4,
		"whichpod_ingest_rejections_total source S reason tuple":  4,
		"whichpod_ingest_passes_total source S outcome failed":    1,
		"whichpod_ingest_last_success_timestamp_seconds source S": float64(at.Unix()),
	} {
		if got[name] != want {
			t.Errorf("%s is %v, want %v", name, got[name], want)
		}
	}
}
