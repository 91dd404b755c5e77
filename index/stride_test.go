package index

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/klauspost/compress/zstd"
)

func TestStride(t *testing.T) {
	dec, err := zstd.NewReader(nil)
	must(t, err)
	defer dec.Close()
	var s strider
	r := rand.New(rand.NewPCG(1, 1))
	done := 0
	for range 2000 {
		n := r.IntN(batchRows+2) + 1
		low := r.IntN(9)
		shape := r.IntN(3)
		base := r.Uint64()
		var raw []byte
		for range n {
			v := r.Uint64()
			switch shape {
			case 0: // few distinct values
				v %= 7
			case 1: // small ones mostly
				v >>= r.IntN(64)
			}
			mask := uint64(1)<<(8*low) - 1
			raw = binary.LittleEndian.AppendUint64(raw, base&^mask|v&mask)
		}
		out, ok := s.encode([]byte("before"), raw)
		if !ok {
			if len(out) != len("before") {
				t.Fatal("it wrote something and says that it did not")
			}
			continue
		}
		done++
		got, err := dec.DecodeAll(out[len("before"):], nil)
		if err != nil || !bytes.Equal(got, raw) {
			t.Fatalf("%d numbers that differ in %d bytes: %v", n, low, err)
		}
	}
	if done < 1000 {
		t.Errorf("only %d of 2000 columns were of its kind", done)
	}
}
