package podlog

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/whichpod/whichpod/attribution"
)

// PodInventory is Container Insights' table KubePodInventory, as CSV or as JSON: an
// array of objects, an object a line, or a query's result with its tables.
// (https://learn.microsoft.com/azure/azure-monitor/reference/tables/kubepodinventory)
//
// It has a row for each container at each look at the cluster, by default once a
// minute: samples, not events. A pod that lived between two of them is not in it, and
// no row says that a pod went. So it never counts as watched time. What a row proves:
//
//   - a container that runs, and never ran before, has kept its sandbox, and so the
//     pod its address, since the container started;
//   - PodStatus Succeeded is the kubelet's word that the pod ended. Its PodIp stays;
//   - PodStartTime is no later than the address. Both are cut to the second.
const PodInventory Format = "pod-inventory"

// inventoryLag is how far from a row's TimeGenerated its content may have been read,
// in milliseconds. It is one time for all rows of a look at the cluster, which takes a
// while; that it takes less than the minute between two of them is not proven.
const inventoryLag = 60 * 1000

// inventoryPods is how many pods are gathered before they go to the ledger.
const inventoryPods = 20_000

// inventoryColumns are the columns that are used; of those at the front none may be
// missing.
var inventoryColumns = [...]string{
	"TimeGenerated", "PodUid", "PodIp", "PodStatus", "Name", "Namespace", "Computer",
	"ClusterName", "ClusterId", "_ResourceId", "PodCreationTimeStamp", "PodStartTime", "PodLabel", "ControllerKind", "ControllerName",
	"ContainerStatus", "ContainerStartTime", "ContainerRestartCount",
}

const (
	colTime = iota
	colUID
	colIP
	colStatus
	colName
	colNamespace
	colComputer
	colClusterName
	colClusterID
	colResourceID
	colCreated
	colStarted
	colLabel
	colControllerKind
	colControllerName
	colContainerStatus
	colContainerStart
	colContainerRestarts
	numColumns

	neededColumns = colClusterName
)

// inventory gathers rows into facts.
type inventory struct {
	r    *reader
	pods map[string]*sampled // by UID
}

// sampled is what the rows so far say of one pod.
type sampled struct {
	fact   attribution.PodFact
	labels string // as they came
}

// inventoryRow holds the values of a row, in the order of inventoryColumns; empty
// where there is none.
type inventoryRow [numColumns]string

// columnsOf maps a header to positions in it, -1 for those that it lacks. The portal
// writes "TimeGenerated [UTC]".
func columnsOf(header []string) ([numColumns]int, error) {
	var at [numColumns]int
	for i := range at {
		at[i] = -1
	}
	for pos, name := range header {
		name, zone, zoned := strings.Cut(strings.TrimSpace(name), " [")
		i := slices.IndexFunc(inventoryColumns[:], func(c string) bool { return strings.EqualFold(c, name) })
		if i < 0 {
			continue
		}
		if zoned && zone != "UTC]" {
			return at, fmt.Errorf("pod inventory: the times in column %q are not in UTC", header[pos])
		}
		at[i] = pos
	}
	var missing []string
	for i := range neededColumns {
		if at[i] < 0 {
			missing = append(missing, inventoryColumns[i])
		}
	}
	if len(missing) > 0 {
		return at, fmt.Errorf("pod inventory: columns %s are missing, got %s", strings.Join(missing, ", "), strings.Join(header, ", "))
	}
	return at, nil
}

// row takes one in. A non-nil error says why it was left out.
func (v *inventory) row(row *inventoryRow) error {
	if err := v.r.ours(row); err != nil {
		return err
	}
	at, _, err := inventoryTime(row[colTime])
	if err != nil {
		return fmt.Errorf("TimeGenerated: %w", err)
	}
	if at == 0 {
		return fmt.Errorf("row has no TimeGenerated")
	}
	if row[colUID] == "" {
		return fmt.Errorf("row has no PodUid")
	}
	if row[colIP] != "" {
		if _, err := netip.ParseAddr(row[colIP]); err != nil {
			return fmt.Errorf("PodIp is %q, want an address", shortText(row[colIP]))
		}
	}
	b, err := row.bounds(at)
	if err != nil {
		return err
	}
	v.r.summary.extend(at)
	v.r.pods++
	s := v.pods[row[colUID]]
	if s == nil {
		if len(v.pods) >= inventoryPods {
			if err := v.flush(); err != nil {
				return ledgerError{err}
			}
		}
		s = &sampled{fact: attribution.PodFact{UID: row[colUID], Source: attribution.Inventory, Identity: row.identity()}}
		v.pods[row[colUID]] = s
	}
	if row[colLabel] != s.labels {
		s.labels, s.fact.Identity.Labels = row[colLabel], labelsOf(row[colLabel])
	}
	widen(&s.fact.Presence, b)
	for _, a := range addressList(row[colIP], nil) {
		i := slices.IndexFunc(s.fact.Holdings, func(h attribution.Holding) bool { return h.Address == a })
		if i < 0 {
			i, s.fact.Holdings = len(s.fact.Holdings), append(s.fact.Holdings, attribution.Holding{Address: a})
		}
		own := b
		own.NotBefore = 0
		widen(&s.fact.Holdings[i].Bounds, own)
	}
	return nil
}

// ledgerError is an error of the ledger, which ends the reading.
type ledgerError struct{ error }

func (e ledgerError) Unwrap() error { return e.error }

// ours says, by an error, that a row is of another cluster.
func (r *reader) ours(row *inventoryRow) error {
	id := cmp.Or(row[colClusterID], row[colResourceID])
	name := cmp.Or(row[colClusterName], id[strings.LastIndexByte(id, '/')+1:])
	if want := r.opt.ResourceID; want != "" {
		if !strings.EqualFold(trimID(want), trimID(id)) && (id != "" || !strings.EqualFold(want, name)) {
			r.foreign(cmp.Or(id, name))
			return fmt.Errorf("row is of cluster %q, want %q", cmp.Or(id, name), want)
		}
		return nil
	}
	if name != "" && !strings.EqualFold(name, r.opt.Cluster) {
		r.foreign(cmp.Or(id, name))
		return fmt.Errorf("row is of cluster %q, want %q", cmp.Or(id, name), r.opt.Cluster)
	}
	return nil
}

func (r *reader) foreign(cluster string) {
	if r.summary.Foreign == nil {
		r.summary.Foreign = make(map[string]int)
	}
	if _, ok := r.summary.Foreign[cluster]; ok || len(r.summary.Foreign) < keepRejections {
		r.summary.Foreign[cluster]++
	}
}

// bounds is what a row of a time proves of its pod.
func (row *inventoryRow) bounds(at int64) (attribution.Bounds, error) {
	var b attribution.Bounds
	start, _, err := inventoryTime(cmp.Or(row[colStarted], row[colCreated]))
	if err != nil {
		return b, fmt.Errorf("PodStartTime or PodCreationTimeStamp: %w", err)
	}
	b = attribution.Bounds{NotBefore: start, SeenBy: at + inventoryLag, SeenLast: at - inventoryLag}
	switch status := row[colStatus]; {
	case strings.EqualFold(status, "Succeeded"):
		b.StoppedFirst, b.StoppedLast = at+inventoryLag, at+inventoryLag
	case strings.EqualFold(status, "Running") && strings.EqualFold(row[colContainerStatus], "running") && row[colContainerRestarts] == "0":
		began, by, err := inventoryTime(row[colContainerStart])
		if err != nil {
			return b, fmt.Errorf("ContainerStartTime: %w", err)
		}
		if began != 0 && began <= at+inventoryLag {
			b.RunningBy, b.AliveAt = by, max(began, at-inventoryLag)
		}
	}
	return b, nil
}

func (row *inventoryRow) identity() *attribution.Identity {
	id := &attribution.Identity{Namespace: row[colNamespace], Name: row[colName], Node: row[colComputer]}
	if row[colControllerKind] != "" {
		id.Owner = row[colControllerKind] + "/" + row[colControllerName]
	}
	return id
}

// labelsOf reads PodLabel, a list of objects as text. What is none has no labels.
func labelsOf(text string) []string {
	var list []map[string]string
	if json.Unmarshal([]byte(text), &list) != nil {
		return nil
	}
	var out []string
	for _, m := range list {
		for _, k := range slices.Sorted(maps.Keys(m)) {
			out = append(out, k+"="+m[k])
		}
	}
	slices.Sort(out)
	return out
}

// widen merges what another row of the same pod says.
func widen(b *attribution.Bounds, o attribution.Bounds) {
	b.NotBefore = max(b.NotBefore, o.NotBefore)
	b.SeenBy, b.SeenLast = earlier(b.SeenBy, o.SeenBy), max(b.SeenLast, o.SeenLast)
	b.RunningBy, b.AliveAt = earlier(b.RunningBy, o.RunningBy), max(b.AliveAt, o.AliveAt)
	b.StoppedFirst, b.StoppedLast = earlier(b.StoppedFirst, o.StoppedFirst), max(b.StoppedLast, o.StoppedLast)
}

// flush makes facts of what was gathered, in the order of UIDs.
func (v *inventory) flush() error {
	for _, uid := range slices.Sorted(maps.Keys(v.pods)) {
		if err := v.r.add(attribution.Fact{Cluster: v.r.opt.Cluster, Pod: v.pods[uid].fact}); err != nil {
			return err
		}
	}
	clear(v.pods)
	return nil
}

// inventoryLayouts are the forms in which exports write times: RFC 3339, Kusto's and
// SQL's forms without a zone (UTC), and the portal's.
var inventoryLayouts = []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02 15:04:05.999999999", "2006-01-02 15:04:05.999999999Z07:00", "1/2/2006, 3:04:05.999999999 PM"}

// inventoryTime is a time, Unix milliseconds, and one that is no earlier than what was
// cut to it: a text in whole seconds stands for up to a second later. An empty text is 0.
func inventoryTime(text string) (at, by int64, err error) {
	text = strings.NewReplacer("\u202f", " ", "\u00a0", " ").Replace(strings.TrimSpace(text)) // before PM, as browsers write it
	if text == "" {
		return 0, 0, nil
	}
	for _, layout := range inventoryLayouts {
		t, err := time.Parse(layout, text)
		if err != nil || t.Unix() <= 0 || t.Year() > 9999 {
			continue
		}
		by := t.Add(time.Millisecond - 1).UnixMilli()
		if !strings.Contains(text, ".") {
			by += second
		}
		return t.UnixMilli(), by, nil
	}
	return 0, 0, fmt.Errorf("time is %s, want one like 2026-11-23T13:00:01Z, 2026-11-23 13:00:01.123 or 11/23/2026, 1:00:01.123 PM", strconv.QuoteToASCII(shortText(text)))
}

func shortText(s string) string {
	if len(s) > 60 {
		return s[:60] + "..."
	}
	return s
}
