package index

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
)

// TestTables writes tables that hardly take any bytes, and ones that take many, and reads
// them back.
func TestTables(t *testing.T) {
	z, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	must(t, err)
	defer z.Close()
	u, err := newUnpacker()
	must(t, err)
	defer u.close()
	even, many := newColumns(), newColumns()
	for i := range segmentGroups + 1 {
		even.groups = append(even.groups, group{ordinal: 0, setting: even.settingOf(setting{nic: "N"}), record: int64(i) * 60_000, time: int64(i) * 60_000, offset: int64(i) * 100})
		x := fmt.Sprint(i)
		many.groups = append(many.groups, group{ordinal: many.ordinal(uint32(i+1), "path "+x), setting: many.settingOf(setting{x, "e" + x, "r" + x, "a" + x}), slope: -int64(i)})
	}
	even.ordinal(7, "path")
	for name, c := range map[string]*columns{"even": even, "many": many} {
		want := c.tables()
		raw := want.encode(z)
		got, err := u.decodeTables(raw)
		if err != nil {
			t.Fatalf("%s, %d bytes: %v", name, len(raw), err)
		}
		if diff := cmp.Diff(&want, got, cmp.AllowUnexported(tables{}, group{})); diff != "" {
			t.Errorf("%s: %.2000s", name, diff)
		}
	}
}

// TestOrigins looks at origins of groups whose settings and ordinals come in any order.
func TestOrigins(t *testing.T) {
	r := rand.New(rand.NewPCG(8, 9))
	for range 100 {
		x := tables{paths: make([]uint32, 1+r.IntN(5)), settings: make([][4]uint32, 1+r.IntN(5))}
		for i := range x.paths {
			x.paths[i] = uint32(100 + i)
		}
		for i := range x.settings {
			x.settings[i] = [4]uint32{uint32(i), 1, 2, 3}
		}
		for range r.IntN(200) {
			x.groups = append(x.groups, group{ordinal: uint32(r.IntN(len(x.paths))), setting: uint32(r.IntN(len(x.settings)))})
		}
		x.findOrigins()
		for i, g := range x.groups {
			want := origin{g.ordinal, [5]uint32{g.setting, 1, 2, 3, 100 + g.ordinal}}
			if got := x.origins[g.origin]; got != want {
				t.Fatalf("group %d has origin %v, want %v", i, got, want)
			}
		}
		once := make(map[origin]bool)
		for _, o := range x.origins {
			if once[o] {
				t.Fatalf("origin %v is there twice", o)
			}
			once[o] = true
		}
	}
}
