package bulk

import (
	"bytes"
	"crypto/sha256"
	"io"
	"math/rand/v2"
	"strconv"
	"testing"
)

func source(seed uint64) *Source {
	pod := func(r *rand.Rand) string { return "10.244.0." + strconv.Itoa(r.IntN(250)) }
	return New("000D3A1B2C3D", seed, func(r *rand.Rand, _ int64) string { return pod(r) }, pod)
}

// Equal seeds give equal bytes, others do not; each tuple that was asked for is there.
func TestSameSeedSameBytes(t *testing.T) {
	blob := Blob{Start: 1_795_168_800_000, Records: 3, Tuples: 600, Needle: "203.0.113.66", Needles: 7}
	write := func(seed uint64) []byte {
		var out bytes.Buffer
		n, err := source(seed).Write(&out, blob)
		if err != nil || n != int64(out.Len()) {
			t.Fatalf("%d bytes of %d: %v", n, out.Len(), err)
		}
		return out.Bytes()
	}
	first := write(1)
	if sha256.Sum256(first) != sha256.Sum256(write(1)) || bytes.Equal(first, write(2)) {
		t.Error("the seed does not decide the bytes")
	}
	if tuples, needles := bytes.Count(first, []byte(",NX,")), bytes.Count(first, []byte(","+blob.Needle+",")); tuples != blob.Records*blob.Tuples || needles != blob.Needles {
		t.Errorf("%d tuples, %d of them to the needle", tuples, needles)
	}
}

// What a source remembers does not grow with what it writes: as many tuples as one likes
// are streamed.
func TestStreams(t *testing.T) {
	s := source(1)
	for hour := range int64(10) {
		if _, err := s.Write(io.Discard, Blob{Start: hour * 3_600_000, Records: 1, Tuples: 100_000}); err != nil {
			t.Fatal(err)
		}
		if len(s.open) > 21_000 {
			t.Fatalf("%d flows are open after %d blobs", len(s.open), hour+1)
		}
	}
}
