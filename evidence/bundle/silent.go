package bundle

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/whichpod/whichpod/attribution"
	"github.com/whichpod/whichpod/index"
	"github.com/whichpod/whichpod/ingest"
	"github.com/whichpod/whichpod/query"
)

// Missing says in sentences what of the flow logs of a time is not there, or may not be:
// pieces that were left out, and hours and ends of an interface's logs. The view MUST
// have learned the interfaces.
func Missing(store *index.Store, view *attribution.View, since, until int64) []string {
	c := &Completeness{Blobs: blobsOf(store, &Question{ContextFrom: query.Time(since), Until: query.Time(until)})}
	c.missing(silent(store, view, since, until))
	return c.Missing
}

// logOf is what there is of an interface's logs.
type logOf struct {
	hours map[int64]bool // that have a log
	last  int64          // row
}

// goneWithin is how long after its interface's last row a node must have been deleted for
// the log to be whole, in milliseconds: a node that lived longer logged more.
const goneWithin = hour

// silent says of which interfaces logs may be missing: one has none of an hour between
// others, or no row after the time, though its node is not known to be gone. A log that
// never was and one that was lost look the same. Until 0 is an hour before the newest
// row: what is newer may be on its way.
func silent(store *index.Store, view *attribution.View, since, until int64) []string {
	logs := make(map[string]*logOf)
	newest := int64(0)
	for _, b := range store.Blobs() {
		if b.Rows > 0 {
			newest = max(newest, b.Last)
		}
		nic, at := ingest.BlobOf(b.Blob)
		if nic == "" {
			continue
		}
		if logs[nic] == nil {
			logs[nic] = &logOf{hours: make(map[int64]bool)}
		}
		logs[nic].hours[at.UnixMilli()] = true
		if b.Rows > 0 {
			logs[nic].last = max(logs[nic].last, b.Last)
		}
	}
	out := []string{}
	if newest < since-hour || newest == 0 {
		return append(out, "no interface logged a row")
	}
	if until == 0 {
		until = newest - hour
	}
	for _, nic := range slices.Sorted(maps.Keys(logs)) {
		out = append(out, logs[nic].holes(nic, since, until)...)
		last := logs[nic].last
		if last >= since-hour && last < until && !view.InterfaceGone(nic, last+goneWithin+attribution.Linger) {
			out = append(out, fmt.Sprintf("interface %s logged no row after %s: what it had to log until the end may be missing", nic, rfc3339(last)))
		}
	}
	return out
}

// holes names the hours between the first and the last log of an interface that have none.
func (l *logOf) holes(nic string, since, until int64) []string {
	hours := slices.Sorted(maps.Keys(l.hours))
	missing, first := 0, int64(0)
	for at := hours[0]; at < hours[len(hours)-1]; at += hour {
		if l.hours[at] || at+hour <= since || at >= until {
			continue
		}
		if missing++; missing == 1 {
			first = at
		}
	}
	if missing == 0 {
		return nil
	}
	return []string{fmt.Sprintf("interface %s: hours without a log between others: %d, the first from %s; logs may be missing", nic, missing, rfc3339(first))}
}

func rfc3339(ms int64) string { return time.UnixMilli(ms).UTC().Format(time.RFC3339) }
