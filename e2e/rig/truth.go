//go:build e2e

package rig

import (
	"bufio"
	"cmp"
	"encoding/json"
	"net/netip"
	"os"
	"slices"
	"testing"

	"github.com/whichpod/whichpod/e2e/process"
)

// Server is a running "traffic serve".
type Server struct {
	*process.Process
	UID  string // of its pod, or none
	zone uint16
	out  *os.File
}

// Serve starts a server of targets like "tcp/203.0.113.66:8443" in a namespace.
func (n *Namespace) Serve(t testing.TB, uid string, targets ...string) *Server {
	t.Helper()
	out, err := os.CreateTemp(t.TempDir(), "served")
	process.Must(t, err)
	return &Server{n.Start(t, out, Program("traffic"), append([]string{"serve"}, targets...)...), uid, 0, out}
}

// Call is what a server says of a call. Who calls says so in it, so this is the truth,
// and owes nothing to the code under test.
type Call struct {
	Time     int64          `json:"time"`
	Protocol uint8          `json:"protocol"`
	From     netip.AddrPort `json:"from"`
	To       netip.AddrPort `json:"to"`
	UID      string         `json:"uid"` // of the pod that called
	Server   string         `json:"-"`   // of the pod that was called, or none
	zone     uint16
}

// Calls are those that the server answered until now.
func (s *Server) Calls(t testing.TB) []Call {
	t.Helper()
	f, err := os.Open(s.out.Name())
	process.Must(t, err)
	defer f.Close()
	var calls []Call
	for lines := bufio.NewScanner(f); lines.Scan(); {
		c := Call{Server: s.UID, zone: s.zone}
		process.Must(t, json.Unmarshal(lines.Bytes(), &c))
		calls = append(calls, c)
	}
	return calls
}

// Truth says who was at the ends of a flow.
type Truth map[*Flow]Ends

// Ends are the UIDs of the pods at the ends of a flow, none where it is no pod.
type Ends struct{ Sender, Receiver string }

// late is how much later than its first packet a flow may be recorded, in
// milliseconds.
const late = 300

// NewTruth matches calls with flows. A flow that nobody answered is not in it; two
// pods in one flow can not be, and fail the test. unseen are the calls that the VNet
// never saw.
func NewTruth(t testing.TB, flows []*Flow, calls []Call) (truth Truth, unseen []Call) {
	t.Helper()
	type key struct {
		protocol uint8
		from, to netip.AddrPort
		zone     uint16
	}
	same := make(map[key][]*Flow) // by their begin
	for _, f := range flows {
		k := key{f.Protocol, f.From, f.To, f.Zone}
		same[k] = append(same[k], f)
	}
	truth = make(Truth)
	for _, c := range calls {
		list := same[key{c.Protocol, c.From, c.To, c.zone}]
		i, _ := slices.BinarySearchFunc(list, c.Time+late+1, func(f *Flow, at int64) int { return cmp.Compare(f.Begin, at) })
		if i == 0 {
			unseen = append(unseen, c)
			continue
		}
		f, ends := list[i-1], Ends{c.UID, c.Server}
		if was, ok := truth[f]; ok && was != ends {
			t.Fatalf("the flow %+v is of %+v and of %+v: the recording is wrong", *f, was, ends)
		}
		truth[f] = ends
	}
	return truth, unseen
}
