package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// full takes some bytes and then no more, as a disk.
type full struct{ left int }

var errFull = errors.New("no space left")

func (f *full) Write(b []byte) (int, error) {
	n := min(f.left, len(b))
	f.left -= n
	if n < len(b) {
		return n, errFull
	}
	return n, nil
}

// An answer that was not written whole is a failure, and says so once.
func TestAnswerThatCannotBeWritten(t *testing.T) {
	inFixture(t)
	typed(t, "whichpod ingest blobs")
	typed(t, "whichpod import pods podwatch.jsonl --cluster prod")
	for _, command := range []string{
		"who 10.244.0.9", "who 10.244.0.9 -o json", "talkers 203.0.113.66:8443", "owners 10.244.0.9", "trail web/api-7", "posture --config config.yaml",
		"export --format csv", "export --format parquet", "decode blobs/" + firstFile(t, "blobs"), "assert --to 203.0.113.66:8443 --only namespace=web",
		"status", "fsck", "compact", "ingest blobs", "import pods podwatch.jsonl --cluster prod", "demo", "version", "help", "who --help", "completion bash",
	} {
		for _, room := range []int{0, 8} {
			var errs bytes.Buffer
			code := run(context.Background(), strings.Fields(command), &full{left: room}, &errs, func(string) string { return "" })
			if code != failed || strings.Count(errs.String(), "whichpod: error: "+errFull.Error()) != 1 || strings.Count(errs.String(), errFull.Error()) != 1 {
				t.Errorf("%s, with room for %d bytes: exit code %d, want %d, and\n%s", command, room, code, failed, &errs)
			}
		}
	}
}

// firstFile is the path of the first file in a folder, inside of it.
func firstFile(t *testing.T, dir string) (first string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() && first == "" {
			first, err = filepath.Rel(dir, path)
		}
		return err
	})
	if err != nil || first == "" {
		t.Fatalf("no file in %q: %v", dir, err)
	}
	return first
}

// A failure of the command is told beside that of the answer.
func TestBothFailuresAreTold(t *testing.T) {
	var errs bytes.Buffer
	a := &app{stdout: &answerWriter{w: &full{}}, stderr: &errs}
	if _, err := a.stdout.Write([]byte("x")); !errors.Is(err, errFull) {
		t.Fatal(err)
	}
	if code := a.outcome(errors.New("2 places damaged")); code != failed {
		t.Errorf("exit code %d, want %d", code, failed)
	}
	if got, want := errs.String(), "whichpod: error: 2 places damaged\nwhichpod: error: no space left\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
