package journal_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/whichpod/whichpod/internal/journal"
)

var magic = [4]byte{'t', 'e', 's', 't'}

// mustOpen opens the journal and returns what it replays.
func mustOpen(t *testing.T, path string) (*journal.Journal, []string) {
	t.Helper()
	var got []string
	j, err := journal.Open(path, magic, 1, func(_ int64, p []byte) error {
		got = append(got, string(p))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { j.Close() })
	return j, got
}

func mustAppend(t *testing.T, j *journal.Journal, payloads ...string) {
	t.Helper()
	if err := j.Append(group(payloads...)...); err != nil {
		t.Fatal(err)
	}
}

func group(payloads ...string) [][]byte {
	var g [][]byte
	for _, p := range payloads {
		g = append(g, []byte(p))
	}
	return g
}

func read(t *testing.T, path string) ([]string, []journal.CorruptError) {
	t.Helper()
	var got []string
	damage, err := journal.Read(path, magic, 1, func(_ int64, p []byte) error {
		got = append(got, string(p))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return got, damage
}

func TestReplay(t *testing.T) {
	path := filepath.Join(t.TempDir(), "j")
	j, got := mustOpen(t, path)
	if got != nil {
		t.Fatalf("a new journal replays %q", got)
	}
	big := string(bytes.Repeat([]byte("0123456789abcdef"), 200_000)) // longer than any buffer
	want := []string{"one", "", "three", big, "five"}
	mustAppend(t, j, want[0], want[1])
	mustAppend(t, j, want[2:]...)
	mustAppend(t, j)
	if got, damage := read(t, path); !cmp.Equal(got, want) || damage != nil {
		t.Error("a reader beside the writer sees something else, or damage", damage)
	}
	info, _ := os.Stat(path)
	if j.Size() != info.Size() {
		t.Errorf("Size() = %d, file has %d", j.Size(), info.Size())
	}
	j.Close()
	if _, got = mustOpen(t, path); !cmp.Equal(got, want) {
		t.Error("the reopened journal replays something else")
	}
}

func TestReplayErrorEndsOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "j")
	j, _ := mustOpen(t, path)
	mustAppend(t, j, "x")
	j.Close()
	stop := errors.New("stop")
	for range 2 { // twice: the first must have released the lock
		if _, err := journal.Open(path, magic, 1, func(int64, []byte) error { return stop }); !errors.Is(err, stop) {
			t.Fatalf("got %v", err)
		}
	}
}

// fixture is a file of three groups and, for each length of a cut file, how many
// payloads must replay.
func fixture(t *testing.T) (file []byte, payloads []string, groupEnds []int64) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "j")
	j, _ := mustOpen(t, path)
	groupEnds = []int64{j.Size()}
	for _, g := range [][]string{{"alpha"}, {"beta", "", "gamma-gamma"}, {"delta", "epsilon"}} {
		mustAppend(t, j, g...)
		payloads = append(payloads, g...)
		groupEnds = append(groupEnds, j.Size())
	}
	j.Close()
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return file, payloads, groupEnds
}

func TestTornAtEveryByte(t *testing.T) {
	file, payloads, ends := fixture(t)
	whole := []int{0, 1, 4, 6} // payloads by number of groups
	for cut := range len(file) {
		groups := 0
		for groups < 3 && ends[groups+1] <= int64(cut) {
			groups++
		}
		for _, fill := range []int{0, 1, 40, 5000} { // zeros after the cut: the length was stored, the data was not
			if fill > 0 && cut < 8 {
				continue
			}
			path := filepath.Join(t.TempDir(), "j")
			os.WriteFile(path, append(bytes.Clone(file[:cut]), make([]byte, fill)...), 0o600)
			if fill > 0 && int64(cut) != ends[groups] {
				continue // half a frame and zeros behind it is damage: see TestFlip
			}
			end := ends[groups]
			if cut < 8 {
				end = 0 // of the header
			}
			if at, n, err := journal.Unfinished(path); err != nil || at != end || n != int64(cut+fill)-end {
				t.Fatalf("cut at %d, then %d zeros: %d bytes from %d on do not count, want %d from %d: %v", cut, fill, n, at, int64(cut+fill)-end, end, err)
			}
			j, got := mustOpen(t, path)
			if want := payloads[:whole[groups]]; len(got) != len(want) || len(got) > 0 && !cmp.Equal(got, want) {
				t.Fatalf("cut at %d: got %q, want %q", cut, got, want)
			}
			if d := j.Damage(); d != nil {
				t.Fatalf("cut at %d: damage %v", cut, d)
			}
			mustAppend(t, j, "after")
			j.Close()
			if again, damage := read(t, path); len(again) != len(got)+1 || damage != nil {
				t.Fatalf("cut at %d: after another append: %q, %v", cut, again, damage)
			}
		}
	}
}

func TestFlipEveryByte(t *testing.T) {
	file, payloads, _ := fixture(t)
	starts := []int64{8}
	for _, p := range payloads {
		starts = append(starts, starts[len(starts)-1]+17+int64(len(p)))
	}
	frame := 0
	for at := 8; at < len(file); at++ {
		if int64(at) == starts[frame+1] {
			frame++
		}
		want := append(append([]string{}, payloads[:frame]...), payloads[frame+1:]...)
		for bit := range 8 {
			path := filepath.Join(t.TempDir(), "j")
			broken := bytes.Clone(file)
			broken[at] ^= 1 << bit
			os.WriteFile(path, broken, 0o600)
			j, got := mustOpen(t, path)
			if !cmp.Equal(got, want) {
				t.Fatalf("flip in byte %d, frame %d: got %q, want %q", at, frame, got, want)
			}
			if d := j.Damage(); len(d) != 1 || d[0].Offset != starts[frame] || d[0].Path != path {
				t.Fatalf("flip in byte %d: damage %v, want one at %d", at, d, starts[frame])
			}
			if bit > 0 {
				j.Close()
				continue
			}
			mustAppend(t, j, "after")
			j.Close()
			if got, damage := read(t, path); !cmp.Equal(got, append(want, "after")) || len(damage) != 1 {
				t.Fatalf("flip in byte %d, after another append: %q, %v", at, got, damage)
			}
		}
	}
}

func TestJournalInsideAPayloadIsNotReplayed(t *testing.T) {
	inner, _, _ := fixture(t)
	path := filepath.Join(t.TempDir(), "j")
	j, _ := mustOpen(t, path)
	mustAppend(t, j, string(inner), "behind")
	j.Close()
	file, _ := os.ReadFile(path)
	file[8] ^= 1 // the outer frame's sync marker: everything up to "behind" is searched
	os.WriteFile(path, file, 0o600)
	if got, _ := read(t, path); !cmp.Equal(got, []string{"behind"}) {
		t.Errorf("got %q", got)
	}
}

func TestHeader(t *testing.T) {
	header := []byte("test\x01\x00\x00\x00")
	cases := []struct {
		name string
		file []byte
		want error
	}{
		{"magic", []byte("tesu\x01\x00\x00\x00"), journal.CorruptError{Offset: 0}},
		{"text", []byte("hi"), journal.CorruptError{Offset: 0}},
		{"version 0", []byte("test\x00\x00\x00\x00"), journal.CorruptError{Offset: 4}},
		{"reserved", []byte("test\x01\x00\x00\x07"), journal.CorruptError{Offset: 6}},
		{"newer", []byte("test\x02\x01\x00\x00"), journal.NewerVersionError{Got: 258, Max: 1}},
		{"whole", header, nil},
		{"half", header[:5], nil}, // a crash while the file was made
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "j")
			os.WriteFile(path, c.file, 0o600)
			_, rerr := journal.Read(path, magic, 1, nil)
			j, err := journal.Open(path, magic, 1, nil)
			if err == nil {
				defer j.Close()
			}
			for _, err := range []error{err, rerr} {
				switch want := c.want.(type) {
				case nil:
					if err != nil {
						t.Error(err)
					}
				case journal.CorruptError:
					var got journal.CorruptError
					if !errors.As(err, &got) || got.Offset != want.Offset || got.Path != path || got.Hint() == "" {
						t.Errorf("got %v, want damage at %d", err, want.Offset)
					}
				case journal.NewerVersionError:
					want.Path = path
					var got journal.NewerVersionError
					if !errors.As(err, &got) || got != want || got.Hint() == "" {
						t.Errorf("got %v, want %v", err, want)
					}
				}
			}
		})
	}
}

func TestReadCreatesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "j")
	if _, err := journal.Read(path, magic, 1, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Error("the file is there now")
	}
}

func TestLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "j")
	j, _ := mustOpen(t, path)
	if _, err := journal.Open(path, magic, 1, nil); !errors.Is(err, journal.ErrLocked) {
		t.Fatalf("second writer: got %v, want ErrLocked", err)
	}
	if err := j.Rewrite(group("a")...); err != nil { // another file now, still locked
		t.Fatal(err)
	}
	if _, err := journal.Open(path, magic, 1, nil); !errors.Is(err, journal.ErrLocked) {
		t.Fatalf("second writer after Rewrite: got %v, want ErrLocked", err)
	}
	j.Close()
	mustOpen(t, path)
}

func TestRewrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "j")
	j, _ := mustOpen(t, path)
	mustAppend(t, j, "a", "b")
	if err := j.Rewrite(group("c")...); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, j, "d")
	if got, _ := read(t, path); !cmp.Equal(got, []string{"c", "d"}) {
		t.Errorf("got %q", got)
	}
	if err := j.Rewrite(); err != nil {
		t.Fatal(err)
	}
	j.Close()
	if _, got := mustOpen(t, path); got != nil {
		t.Errorf("after an empty Rewrite: %q", got)
	}
}

func TestPayloadLimit(t *testing.T) {
	path := filepath.Join(t.TempDir(), "j")
	j, _ := mustOpen(t, path)
	if err := j.Append([]byte("a"), make([]byte, journal.MaxPayload+1)); err == nil {
		t.Fatal("a payload over the limit was taken")
	}
	mustAppend(t, j, "b")
	if got, damage := read(t, path); !cmp.Equal(got, []string{"b"}) || damage != nil {
		t.Errorf("got %q, %v", got, damage)
	}
}

func FuzzReplay(f *testing.F) {
	f.Add([]byte("test\x01\x00\x00\x00"))
	dir := f.TempDir()
	j, err := journal.Open(filepath.Join(dir, "seed"), magic, 1, nil)
	if err != nil {
		f.Fatal(err)
	}
	for i := range 4 {
		if err := j.Append([]byte(fmt.Sprint(i)), bytes.Repeat([]byte{0xf5}, i*10)); err != nil {
			f.Fatal(err)
		}
	}
	j.Close()
	seed, _ := os.ReadFile(filepath.Join(dir, "seed"))
	f.Add(seed)
	f.Add(seed[:len(seed)-3])
	f.Fuzz(func(t *testing.T, file []byte) {
		path := filepath.Join(t.TempDir(), "j")
		os.WriteFile(path, file, 0o600)
		total := 0
		count := func(_ int64, p []byte) error { total += len(p); return nil }
		damage, rerr := journal.Read(path, magic, 1, count)
		if total > len(file) {
			t.Fatalf("%d bytes of payload from a file of %d", total, len(file))
		}
		seen := total
		total = 0
		j, err := journal.Open(path, magic, 1, count)
		if (err == nil) != (rerr == nil) {
			t.Fatalf("Read says %v, Open says %v", rerr, err)
		}
		if err != nil {
			return
		}
		defer j.Close()
		if total != seen || len(damage) != len(j.Damage()) {
			t.Fatalf("Read and Open differ: %d, %d bytes; %v, %v", seen, total, damage, j.Damage())
		}
		mustAppend(t, j, "after")
		total = 0
		again, err := journal.Read(path, magic, 1, count)
		if err != nil || total != seen+5 || len(again) != len(damage) {
			t.Fatalf("after an append: %d bytes, want %d; %v, %v", total, seen+5, again, err)
		}
	})
}
