package main

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

const (
	nodes          = 20      // an interface each, and a blob an hour
	tuplesPerBlob  = 300_000 // 22.6 MB of JSON
	recordsPerBlob = 60
	outside        = 100_000 // addresses outside the cluster, of which few get most of the traffic

	// Needle is an address outside that occurs in NeedleRows rows, however many there are.
	Needle     = "198.51.100.77"
	NeedleRows = 24
)

// Start is when the traffic and the watch begin.
var Start = time.Date(2026, 8, 20, 0, 0, 0, 0, time.UTC)

// Traffic is what Generate wrote.
type Traffic struct {
	Logs    string // folder of the blobs
	Journal string // the pods as a watch journal
	Pods    string // the same pods as a table: address, from, to, namespace, name, uid, node
	Blobs   int
	Tuples  int64
	Bytes   int64 // of the blobs
}

// Generate writes flow logs of about so many tuples to dir, and the pods that sent
// them. Equal numbers give equal files.
func Generate(dir string, tuples int64) (Traffic, error) {
	blobs := max(1, int((tuples+tuplesPerBlob/2)/tuplesPerBlob))
	t := Traffic{
		Logs: filepath.Join(dir, "logs"), Journal: filepath.Join(dir, "pods.jsonl"), Pods: filepath.Join(dir, "pods.csv"),
		Blobs: blobs, Tuples: int64(blobs) * tuplesPerBlob,
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return t, err
	}
	hours := (blobs + nodes - 1) / nodes
	cluster := newCluster(hours)
	if err := cluster.write(t.Journal, t.Pods); err != nil {
		return t, fmt.Errorf("write the pods: %w", err)
	}
	sources := make([]*source, nodes)
	for n := range sources {
		sources[n] = &source{rng: rand.New(rand.NewPCG(uint64(n), 7)), slots: cluster.slots[n][:]}
	}
	for i := range blobs {
		hour, node := i/nodes, i%nodes
		at := Start.Add(time.Duration(hour) * time.Hour)
		mac := fmt.Sprintf("000D3A0000%02X", node)
		path := filepath.Join(t.Logs, "flowLogResourceID=", "S_NETWORKWATCHERRG", "NETWORKWATCHER_EASTUS_VNET-FLOWLOG",
			at.Format("y=2006/m=01/d=02/h=15/m=00"), "macAddress="+mac, "PT1H.json")
		needles := NeedleRows/blobs + btoi(i < NeedleRows%blobs)
		n, err := sources[node].writeBlob(path, mac, at.UnixMilli(), needles)
		if err != nil {
			return t, fmt.Errorf("write blob %q: %w", path, err)
		}
		t.Bytes += n
	}
	return t, nil
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// source makes the traffic of one node.
type source struct {
	rng   *rand.Rand
	slots [][]pod // of each address of the node, who held it
	open  []conn
	now   int64 // Unix milliseconds
	out   *bufio.Writer
	buf   []byte
	bytes int64
}

// conn is an open flow, as fields 2 to 7 of its tuples.
type conn struct{ ends string }

// writeBlob writes an hour in records of a minute, each of two ACLs of three rules.
func (s *source) writeBlob(path, mac string, start int64, needles int) (int64, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return 0, err
	}
	file, err := os.Create(path)
	if err != nil {
		return 0, err
	}
	s.out, s.bytes = bufio.NewWriterSize(file, 1<<20), 0
	s.text(`{"records":[`)
	for r := range recordsPerBlob {
		if r > 0 {
			s.text(",")
		}
		s.now = start + int64(r)*60_000
		s.record(mac, needles*(r+1)/recordsPerBlob-needles*r/recordsPerBlob)
	}
	s.text(`]}`)
	return s.bytes, errors.Join(s.out.Flush(), file.Close())
}

// text keeps the first error in out, which Flush returns.
func (s *source) text(t string) {
	n, _ := s.out.WriteString(t)
	s.bytes += int64(n)
}

func (s *source) record(mac string, needles int) {
	const groups, tuples = 6, tuplesPerBlob / recordsPerBlob
	begin := s.now
	s.text(`{"time":"` + time.UnixMilli(begin+60_500).UTC().Format("2006-01-02T15:04:05.0000000Z") +
		`","flowLogVersion":4,"flowLogGUID":"66aa66aa-bb77-cc88-dd99-00ee00ee00ee","macAddress":"` + mac +
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
		first, last := g*tuples/groups, (g+1)*tuples/groups
		for i := first; i < last; i++ {
			s.buf = s.buf[:0]
			if i > first {
				s.buf = append(s.buf, ',')
			}
			s.now = begin + int64(i-first)*59_000/int64(last-first) + s.rng.Int64N(20) // sorted, or nearly, within a rule
			s.tuple(g == 0 && i < needles)
			n, _ := s.out.Write(s.buf)
			s.bytes += int64(n)
		}
		s.text(`]}`)
	}
	s.text(`]}]}}`)
}

// tuple appends a tuple in its quotes: a flow begins, perhaps continues, and ends; one
// in twenty is a denied attempt.
func (s *source) tuple(needle bool) {
	var c conn
	state := byte('B')
	switch k := s.rng.IntN(100); {
	case needle:
		c, state = s.connect(Needle), 'D'
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
func (s *source) connect(to string) conn {
	ports := [...]int{443, 443, 443, 8443, 53, 6379, 5432, 80}
	src, dst, protocol, direction := s.pod(), to, 6, 'O'
	port := ports[s.rng.IntN(len(ports))]
	if port == 53 {
		protocol = 17
	}
	switch {
	case to != "":
	case s.rng.IntN(2) == 0:
		dst = podAddress(s.rng.IntN(nodes), s.rng.IntN(podsPerNode))
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

// pod is the address of one that lives now, or the first that there is.
func (s *source) pod() string {
	for range 20 {
		slot := s.slots[s.rng.IntN(len(s.slots))]
		for i := range slot {
			if slot[i].from <= s.now && s.now < slot[i].to {
				return slot[i].address
			}
		}
	}
	return s.slots[0][0].address
}
