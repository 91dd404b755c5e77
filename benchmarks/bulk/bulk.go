// Package bulk writes flow logs as large as asked, fast: for measures of speed, whose
// traffic need only have the shape of real traffic. What is asked of answers is in
// benchmarks/sim.
//
// In: who sends and who receives, or how many tuples a whole cluster logs. Out: blobs as
// Azure writes them, and the pods behind them. Equal input and equal seeds give equal
// bytes.
package bulk

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"strconv"
	"time"
)

// outside is how many addresses outside the cluster there are, of which few get most of
// the traffic.
const outside = 100_000

// Source makes the traffic of one interface: flows begin, perhaps continue, and end,
// over as many blobs as are written. It is for one goroutine.
type Source struct {
	mac      string
	sender   func(r *rand.Rand, at int64) string
	receiver func(r *rand.Rand) string
	rng      *rand.Rand
	open     []conn
	now      int64 // Unix milliseconds
	out      *bufio.Writer
	buf      []byte
	bytes    int64
}

// conn is an open flow, as fields 2 to 7 of its tuples.
type conn struct{ ends string }

// New returns the source of an interface with the given MAC. sender returns the address
// of a pod of the node at a time (Unix milliseconds), receiver that of any pod.
func New(mac string, seed uint64, sender func(r *rand.Rand, at int64) string, receiver func(r *rand.Rand) string) *Source {
	return &Source{mac: mac, sender: sender, receiver: receiver, rng: rand.New(rand.NewPCG(seed, 7))}
}

// Blob is the shape of one.
type Blob struct {
	Start   int64 // Unix milliseconds
	Records int   // a minute each, of two ACLs of three rules
	Tuples  int   // in each record
	Needle  string
	Needles int // rows that are denied attempts to reach Needle, spread over the blob
}

// Write writes the next blob and returns its size in bytes.
func (s *Source) Write(w io.Writer, b Blob) (int64, error) {
	s.out, s.bytes = bufio.NewWriterSize(w, 1<<20), 0
	s.text(`{"records":[`)
	for r := range b.Records {
		if r > 0 {
			s.text(",")
		}
		s.now = b.Start + int64(r)*60_000
		s.record(&b, b.Needles*(r+1)/b.Records-b.Needles*r/b.Records)
	}
	s.text(`]}`)
	return s.bytes, s.out.Flush()
}

// text keeps the first error in out, which Flush returns.
func (s *Source) text(t string) {
	n, _ := s.out.WriteString(t)
	s.bytes += int64(n)
}

func (s *Source) record(b *Blob, needles int) {
	const groups = 6
	begin := s.now
	s.text(`{"time":"` + time.UnixMilli(begin+60_500).UTC().Format("2006-01-02T15:04:05.0000000Z") +
		`","flowLogVersion":4,"flowLogGUID":"66aa66aa-bb77-cc88-dd99-00ee00ee00ee","macAddress":"` + s.mac +
		`","category":"FlowLogFlowEvent","flowLogResourceID":"/SUBSCRIPTIONS/00AA00AA-BB11-CC22-DD33-44EE44EE44EE/RESOURCEGROUPS/NETWORKWATCHERRG/PROVIDERS/MICROSOFT.NETWORK/NETWORKWATCHERS/NETWORKWATCHER_EASTUS/FLOWLOGS/VNET-FLOWLOG",` +
		`"targetResourceID":"/subscriptions/00aa00aa-bb11-cc22-dd33-44ee44ee44ee/resourceGroups/rg/providers/Microsoft.Network/virtualNetworks/vnet","operationName":"FlowLogFlowEvent","flowRecords":{"flows":[`)
	for g := range groups {
		switch g {
		case 0:
			s.text(`{"aclID":"00aa00aa-bb11-cc22-dd33-44ee44ee44e0","flowGroups":[`)
		case groups / 2:
			s.text(`]},{"aclID":"00aa00aa-bb11-cc22-dd33-44ee44ee44e1","flowGroups":[`)
		default:
			s.text(",")
		}
		s.text(`{"rule":"DefaultRule_Allow` + strconv.Itoa(g) + `","flowTuples":[`)
		first, last := g*b.Tuples/groups, (g+1)*b.Tuples/groups
		for i := first; i < last; i++ {
			s.buf = s.buf[:0]
			if i > first {
				s.buf = append(s.buf, ',')
			}
			s.now = begin + int64(i-first)*59_000/int64(last-first) + s.rng.Int64N(20) // sorted, or nearly, within a rule
			if g == 0 && i < needles {
				s.tuple(b.Needle)
			} else {
				s.tuple("")
			}
			n, _ := s.out.Write(s.buf)
			s.bytes += int64(n)
		}
		s.text(`]}`)
	}
	s.text(`]}]}}`)
}

// tuple appends a tuple in its quotes: a flow begins, perhaps continues, and ends; one
// in twenty is a denied attempt, and so is one to a needle.
func (s *Source) tuple(needle string) {
	var c conn
	state := byte('B')
	switch k := s.rng.IntN(100); {
	case needle != "":
		c, state = s.connect(needle), 'D'
	case k < 5:
		c, state = s.connect(""), 'D'
	case k < 45 || len(s.open) < 1000:
		c = s.connect("")
		s.open = append(s.open, c)
	default:
		i := s.rng.IntN(len(s.open))
		c, state = s.open[i], 'C'
		if k >= 60 || len(s.open) > 20_000 {
			state = 'E'
			last := len(s.open) - 1
			s.open[i] = s.open[last]
			s.open = s.open[:last]
		}
	}
	b := append(s.buf, '"')
	b = append(strconv.AppendInt(b, s.now, 10), ',')
	b = append(append(b, c.ends...), ',', state)
	b = append(b, ",NX"...)
	for i := range 4 {
		n := 0
		if state == 'C' || state == 'E' {
			n = 1 + s.rng.IntN(20)
			if i%2 == 1 {
				n *= 40 + s.rng.IntN(1400)
			}
		}
		b = strconv.AppendInt(append(b, ','), int64(n), 10)
	}
	s.buf = append(b, '"')
}

// connect has a pod of the node talk to a pod anywhere, or to an address outside.
func (s *Source) connect(to string) conn {
	ports := [...]int{443, 443, 443, 8443, 53, 6379, 5432, 80}
	src, dst, protocol, direction := s.sender(s.rng, s.now), to, 6, 'O'
	port := ports[s.rng.IntN(len(ports))]
	if port == 53 {
		protocol = 17
	}
	switch {
	case to != "":
	case s.rng.IntN(2) == 0:
		dst = s.receiver(s.rng)
	default:
		u := s.rng.Float64()
		i := int(u * u * u * outside)
		dst = fmt.Sprintf("20.%d.%d.%d", 40+i>>16, i>>8&255, i&255)
		if s.rng.IntN(4) == 0 {
			src, dst, direction = dst, src, 'I'
		}
	}
	return conn{fmt.Sprintf("%s,%s,%d,%d,%d,%c", src, dst, 1024+s.rng.IntN(60_000), port, protocol, direction)}
}
