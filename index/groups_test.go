package index

import (
	"fmt"
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
		got, err := decodeTables(u.zstd, raw)
		if err != nil {
			t.Fatalf("%s, %d bytes: %v", name, len(raw), err)
		}
		if diff := cmp.Diff(&want, got, cmp.AllowUnexported(tables{}, group{})); diff != "" {
			t.Errorf("%s: %.2000s", name, diff)
		}
	}
}
