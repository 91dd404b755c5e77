package natlog

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/whichpod/whichpod/attribution/nat"
)

var addresses = cmpopts.EquateComparable(netip.Addr{})

func tupleOf(src, dst string) nat.Tuple {
	s, d := netip.MustParseAddrPort(src), netip.MustParseAddrPort(dst)
	return nat.Tuple{Src: s.Addr(), SrcPort: s.Port(), Dst: d.Addr(), DstPort: d.Port()}
}

const newLine = "[1795438861.012756]\t    [NEW] ipv4     2 tcp      6 120 SYN_SENT src=10.244.0.11 dst=203.0.113.66 sport=47902 dport=8443 [UNREPLIED] src=203.0.113.66 dst=10.224.0.4 sport=8443 dport=1027"

func TestConntrackLine(t *testing.T) {
	pod, answer := tupleOf("10.244.0.11:47902", "203.0.113.66:8443"), tupleOf("203.0.113.66:8443", "10.224.0.4:1027")
	const at = 1795438861012756
	for line, want := range map[string]Event{
		newLine: {At: at, Kind: New, Protocol: 6, Original: pod, Reply: answer},
		// Counters behind each tuple, a zone, a mark, the entry's number.
		"[1795438861.012756]\t [UPDATE] ipv4     2 tcp      6 60 SYN_RECV src=10.244.0.11 dst=203.0.113.66 sport=47902 dport=8443 packets=1 bytes=60 src=203.0.113.66 dst=10.224.0.4 sport=8443 dport=1027 packets=1 bytes=60 mark=3 zone=7 use=1 id=3816": {At: at, Kind: Update, Protocol: 6, Original: pod, Reply: answer, Fresh: true, Zone: 7},
		// What is gone has no timeout, and may say how long it lasted.
		"[1795438861.012756]\t[DESTROY] ipv4     2 tcp      6 TIME_WAIT src=10.244.0.11 dst=203.0.113.66 sport=47902 dport=8443 src=203.0.113.66 dst=10.224.0.4 sport=8443 dport=1027 [ASSURED] delta-time=12": {At: at, Kind: Destroy, Protocol: 6, Original: pod, Reply: answer, Lasted: 13},
		"[1795438861.012756]\t[DESTROY] ipv4     2 udp      17 src=10.244.0.11 dst=203.0.113.66 sport=47902 dport=8443 src=203.0.113.66 dst=10.224.0.4 sport=8443 dport=1027":                                  {At: at, Kind: Destroy, Protocol: 17, Original: pod, Reply: answer},
		"[1795438861.012756]\t    [NEW] ipv6     10 sctp     132 3 COOKIE_WAIT src=fd00::b dst=2001:db8::1 sport=47902 dport=8443 [UNREPLIED] src=2001:db8::1 dst=fd01::4 sport=8443 dport=1027":               {At: at, Kind: New, Protocol: 132, Original: tupleOf("[fd00::b]:47902", "[2001:db8::1]:8443"), Reply: tupleOf("[2001:db8::1]:8443", "[fd01::4]:1027")},
		// ICMP has an identifier, which is translated as a port is.
		"[1795438861.012756]\t    [NEW] ipv4     2 icmp     1 30 src=10.244.0.11 dst=203.0.113.66 type=8 code=0 id=77 [UNREPLIED] src=203.0.113.66 dst=10.224.0.4 type=0 code=0 id=78": {At: at, Kind: New, Protocol: 1, Original: tupleOf("10.244.0.11:77", "203.0.113.66:0"), Reply: tupleOf("203.0.113.66:0", "10.224.0.4:78")},
		"[1795438861.012756]\t    [NEW] ipv4     2 unknown  47 600 src=10.244.0.11 dst=203.0.113.66 [UNREPLIED] src=203.0.113.66 dst=10.224.0.4":                                       {At: at, Kind: New, Protocol: 47, Original: tupleOf("10.244.0.11:0", "203.0.113.66:0"), Reply: tupleOf("203.0.113.66:0", "10.224.0.4:0")},
	} {
		got, err := parseConntrack([]byte(line))
		if err != nil {
			t.Errorf("%s: %v", line, err)
		} else if diff := cmp.Diff(want, got, addresses); diff != "" {
			t.Errorf("%s:\n%s", line, diff)
		}
	}
}

// A line that was cut anywhere is an error or the whole event but for what stands last;
// never another event.
func TestConntrackCut(t *testing.T) {
	whole, err := parseConntrack([]byte(newLine))
	if err != nil {
		t.Fatal(err)
	}
	last := strings.LastIndex(newLine, "dport=")
	for n := range newLine {
		got, err := parseConntrack([]byte(newLine[:n]))
		if err == nil && n <= last+len("dport=") {
			t.Errorf("cut to %q it is %+v", newLine[:n], got)
		}
	}
	if whole.Reply.DstPort != 1027 {
		t.Errorf("got %+v", whole)
	}
}

type recorder struct {
	flows   []nat.Flow
	covered []nat.Range
}

func (r *recorder) Add(f nat.Flow) error { r.flows = append(r.flows, f); return nil }
func (r *recorder) Cover(_, _ string, from, to int64) {
	r.covered = append(r.covered, nat.Range{From: from, To: to})
}

func TestReadCountsWhatItRejects(t *testing.T) {
	input := newLine + "\n" +
		"[1795438861.012756]\t    [NEW] ipv4     2 tcp      6 120 SYN_SENT src=10.244.0.11 dst=203.0.113.66 sport=47902\n" + // cut
		"    [NEW] ipv4     2 tcp      6 120 SYN_SENT src=10.244.0.11\n" + // without a time
		"conntrack v1.4.7 (conntrack-tools): 5 flow events have been shown.\n" +
		"[1795438861.012756]\t    [NEW] ipv4     2 tcp      x 120 src=1.2.3.4\n" +
		"[1795438861.012756]\t   [OTHER] ipv4     2 tcp      6 120\n" +
		strings.Replace(newLine, "sport=47902", "sport=479022", 1) + "\n" +
		strings.Replace(newLine, "dst=10.224.0.4", "dst=fd00::4", 1) + "\n" +
		strings.Repeat("x", maxLine+5) + "\n\n" +
		strings.Replace(strings.Replace(newLine, "861.012756", "871.012756", 1), "[NEW]", "[DESTROY]", 1) // without an end of line
	var got recorder
	sum, err := Read(strings.NewReader(input), Options{Node: "n", Format: Auto}, &got)
	if err != nil {
		t.Fatal(err)
	}
	if sum.Rejected != 8 || sum.Events != 2 || sum.Flows != 2 || sum.Losses != 1 || sum.Format != Conntrack {
		t.Errorf("got %+v", sum)
	}
	// What the lines between the two said may have been that the connection ended, and
	// that it was made again.
	seen := nat.Flow{
		Key:  nat.Key{Src: netip.MustParseAddr("10.224.0.4"), SrcPort: 1027, Dst: netip.MustParseAddr("203.0.113.66"), DstPort: 8443, Protocol: 6},
		Node: "n", Original: tupleOf("10.244.0.11:47902", "203.0.113.66:8443"), Place: 1,
		FromEarliest: 1795438861012, FromLatest: 1795438861013, ToEarliest: 1795438861013, ToLatest: nat.NoEnd,
	}
	ended := seen
	ended.FromEarliest, ended.FromLatest, ended.Place = 0, 1795438871013, 11
	ended.ToEarliest, ended.ToLatest = 1795438871013, 1795438871013
	if diff := cmp.Diff([]nat.Flow{seen, ended}, got.flows, addresses); diff != "" {
		t.Error(diff)
	}
	if len(got.covered) != 0 {
		t.Errorf("covered %v, though lines are missing", got.covered)
	}
}

// The time around a line that cannot be read is not covered, and what is before the
// line and after it is.
func TestUnreadLineIsALoss(t *testing.T) {
	at := func(second string) string { return strings.Replace(newLine, "861.012756", second, 1) }
	update := func(second string) string { return strings.Replace(at(second), "[NEW]", "[UPDATE]", 1) }
	for _, bad := range []string{at("864.000000")[:90], "x", strings.Repeat("x", maxLine+1)} {
		var got recorder
		input := strings.Join([]string{at("861.000000"), update("863.000000"), bad, update("866.000000"), update("869.000000")}, "\n")
		if _, err := Read(strings.NewReader(input), Options{Node: "n"}, &got); err != nil {
			t.Fatal(err)
		}
		want := []nat.Range{{From: 1795438861000, To: 1795438863000}, {From: 1795438866001, To: 1795438869000}}
		if diff := cmp.Diff(want, got.covered); diff != "" {
			t.Errorf("%.20s: %s", bad, diff)
		}
	}
}

// A file that was appended to after the tool had been away for longer than the shortest
// connection lasts shows who had a port before, and nothing of who had it meanwhile.
func TestBreakInAFile(t *testing.T) {
	at := func(line, second string) string { return strings.Replace(line, "861.012756", second, 1) }
	other := strings.NewReplacer("sport=47902", "sport=47903", "dport=1027", "dport=1028").Replace(newLine)
	for name, c := range map[string]struct {
		resumed string
		certain bool
	}{
		"no break":               {"871.000000", true},
		"long enough for a life": {"871.002000", false},
		"long":                   {"921.000000", false},
	} {
		t.Run(name, func(t *testing.T) {
			store, err := nat.Open(t.TempDir(), nat.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer store.Close()
			w, err := store.Begin(nat.Import{Cluster: "c", Kind: "conntrack"})
			if err != nil {
				t.Fatal(err)
			}
			// The pod's connection ends in the break, another has its port and ends, too.
			input := strings.Join([]string{at(newLine, "860.000000"), at(other, "861.000000"), at(strings.Replace(other, "[NEW]", "[UPDATE]", 1), c.resumed)}, "\n")
			if _, err := Read(strings.NewReader(input), Options{Node: "n"}, w); err != nil {
				t.Fatal(err)
			}
			if _, err := w.Commit(""); err != nil {
				t.Fatal(err)
			}
			q := nat.Asked{Cluster: "c", From: 1795438867000, To: 1795438869000, Tolerance: 1000,
				Key: nat.Key{Src: netip.MustParseAddr("10.224.0.4"), SrcPort: 1027, Dst: netip.MustParseAddr("203.0.113.66"), DstPort: 8443, Protocol: 6}}
			got, err := store.Senders(&q)
			if err != nil || got.Certain != c.certain || len(got.Flows) != 1 {
				t.Errorf("certain %v, %d senders, %v; want certain %v, one sender", got.Certain, len(got.Flows), err, c.certain)
			}
		})
	}
}

// The end of a connection of the node's own that is told only after a pod has its port
// is on record: the pod did not have the port all along.
func TestLateEndOfAnUntranslatedConnection(t *testing.T) {
	node := strings.NewReplacer("src=10.244.0.11", "src=10.224.0.4", "sport=47902", "sport=1027")
	at := func(line, second string) string { return strings.Replace(line, "861.012756", second, 1) }
	input := strings.Join([]string{at(node.Replace(newLine), "861.000000"), at(newLine, "863.000000"),
		at(strings.Replace(node.Replace(newLine), "[NEW]", "[DESTROY]", 1), "863.001000")}, "\n")
	var got recorder
	if _, err := Read(strings.NewReader(input), Options{Node: "n"}, &got); err != nil {
		t.Fatal(err)
	}
	if len(got.flows) != 2 || got.flows[0].Translated() || got.flows[0].ToLatest != 1795438863000 || !got.flows[1].Translated() {
		t.Errorf("got %+v, want what the node had before, and the pod's", got.flows)
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(newLine + "\n"))
	f.Add([]byte(strings.Replace(newLine, "[NEW]", "[DESTROY]", 1) + " delta-time=9\n" + newLine))
	f.Fuzz(func(t *testing.T, input []byte) {
		var got recorder
		sum, err := Read(strings.NewReader(string(input)), Options{Node: "n", Format: Auto}, &got)
		if err != nil {
			t.Fatal(err)
		}
		if sum.Flows != len(got.flows) || sum.Rejected+sum.Events > sum.Lines {
			t.Fatalf("%+v with %d flows", sum, len(got.flows))
		}
		for _, fl := range got.flows {
			if fl.FromEarliest < 0 || fl.FromEarliest > fl.FromLatest || fl.FromLatest > fl.ToEarliest || fl.ToEarliest > fl.ToLatest {
				t.Fatalf("%+v is no connection in time", fl)
			}
		}
	})
}
