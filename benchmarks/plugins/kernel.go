package plugins

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/whichpod/whichpod/attribution"
	"github.com/whichpod/whichpod/benchmarks/report"
	"github.com/whichpod/whichpod/benchmarks/scenario"
)

// Kernel is a recording of the same scenario in a real kernel: "make e2e E2E=./e2e/nat"
// writes it to the file that WHICHPOD_KERNEL_RECORDING names.
type Kernel struct {
	At      time.Time                  `json:"at"`
	Release string                     `json:"kernel"` // as uname -r says
	Rules   map[scenario.Mode][]string `json:"rules"`  // of the nat table of a node, as iptables-save says
	Cells   []KernelCell               `json:"cells"`
}

// KernelCell is what was seen of calls that pods with an address of their own made to
// one kind of destination, at the sender's interface.
type KernelCell struct {
	Mode     scenario.Mode     `json:"mode"`
	Class    attribution.Class `json:"destination"`
	ShowPod  int               `json:"rows_with_pod_address"`
	ShowNode int               `json:"rows_with_node_address"`
	Unseen   int               `json:"calls_without_row"`
	Exact    int               `json:"exact"`          // rows, without NAT evidence
	ExactNAT int               `json:"exact_with_nat"` // rows, with that of the agents
	Bits     float64           `json:"bits"`           // mean of the rows that are masked without evidence
}

//go:embed kernel.json
var recorded []byte

// ReadKernel reads a recording; of no file, the one that comes with this version.
func ReadKernel(path string) (*Kernel, error) {
	text := recorded
	if path != "" {
		var err error
		if text, err = os.ReadFile(path); err != nil {
			return nil, fmt.Errorf("read kernel recording: %w", err)
		}
	}
	k := &Kernel{}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(k); err != nil {
		return nil, fmt.Errorf("read kernel recording %q: %w", path, err)
	}
	if len(k.Cells) == 0 {
		return nil, fmt.Errorf("read kernel recording %q: it has no cells", path)
	}
	return k, nil
}

// Shows is whose address the kernel's rows have; unknown where that differs between
// rows, or where there is none and none was called.
func (c *KernelCell) Shows() attribution.Appears {
	switch {
	case c.ShowPod > 0 && c.ShowNode == 0:
		return attribution.ShowsPod
	case c.ShowNode > 0 && c.ShowPod == 0:
		return attribution.ShowsNode
	case c.ShowNode == 0 && c.ShowPod == 0 && c.Unseen > 0:
		return attribution.ShowsNothing
	}
	return attribution.ShowsUnknown
}

// cell is what was recorded of a mode and destination, or nil.
func (k *Kernel) cell(mode scenario.Mode, class attribution.Class) *KernelCell {
	i := slices.IndexFunc(k.Cells, func(c KernelCell) bool { return c.Mode == mode && c.Class == class })
	if i < 0 {
		return nil
	}
	return &k.Cells[i]
}

// Agreement counts the cells of the [Matrix] that the kernel covers, and those of them
// in which it shows what is publicly known. differ says where not.
func (k *Kernel) Agreement() (agree, covered int, differ []string) {
	for _, known := range Matrix {
		for m, mode := range scenario.Modes {
			c := k.cell(mode, known.Class)
			if c == nil {
				continue
			}
			covered++
			if c.Shows() == known.Shows[m] {
				agree++
			} else {
				differ = append(differ, fmt.Sprintf("%s, %s: the kernel shows %s, known is %s", mode, known.Class, c.Shows(), known.Shows[m]))
			}
		}
	}
	return agree, covered, differ
}

// Compare adds to a section, and to its findings, how the real kernel agrees with what
// is known and with the simulator.
func (k *Kernel) Compare(s *report.Section, p Plan, results []Result) report.Finding {
	agree, covered, _ := k.Agreement()
	out := report.Table{Title: fmt.Sprintf("A real kernel beside the simulator: Linux %s, recorded %s", k.Release, k.At.UTC().Format(time.DateOnly)), Head: []string{"destination"}}
	for _, m := range p.Modes {
		out.Head = append(out.Head, string(m))
	}
	for i := range Matrix {
		row := []report.Cell{report.Text("%s", Matrix[i].Class)}
		for _, mode := range p.Modes {
			row = append(row, k.compare(&Matrix[i], mode, results))
		}
		out.Rows = append(out.Rows, row)
	}
	s.Tables = slices.Insert(s.Tables, min(1, len(s.Tables)), out)
	s.Notes = append(s.Notes, "The real kernel masquerades with the rules of each mode; its cells say whether the source in its rows is the one publicly known and the simulator's, and how many of its rows are exact without and with NAT evidence. Its pods have few ports, each used again within seconds, and its runs are short: shares differ from the simulator's for that.")
	return report.Finding{Figure: fmt.Sprintf("%d of %d", agree, covered), Bad: agree < covered,
		Says: "cells of mode and destination in which a real kernel shows the source that is publicly known"}
}

// compare is one cell: the kernel's source against the known and the simulated one.
func (k *Kernel) compare(known *Known, mode scenario.Mode, results []Result) report.Cell {
	c := k.cell(mode, known.Class)
	if c == nil {
		return report.Text("not covered by the kernel scenarios")
	}
	is, want := c.Shows(), known.Shows[slices.Index(scenario.Modes, mode)]
	simulated := attribution.ShowsUnknown
	for i := range results {
		if t := results[i].Tallies[known.Class]; results[i].Mode == mode && t != nil {
			if simulated = t.Shows(); simulated != is {
				break
			}
		}
	}
	if is != want || is != simulated {
		return report.Cell{Text: fmt.Sprintf("disagrees: kernel %s, known %s, simulator %s", is, want, simulated), Bad: true}
	}
	rows := c.ShowPod + c.ShowNode
	if rows == 0 {
		return report.Text("agrees: no row of %d calls", c.Unseen)
	}
	part := func(n int) string { return report.Percent(float64(n) / float64(rows)) }
	return report.Text("agrees: %s of %d rows; exact %s, with NAT evidence %s", is, rows, part(c.Exact), part(c.ExactNAT))
}
