package plugins

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/whichpod/whichpod/attribution"
	"github.com/whichpod/whichpod/benchmarks/report"
	"github.com/whichpod/whichpod/benchmarks/scenario"
)

// What a real kernel showed is what is publicly known, in every cell.
func TestKernelAgrees(t *testing.T) {
	k, err := ReadKernel("")
	if err != nil {
		t.Fatal(err)
	}
	agree, covered, differ := k.Agreement()
	for _, d := range differ {
		t.Error(d)
	}
	if want := len(Matrix) * len(scenario.Modes); agree != covered || covered != want {
		t.Errorf("%d of %d cells agree, want all of %d", agree, covered, want)
	}
	for _, mode := range scenario.Modes {
		if len(k.Rules[mode]) == 0 {
			t.Errorf("%s: the recording has no rules", mode)
		}
	}
	if k.At.IsZero() || k.Release == "" {
		t.Errorf("the recording does not say of what kernel it is (%q) or when (%s)", k.Release, k.At)
	}
}

func TestReadKernel(t *testing.T) {
	write := func(text string) string {
		path := filepath.Join(t.TempDir(), "kernel.json")
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for text, want := range map[string]string{"{": "unexpected EOF", `{"cells":[]}`: "it has no cells", `{"cellz":[]}`: "unknown field"} {
		if _, err := ReadKernel(write(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
	if _, err := ReadKernel(filepath.Join(t.TempDir(), "missing")); err == nil {
		t.Error("a file that is not there is read")
	}
}

// A cell that differs from either of the others is told with all three.
func TestCompare(t *testing.T) {
	k := &Kernel{Release: "6.8", Cells: []KernelCell{
		{Mode: scenario.Overlay, Class: attribution.Internet, ShowNode: 200, Exact: 0, ExactNAT: 190},
		{Mode: scenario.Overlay, Class: attribution.InVNet, ShowPod: 5, Exact: 5},
		{Mode: scenario.Overlay, Class: attribution.Beyond, ShowNode: 5},
		{Mode: scenario.Overlay, Class: attribution.SameNode, Unseen: 7},
		{Mode: scenario.Overlay, Class: attribution.NodeOwn, ShowNode: 5, ShowPod: 1}}}
	results := []Result{{Mode: scenario.Overlay, Tallies: map[attribution.Class]*Tally{
		attribution.Internet: {Flows: 5, Logged: 5, ShowNode: 5}, attribution.InVNet: {Flows: 5, Logged: 5, ShowNode: 5},
		attribution.Beyond: {Flows: 5, Logged: 5, ShowPod: 5}, attribution.SameNode: {Unlogged: 5}, attribution.NodeOwn: {Flows: 5, Logged: 5, ShowNode: 5}}}}
	p := Plan{Modes: []scenario.Mode{scenario.Overlay}}
	if found := k.Finding(); found.Figure != "3 of 5" || !found.Bad {
		t.Errorf("the finding is %+v", found)
	}
	got := make(map[string]report.Cell)
	for _, row := range k.table(p.Modes, results).Rows {
		got[row[0].Text] = row[1]
	}
	for class, want := range map[attribution.Class]string{
		attribution.Internet:  "agrees: node of 200 rows; exact 0 %, with NAT evidence 95.0 %",
		attribution.InVNet:    "disagrees: kernel pod, known node, simulator node",
		attribution.Beyond:    "disagrees: kernel node, known node, simulator pod",
		attribution.SameNode:  "agrees: no row of 7 calls",
		attribution.NodeOwn:   "disagrees: kernel unknown, known node, simulator node",
		attribution.OtherNode: "not covered by the kernel scenarios",
	} {
		if c := got[string(class)]; c.Text != want || c.Bad != strings.HasPrefix(want, "disagrees") {
			t.Errorf("%s: %+v, want %s", class, c, want)
		}
	}
}

// The section says in words and in cells where sources differ, and where none do.
func TestBlindSpots(t *testing.T) {
	k, err := ReadKernel("")
	if err != nil {
		t.Fatal(err)
	}
	p := Plan{Modes: []scenario.Mode{scenario.PodSubnet}}
	results := []Result{{Mode: scenario.PodSubnet, Seed: 3, Tallies: map[attribution.Class]*Tally{attribution.Internet: {Flows: 5, Logged: 5, ShowPod: 5}}}}
	cell := func() report.Cell { return BlindSpots(p, results, k).Tables[0].Rows[5][1] }
	if c, text := cell(), BlindSpots(p, results, k).Text[1]; c.Text != "pod" || c.Bad || text != "The simulator shows what is publicly known in all 7 cells of these modes, in every run. A real kernel shows what is publicly known in 28 of the 28 cells that it covers, of 28 in all." {
		t.Errorf("%+v in: %s", c, text)
	}
	results[0].Tallies[attribution.Internet].ShowNode = 1
	if c, text := cell(), BlindSpots(p, results, k).Text[1]; c.Text != "both, known: pod" || !c.Bad || !strings.Contains(text, "pod-subnet, internet, seed 3: the log shows unknown, known is pod") {
		t.Errorf("%+v in: %s", c, text)
	}
}
