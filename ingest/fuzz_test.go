package ingest

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/whichpod/whichpod/flow"
)

// seeds are blobs, whole and damaged.
func seeds() [][]byte {
	a, b := recordText(0, 2), recordText(2, 3)
	blob := `{"records":[` + a + "," + b + "]}"
	all := []string{
		"", "{", "]", `{"records":[]}`, a, "," + b, blob, blob[:len(blob)-50], "\ufeff" + blob,
		strings.Replace(blob, "]}]}]}}", "]}]}]}", 1), strings.Replace(blob, `"time"`, `"\u0074ime"`, 1),
		`{"records":[` + a + "]," + b[:300] + b, strings.ReplaceAll(blob, "10.224", "2001:db8::"),
		`{"time":"x","flowRecords":{"flows":[{"flowGroups":[{"flowTuples":["1,2"]}]}]}}`,
	}
	g := generator{rand.New(rand.NewPCG(1, 2))}
	for range 5 {
		all = append(all, `{"records":[`+g.usualRecord(4)+","+g.usualRecord(3)+"]}")
		all = append(all, `{"records":[`+g.record()+","+g.record()+"]}")
		all = append(all, `{"records":[`+g.nsgRecord()+","+g.nsgRecord()+"]}")
		all = append(all, g.firewallRecord()+"\n"+g.firewallRecord()+"\n"+g.firewallRecord()+"\n")
	}
	lines := ""
	for _, m := range sentences {
		lines += legacyLine(m.text)
	}
	all = append(all, lines)
	var out [][]byte
	for _, s := range all {
		out = append(out, []byte(s))
	}
	return out
}

// checkAny holds for any bytes: no panic, no leak, each row and rejection stands
// inside the blob, nothing comes twice, and reading in small pieces, the tolerant way
// only, or from the position reached, changes nothing.
func checkAny(t *testing.T, data []byte) {
	res := decode(t, bytes.NewReader(data), flow.Position{Blob: testBlob})
	if res.err != nil {
		t.Fatal(res.err)
	}
	last := int64(-1)
	for _, r := range res.rows {
		if r.Offset <= last || r.Offset >= int64(len(data)) {
			t.Fatalf("row at %d after one at %d, blob of %d bytes", r.Offset, last, len(data))
		}
		last = r.Offset
	}
	seen := map[flow.Rejection]bool{}
	for _, r := range res.rejected {
		if r.Offset < 0 || r.Offset > int64(len(data)) || seen[r] {
			t.Fatalf("rejection %+v, blob of %d bytes, seen %v", r, len(data), seen[r])
		}
		seen[r] = true
	}
	checkPrintable(t, res)
	if len(res.rows) == 0 && len(res.rejected) == 0 && bytes.Contains(data, []byte("time")) && res.pos.Offset == 0 {
		t.Fatal("neither a row nor a rejection nor a record")
	}
	split := decode(t, &randomReader{rand.New(rand.NewPCG(1, 1)), bytes.NewReader(data)}, flow.Position{Blob: testBlob})
	if diff := cmp.Diff(res, split, cmp.AllowUnexported(result{}), compareRows); diff != "" {
		t.Fatalf("in pieces (-at once +got):\n%s", diff)
	}
	checkTolerant(t, data, res)
	again := decode(t, bytes.NewReader(data[ResumeAt(res.pos):]), res.pos)
	if again.err != nil || len(again.rows) > 0 || again.pos.Offset != res.pos.Offset || again.pos.Check != res.pos.Check {
		t.Fatalf("resumed at %+v: error %v, %d rows, %+v", res.pos, again.err, len(again.rows), again.pos)
	}
}

// FuzzSentence holds what a message says against the oracle, which knows its forms
// only.
func FuzzSentence(f *testing.F) {
	for _, m := range sentences {
		f.Add(m.text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var d decision
		if d.sentence(text) != nil {
			return
		}
		if !d.src.addr.IsValid() || !d.dst.addr.IsValid() || !strings.Contains(text, " request from ") {
			t.Errorf("%q became %+v", text, d)
		}
		if want, ok := naiveSentence(text); ok && (want.Src != d.src.addr || want.Dst != d.dst.addr || want.SrcPort != d.src.port || want.DstPort != d.dst.port || want.Allowed != d.allowed) {
			t.Errorf("%q: got %+v, want %+v", text, d, want)
		}
	})
}

// FuzzTuple holds each form of tuple against the words that explain it.
func FuzzTuple(f *testing.F) {
	g := generator{rand.New(rand.NewPCG(3, 4))}
	for range 10 {
		f.Add(uint8(vnetTuple), g.tuple())
		f.Add(uint8(nsgTuple1), g.nsgTuple(1))
		f.Add(uint8(nsgTuple2), g.nsgTuple(2))
	}
	f.Fuzz(func(t *testing.T, form uint8, text string) {
		var p tupleParser
		var row flow.Row
		ok := p.parseText(tupleForm(form%uint8(tupleForms)), []byte(text), &row)
		why := explainTuple(tupleForm(form%uint8(tupleForms)), []byte(text))
		if ok != strings.HasPrefix(why, "tuple is not valid") {
			t.Errorf("%q: parsed is %v, but: %s", text, ok, why)
		}
	})
}

func FuzzDecode(f *testing.F) {
	for _, s := range seeds() {
		f.Add(s)
	}
	f.Fuzz(checkAny)
}

// TestDecodeAnyBytes damages the seeds at random: what the fuzzer does, in every run.
func TestDecodeAnyBytes(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 4))
	for _, seed := range seeds() {
		for range 60 {
			data := bytes.Clone(seed)
			for range 1 + rng.IntN(3) {
				if len(data) == 0 {
					break
				}
				at := rng.IntN(len(data))
				switch rng.IntN(4) {
				case 0:
					data[at] = byte(rng.IntN(256))
				case 1:
					data[at] = "{}[],:\"\\ "[rng.IntN(9)]
				case 2:
					data = append(data[:at:at], data[min(len(data), at+rng.IntN(400)):]...)
				case 3:
					data = append(data[:at:at], data[rng.IntN(len(data)):]...)
				}
			}
			checkAny(t, data)
		}
	}
}
