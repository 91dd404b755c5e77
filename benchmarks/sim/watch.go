package sim

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"time"
)

func decimal(n uint64) string { return strconv.FormatUint(n, 10) }

// line is one line of the watch journal, not rendered yet.
type line struct {
	received int64 // Unix microseconds
	version  int   // index into World.versions; -1 for a bookmark or snapshot
	snapshot bool
	upTo     int // bookmark and snapshot: how many versions they cover
}

// hole is a stretch without a watch, Unix ms, half open.
type hole struct{ from, to int64 }

// wireDelay is how long an event takes to the watcher without any fault, in ms.
const wireDelay = 160

// journal makes the lines of the watch journal in the order of the file: a snapshot
// at the start, each event as it came, a bookmark every minute, faults applied.
func journal(cfg *Config, versions []version) []line {
	holes := lostWatches(cfg)
	lines := deliveries(cfg, versions, holes)
	lines = misorder(cfg, lines)
	return duplicate(cfg, lines)
}

// deliveries gives each version and bookmark its time of arrival and drops what fell
// into a hole.
func deliveries(cfg *Config, versions []version, holes []hole) []line {
	r := stream(cfg.Seed, "wire", 0)
	stalls := stalls(cfg)
	var out []line
	for i := range versions {
		v := &versions[i]
		delay := between(r, 500, wireDelay*1000) // always drawn
		if v.at < cfg.startMS() || v.at >= cfg.endMS() {
			continue
		}
		at := held(stalls, v.at*1000+delay)
		if !lost(holes, v.at, at/1000) {
			out = append(out, line{received: at, version: i})
		}
	}
	for minute := int64(1); cfg.startMS()+minute*60_000 <= cfg.endMS(); minute++ {
		at := cfg.startMS() + minute*60_000
		if received := held(stalls, at*1000+between(r, 500, 20_000)); !lost(holes, at, received/1000) {
			out = append(out, line{received: received, version: -1, upTo: before(versions, at)})
		}
	}
	// One stream delivers in order: nothing overtakes what was sent before it.
	slices.SortStableFunc(out, func(a, b line) int { return cmp.Compare(a.sent(versions), b.sent(versions)) })
	for i := 1; i < len(out); i++ {
		out[i].received = max(out[i].received, out[i-1].received+1)
	}
	return slices.Concat(
		[]line{{received: cfg.startMS() * 1000, version: -1, snapshot: true, upTo: before(versions, cfg.startMS())}},
		relists(out, holes, versions))
}

// sent is the order in which the API server sent the lines: that of versions, and a
// bookmark after all that it covers.
func (l line) sent(versions []version) uint64 {
	if l.version >= 0 {
		return 2 * versions[l.version].rv
	}
	if l.upTo == 0 {
		return 0
	}
	return 2*versions[l.upTo-1].rv + 1
}

// relists puts a snapshot at the end of each hole. It covers all that was written
// until then, so nothing of that follows it.
func relists(lines []line, holes []hole, versions []version) []line {
	for _, h := range holes {
		snapshot := line{received: h.to * 1000, version: -1, snapshot: true, upTo: before(versions, h.to)}
		i, _ := slices.BinarySearchFunc(lines, snapshot.received, func(l line, at int64) int {
			return cmp.Compare(l.received, at)
		})
		lines = slices.Insert(lines, i, snapshot)
	}
	return lines
}

// before is how many versions were written before a moment.
func before(versions []version, at int64) int {
	i, _ := slices.BinarySearchFunc(versions, at, func(v version, at int64) int { return cmp.Compare(v.at, at) })
	return i
}

// WriteWatch writes the watch journal: JSON lines {type, receivedAt, object}.
func (w *World) WriteWatch(to io.Writer) error { return w.WriteWatchBetween(to, 0, math.MaxInt64) }

// WriteWatchBetween writes the lines that came in [from, until), Unix milliseconds.
func (w *World) WriteWatchBetween(to io.Writer, from, until int64) error {
	out := bufio.NewWriterSize(to, 1<<20)
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	for _, l := range w.lines {
		if at := l.received / 1000; at < from || at >= until {
			continue
		}
		if err := enc.Encode(w.watchLine(l)); err != nil {
			return fmt.Errorf("write watch journal: %w", err)
		}
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("write watch journal: %w", err)
	}
	return nil
}

type watchLine struct {
	Type       string `json:"type"`
	ReceivedAt string `json:"receivedAt"`
	Object     any    `json:"object"` // *podObject, *podList or bookmark
}

func (w *World) watchLine(l line) watchLine {
	out := watchLine{ReceivedAt: time.UnixMicro(l.received).UTC().Format("2006-01-02T15:04:05.000000Z")}
	switch {
	case l.version >= 0:
		v := &w.versions[l.version]
		out.Type, out.Object = v.eventType, v.object(w.NICs)
	case l.snapshot:
		out.Type, out.Object = "SNAPSHOT", w.list(l.upTo)
	default:
		out.Type, out.Object = "BOOKMARK", bookmark(w.version(l.upTo))
	}
	return out
}

// version is the resource version after the first n writes.
func (w *World) version(n int) uint64 {
	if n == 0 {
		return 99_999
	}
	return w.versions[n-1].rv
}

// list is what a list of pods returned after the first n writes.
func (w *World) list(n int) podList {
	newest := map[*Pod]*version{}
	for i := range w.versions[:n] {
		v := &w.versions[i]
		newest[v.pod] = v
	}
	out := podList{Kind: "PodList", APIVersion: "v1", Items: []*podObject{}}
	out.Metadata.ResourceVersion = decimal(w.version(n))
	for _, p := range w.Pods {
		if v := newest[p]; v != nil && v.eventType != "DELETED" {
			out.Items = append(out.Items, v.object(w.NICs))
		}
	}
	return out
}
