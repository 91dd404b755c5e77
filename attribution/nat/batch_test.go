package nat

import (
	"bytes"
	"errors"
	"flag"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var writeFixture = flag.Bool("write-fixture", false, "write the fixture of the present version")

func exampleBatch() *Batch {
	r := rand.New(rand.NewPCG(4, 4))
	b := &Batch{Cluster: "prod", Node: "node-a", Session: "20261123T130000Z-0a0b0c0d", Number: 7, Covered: []Range{{1000, 2000}, {3000, 9000}}, Lost: 2}
	for range 40 {
		f := randomFlow(r)
		f.Node = b.Node
		b.Flows = append(b.Flows, f)
	}
	return b
}

// What was encoded is decoded; and the fixture, which version 1 wrote, is still read.
func TestBatchIsRead(t *testing.T) {
	want := exampleBatch()
	data, err := want.Encode()
	if err != nil {
		t.Fatal(err)
	}
	const path = "testdata/v1.wpnb"
	if *writeFixture {
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	fixture, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, bytes := range map[string][]byte{"encoded": data, "fixture": fixture} {
		got, err := DecodeBatch(bytes)
		if err != nil {
			t.Fatal(name, err)
		}
		if diff := cmp.Diff(want, got, addresses); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	if !bytes.Equal(data, fixture) {
		t.Error("the bytes of a batch have changed: that is a new version")
	}
}

// A batch that was cut or changed anywhere is none.
func TestBatchIsWhole(t *testing.T) {
	data, err := exampleBatch().Encode()
	if err != nil {
		t.Fatal(err)
	}
	for n := range data {
		if _, err := DecodeBatch(data[:n]); !errors.Is(err, ErrBatch) {
			t.Fatalf("cut to %d bytes: %v", n, err)
		}
		bad := bytes.Clone(data)
		bad[n] ^= 0x10
		if _, err := DecodeBatch(bad); !errors.Is(err, ErrBatch) {
			t.Fatalf("byte %d changed: %v", n, err)
		}
	}
}

func FuzzDecodeBatch(f *testing.F) {
	data, err := exampleBatch().Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data[8:])
	f.Fuzz(func(t *testing.T, body []byte) {
		// The checksum is put right, so that what is behind it is reached.
		b, err := DecodeBatch(checked(body))
		if err != nil {
			if !errors.Is(err, ErrBatch) {
				t.Fatal(err)
			}
			return
		}
		if _, err := b.Encode(); err != nil {
			t.Fatal(err)
		}
	})
}

// checked is a file with a right head and checksum around a body.
func checked(body []byte) []byte {
	out := append([]byte("wpnb\x01\x00\x00\x00"), body...)
	if len(body) > 4 {
		out = out[:len(out)-4] // the checksum of what body was made of
	}
	return appendCheck(out)
}
