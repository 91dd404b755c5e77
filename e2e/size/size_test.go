//go:build e2e

// Package size_test gives the program a log of 2 GB that is wrong in every way that is
// about size, and holds its memory and what it kept against what was written.
package size_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// log is written piece by piece; offset is how much of it there is.
type log struct {
	w      *bufio.Writer
	offset int64
	rows   int
	wants  []string // the rejections, as "offset reason"
}

func (l *log) text(s string) {
	l.w.WriteString(s)
	l.offset += int64(len(s))
}

func (l *log) repeat(s string, n int) {
	for range n {
		l.text(s)
	}
}

func (l *log) reject(offset int64, reason string) {
	l.wants = append(l.wants, fmt.Sprintf("%d: %s", offset, reason))
}

const (
	head  = `{"time":"2026-08-20T14:00:52.2837112Z","flowLogVersion":4,"macAddress":"000D3A1B2C3D","category":"FlowLogFlowEvent","flowRecords":{"flows":[{"aclID":"acl","flowGroups":[`
	tail  = `]}]}}`
	tuple = `"1787236800000,10.224.0.1,203.0.113.66,1024,8443,6,O,B,NX,0,0,0,0"`
	group = `{"rule":"r","flowTuples":[` + tuple + `]}`
)

// record is a whole record of one tuple.
func (l *log) record() {
	l.text(head + group + tail)
	l.rows++
}

// write writes the log: oddities, each between whole records, and padding.
func (l *log) write() {
	l.text(`{"records":[`)
	for range 30 { // valid records with an unknown key of 60 MB
		l.text(`{"padding":"`)
		l.repeat(strings.Repeat("x", 1<<20), 60)
		l.text(`",` + head[1:] + group + tail + ",")
		l.rows++
	}
	for _, odd := range []func(){l.largeRecord, l.largeTuple, l.manyRules, l.tooManyRules, l.deep, l.invalidUTF8, l.zeros, l.largeNumbers} {
		l.record()
		l.text(",")
		odd()
		l.text(",")
	}
	l.record()
	l.text("]}")
}

func (l *log) largeRecord() {
	l.reject(l.offset, "too-large")
	l.text(head + `{"rule":"r","flowTuples":[` + tuple)
	l.repeat(","+tuple, 200<<20/(len(tuple)+1))
	l.text("]}" + tail)
}

func (l *log) largeTuple() {
	l.text(head + `{"rule":"r","flowTuples":[` + tuple + ",")
	l.reject(l.offset+1, "tuple")
	l.text(`"`)
	l.repeat("1,2,3,4,", 1<<17)
	l.text(`",` + tuple + "]}" + tail)
	l.rows += 2
}

func (l *log) manyRules() {
	l.text(head + `{"flowTuples":[` + tuple + `]}`)
	l.repeat(`,{"flowTuples":[]}`, 1_000_000)
	l.text(tail)
	l.rows++
}

func (l *log) tooManyRules() {
	l.reject(l.offset, "record")
	l.text(head + `{"flowTuples":[` + tuple + `]}`)
	l.repeat(`,{"flowTuples":[]}`, 1<<20)
	l.text(tail)
}

func (l *log) deep() {
	l.reject(l.offset, "record")
	l.text(`{"x":`)
	l.repeat(`[`, 1_000_000)
	l.repeat(`]`, 1_000_000)
	l.text(`,` + head[1:] + group + tail)
}

// invalidUTF8 loses nothing: the bytes of a name are replaced.
func (l *log) invalidUTF8() {
	l.text(strings.Replace(head, "acl\"", "a\xff\xfel\"", 1) + group + tail)
	l.rows++
}

func (l *log) zeros() {
	l.reject(l.offset, "record")
	l.text(head + strings.Replace(group, "10.224", "\x00\x00\x00\x00", 1) + tail)
}

func (l *log) largeNumbers() {
	l.text(head + `{"rule":"r","flowTuples":[` + tuple + ",")
	for _, bad := range []string{"18446744073709551616,0,0,0", "0,0,0," + strings.Repeat("9", 200)} {
		l.reject(l.offset+1, "tuple")
		l.text(strings.Replace(tuple, "0,0,0,0", bad, 1) + ",")
	}
	l.text(tuple + "]}" + tail)
	l.rows += 2
}

// Everything else is kept, each oddity is named with its offset, and memory stays
// below 256 MiB.
func TestSize(t *testing.T) {
	path := filepath.Join(t.TempDir(), "whichpod")
	if out, err := exec.Command("go", "build", "-o", path, "../../cmd/whichpod").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	r, w := io.Pipe()
	l := &log{w: bufio.NewWriterSize(w, 1<<20)}
	go func() {
		l.write()
		l.w.Flush()
		w.Close()
	}()
	var stdout, stderr bytes.Buffer
	cmd := exec.Command(path, "decode", "-")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = r, &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %s", err, stderr.String())
	}
	peak := cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss >> 10
	t.Logf("%d bytes, peak memory %d MiB", l.offset, peak)
	if peak > 256 {
		t.Errorf("peak memory is %d MiB, want at most 256", peak)
	}
	if got := bytes.Count(stdout.Bytes(), []byte("\n")); got != l.rows {
		t.Errorf("got %d rows, want %d", got, l.rows)
	}
	lines := strings.Split(strings.TrimSpace(stderr.String()), "\n")
	for i, want := range l.wants {
		offset, reason, _ := strings.Cut(want, ": ")
		if line := "whichpod: warning: byte " + offset + " of -: " + reason + ": "; i >= len(lines) || !strings.HasPrefix(lines[i], line) {
			t.Errorf("rejection %d: want %q in\n%s", i, line, stderr.String())
		}
	}
	if len(lines) != len(l.wants) {
		t.Errorf("got %d rejections, want %d:\n%s", len(lines), len(l.wants), stderr.String())
	}
}
