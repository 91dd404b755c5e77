package bulk

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"
)

const (
	nodes          = 20      // an interface each, and a blob an hour
	tuplesPerBlob  = 300_000 // 22.6 MB of JSON
	recordsPerBlob = 60

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
	sources := make([]*Source, nodes)
	for n := range sources {
		sources[n] = New(macOf(n), uint64(n), sender(cluster.slots[n][:]), receiver)
	}
	for i := range blobs {
		hour, node := i/nodes, i%nodes
		at := Start.Add(time.Duration(hour) * time.Hour)
		path := filepath.Join(t.Logs, "flowLogResourceID=", "S_NETWORKWATCHERRG", "NETWORKWATCHER_EASTUS_VNET-FLOWLOG",
			at.Format("y=2006/m=01/d=02/h=15/m=00"), "macAddress="+macOf(node), "PT1H.json")
		needles := NeedleRows/blobs + btoi(i < NeedleRows%blobs)
		n, err := writeBlob(sources[node], path, Blob{Start: at.UnixMilli(), Records: recordsPerBlob, Tuples: tuplesPerBlob / recordsPerBlob, Needle: Needle, Needles: needles})
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

// writeBlob writes an hour of a node.
func writeBlob(s *Source, path string, b Blob) (int64, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return 0, err
	}
	file, err := os.Create(path)
	if err != nil {
		return 0, err
	}
	n, err := s.Write(file, b)
	return n, errors.Join(err, file.Close())
}

func macOf(node int) string { return fmt.Sprintf("000D3A0000%02X", node) }

// sender gives the address of a pod that lives then, of those that had the addresses of
// a node, or the first that there is.
func sender(slots [][]pod) func(r *rand.Rand, at int64) string {
	return func(r *rand.Rand, at int64) string {
		for range 20 {
			slot := slots[r.IntN(len(slots))]
			for i := range slot {
				if slot[i].from <= at && at < slot[i].to {
					return slot[i].address
				}
			}
		}
		return slots[0][0].address
	}
}

func receiver(r *rand.Rand) string { return podAddress(r.IntN(nodes), r.IntN(podsPerNode)) }
