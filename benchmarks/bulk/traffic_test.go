package bulk

import (
	"context"
	"hash/crc32"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/whichpod/whichpod/flow"
	"github.com/whichpod/whichpod/ingest"
)

// A blob has as many tuples as it says, all valid, and the address that is asked for as
// often as it says; whoever is no address outside is a pod's.
func TestGenerate(t *testing.T) {
	dir := t.TempDir()
	traffic, err := Generate(dir, 1)
	if err != nil {
		t.Fatal(err)
	}
	blobs, err := filepath.Glob(traffic.Logs + "/*/*/*/*/*/*/*/*/*/PT1H.json")
	if err != nil || len(blobs) != 1 || traffic.Blobs != 1 {
		t.Fatalf("got blobs %v, error %v, want one", blobs, err)
	}
	file, err := os.Open(blobs[0])
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	rows, needles, odd := int64(0), 0, 0
	needle, pods, world := netip.MustParseAddr(Needle), netip.MustParsePrefix("10.244.0.0/16"), netip.MustParsePrefix("20.0.0.0/8")
	d := ingest.NewDecoder(memory.NewGoAllocator(), func(b *flow.Batch) error {
		for i := range b.Len() {
			src, dst := b.Addresses[b.Src[i]], b.Addresses[b.Dst[i]]
			switch {
			case dst == needle:
				needles++
			case !pods.Contains(src) && !pods.Contains(dst), !pods.Contains(src) && !world.Contains(src), !pods.Contains(dst) && !world.Contains(dst):
				odd++
			}
		}
		rows += int64(b.Len())
		return nil
	}, func(r flow.Rejection) { t.Errorf("rejected: %+v", r) })
	defer d.Close()
	p, err := d.Decode(context.Background(), file, flow.Position{Blob: "b"})
	if err != nil || p.Length != traffic.Bytes || rows != traffic.Tuples || needles != NeedleRows || odd > 0 {
		t.Errorf("error %v, %d bytes, %d rows, %d of them asked for, %d with odd addresses; want %+v", err, p.Length, rows, needles, odd, traffic)
	}
}

func TestGenerateEqually(t *testing.T) {
	sum := func() (sums [3]uint32) {
		dir := t.TempDir()
		traffic, err := Generate(dir, 1)
		if err != nil {
			t.Fatal(err)
		}
		blobs, _ := filepath.Glob(traffic.Logs + "/*/*/*/*/*/*/*/*/*/PT1H.json")
		for i, path := range append(blobs, traffic.Journal, traffic.Pods) {
			raw, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			sums[i] = crc32.ChecksumIEEE(raw)
		}
		return sums
	}
	if a, b := sum(), sum(); a != b || a[0] == 0 || a[1] == 0 {
		t.Errorf("equal sizes gave files with sums %x and %x", a, b)
	}
}

// Nobody holds an address while another does.
func TestClusterPassesAddressesOn(t *testing.T) {
	c := newCluster(3)
	for n := range c.slots {
		for _, slot := range c.slots[n] {
			for i := 1; i < len(slot); i++ {
				if slot[i].from <= slot[i-1].to || slot[i].address != slot[0].address || slot[i].uid == slot[i-1].uid {
					t.Fatalf("%+v follows %+v", slot[i], slot[i-1])
				}
			}
		}
	}
}
