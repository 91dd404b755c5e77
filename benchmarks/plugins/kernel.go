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
