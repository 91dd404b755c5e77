package caselog

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/whichpod/whichpod/internal/journal"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func entry(name, verdict string, detected, asked int) Entry {
	return Entry{Case: name, Detected: noon.Add(time.Duration(detected) * time.Second), Asked: noon.Add(time.Duration(asked) * time.Second), Verdict: verdict, Answer: []byte(`{"verdict":"` + verdict + `"}`)}
}

func write(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "cases.journal")
	for _, e := range []Entry{entry("b", "masked", 0, 60), entry("a", "exact", 10, 40), entry("b", "exact", 0, 90), entry("b", "exact", 0, 500), entry("c", "gap", 5, 6)} {
		if err := Append(path, e); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

func TestTimeToIdentify(t *testing.T) {
	entries, err := Read(write(t))
	if err != nil || len(entries) != 5 {
		t.Fatalf("%d entries: %v", len(entries), err)
	}
	cases := Cases(entries)
	if len(cases) != 3 || *cases[0].Seconds != 30 || *cases[1].Seconds != 90 || cases[1].Questions != 3 || cases[2].Seconds != nil {
		t.Errorf("cases: %+v", cases)
	}
	if mean, ok := Mean(cases); !ok || mean != 60 {
		t.Errorf("mean is %v, %v", mean, ok)
	}
	if _, ok := Mean(cases[2:]); ok {
		t.Error("there is a mean of nothing")
	}
	if list, err := Read(filepath.Join(t.TempDir(), "none")); err != nil || list != nil {
		t.Errorf("without a log: %v, %v", list, err)
	}
	if damage, err := Check(filepath.Join(t.TempDir(), "none")); err != nil || damage != nil {
		t.Errorf("damage without a log: %v, %v", damage, err)
	}
}

// An entry that is changed or taken out is noticed, even with checksums made anew.
func TestChainOfEntries(t *testing.T) {
	path := write(t)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, bytes.Replace(data, []byte("gap"), []byte("gab"), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(path); err == nil {
		t.Error("a changed byte went unnoticed")
	}
	if damage, err := Check(path); err != nil || len(damage) != 1 || damage[0].Path != path {
		t.Errorf("damage is %v, %v", damage, err)
	}
	if err := Append(path, entry("d", "exact", 0, 1)); err == nil {
		t.Error("an entry was appended to a damaged log")
	}
	for name, change := range map[string]func([][]byte) [][]byte{
		"taken out": func(p [][]byte) [][]byte { return append(p[:1:1], p[2:]...) },
		"changed":   func(p [][]byte) [][]byte { p[1] = bytes.Replace(p[1], []byte("exact"), []byte("hosts"), 1); return p },
		"swapped":   func(p [][]byte) [][]byte { p[1], p[2] = p[2], p[1]; return p },
	} {
		var payloads [][]byte
		if _, err := journal.Read(write(t), magic, version, func(_ int64, p []byte) error {
			payloads = append(payloads, bytes.Clone(p))
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		forged := filepath.Join(t.TempDir(), "forged")
		j, err := journal.Open(forged, magic, version, func(int64, []byte) error { return nil })
		if err != nil {
			t.Fatal(err)
		}
		if err := j.Append(change(payloads)...); err != nil {
			t.Fatal(err)
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := Read(forged); err == nil || !strings.Contains(err.Error(), "does not follow") {
			t.Errorf("%s: got %v", name, err)
		}
		if damage, err := Check(forged); err != nil || len(damage) != 1 || !strings.Contains(damage[0].Detail, "does not follow") {
			t.Errorf("%s: %v, %v", name, damage, err)
		}
	}
}
