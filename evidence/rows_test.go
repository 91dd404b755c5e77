package evidence

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"net/netip"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/apache/arrow/go/v17/parquet/file"
	"github.com/apache/arrow/go/v17/parquet/pqarrow"
	"github.com/google/go-cmp/cmp"

	"github.com/whichpod/whichpod/attribution"
	"github.com/whichpod/whichpod/flow"
	"github.com/whichpod/whichpod/index"
	"github.com/whichpod/whichpod/query"
)

// Times in tests are seconds after ten o'clock.
var ten = time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)

func sec(s int64) int64 { return ten.UnixMilli() + s*1000 }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// engine holds a row of each kind: exact at both ends, masked, boundary, gap,
// external, and counters that are null, in part, and at their limits.
func engine(t testing.TB) *query.Engine {
	t.Helper()
	addr := netip.MustParseAddr
	pod := func(uid, name, node, host, ip string, made int64) attribution.Fact {
		b := attribution.Bounds{SeenBy: sec(made + 2), SeenLast: sec(made + 2), RunningBy: sec(made + 1), AliveAt: sec(made + 1), FirstVersion: uint64(made), LastVersion: uint64(made)}
		p := attribution.PodFact{UID: uid, Presence: b, Holdings: []attribution.Holding{{Address: addr(ip), Bounds: b}},
			Identity: &attribution.Identity{Namespace: "web", Name: name, Node: node, HostAddresses: []netip.Addr{addr(host)}}}
		p.Presence.NotBefore = sec(made)
		return attribution.Fact{Cluster: "prod", Pod: p}
	}
	gone := pod("a", `api "7", <odd>`, "n", "10.224.0.4", "10.244.0.9", 10)
	for _, b := range []*attribution.Bounds{&gone.Pod.Presence, &gone.Pod.Holdings[0].Bounds} {
		b.AliveAt, b.StoppedFirst, b.StoppedLast = sec(500), sec(620), sec(620)
	}
	l := attribution.NewLedger()
	_, err := l.Append(attribution.Fact{Cluster: "prod", Watched: &attribution.Range{From: sec(0), To: sec(4000)}}, gone,
		pod("a2", "api-8", "n", "10.224.0.4", "10.244.0.9", 600), pod("b", "db-0", "m", "10.224.0.5", "10.244.1.5", 10))
	must(t, err)
	cfg := attribution.DefaultConfig()
	cfg.Clusters = []attribution.Cluster{{Name: "prod", Network: attribution.Overlay, PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16")}}}

	row := func(at int64, src, dst string, state byte, c flow.Counters) flow.Row {
		s, d := netip.MustParseAddrPort(src), netip.MustParseAddrPort(dst)
		return flow.Row{Time: sec(at), NIC: "000D3A00000A", Direction: flow.Outbound, State: state, Src: s.Addr(), SrcPort: s.Port(), Dst: d.Addr(), DstPort: d.Port(),
			Protocol: 6, Encryption: "NX", Allowed: state != flow.Denied, Rule: "allow, \"all\"\n<x>", ACL: "acl", Counters: c, RecordTime: sec(at + 30), Blob: "y=2026/PT1H.json", Offset: at}
	}
	null := flow.Counters{Null: flow.NullAll}
	rows := []flow.Row{
		row(100, "10.244.0.9:4000", "10.244.1.5:80", flow.Begin, null),
		row(160, "10.244.0.9:4000", "10.244.1.5:80", flow.End, flow.Counters{PacketsSent: 1, BytesSent: 2, PacketsReceived: 3, BytesReceived: 1<<64 - 1}),
		row(170, "10.224.0.4:1035", "203.0.113.66:443", flow.Begin, flow.Counters{PacketsSent: 5, Null: flow.NullBytesSent | flow.NullBytesReceived}),
		row(610, "10.244.0.9:5000", "[2001:db8::1]:443", flow.Denied, null),
		row(700, "203.0.113.66:1", "10.244.7.7:443", flow.Begin, null),
		row(701, "203.0.113.66:2", "10.224.0.5:443", flow.Begin, flow.Counters{}),
	}
	store, err := index.Open(filepath.Join(t.TempDir(), "index"), index.Options{})
	must(t, err)
	t.Cleanup(func() { must(t, store.Close()) })
	w, err := store.Writer()
	must(t, err)
	b := flow.NewBuilder(memory.DefaultAllocator)
	defer b.Release()
	for i := range rows {
		b.Append(&rows[i])
	}
	batch := b.NewBatch()
	defer batch.Release()
	must(t, errors.Join(w.Append(batch), w.Advance(flow.Position{Blob: "y=2026/PT1H.json", Offset: 9000}, nil), w.Commit(), w.Close()))
	return query.New(store, l.View(cfg))
}

// export writes the rows of a range; 0, 0 is all.
func export(t testing.TB, e *query.Engine, format string, since, until int64) []byte {
	t.Helper()
	mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer mem.AssertSize(t, 0)
	var out bytes.Buffer
	w, err := NewRowWriter(&out, format, mem)
	must(t, err)
	must(t, e.All(context.Background(), since, until, w.Write))
	must(t, w.Close())
	return out.Bytes()
}

// fromLines reads JSON lines.
func fromLines(t testing.TB, data []byte) []Row {
	t.Helper()
	var out []Row
	for line := range bytes.Lines(data) {
		d := json.NewDecoder(bytes.NewReader(line))
		d.DisallowUnknownFields()
		var r Row
		must(t, d.Decode(&r))
		out = append(out, r)
	}
	return out
}

// fromTable reads CSV: an empty field is null where a column can be null.
func fromTable(t testing.TB, data []byte) []Row {
	t.Helper()
	records, err := csv.NewReader(bytes.NewReader(data)).ReadAll()
	must(t, err)
	if diff := cmp.Diff(Columns, records[0]); diff != "" {
		t.Fatalf("header: -want +got:\n%s", diff)
	}
	var out []Row
	for _, rec := range records[1:] {
		var r Row
		for i, text := range rec {
			set(t, &r, i, text, text == "")
		}
		out = append(out, r)
	}
	return out
}

// set puts a column's text into a row; absent makes it null where it can be.
func set(t testing.TB, r *Row, column int, text string, absent bool) {
	t.Helper()
	f := reflect.ValueOf(r).Elem().Field(column)
	if f.Kind() == reflect.Pointer {
		if absent {
			return
		}
		f.Set(reflect.New(f.Type().Elem()))
		f = f.Elem()
	}
	switch f.Kind() {
	case reflect.String:
		f.SetString(text)
	case reflect.Slice:
		if !absent {
			f.Set(reflect.ValueOf(strings.Fields(text)))
		}
	case reflect.Int64:
		v, err := strconv.ParseInt(text, 10, 64)
		must(t, err)
		f.SetInt(v)
	default:
		v, err := strconv.ParseUint(text, 10, 64)
		must(t, err)
		f.SetUint(v)
	}
}

// readTable reads Parquet with arrow's own reader. The caller MUST Release it.
func readTable(t testing.TB, data []byte) arrow.Table {
	t.Helper()
	f, err := file.NewParquetReader(bytes.NewReader(data))
	must(t, err)
	r, err := pqarrow.NewFileReader(f, pqarrow.ArrowReadProperties{}, memory.DefaultAllocator)
	must(t, err)
	tbl, err := r.ReadTable(context.Background())
	must(t, err)
	return tbl
}

// fromParquet reads with arrow's own reader.
func fromParquet(t testing.TB, data []byte) []Row {
	t.Helper()
	tbl := readTable(t, data)
	defer tbl.Release()
	for i, field := range tbl.Schema().Fields() {
		if field.Name != Columns[i] {
			t.Fatalf("column %d is %q, want %q", i, field.Name, Columns[i])
		}
	}
	rows := make([]Row, tbl.NumRows())
	for c := range int(tbl.NumCols()) {
		n := 0
		for _, chunk := range tbl.Column(c).Data().Chunks() {
			for i := range chunk.Len() {
				text := chunk.ValueStr(i)
				switch a := chunk.(type) {
				case *array.Timestamp:
					text = query.Time(a.Value(i)).String()
				case *array.List:
					from, to := a.ValueOffsets(i)
					var uids []string
					for k := from; k < to; k++ {
						uids = append(uids, a.ListValues().(*array.String).Value(int(k)))
					}
					text = strings.Join(uids, " ")
				}
				set(t, &rows[n], c, text, chunk.IsNull(i))
				n++
			}
		}
	}
	return rows
}

// The same rows in every format.
func TestFormatsAgree(t *testing.T) {
	t.Parallel()
	e := engine(t)
	for _, span := range [][2]int64{{0, 0}, {sec(160), sec(700)}} {
		lines := fromLines(t, export(t, e, "jsonl", span[0], span[1]))
		if want := map[bool]int{true: 6, false: 3}[span[0] == 0]; len(lines) != want {
			t.Fatalf("%d rows, want %d", len(lines), want)
		}
		if diff := cmp.Diff(lines, fromTable(t, export(t, e, "csv", span[0], span[1]))); diff != "" {
			t.Errorf("-jsonl +csv:\n%s", diff)
		}
		if diff := cmp.Diff(lines, fromParquet(t, export(t, e, "parquet", span[0], span[1]))); diff != "" {
			t.Errorf("-jsonl +parquet:\n%s", diff)
		}
	}
}

// What the rows say, in the words of the contract. Rows come in flow order.
func TestExportedRows(t *testing.T) {
	t.Parallel()
	var got []string
	data := export(t, engine(t), "jsonl", 0, 0)
	for _, r := range fromLines(t, data) {
		text := func(s *string) string {
			if s == nil {
				return "-"
			}
			return *s
		}
		count := func(v *uint64) string {
			if v == nil {
				return "-"
			}
			return strconv.FormatUint(*v, 10)
		}
		end := func(verdict string, cluster, ns, pod, uid, node *string, candidates []string, source *string) string {
			list := strings.Join(candidates, "+")
			if candidates == nil {
				list = "-"
			}
			return strings.Join([]string{verdict, text(cluster), text(ns), text(pod), text(uid), text(node), list, text(source)}, " ")
		}
		got = append(got, strings.Join([]string{r.Time[11:], r.State, r.SrcIP + "," + text(r.DstIP), count(r.PacketsSent) + "/" + count(r.BytesSent) + "/" + count(r.PacketsReceived) + "/" + count(r.BytesReceived),
			end(r.SrcVerdict, r.SrcCluster, r.SrcNamespace, r.SrcPod, r.SrcPodUID, r.SrcNode, r.SrcCandidates, r.SrcSource),
			end(text(r.DstVerdict), r.DstCluster, r.DstNamespace, r.DstPod, r.DstPodUID, r.DstNode, r.DstCandidates, r.DstSource)}, " | "))
	}
	if diff := cmp.Diff([]string{
		`10:02:50.000Z | B | 10.224.0.4,203.0.113.66 | 5/-/0/- | masked prod - - - n a watch | external - - - - - - -`,
		`10:01:40.000Z | B | 10.244.0.9,10.244.1.5 | -/-/-/- | exact prod web api "7", <odd> a n a watch | exact prod web db-0 b m b watch`,
		`10:02:40.000Z | E | 10.244.0.9,10.244.1.5 | 1/2/3/18446744073709551615 | exact prod web api "7", <odd> a n a watch | exact prod web db-0 b m b watch`,
		`10:10:10.000Z | D | 10.244.0.9,2001:db8::1 | -/-/-/- | boundary prod - - - n a+a2 watch | external - - - - - - -`,
		`10:11:41.000Z | B | 203.0.113.66,10.224.0.5 | 0/0/0/0 | external - - - - - - - | host prod - - - m - -`,
		`10:11:40.000Z | B | 203.0.113.66,10.244.7.7 | -/-/-/- | external - - - - - - - | gap - - - - - - -`,
	}, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if !bytes.Contains(data, []byte(`"src_candidates":null`)) || !bytes.Contains(data, []byte(`<odd>`)) {
		t.Errorf("absent candidates are not null, or text is escaped as HTML:\n%s", data)
	}
}

// The names and their order are the contract's, in the row and in every format.
func TestColumns(t *testing.T) {
	var tags []string
	typ := reflect.TypeFor[Row]()
	for i := range typ.NumField() {
		tags = append(tags, typ.Field(i).Tag.Get("json"))
	}
	if diff := cmp.Diff(Columns, tags); diff != "" {
		t.Errorf("fields of Row: -columns +tags:\n%s", diff)
	}
	want := "time nic direction state src_ip src_port dst_ip dst_port protocol encryption rule acl packets_sent bytes_sent packets_received bytes_received blob offset"
	for _, end := range []string{"src", "dst"} {
		for _, f := range strings.Fields("verdict cluster namespace pod pod_uid node candidates source") {
			want += " " + end + "_" + f
		}
	}
	if diff := cmp.Diff(strings.Fields(want), Columns); diff != "" {
		t.Errorf("columns: -want +got:\n%s", diff)
	}
}

// Without a row, each format is a valid file all the same.
func TestEmptyOutput(t *testing.T) {
	t.Parallel()
	e := engine(t)
	if got := export(t, e, "jsonl", sec(5000), 0); len(got) != 0 {
		t.Errorf("JSON lines: %q", got)
	}
	if got := string(export(t, e, "csv", sec(5000), 0)); got != strings.Join(Columns, ",")+"\n" {
		t.Errorf("CSV: %q", got)
	}
	if got := fromParquet(t, export(t, e, "parquet", sec(5000), 0)); len(got) != 0 {
		t.Errorf("Parquet: %v", got)
	}
	for _, format := range Formats() {
		var out bytes.Buffer
		w, err := NewRowWriter(&out, format, memory.DefaultAllocator)
		must(t, err)
		must(t, w.Close()) // no Write at all
		if format == "parquet" && len(fromParquet(t, out.Bytes())) != 0 {
			t.Error("Parquet of nothing has rows")
		}
	}
}

func TestUnknownFormat(t *testing.T) {
	if _, err := NewRowWriter(&bytes.Buffer{}, "xml", nil); err == nil || !strings.Contains(err.Error(), `format is "xml", want parquet, csv, jsonl`) {
		t.Errorf("got %v", err)
	}
}

// failing is a writer on which the disk is full after some bytes.
type failing struct{ room int }

var errFull = errors.New("disk is full")

func (f *failing) Write(p []byte) (int, error) {
	if f.room -= len(p); f.room < 0 {
		return 0, errFull
	}
	return len(p), nil
}

// An output that can not be written is an error, by Close at the latest.
func TestOutputThatFails(t *testing.T) {
	t.Parallel()
	e := engine(t)
	for _, format := range Formats() {
		for _, room := range []int{0, 10, 700} {
			mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
			w, err := NewRowWriter(&failing{room}, format, mem)
			if err == nil {
				err = errors.Join(e.All(context.Background(), 0, 0, w.Write), w.Close())
			}
			if !errors.Is(err, errFull) {
				t.Errorf("%s with room for %d bytes: got %v, want %v", format, room, err, errFull)
			}
		}
	}
}
