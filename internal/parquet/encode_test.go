package parquet

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
)

// bitAt is a bit of packed numbers, the lowest one first.
func bitAt(packed []byte, at int) uint32 { return uint32(packed[at/8]>>(at%8)) & 1 }

// unpack reads packed numbers bit by bit.
func unpack(packed []byte, n int, width uint) []uint32 {
	out := make([]uint32, n)
	for i := range out {
		for k := range int(width) {
			out[i] |= bitAt(packed, i*int(width)+k) << k
		}
	}
	return out
}

// Numbers of each width are packed one after the other, the last eight filled up with
// zeros, and nothing before or behind them is touched.
func TestBits(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 5))
	for width := range uint(33) {
		for n := range 70 {
			numbers := make([]uint32, n)
			for i := range numbers {
				numbers[i] = uint32(uint64(r.Uint32()) & (1<<width - 1))
				if r.IntN(3) == 0 {
					numbers[i] = uint32(uint64(1)<<width - 1)
				}
			}
			out := appendBits([]byte{0xaa, 0x55}, numbers, width)
			eights := (n + 7) / 8
			if len(out) != 2+eights*int(width) || out[0] != 0xaa || out[1] != 0x55 {
				t.Fatalf("%d numbers of %d bits: %d bytes, %x", n, width, len(out), out)
			}
			want := append(numbers, make([]uint32, 8*eights-n)...)
			if got := unpack(out[2:], 8*eights, width); !slices.Equal(got, want) {
				t.Fatalf("%d numbers of %d bits: got %d, want %d", n, width, got, want)
			}
		}
	}
}

// readHybrid reads at least n numbers in the hybrid of runs and packed numbers.
func readHybrid(t *testing.T, data []byte, n int, width uint) (out []uint32) {
	t.Helper()
	for len(data) > 0 {
		head, size := binary.Uvarint(data)
		if data = data[size:]; head&1 == 1 {
			bytes := int(head>>1) * int(width)
			out = append(out, unpack(data, int(head>>1)*8, width)...)
			data = data[bytes:]
			continue
		}
		value := uint32(0)
		for k := range (width + 7) / 8 {
			value |= uint32(data[k]) << (8 * k)
		}
		out = append(out, slices.Repeat([]uint32{value}, int(head>>1))...)
		data = data[(width+7)/8:]
	}
	if len(out) < n || len(out) > n+7 {
		t.Fatalf("%d numbers, want %d and at most 7 more", len(out), n)
	}
	return out[:n]
}

// runsOf has n numbers below most, in runs of all lengths about 8 and 16.
func runsOf(r *rand.Rand, n int, most uint32) []uint32 {
	out := make([]uint32, 0, n)
	for len(out) < n {
		length := []int{1, 2, 7, 8, 9, 15, 16, 17, 40}[r.IntN(9)]
		out = append(out, slices.Repeat([]uint32{r.Uint32N(most)}, min(length, n-len(out)))...)
	}
	return out
}

// Codes of all widths are read back from runs and packed stretches, and are the same bytes
// whether a code has a byte or a word.
func TestRuns(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(2, 5))
	for range 4000 {
		width := uint(r.IntN(21))
		codes := runsOf(r, r.IntN(120), 1<<width)
		runs := appendRuns(nil, codes, width)
		if got := readHybrid(t, runs, len(codes), width); !slices.Equal(got, codes) {
			t.Fatalf("%d bits: got %d, want %d", width, got, codes)
		}
		if width > 8 {
			continue
		}
		small := make([]uint8, len(codes))
		for i, c := range codes {
			small[i] = uint8(c)
		}
		if got := appendSmallRuns(nil, small, width); !bytes.Equal(got, runs) {
			t.Fatalf("%d in %d bits: %x of bytes, %x of words", codes, width, got, runs)
		}
	}
}

// A reader of zstd reads the frames that are made here: of pages as they are, about the
// ends of blocks, and of numbers with each number of lower bytes.
func TestFrames(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(3, 5))
	z, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	check := func(what string, frame, page []byte) {
		t.Helper()
		if got, err := z.DecodeAll(frame, nil); err != nil || !bytes.Equal(got, page) {
			t.Errorf("%s: %v, %d bytes, want %d", what, err, len(got), len(page))
		}
	}
	for _, n := range []int{0, 1, 100, frameBlock - 1, frameBlock, frameBlock + 1, 3*frameBlock + 5} {
		page := make([]byte, n)
		for i := range page {
			page[i] = byte(r.Uint32())
		}
		check(fmt.Sprintf("%d bytes", n), appendFrame(nil, page), page)
	}
	var s narrowing
	const block = frameBlock / 8
	for lower := 1; lower <= widest; lower++ {
		for _, n := range []int{leastMany, leastMany + 1, leastMany + 2, block, block + 1, block + 2, block + 3, 2*block + 129, 2*block + 130, 5 * block} {
			for _, most := range []uint64{1, 1 << 6, 1 << (8*lower - 7), 1 << (8 * lower)} {
				page, kept := []byte("levels"), numbers[int64]{kept: make([]int64, n), base: r.Int64N(2)}
				for i := range kept.kept {
					v := r.Int64N(min(int64(most), 1<<(8*lower)))
					kept.kept[i] = v - kept.base
					page = binary.LittleEndian.AppendUint64(page, uint64(v))
				}
				frame := appendNarrow(&s, nil, []byte("levels"), kept, lower)
				check(fmt.Sprintf("%d numbers below %d, %d lower bytes", n, most, lower), frame, page)
				if room := 100 + n*lower + n/50; len(frame) > room {
					t.Errorf("%d numbers of %d bytes: the frame has %d bytes, want at most %d", n, lower, len(frame), room)
				}
			}
		}
	}
}

// An effort in vain is left out for some chunks, and made again after them; and a page
// that becomes smaller stands beside one that does not.
func TestEffortsPause(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(4, 5))
	columns := []Column{{"text", Text, false}, {"count", Uint64, false}}
	const rows, groups = 2 * maxDistinct, pauseChunks + 2
	w, err := NewWriter(&bytes.Buffer{}, columns, "test")
	if err != nil {
		t.Fatal(err)
	}
	var large, many []bool
	for g := range groups {
		text, count := Chunk{Codes: make([]uint32, rows), Texts: make([]string, 256)}, Chunk{Numbers: make([]int64, rows)}
		for i := range text.Texts {
			text.Texts[i] = fmt.Sprintf("a text that is long and much like all others %d", i)
		}
		for i := range rows {
			text.Codes[i], count.Numbers[i] = uint32(i%7), int64(maxDistinct+i%7)
			if g == 0 { // nothing to be found
				text.Codes[i], count.Numbers[i] = r.Uint32N(256), r.Int64()
			}
		}
		m := w.writeChunk(&columns[0], &text, rows, &w.pasts[0])
		if !m.compressed {
			t.Errorf("group %d: the dictionary is not compressed", g)
		}
		large = append(large, m.stored > rows)
		m = w.writeChunk(&columns[1], &count, rows, &w.pasts[1])
		many = append(many, m.encoding == encodingPlain)
	}
	want := append(slices.Repeat([]bool{true}, groups-1), false)
	if diff := cmp.Diff([][]bool{want, want}, [][]bool{large, many}); diff != "" {
		t.Errorf("codes that are not compressed, counters without a dictionary, by group: -want +got:\n%s", diff)
	}
}

// Chunks that share the places of their codes are written as if each had its own codes, and
// memory that is used again for other codes is looked at again.
func TestChunksSharePlaces(t *testing.T) {
	t.Parallel()
	columns := []Column{{"a", Text, false}, {"b", Text, false}, {"c", Text, true}, {"d", Text, false}, {"e", Text, false}, {"f", Texts, false}, {"g", Text, false}, {"h", Text, false}}
	texts, more := []string{"x", "y", "z"}, []string{"u", "v", "w", "x", "y"}
	lists := [][]uint32{{}, {1}, {2, 0, 1}, {4, 4}}
	r := rand.New(rand.NewPCG(5, 5))
	for _, rows := range []int{1, 9, 1000} {
		var shared, own bytes.Buffer
		one, err := NewWriter(&shared, columns, "test")
		if err != nil {
			t.Fatal(err)
		}
		other, err := NewWriter(&own, columns, "test")
		if err != nil {
			t.Fatal(err)
		}
		const places = 40
		of, another := make([]uint16, rows), make([]uint16, rows)
		var codes [6][places]uint32
		for range 3 {
			for i := range rows {
				of[i], another[i] = uint16(r.IntN(places)), uint16(r.IntN(places))
			}
			nulls := r.Uint64()
			for i := range places {
				codes[0][i], codes[1][i], codes[2][i], codes[3][i], codes[4][i] = r.Uint32N(3), r.Uint32N(3), r.Uint32N(3), 0, r.Uint32N(4)
				if nulls>>i&1 == 1 {
					codes[0][i], codes[3][i] = None, None
				}
				if r.IntN(3) == 0 {
					codes[4][i] = None
				}
				codes[5][i] = None
			}
			a := []Chunk{
				{Codes: codes[0][:], Of: of, Texts: texts}, {Codes: codes[0][:], Of: of, Texts: texts}, // the same
				{Codes: codes[2][:], Of: of, Texts: texts},
				{Codes: codes[3][:], Of: of, Texts: texts[:1]}, // null with the first ones
				{Codes: codes[0][:], Of: another, Texts: more}, // of other places
				{Codes: codes[4][:], Of: of, Lists: lists, Texts: more},
				{Codes: codes[5][:], Of: of}, // always null
				{Codes: codes[1][:], Of: another, Texts: texts},
			}
			b := make([]Chunk, len(a))
			for k, c := range a {
				b[k] = Chunk{Texts: c.Texts, Lists: c.Lists}
				for i, place := range c.Of {
					b[k].Codes = append(b[k].Codes, c.Codes[place])
					if columns[k].Kind == Texts {
						b[k].Of = append(b[k].Of, uint16(i))
					}
				}
			}
			if err := one.WriteGroup(rows, a); err != nil {
				t.Fatal(err)
			}
			if err := other.WriteGroup(rows, b); err != nil {
				t.Fatal(err)
			}
		}
		if one.Close() != nil || other.Close() != nil || !bytes.Equal(shared.Bytes(), own.Bytes()) {
			t.Errorf("%d rows: shared places made other bytes", rows)
		}
	}
}

// Codes and numbers make the same bytes in whichever width they are given.
func TestWidthsMakeTheSameBytes(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(6, 5))
	columns := []Column{{"text", Text, false}, {"coded", Uint16, true}, {"time", Millis, true}, {"maybe", Uint64, false}, {"count", Uint64, true}, {"port", Uint16, true}}
	for range 300 {
		rows := 1 + r.IntN([]int{3, 300, 20_000}[r.IntN(3)])
		entries := 1 + r.IntN([]int{3, MostSmall}[r.IntN(2)])
		most := int64(1) << (1 + r.IntN(32))
		base := []int64{0, 1_795_168_801_000 - 1<<31, -5}[r.IntN(3)]
		wide, narrow := make([]Chunk, len(columns)), make([]Chunk, len(columns))
		for range entries {
			wide[0].Texts, wide[1].Numbers = append(wide[0].Texts, fmt.Sprint(r.Uint32())), append(wide[1].Numbers, r.Int64N(1<<16))
		}
		narrow[0].Texts, narrow[1].Numbers = wide[0].Texts, wide[1].Numbers
		number := func(k int, more, base int64) {
			wide[k].Numbers = append(wide[k].Numbers, base+more)
			narrow[k].Words, narrow[k].Base = append(narrow[k].Words, uint32(more)), base
		}
		some := make([]int64, 1+r.IntN(2*maxDistinct)) // of which a column may have few
		for i := range some {
			some[i] = r.Int64N(most)
		}
		for range rows {
			code := r.Uint32N(uint32(entries))
			wide[1].Codes, narrow[1].Small = append(wide[1].Codes, code), append(narrow[1].Small, uint8(code))
			if r.IntN(3) == 0 {
				code = None
			}
			wide[0].Codes, narrow[0].Small = append(wide[0].Codes, code), append(narrow[0].Small, uint8(code))
			number(2, r.Int64N(most), base)
			number(3, some[r.IntN(len(some))], 0)
			number(4, r.Int64N(most), 0)
			null := r.IntN(4) == 0
			wide[3].Null, narrow[3].Null = append(wide[3].Null, null), append(narrow[3].Null, null)
			port := uint16(r.Uint32())
			wide[5].Numbers, narrow[5].Shorts = append(wide[5].Numbers, int64(port)), append(narrow[5].Shorts, port)
		}
		var files [2]bytes.Buffer
		for i, chunks := range [][]Chunk{wide, narrow} {
			w, err := NewWriter(&files[i], columns, "test")
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(w.WriteGroup(rows, chunks), w.Close()); err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(files[0].Bytes(), files[1].Bytes()) {
			t.Errorf("%d rows, %d entries, numbers below %d from %d on: other bytes", rows, entries, most, base)
		}
	}
}

// The least and the greatest number are found wherever they stand, with a sign and without.
func TestExtremes(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(7, 5))
	for range 3000 {
		n := numbers[int64]{base: r.Int64N(3)}
		narrow := numbers[uint16]{base: r.Int64N(3)}
		for range 1 + r.IntN(40) {
			v := int64(r.Uint64()) >> r.IntN(64)
			n.kept, narrow.kept = append(n.kept, v/2), append(narrow.kept, uint16(v))
		}
		if lo, hi := n.extremes(Int64); lo != n.full(slices.Min(n.kept)) || hi != n.full(slices.Max(n.kept)) {
			t.Fatalf("%d: %d and %d", n.kept, lo, hi)
		}
		if lo, hi := narrow.extremes(Uint64); lo != narrow.full(slices.Min(narrow.kept)) || hi != narrow.full(slices.Max(narrow.kept)) {
			t.Fatalf("%d: %d and %d", narrow.kept, lo, hi)
		}
		n.base = 0
		var unsigned []uint64
		for _, v := range n.kept {
			unsigned = append(unsigned, uint64(v))
		}
		if lo, hi := n.extremes(Uint64); uint64(lo) != slices.Min(unsigned) || uint64(hi) != slices.Max(unsigned) {
			t.Fatalf("%d: %d and %d", unsigned, uint64(lo), uint64(hi))
		}
	}
}
