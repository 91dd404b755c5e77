package bulk

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"time"
)

const (
	podsPerNode = 30
	minute      = 60_000 // milliseconds
)

// pod is one that held an address in [from, to), Unix milliseconds.
type pod struct {
	address, name, uid, node string
	from, to                 int64
}

// cluster is who held which address: each was passed on, after a few seconds, from a
// pod that lived for 20 to 60 minutes to the next.
type cluster struct {
	slots    [nodes][podsPerNode][]pod
	from, to int64
}

func podAddress(node, slot int) string { return fmt.Sprintf("10.244.%d.%d", node, slot+2) }

func newCluster(hours int) *cluster {
	rng := rand.New(rand.NewPCG(1, 2))
	c := &cluster{from: Start.UnixMilli() - 10*minute, to: Start.UnixMilli() + int64(hours)*60*minute + 10*minute}
	for n := range nodes {
		for s := range podsPerNode {
			for at, k := c.from, 0; at < c.to; k++ {
				p := pod{address: podAddress(n, s), node: fmt.Sprintf("aks-np1-12345678-vmss%06d", n), from: at}
				p.to = at + 20*minute + rng.Int64N(40*minute)
				p.name = fmt.Sprintf("api-%d-%d-%d", n, s, k)
				p.uid = fmt.Sprintf("00000000-0000-4000-%04x-%04x%08x", n, s, k)
				c.slots[n][s] = append(c.slots[n][s], p)
				at = p.to + 5000 + rng.Int64N(55_000)
			}
		}
	}
	return c
}

// write writes the pods twice: as the journal of a watch that missed nothing, and as
// a table for the peers.
func (c *cluster) write(journal, table string) error {
	lines := []line{{c.from - 2, `SNAPSHOT","receivedAt":%q,"object":{"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"%d"},"items":[]}}`}}
	for at := c.from; at <= c.to; at += minute {
		lines = append(lines, line{at, `BOOKMARK","receivedAt":%q,"object":{"kind":"Pod","apiVersion":"v1","metadata":{"resourceVersion":"%d"}}}`})
	}
	rows := []string{"address,from,to,namespace,name,uid,node"}
	for n := range c.slots {
		for _, slot := range c.slots[n] {
			for _, p := range slot {
				lines = append(lines, p.lines()...)
				rows = append(rows, fmt.Sprintf("%s,%d,%d,web,%s,%s,%s", p.address, p.from, p.to, p.name, p.uid, p.node))
			}
		}
	}
	slices.SortStableFunc(lines, func(a, b line) int { return cmp.Compare(a.at, b.at) })
	texts := make([]string, 0, len(lines))
	for i, l := range lines {
		texts = append(texts, `{"type":"`+fmt.Sprintf(l.format, time.UnixMilli(l.at).UTC().Format("2006-01-02T15:04:05.000Z"), 1000+i))
	}
	return errors.Join(writeLines(journal, texts), writeLines(table, rows))
}

// line is one of the journal, but for its time and resource version.
type line struct {
	at     int64
	format string
}

// lines are a pod's life as the API server tells it: bound, running, gone.
func (p *pod) lines() []line {
	stamp := func(at int64) string { return time.UnixMilli(at).UTC().Format(time.RFC3339) }
	version := func(at int64, kind, status string) line {
		return line{at, fmt.Sprintf(`%s","receivedAt":%%q,"object":{"kind":"Pod","apiVersion":"v1","metadata":{"name":%q,"namespace":"web","uid":%q,`+
			`"resourceVersion":"%%d","creationTimestamp":%q},"spec":{"nodeName":%q,"containers":[]},"status":{%s}}}`, kind, p.name, p.uid, stamp(p.from), p.node, status)}
	}
	running := fmt.Sprintf(`"phase":"Running","podIP":%q,"podIPs":[{"ip":%q}],"startTime":%q`, p.address, p.address, stamp(p.from))
	return []line{
		version(p.from, "ADDED", `"phase":"Pending"`),
		version(p.from+1500, "MODIFIED", running),
		version(p.to, "DELETED", running),
	}
}

func writeLines(path string, lines []string) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	out := bufio.NewWriter(file)
	for _, l := range lines {
		out.WriteString(l)
		out.WriteByte('\n')
	}
	return errors.Join(out.Flush(), file.Close())
}
