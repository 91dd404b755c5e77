package parquet

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// textPage is the page of a dictionary of so many texts.
func textPage(n int, text func(i int) string) (page []byte) {
	for i := range n {
		t := text(i)
		page = append(binary.LittleEndian.AppendUint32(page, uint32(len(t))), t...)
	}
	return page
}

// A reader of zstd reads the frames of texts: of all lengths, about the ends of blocks, and
// whatever they have in common with those before them.
func TestFronts(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(7, 5))
	z, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	long := strings.Repeat("a text that all others are a part of, ", 8)
	random := func(n int) string {
		b := make([]byte, n)
		for i := range b {
			b[i] = 'a' + byte(r.IntN(20))
		}
		return string(b)
	}
	var f fronts
	for _, c := range []struct {
		name string
		most float64 // bytes a text, in the frame of many
		text func(i int) string
	}{
		{"addresses", 4.5, func(i int) string { return fmt.Sprintf("10.244.%d.%d", i/200%200, i*7%200) }},
		{"short addresses", 4.5, func(i int) string { return fmt.Sprintf("10.0.0.%d", i%256) }},
		{"two kinds of addresses", 12, func(i int) string {
			return fmt.Sprintf([]string{"10.0.0.%d", "2001:db8:aaaa:bbbb:cccc:dddd:%x:1"}[i%2], i%256)
		}},
		{"UIDs", 30, func(int) string { return fmt.Sprintf("%08x-0000-4000-8000-%012x", r.Uint32(), r.Uint64()>>16) }},
		{"fronts of one", 11, func(i int) string { return long[:i%(mostFront+1)] }},
		{"longer and longer", 8, func(i int) string { return long[:min(i, mostFront)] }},
		{"the longest", 160, func(int) string { return random(mostFront) }},
		{"of any length", 90, func(int) string { return random(r.IntN(mostFront + 1)) }},
		{"now and then a long one", 20, func(int) string { return random(r.IntN(4)) + long[:r.IntN(8)*r.IntN(2)*r.IntN(2)*30] }},
		{"empty", 4, func(int) string { return "" }},
		{"the same", 4, func(int) string { return "the same" }},
	} {
		for _, n := range []int{1, 2, 3, 4, 10, 127, 128, 129, 3000, 70_000} {
			page := textPage(n, c.text)
			frame := f.appendFrame([]byte("before"), page, n)
			if len(frame) >= len(page) {
				if n > 100 {
					t.Errorf("%s, %d texts: the frame has %d bytes, the page %d", c.name, n, len(frame), len(page))
				}
				continue // and is not used: no block of it may be larger than the page
			}
			if got, err := z.DecodeAll(frame[len("before"):], nil); err != nil || !bytes.Equal(got, page) {
				t.Errorf("%s, %d texts: %v, %d bytes, want %d", c.name, n, err, len(got), len(page))
			}
			if size := float64(len(frame)) / float64(n); n > 1000 && size > c.most {
				t.Errorf("%s: the frame has %.1f bytes a text, want %.1f at most", c.name, size, c.most)
			}
		}
	}
}
