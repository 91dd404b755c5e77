package sim

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"time"
)

// Container is the blob container that VNet flow logs are written to.
const Container = "insights-logs-flowlogflowevent"

// blob is one PT1H.json: the records of one NIC and hour.
type blob struct {
	path        string // inside the container
	first, last int    // rows, half open
}

// Fixed identities of the flow log. Names are upper case in the path, as in real ones.
const (
	subscription = "5f6c7d8e-1a2b-4c3d-9e4f-0a1b2c3d4e5f"
	flowLogGUID  = "7d0e1f2a-3b4c-4d5e-8f60-718293a4b5c6"
)

// hourly cuts the rows into blobs, by NIC and the hour of the record.
func (w *World) hourly() {
	for i := range w.rows {
		r := &w.rows[i]
		path := w.blobPath(r)
		if n := len(w.blobs); n == 0 || w.blobs[n-1].path != path {
			w.blobs = append(w.blobs, blob{path, i, i})
		}
		r.blob = uint32(len(w.blobs) - 1)
		w.blobs[r.blob].last = i + 1
	}
	for i := range w.blobs {
		// Rendered once to nowhere, to know where each tuple will stand.
		out := &counter{out: bufio.NewWriter(io.Discard), note: true}
		w.render(out, &w.blobs[i])
	}
}

func (w *World) blobPath(r *row) string {
	hour := time.UnixMilli(r.record).UTC()
	return fmt.Sprintf("flowLogResourceID=/%s_NETWORKWATCHERRG/NETWORKWATCHER_EASTUS_%s-VNET-FLOWLOG/%s/m=00/macAddress=%s/PT1H.json",
		strings.ToUpper(subscription), strings.ToUpper(w.Config.Cluster),
		hour.Format("y=2006/m=01/d=02/h=15"), w.NICs[r.nic].at(r.record).MAC)
}

// counter is a writer that knows where it is.
type counter struct {
	out  *bufio.Writer
	at   int64
	note bool // tell the rows where they stand
}

func (c *counter) text(s string) {
	c.out.WriteString(s) // an error shows in Flush
	c.at += int64(len(s))
}

// render writes one blob.
func (w *World) render(out *counter, b *blob) {
	out.text(`{"records":[`)
	for i := b.first; i < b.last; {
		end := i + 1
		for end < b.last && w.rows[end].record == w.rows[i].record {
			end++
		}
		if i > b.first {
			out.text(",")
		}
		w.record(out, i, end)
		i = end
	}
	out.text("]}")
}

// record writes one record: rows i to end.
func (w *World) record(out *counter, i, end int) {
	first := &w.rows[i]
	name := strings.ToUpper(w.Config.Cluster)
	out.text(`{"time":"` + time.UnixMilli(first.record).UTC().Format("2006-01-02T15:04:05.0000000Z") +
		`","flowLogVersion":4,"flowLogGUID":"` + flowLogGUID + `","macAddress":"` + w.NICs[first.nic].at(first.record).MAC +
		`","category":"FlowLogFlowEvent","flowLogResourceID":"/SUBSCRIPTIONS/` + strings.ToUpper(subscription) +
		`/RESOURCEGROUPS/NETWORKWATCHERRG/PROVIDERS/MICROSOFT.NETWORK/NETWORKWATCHERS/NETWORKWATCHER_EASTUS/FLOWLOGS/` + name +
		`-VNET-FLOWLOG","targetResourceID":"/subscriptions/` + subscription + `/resourceGroups/` + w.Config.Cluster +
		`/providers/Microsoft.Network/virtualNetworks/` + w.Config.Cluster +
		`-vnet","operationName":"FlowLogFlowEvent","flowRecords":{"flows":[`)
	acl := ""
	for k := i; k < end; {
		next := k + 1
		for next < end && w.rows[next].rule == w.rows[k].rule {
			next++
		}
		if r := ruleTable[w.rows[k].rule]; r.acl != acl {
			if acl != "" {
				out.text(`]},`)
			}
			acl = r.acl
			out.text(`{"aclID":"` + acl + `","flowGroups":[`)
		} else {
			out.text(",")
		}
		w.group(out, k, next)
		k = next
	}
	out.text(`]}]}}`)
}

// group writes one rule's tuples: rows k to next.
func (w *World) group(out *counter, k, next int) {
	out.text(`{"rule":"` + ruleTable[w.rows[k].rule].name + `","flowTuples":["`)
	var buffer []byte
	for i := k; i < next; i++ {
		if i > k {
			out.text(`","`)
		}
		if out.note {
			w.rows[i].offset = out.at
		}
		buffer = w.tuple(buffer[:0], &w.rows[i])
		out.text(string(buffer))
	}
	out.text(`"]}`)
}

// tuple appends the 13 comma-separated fields.
func (w *World) tuple(b []byte, r *row) []byte {
	f := &w.flows[r.flow]
	b = strconv.AppendInt(b, r.t, 10)
	b = f.src.AppendTo(append(b, ','))
	b = f.dst.AppendTo(append(b, ','))
	b = strconv.AppendInt(append(b, ','), int64(f.sport), 10)
	b = strconv.AppendInt(append(b, ','), int64(f.dport), 10)
	b = strconv.AppendInt(append(b, ','), int64(f.protocol()), 10)
	b = append(b, ',', r.direction, ',', r.state)
	b = append(b, ",NX"...)
	for _, c := range r.counters {
		b = strconv.AppendInt(append(b, ','), int64(c), 10)
	}
	return b
}

func (f *flowRecord) protocol() uint8 {
	if f.udp {
		return 17
	}
	return 6
}

// WriteBlobs writes every blob below dir, in the layout of the container
// insights-logs-flowlogflowevent.
func (w *World) WriteBlobs(dir string) error {
	for i := range w.blobs {
		if err := w.writeBlob(dir, &w.blobs[i]); err != nil {
			return fmt.Errorf("write blob %q: %w", w.blobs[i].path, err)
		}
	}
	return nil
}

// WriteBlobsUntil writes the blobs below dir as they are once the records up to a time,
// Unix milliseconds, are in them. A blob that is there already grows; one that has
// nothing new is left alone.
func (w *World) WriteBlobsUntil(dir string, until int64) error {
	for i := range w.blobs {
		b := w.blobs[i]
		b.last = b.first + sort.Search(b.last-b.first, func(n int) bool { return w.rows[b.first+n].record > until })
		if b.last == b.first || has(filePath(dir, &b), w.rows[b.last-1].offset) {
			continue
		}
		if err := w.writeBlob(dir, &b); err != nil {
			return fmt.Errorf("write blob %q: %w", b.path, err)
		}
	}
	return nil
}

func filePath(dir string, b *blob) string {
	return filepath.Join(dir, Container, filepath.FromSlash(b.path))
}

// has says whether there is a file that reaches past an offset.
func has(path string, offset int64) bool {
	info, err := os.Stat(path)
	return err == nil && info.Size() > offset
}

func (w *World) writeBlob(dir string, b *blob) error {
	path := filePath(dir, b)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	out := &counter{out: bufio.NewWriterSize(file, 1<<18)}
	w.render(out, b)
	if err := out.out.Flush(); err != nil {
		file.Close()
		return err
	}
	return file.Close()
}
