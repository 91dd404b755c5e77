package main

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"
)

// TestReadme runs the commands in README's console blocks in a copy of the fixture
// and compares what they print. A line "..." stands for any number of lines.
func TestReadme(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	inFixture(t)
	// The first block shows answers before the quick start says how to get there.
	typed(t, "whichpod ingest blobs --data first")
	typed(t, "whichpod import pods podwatch.jsonl --cluster prod --data first")

	blocks := consoleBlocks(string(readme))
	commands := 0
	for i, block := range blocks {
		env := map[string]string{}
		if i == 0 {
			env["WHICHPOD_DATA"] = "first"
		}
		for _, c := range block {
			commands++
			var out, errs bytes.Buffer
			run(context.Background(), strings.Fields(c.command)[1:], &out, &errs, func(k string) string { return env[k] })
			if got := out.String() + errs.String(); !matches(c.output, strings.Split(strings.TrimSuffix(got, "\n"), "\n")) {
				t.Errorf("README shows for %q\n%s\nit prints\n%s", c.command, strings.Join(c.output, "\n"), got)
			}
		}
	}
	if len(blocks) < 2 || commands < 10 {
		t.Errorf("README has %d console blocks with %d commands: are they marked as console?", len(blocks), commands)
	}
}

func typed(t *testing.T, command string) {
	t.Helper()
	var out bytes.Buffer
	if code := run(context.Background(), strings.Fields(command)[1:], &out, &out, func(string) string { return "" }); code != answered {
		t.Fatalf("%s: exit code %d\n%s", command, code, &out)
	}
}

type shown struct {
	command string
	output  []string
}

// consoleBlocks are the commands of each console block with what they print.
func consoleBlocks(text string) [][]shown {
	var blocks [][]shown
	inside := false
	for _, line := range strings.Split(text, "\n") {
		switch {
		case line == "```console":
			inside = true
			blocks = append(blocks, nil)
		case line == "```":
			inside = false
		case !inside:
		case strings.HasPrefix(line, "$ "):
			blocks[len(blocks)-1] = append(blocks[len(blocks)-1], shown{command: line[2:]})
		default:
			last := blocks[len(blocks)-1]
			last[len(last)-1].output = append(last[len(last)-1].output, line)
		}
	}
	return blocks
}

// matches compares lines; "..." matches the rest, or all up to the line after it.
func matches(want, got []string) bool {
	if len(want) == 0 {
		return len(got) == 0 || (len(got) == 1 && got[0] == "")
	}
	if want[0] == "..." {
		for i := 0; i <= len(got); i++ {
			if matches(want[1:], got[i:]) {
				return true
			}
		}
		return false
	}
	return len(got) > 0 && want[0] == got[0] && matches(want[1:], got[1:])
}

func TestReadmeCheckCanFail(t *testing.T) {
	for _, c := range []struct {
		want, got string
		same      bool
	}{
		{"a\nb", "a\nb", true}, {"a", "a\nb", false}, {"a\n...", "a\nb\nc", true}, {"...\nc", "a\nb\nc", true}, {"...\nc", "a", false}, {"a\nb", "a", false},
	} {
		if got := matches(strings.Split(c.want, "\n"), strings.Split(c.got, "\n")); got != c.same {
			t.Errorf("matches(%q, %q) = %v, want %v", c.want, c.got, got, c.same)
		}
	}
}

// inFixture goes to a copy of the fixture for the time of the test.
func inFixture(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("testdata/fixture")); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
}
