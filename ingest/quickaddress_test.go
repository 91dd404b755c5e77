package ingest

import (
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/whichpod/whichpod/flow"
)

// codeOf asks for the code of a text, a comma behind it.
func codeOf(t *quickAddresses, text string, rows *flow.Builder) (uint32, bool) {
	var w [quickTuple]byte
	copy(w[timeBytes:], text+",443")
	key := textKey(&w, timeBytes, timeBytes+len(text))
	if key == 0 {
		return 0, false
	}
	if s := t.near(key, t.place(key)); s.text == key {
		return s.code, true
	}
	return t.code(key, w[:], timeBytes, rows)
}

// TestQuickAddresses asks in many batches for more addresses than the table or a
// dictionary holds, of which the builder gets some by the other way, and wants the
// builder's codes.
func TestQuickAddresses(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 3))
	rows := flow.NewBuilder(memory.DefaultAllocator)
	defer rows.Release()
	q := quickAddresses{}
	asked := map[netip.Addr]uint32{}
	dictionaries := 0
	for batch := range 40 {
		if d := rows.Dictionary(); d != q.dictionary {
			clear(asked)
			dictionaries++
		}
		q.begin(rows.Dictionary())
		n := 1000
		if batch%8 == 0 {
			n = 1 << 17
		}
		for range n {
			a := netip.AddrFrom4([4]byte{10, byte(r.IntN(4)), byte(r.Uint32()), byte(r.Uint32())})
			if batch%3 == 0 && r.IntN(50) == 0 {
				asked[a] = rows.AddressCode(a)
			}
			code, ok := codeOf(&q, a.String(), rows)
			if before, again := asked[a]; !ok || again && before != code {
				t.Fatalf("batch %d: code of %v is %d, %t; was %d", batch, a, code, ok, before)
			}
			asked[a] = code
		}
		for a, code := range asked {
			if want := rows.AddressCode(a); code != want {
				t.Fatalf("batch %d: code of %v is %d, the builder's is %d", batch, a, code, want)
			}
		}
		if rows.AddressCount() != len(asked) {
			t.Fatalf("batch %d: %d addresses, asked for %d", batch, rows.AddressCount(), len(asked))
		}
		rows.NewBatch()
	}
	if dictionaries < 2 {
		t.Errorf("%d dictionary, want several", dictionaries)
	}
}

// TestQuickAddressText changes each character of known addresses to each other one, and
// wants those to be taken that are addresses.
func TestQuickAddressText(t *testing.T) {
	rows := flow.NewBuilder(memory.DefaultAllocator)
	defer rows.Release()
	q := quickAddresses{}
	q.begin(rows.Dictionary())
	for _, known := range []string{"10.24.3.117", "1.2.3.4", "1.2.3.40", "255.255.255.255", "0.0.0.0"} {
		for i := range len(known) {
			for c := range 256 {
				if _, ok := codeOf(&q, known, rows); !ok {
					t.Fatalf("%s was not taken", known)
				}
				text := known[:i] + string([]byte{byte(c)}) + known[i+1:]
				want, err := netip.ParseAddr(text)
				code, ok := codeOf(&q, text, rows)
				if ok != (err == nil) || ok && code != rows.AddressCode(want) {
					t.Fatalf("%q: got %d, %t, want %v, %v", text, code, ok, want, err)
				}
			}
		}
	}
}
