//go:build e2e

package nat_test

import (
	"encoding/json"
	"math"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/whichpod/whichpod/attribution"
	"github.com/whichpod/whichpod/benchmarks/plugins"
	"github.com/whichpod/whichpod/benchmarks/scenario"
	"github.com/whichpod/whichpod/e2e/process"
	"github.com/whichpod/whichpod/e2e/rig"
)

// recordingFile is the variable that names a file for the recording that "bench plugins"
// compares with: benchmarks/plugins/kernel.json is one.
const recordingFile = "WHICHPOD_KERNEL_RECORDING"

// recordKernel holds whose address the kernel's rows show against what is publicly
// known, and writes it where that is wanted.
func (r *recording) recordKernel(t *testing.T, without, agents map[*rig.Node][]rig.Judged) {
	t.Helper()
	release, err := os.ReadFile("/proc/sys/kernel/osrelease")
	process.Must(t, err)
	k := &plugins.Kernel{At: time.Now().UTC().Truncate(time.Second), Release: strings.TrimSpace(string(release)), Rules: make(map[scenario.Mode][]string)}
	for _, c := range r.clusters {
		mode := scenario.Mode(c.mode)
		k.Rules[mode] = rulesOf(t, c.Nodes[1])
		k.Cells = append(k.Cells, r.cells(c, mode, without, agents)...)
	}
	agree, covered, differ := k.Agreement()
	t.Logf("in %d of %d cells the kernel shows the source that is publicly known", agree, covered)
	for _, d := range differ {
		t.Error(d)
	}
	if want := len(plugins.Matrix) * len(scenario.Modes); covered != want {
		t.Errorf("%d cells are covered, want %d", covered, want)
	}
	if path := os.Getenv(recordingFile); path != "" {
		text, err := json.MarshalIndent(k, "", "  ")
		process.Must(t, err)
		process.Must(t, os.WriteFile(path, append(text, '\n'), 0o644))
	}
}

// cells are those of a mode: of the node with enough ports, at its own interface.
func (r *recording) cells(c *cluster, mode scenario.Mode, without, agents map[*rig.Node][]rig.Judged) []plugins.KernelCell {
	cells := make(map[attribution.Class]*plugins.KernelCell)
	n := c.Nodes[1]
	cell := func(to netip.AddrPort) *plugins.KernelCell {
		class := c.class(n, to)
		if class == internet6 {
			class = attribution.Internet
		}
		if cells[class] == nil {
			cells[class] = &plugins.KernelCell{Mode: mode, Class: class}
		}
		return cells[class]
	}
	masked := make(map[attribution.Class]*rig.Tally)
	for i := range without[n] {
		j := &without[n][i]
		if j.Sender == "" || j.Row.Direction != "O" {
			continue
		}
		k := cell(j.Flow.To)
		if slices.Contains(n.Addresses, j.SrcIP) {
			k.ShowNode++
		} else {
			k.ShowPod++
		}
		if j.SrcVerdict == "exact" {
			k.Exact++
		}
		if masked[k.Class] == nil {
			masked[k.Class] = &rig.Tally{}
		}
		masked[k.Class].Add(j)
	}
	for i := range agents[n] {
		if j := &agents[n][i]; j.Sender != "" && j.Row.Direction == "O" && j.SrcVerdict == "exact" {
			cell(j.Flow.To).ExactNAT++
		}
	}
	for _, call := range r.unseen {
		if c.local(call) && n.Behind(call.From.Addr()) {
			cell(call.To).Unseen++
		}
	}
	var out []plugins.KernelCell
	for _, known := range plugins.Matrix {
		if k := cells[known.Class]; k != nil {
			if tally := masked[known.Class]; tally != nil && tally.Verdicts["masked"] > 0 {
				k.Bits = math.Round(100*tally.Bits()) / 100
			}
			out = append(out, *k)
		}
	}
	return out
}

// rulesOf are the rules of a node's nat table.
func rulesOf(t *testing.T, n *rig.Node) []string {
	t.Helper()
	out, err := n.Command("iptables", "-t", "nat", "-S").Output()
	process.Must(t, err)
	return strings.Split(strings.TrimSpace(string(out)), "\n")
}
