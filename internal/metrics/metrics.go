// Package metrics writes metrics for Prometheus.
//
// In: families with their samples. Out: the text format, version 0.0.4
// (prometheus.io/docs/instrumenting/exposition_formats). It keeps nothing, so whoever
// counts decides how; its one function may be called by any number of goroutines.
package metrics

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// ContentType is that of the text format.
const ContentType = "text/plain; version=0.0.4; charset=utf-8"

// Types of a family.
const (
	Counter = "counter"
	Gauge   = "gauge"
)

// Family is one metric.
type Family struct {
	Name, Help, Type string
	Samples          []Sample
}

// Sample is one value. Labels are name, value, name, value, …
type Sample struct {
	Labels []string
	Value  float64
}

// Add adds a sample.
func (f *Family) Add(value float64, labels ...string) {
	f.Samples = append(f.Samples, Sample{labels, value})
}

var (
	helpText  = strings.NewReplacer(`\`, `\\`, "\n", `\n`)
	labelText = strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`)
)

// Write writes families, the samples of each in the order of their labels. One without
// a sample is left out.
func Write(w io.Writer, families []Family) error {
	b := bufio.NewWriter(w)
	for _, f := range families {
		if len(f.Samples) == 0 {
			continue
		}
		fmt.Fprintf(b, "# HELP %s %s\n# TYPE %s %s\n", f.Name, helpText.Replace(f.Help), f.Name, f.Type)
		slices.SortStableFunc(f.Samples, func(x, y Sample) int { return slices.Compare(x.Labels, y.Labels) })
		for _, s := range f.Samples {
			b.WriteString(f.Name)
			for i := 0; i+1 < len(s.Labels); i += 2 {
				fmt.Fprintf(b, `%c%s="%s"`, "{,"[min(i, 1)], s.Labels[i], labelText.Replace(strings.ToValidUTF8(s.Labels[i+1], "\ufffd")))
			}
			if len(s.Labels) > 1 {
				b.WriteByte('}')
			}
			fmt.Fprintf(b, " %s\n", strconv.FormatFloat(s.Value, 'g', -1, 64))
		}
	}
	return b.Flush()
}
