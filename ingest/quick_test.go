package ingest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/google/go-cmp/cmp"

	"github.com/whichpod/whichpod/flow"
)

// usualTuple writes a tuple as most are, now and then with one field of another form,
// or that is wrong.
func (g generator) usualTuple() string {
	address := func() string {
		if g.IntN(4) == 0 {
			return []string{"255.255.255.255", "0.0.0.0"}[g.IntN(2)]
		}
		return fmt.Sprintf("%d.%d.%d.%d", g.IntN(256), g.IntN(256), g.IntN(3), g.IntN(256))
	}
	state := "BCED"[g.IntN(4):][:1]
	counters := []string{"0", "0", "0", "0"}
	for i := range counters {
		switch {
		case state == "B" || state == "D":
		case i%2 == 0:
			counters[i] = fmt.Sprint(g.IntN(2000))
		default:
			counters[i] = fmt.Sprint(g.Int64N(1 << (1 + g.IntN(40))))
		}
	}
	f := append([]string{
		fmt.Sprint(1787236800000 + g.Int64N(1e9)), address(), address(), fmt.Sprint(g.IntN(65536)), fmt.Sprint(g.IntN(65536)),
		fmt.Sprint(6 + 11*g.IntN(2)), "IO"[g.IntN(2):][:1], state, []string{"NX", "NX", "NX", "X", "NX_LOCAL_DST"}[g.IntN(5)],
	}, counters...)
	if g.IntN(30) == 0 {
		odd := []string{"", "0", "00", "007", "65536", "99999", "256", "1787236800", "10.0.0.01", "10.0.0.256", "10.0.0", "1.2.3.4.5", "2001:db8::1", "x", "é",
			"NX_FALLBACK", "-1", "+1", "1e3", "99999999", "123456789", "18446744073709551615", "18446744073709551616", "a,b", "O", "B", " 6", "6 "}
		f[g.IntN(len(f))] = odd[g.IntN(len(odd))]
	}
	return strings.Join(f, ",")
}

// usualRecord writes a record as Azure does, with about n tuples a rule.
func (g generator) usualRecord(n int) string {
	var b strings.Builder
	fmt.Fprintf(&b, `{"time":"2026-08-20T14:%02d:52.2837112Z","flowLogVersion":4,"flowLogGUID":"66aa66aa-bb77-cc88-dd99-00ee00ee00ee","macAddress":"000D3A1B2C%02X","category":"FlowLogFlowEvent",`+
		`"flowLogResourceID":"/SUBSCRIPTIONS/0","targetResourceID":"/subscriptions/0","operationName":"FlowLogFlowEvent","flowRecords":{"flows":[`, g.IntN(60), g.IntN(3))
	for acl := range 1 + g.IntN(3) {
		fmt.Fprintf(&b, `%s{"aclID":"acl-%d","flowGroups":[`, []string{"", ","}[min(acl, 1)], g.IntN(5))
		for rule := range 1 + g.IntN(3) {
			fmt.Fprintf(&b, `%s{"rule":"Rule_%d","flowTuples":[`, []string{"", ","}[min(rule, 1)], g.IntN(5))
			for i := range g.IntN(2 * n) {
				if i > 0 {
					b.WriteByte(',')
				}
				b.WriteString(`"` + g.usualTuple() + `"`)
			}
			b.WriteString("]}")
		}
		b.WriteString("]}")
	}
	b.WriteString("]}}")
	return b.String()
}

// checkTolerant: the tolerant way, which the oracle of encoding/json is for, finds the
// same rows, rejections and position.
func checkTolerant(t testing.TB, data []byte, res result) {
	t.Helper()
	want, _ := decodeEither(t, bytes.NewReader(data), flow.Position{Blob: testBlob}, true)
	if slices.Equal(want.rows, res.rows) && slices.Equal(want.rejected, res.rejected) && want.pos == res.pos && want.err == res.err {
		return // cmp takes long for many rows
	}
	if diff := cmp.Diff(want, res, cmp.AllowUnexported(result{}), compareRows); diff != "" {
		t.Fatalf("the quick way (-tolerant +got):\n%s", diff)
	}
}

// The quick way takes usual records, and finds in them what the tolerant way does,
// whatever is wrong with them and wherever a batch ends.
func TestQuickEqualsTolerant(t *testing.T) {
	records, taken, rejected := 0, 0, 0
	for seed := range uint64(300) {
		g := generator{rand.New(rand.NewPCG(seed, 9))}
		var list []string
		for range 1 + g.IntN(6) {
			size := 10
			if seed%60 == 0 {
				size = 6000 // more rows than a batch has
			}
			list = append(list, g.usualRecord(size))
		}
		data := []byte(`{"records":[` + strings.Join(list, ",") + "]}")
		for range g.IntN(4) { // damage
			data[g.IntN(len(data))] = "{}[],:\"\\ 0a\x00\xff"[g.IntN(13)]
		}
		res, quick := decodeEither(t, bytes.NewReader(data), flow.Position{Blob: testBlob}, false)
		checkTolerant(t, data, res)
		records, taken, rejected = records+len(list), taken+quick, rejected+len(res.rejected)
	}
	if taken < records/5 || rejected < 100 {
		t.Errorf("of %d records %d were taken the quick way, with %d rejections: want more of both", records, taken, rejected)
	}
}

// A record is one whole, also when it fills several batches: what is wrong behind the
// first batch is found before that is emitted.
func TestQuickLargeRecord(t *testing.T) {
	tuples := 3*flow.MaxBatchRows + 100
	whole := recordText(0, tuples)
	last := strings.LastIndex(whole, `"1787`)
	for _, tc := range []struct {
		name, text string
		rows, bad  int
	}{
		{"whole", whole, tuples, 0},
		{"last tuple is wrong", whole[:last] + `"1787` + strings.Replace(whole[last+5:], ",6,O,", ",6,Q,", 1), tuples - 1, 1},
		{"last tuple has an escape", whole[:last] + `"\u0031787` + whole[last+5:], tuples, 0},
		{"last tuple is a number", whole[:last] + "17" + whole[strings.LastIndex(whole, `"]}]}]}}`)+1:], tuples - 1, 1},
		{"space behind the tuples", strings.Replace(whole, "]}]}]}}", "] }]}]}}", 1), tuples, 0},
		{"not closed", strings.Replace(whole, "]}]}]}}", "]}]]}]}}", 1), 0, 1},
		{"a comma and no tuple", strings.Replace(whole, `"]}]}]}}`, `",]}]}]}}`, 1), 0, 1},
		{"a comma and no rule", strings.Replace(whole, "]}]}]}}", "]},]}]}}", 1), 0, 1},
		{"a comma and no ACL", strings.Replace(whole, "]}]}]}}", "]}]},]}}", 1), 0, 1},
		{"two keys", strings.Replace(whole, "]}]}]}}", `],"flowTuples":3}]}]}}`, 1), tuples, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			text := `{"records":[` + tc.text + `,` + recordText(0, 5) + `]}`
			res := decodeText(t, text)
			if len(res.rows) != tc.rows+5 || len(res.rejected) != tc.bad {
				t.Errorf("got %d rows and rejections %v, want %d and %d", len(res.rows), res.rejected, tc.rows+5, tc.bad)
			}
			checkTolerant(t, []byte(text), res)
		})
	}
}

// quickRow reads a tuple alone, the quick way.
func quickRow(t testing.TB, text string) (flow.Row, int, bool) {
	t.Helper()
	rows := flow.NewBuilder(memory.NewGoAllocator())
	defer rows.Release()
	rows.SetGroup(flow.Group{})
	var p quickTuples
	p.begin(rows)
	tuples := rows.Room(1)
	data := append([]byte(text+`"`+recordTail), make([]byte, quickTuple)...)
	p.marks.find(data, 0)
	n, ok := p.parse(data, 0, rows, &tuples, 0)
	tuples.Offset[0] = 0
	if ok {
		p.findPlaces(data, 1)
	}
	if !ok || p.lookUp(data, rows, &tuples, 0, 1) != 1 {
		return flow.Row{}, 0, false
	}
	rows.Took(1)
	b := rows.NewBatch()
	defer b.Release()
	return b.Row(0), n, true
}

// Each form of a field that logs have is read the quick way.
func TestQuickTuple(t *testing.T) {
	for _, text := range []string{
		"1787236800000,10.0.0.1,203.0.113.66,1024,8443,6,O,B,NX,0,0,0,0",
		"1787236800000,1.2.3.4,255.255.255.255,0,65535,255,I,D,X,,,,",
		"1787236800000,255.255.255.255,255.255.255.255,65535,65535,255,I,C,NX,123456,99999999,123456,9999999",
		"1787236800000,10.0.0.1,203.0.113.66,1024,8443,17,O,E,NX_OTHER,1,2,3,4",
	} {
		got, n, ok := quickRow(t, text)
		if !ok || n != len(text) {
			t.Errorf("%s: taken is %v, length %d", text, ok, n)
			continue
		}
		want := naiveTuple(t, text)
		if diff := cmp.Diff(want, got, compareRows); diff != "" {
			t.Errorf("%s (-want +got):\n%s", text, diff)
		}
	}
}

// What most tuples have between ports and counters does not drive each other out of the
// table.
func TestUsualMiddles(t *testing.T) {
	taken := map[uint64]string{}
	for _, protocol := range []string{"1", "6", "17", "58"} {
		for _, direction := range "IO" {
			for _, state := range "BCED" {
				for _, encryption := range []string{"X", "NX"} {
					text := fmt.Sprintf("%s,%c,%c,%s", protocol, direction, state, encryption)
					var w [quickTuple]byte
					copy(w[timeBytes:], ","+text+",")
					place := middlePlace(eight(&w, timeBytes+1), eight(&w, timeBytes+1+len(text)-8))
					if other, is := taken[place]; is {
						t.Errorf("%s and %s have one place", other, text)
					}
					taken[place] = text
				}
			}
		}
	}
}

// FuzzQuickTuple: what the quick way takes, the tolerant way takes too, and reads alike.
func FuzzQuickTuple(f *testing.F) {
	g := generator{rand.New(rand.NewPCG(3, 4))}
	for range 60 {
		f.Add(g.usualTuple())
	}
	f.Add(strings.Repeat("\x00", 8) + "00123,10.0.0.1,203.0.113.66,1024,8443,6,O,B,NX,0,0,0,0")
	f.Fuzz(func(t *testing.T, text string) {
		got, n, ok := quickRow(t, text)
		if !ok {
			return
		}
		var p tupleParser
		var want flow.Row
		if m, ok := p.parse(vnetTuple, []byte(text+`"`+recordTail), &want); !ok || m != n || plain([]byte(text)) < n {
			t.Fatalf("%q: quick takes %d bytes, the other way %d, %v", text, n, m, ok)
		}
		if diff := cmp.Diff(want, got, compareRows); diff != "" {
			t.Errorf("%q (-tolerant +quick):\n%s", text, diff)
		}
	})
}

// With more addresses than the table holds, each keeps its code.
func TestQuickAddressesForget(t *testing.T) {
	rows := flow.NewBuilder(memory.NewGoAllocator())
	defer rows.Release()
	var table quickAddresses
	table.begin(rows.Dictionary())
	for round := range 2 {
		for i := range 3 * mostSlots / 4 {
			a := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
			got, ok := codeOf(&table, a.String(), rows)
			if !ok || got != uint32(i) || len(table.slots) > mostSlots+1 {
				t.Fatalf("round %d: %v has code %d, %v in %d slots, want %d", round, a, got, ok, len(table.slots), i)
			}
		}
	}
}

// What only looks like a usual record, or begins where a batch is full, is read the
// tolerant way with the same result, in batches of the promised size.
func TestQuickGivesUp(t *testing.T) {
	full := recordText(0, 2*flow.MaxBatchRows)
	for name, text := range map[string]string{
		"a time of zero bytes before any other": strings.Replace(recordText(0, 20), `"17872368`, `"`+strings.Repeat("\x00", 8), 1),
		"a full batch, then a record with space": recordText(0, flow.MaxBatchRows) + "," +
			strings.Replace(recordText(0, 5), `"flowRecords":{`, `"flowRecords": {`, 1),
		"space behind a full batch": strings.Replace(full, `"]}]}]}}`, `" ],"x":0},{"rule":"r","flowTuples":["`+tupleText(1)+`"]}]}]}}`, 1),
		"a quote for a comma":       strings.Replace(recordText(0, 20), ",203.0.113.66", `"203.0.113.66`, 1),
	} {
		t.Run(name, func(t *testing.T) {
			data := []byte(`{"records":[` + text + `,` + recordText(0, 5) + `]}`)
			checkTolerant(t, data, decodeText(t, string(data)))
		})
	}
}

// A tuple with an address in another form costs its record nothing but that tuple's time.
func TestQuickTakesIPv6(t *testing.T) {
	for _, a := range []string{"2001:db8::1", "2603:1030::5", "::ffff:10.0.0.1"} {
		record := strings.Replace(recordText(0, 50), "10.224.0.7,", a+",", 1)
		data := []byte(`{"records":[` + strings.Repeat(record+",", 7) + record + `]}`)
		res, quick := decodeEither(t, bytes.NewReader(data), flow.Position{Blob: testBlob}, false)
		checkTolerant(t, data, res)
		if quick != 8 || len(res.rows) != 400 {
			t.Errorf("%s: %d records were taken the quick way, with %d rows; want 8 and 400", a, quick, len(res.rows))
		}
	}
}
