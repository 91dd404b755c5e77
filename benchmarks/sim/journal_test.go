package sim

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"testing"
	"time"
)

// journalLine is what a test reads of the watch journal.
type journalLine struct {
	Type       string
	ReceivedAt time.Time
	Object     struct {
		Metadata struct {
			Name, UID, ResourceVersion string
			DeletionTimestamp          *time.Time
		}
		Spec struct {
			NodeName    string
			HostNetwork bool
		}
		Status struct {
			Phase, PodIP      string
			PodIPs            []ipField
			StartTime         *time.Time
			Conditions        []condition
			ContainerStatuses []containerStatus
		}
		Items []struct {
			Metadata struct{ UID, ResourceVersion string }
		}
	}
}

func readJournal(t *testing.T, w *World) []journalLine {
	t.Helper()
	var out bytes.Buffer
	if err := w.WriteWatch(&out); err != nil {
		t.Fatal(err)
	}
	var lines []journalLine
	for dec := json.NewDecoder(&out); dec.More(); {
		var l journalLine
		if err := dec.Decode(&l); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, l)
	}
	return lines
}

func (l *journalLine) rv(t *testing.T) int {
	t.Helper()
	n, err := strconv.Atoi(l.Object.Metadata.ResourceVersion)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestJournalWithoutFaults(t *testing.T) {
	w := Generate(small(DefaultConfig(), Overlay))
	lines := readJournal(t, w)
	if lines[0].Type != "SNAPSHOT" || len(lines[0].Object.Items) < 20 {
		t.Fatalf("the journal begins with %s of %d pods, want a SNAPSHOT of those of the warm-up",
			lines[0].Type, len(lines[0].Object.Items))
	}
	count := map[string]int{}
	for i, l := range lines {
		count[l.Type]++
		if i == 0 {
			continue
		}
		if l.rv(t) < lines[i-1].rv(t) || l.ReceivedAt.Before(lines[i-1].ReceivedAt) {
			t.Fatalf("line %d: version or time goes back", i)
		}
		if l.ReceivedAt.Sub(lines[i-1].ReceivedAt) > 70*time.Second {
			t.Errorf("line %d: more than a minute of silence", i)
		}
	}
	if count["BOOKMARK"] != 15 || count["SNAPSHOT"] != 1 || count["ADDED"] < 100 || count["DELETED"] < 100 {
		t.Errorf("got %v lines, want 15 bookmarks, a snapshot, and 100 ADDED and DELETED", count)
	}
}

// TestStoryOfAPod checks the order of what is published: address only after the
// containers run, kept by a finished job, terminal before gone.
func TestStoryOfAPod(t *testing.T) {
	w := Generate(small(DefaultConfig(), PodSubnet))
	sent := map[string]int64{} // first flow
	for i := range w.flows {
		if f := &w.flows[i]; f.srcPod >= 0 && sent[w.Pods[f.srcPod].UID] == 0 {
			sent[w.Pods[f.srcPod].UID] = f.begin
		}
	}
	stories := map[string][]journalLine{}
	for _, l := range readJournal(t, w) {
		if uid := l.Object.Metadata.UID; uid != "" {
			stories[uid] = append(stories[uid], l)
		}
	}
	early, kept := 0, 0
	for uid, story := range stories {
		if story[0].Type != "ADDED" {
			continue // known from the snapshot
		}
		if o := story[0].Object; o.Spec.NodeName != "" || o.Status.Phase != "Pending" {
			t.Errorf("%s: ADDED on node %q in phase %s", uid, o.Spec.NodeName, o.Status.Phase)
		}
		last := story[len(story)-1]
		for _, l := range story {
			if l.Object.Status.PodIP == "" || l.Object.Spec.HostNetwork {
				continue
			}
			if sent[uid] > 0 && sent[uid] < l.ReceivedAt.UnixMilli() {
				early++
			}
			break
		}
		if last.Type == "DELETED" && last.Object.Status.Phase == "Succeeded" && last.Object.Status.PodIP != "" {
			kept++
		}
		if last.Type == "DELETED" && (last.Object.Metadata.DeletionTimestamp == nil || story[len(story)-2].Object.Status.Phase == "Running") {
			t.Errorf("%s: DELETED without a terminal word", uid)
		}
	}
	if early < 20 || kept < 20 {
		t.Errorf("%d pods sent before their address was known, %d kept it until deleted; want 20 of each", early, kept)
	}
}

// TestPublishedAddressesAreTrue checks that a pod shows only addresses that it had.
func TestPublishedAddressesAreTrue(t *testing.T) {
	w := Generate(small(AllFaults(), NodeSubnet))
	had := map[string]bool{}
	for _, h := range w.Holds {
		had[h.UID+h.Addr.String()] = true
	}
	families := 0
	for _, l := range readJournal(t, w) {
		for _, ip := range l.Object.Status.PodIPs {
			if !had[l.Object.Metadata.UID+netip.MustParseAddr(ip.IP).String()] {
				t.Fatalf("%s shows %s, which it never had", l.Object.Metadata.UID, ip.IP)
			}
		}
		families = max(families, len(l.Object.Status.PodIPs))
	}
	if families != 2 {
		t.Errorf("pods show %d addresses, want one of each family", families)
	}
}

func TestFaultsOfTheJournal(t *testing.T) {
	cfg := small(AllFaults(), Overlay)
	w := Generate(cfg)
	written := map[string]int64{}
	for _, v := range w.versions {
		written[decimal(v.rv)] = v.at
	}
	seen := map[string]bool{}
	late, disorder, twice, snapshots, silence := int64(0), 0, 0, 0, time.Duration(0)
	lines := readJournal(t, w)
	for i, l := range lines {
		rv := l.Object.Metadata.ResourceVersion
		if i > 0 {
			silence = max(silence, l.ReceivedAt.Sub(lines[i-1].ReceivedAt))
			if l.ReceivedAt.Before(lines[i-1].ReceivedAt) {
				t.Fatalf("line %d was received before line %d", i, i-1)
			}
		}
		switch {
		case l.Type == "SNAPSHOT":
			snapshots++
		case l.Type == "BOOKMARK":
		case seen[rv]:
			twice++
		default:
			seen[rv] = true
			delay := l.ReceivedAt.UnixMilli() - written[rv]
			if delay < 0 || delay > ms(cfg.Faults.Lateness)+maxDisorder/1000+wireDelay {
				t.Fatalf("line %d came %d ms after it was written", i, delay)
			}
			late = max(late, delay)
			if i > 0 && lines[i-1].Type != "SNAPSHOT" && l.rv(t) < lines[i-1].rv(t) {
				disorder++
			}
		}
	}
	if late < 10_000 || disorder < 20 || twice < 20 || snapshots != 2 || silence < 2*time.Minute {
		t.Errorf("latest %d ms, %d out of order, %d twice, %d snapshots, silent for %v", late, disorder, twice, snapshots, silence)
	}
}

func TestFaultsOfPods(t *testing.T) {
	for _, mode := range Modes {
		w := Generate(small(AllFaults(), mode))
		doubled, remade, silent, forced, ghosts := 0, 0, 0, 0, 0
		for i := range w.flows {
			f := &w.flows[i]
			if p := f.srcPod; p >= 0 && w.Pods[p].forced && f.begin > w.Pods[p].deleted {
				ghosts++
			}
		}
		for _, p := range w.Pods {
			if p.forced {
				forced++
			}
			if len(p.Sandboxes) > 1 {
				remade++
				if p.Sandboxes[1].readySaid == 0 {
					silent++
				}
			}
			for _, s := range p.Sandboxes {
				if s.Doubled {
					doubled++
					if len(owners(w.Holds, s.Addr, s.From)) < 2 {
						t.Errorf("%s: %s alone holds its doubled address", mode, p.Name)
					}
				}
			}
		}
		if doubled < 2 || remade < 5 || silent == 0 || silent == remade || forced < 2 || ghosts < 5 {
			t.Errorf("%s: doubled %d, re-made %d (%d silently), forced %d, flows after deletion %d", mode, doubled, remade, silent, forced, ghosts)
		}
		if offsets := w.NICs[0].Skew != 0 && w.NICs[0].KubeletSkew != 0; !offsets {
			t.Errorf("%s: clocks agree", mode)
		}
	}
	clean := Generate(small(DefaultConfig(), Overlay))
	for _, p := range clean.Pods {
		if p.forced || len(p.Sandboxes) > 1 || p.Sandboxes[0].Doubled {
			t.Errorf("without faults, %s has one", p.Name)
		}
	}
}

// TestTraps checks that what makes attribution hard really is in the log.
func TestTraps(t *testing.T) {
	w := Generate(small(AllFaults(), NodeSubnet))
	got := map[string]int{}
	type at struct {
		nic  string
		time int64
		key  string
	}
	states := map[at]string{}
	users := map[string][]*Pod{} // of a five-tuple
	for truth := range w.Truth() {
		key := fmt.Sprint(truth.Src, truth.SrcPort, truth.Dst, truth.DstPort, truth.Protocol)
		p := truth.SrcPod
		got["state "+string(truth.State)+string(truth.Direction)]++
		if truth.Src.Is6() {
			got["IPv6"]++
		}
		if p != nil && truth.State == 'E' && truth.Time-truth.Begin > 200_000 && p.last().To < truth.Time-100_000 {
			if o := owners(w.Holds, truth.Src, truth.Time); len(o) > 0 && !slices.Contains(o, p.UID) {
				got["E long after its pod, under another"]++
			}
		}
		if p != nil && !slices.Contains(users[key], p) {
			users[key] = append(users[key], p)
		}
		k := at{truth.NIC, truth.Time, key}
		if states[k] == "E" && truth.State == 'B' {
			got["E then B"]++
		}
		if states[k] == "D" && truth.State == 'D' {
			got["D twice"]++
		}
		states[k] = string(truth.State)
		if truth.RecordTime/3_600_000 != truth.Time/3_600_000 {
			got["tuple of the hour before"]++
		}
	}
	for _, pods := range users {
		if len(pods) > 1 {
			got["five-tuple of two pods"]++
		}
	}
	for _, want := range []string{"state BO", "state BI", "state EO", "state CO", "state CI", "state DO", "state DI", "IPv6", "five-tuple of two pods",
		"E long after its pod, under another", "E then B", "D twice", "tuple of the hour before"} {
		if got[want] < 3 {
			t.Errorf("%s: %d, want 3 or more", want, got[want])
		}
	}
	t.Log(got)
}
