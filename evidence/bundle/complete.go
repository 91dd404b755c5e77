package bundle

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/whichpod/whichpod/attribution"
	"github.com/whichpod/whichpod/attribution/nat"
	"github.com/whichpod/whichpod/evidence"
	"github.com/whichpod/whichpod/flow"
	"github.com/whichpod/whichpod/index"
	"github.com/whichpod/whichpod/ingest"
	"github.com/whichpod/whichpod/query"
)

// Completeness says what of the logs and of the watch is there, and what is not.
type Completeness struct {
	NICs     []NICHour `json:"nics"`     // by interface and hour
	Blobs    []Blob    `json:"blobs"`    // by name: all that was read for the answer
	Clusters []Watched `json:"clusters"` // by name
	NAT      []Watched `json:"nat"`      // by cluster and node: what was seen of its translations
	Missing  []string  `json:"missing"`  // sentences; empty where nothing is known to be missing
	Verdicts Verdicts  `json:"verdicts"` // how many ends of rows have each
}

// Verdicts counts the rows of a bundle by verdict.
type Verdicts struct {
	Rows int64            `json:"rows"`
	Src  map[string]int64 `json:"src"`
	Dst  map[string]int64 `json:"dst"`
}

// NICHour is what an interface logged in an hour. A record is written about once a
// minute; one without a flow leaves no row, and is not seen.
type NICHour struct {
	NIC      string  `json:"nic"`
	Hour     moments `json:"hour"`
	Expected int     `json:"records_expected"` // minutes of the hour that the question covers
	Seen     int     `json:"records_seen"`     // distinct records with a row in the answer
	Rejected int64   `json:"rejected"`         // pieces that were left out of the hour's blobs
	Rows     int64   `json:"rows"`
}

// Blob is what was taken of a flow log.
type Blob struct {
	Name     string           `json:"name"`
	ETag     string           `json:"etag"`
	Length   int64            `json:"length"` // of the version that was read
	Taken    int64            `json:"taken"`  // the rows come from its first so many bytes
	Check    uint32           `json:"check"`  // CRC-32C of the last of those, up to 4,096
	SHA256   string           `json:"sha256"` // of the bytes that were taken; empty where they were not read again
	Rows     int64            `json:"rows"`   // in all of what was taken
	First    moments          `json:"first"`
	Last     moments          `json:"last"`
	Rejected map[string]int64 `json:"rejected"` // by reason
}

// Watched is when something was watched, and when not, within the question's time.
type Watched struct {
	Cluster   string  `json:"cluster"`
	Node      string  `json:"node,omitempty"`
	Watched   []Spell `json:"watched"`
	Unwatched []Spell `json:"unwatched"`
}

// Spell is a closed range of times.
type Spell struct {
	From moments `json:"from"`
	To   moments `json:"to"`
}

// moments is a [query.Time] that can be read back.
type moments int64

// MarshalJSON writes it as [query.Time] does.
func (m moments) MarshalJSON() ([]byte, error) { return query.Time(m).MarshalJSON() }

// UnmarshalJSON reads that.
func (m *moments) UnmarshalJSON(data []byte) error {
	var text *string
	if err := json.Unmarshal(data, &text); err != nil {
		return err
	}
	t, err := moment(text)
	*m = moments(t)
	return err
}

const hour = int64(time.Hour / time.Millisecond)

// blobsOf lists what a question rests on.
func blobsOf(store *index.Store, q *Question) []Blob {
	out := []Blob{}
	var hours ingest.Hours
	if q.ContextFrom != 0 {
		hours.First = time.UnixMilli(int64(q.ContextFrom)).UTC().Truncate(time.Hour)
	}
	if q.Until != 0 {
		hours.Last = time.UnixMilli(int64(q.Until)).UTC().Truncate(time.Hour)
	}
	for _, b := range store.Blobs() {
		if b.Rows > 0 && !q.inContext(b.First, b.Last) || b.Rows == 0 && !hours.Cover(b.Blob) {
			continue
		}
		one := Blob{Name: b.Blob, ETag: b.ETag, Length: b.Length, Taken: b.Offset, Check: b.Check, Rows: b.Rows, First: moments(b.First), Last: moments(b.Last), Rejected: b.Rejections}
		if one.Rejected == nil {
			one.Rejected = map[string]int64{}
		}
		out = append(out, one)
	}
	return out
}

// census counts the rows of a bundle as they are written.
type census struct {
	rows     int64
	src, dst [attribution.Gap + 1]int64 // ends by verdict
	hours    map[nicHour]*heard
	from, to int64 // of rows
}

type nicHour struct {
	nic  string
	hour int64
}

type heard struct {
	records map[int64]struct{}
	last    int64 // record
	rows    int64
}

func newCensus() *census {
	return &census{hours: make(map[nicHour]*heard)}
}

// Write counts rows.
func (c *census) Write(a query.Attributed, rows []int32) error {
	var k nicHour
	var h *heard
	for _, row := range rows {
		i := int(row)
		at := int64(a.Time[i])
		if c.rows == 0 {
			c.from, c.to = at, at
		}
		c.from, c.to = min(c.from, at), max(c.to, at)
		c.rows++
		c.src[a.Joined.Src[i].Verdict]++
		if a.Addresses[a.Batch.Dst[i]] != flow.Unknown {
			c.dst[a.Joined.Dst[i].Verdict]++
		}
		nic := a.NIC(i)
		if nic == "" {
			continue
		}
		if now := (nicHour{nic, at / hour * hour}); h == nil || now != k {
			k, h = now, c.heard(now)
		}
		if record := int64(a.RecordTime[i]); h.rows == 0 || record != h.last {
			h.records[record], h.last = struct{}{}, record
		}
		h.rows++
	}
	return nil
}

// heard is what was heard of an interface in an hour.
func (c *census) heard(k nicHour) *heard {
	h := c.hours[k]
	if h == nil {
		h = &heard{records: make(map[int64]struct{})}
		k.nic = strings.Clone(k.nic)
		c.hours[k] = h
	}
	return h
}

// verdicts are the counts of rows and their ends.
func (c *census) verdicts() Verdicts {
	v := Verdicts{Rows: c.rows, Src: make(map[string]int64), Dst: make(map[string]int64)}
	for _, verdict := range attribution.Verdicts() {
		for _, side := range []struct {
			into map[string]int64
			n    int64
		}{{v.Src, c.src[verdict]}, {v.Dst, c.dst[verdict]}} {
			if side.n > 0 {
				side.into[verdict.String()] = side.n
			}
		}
	}
	return v
}

// add counts a row's verdicts.
func (v *Verdicts) add(row *evidence.Row) {
	v.Src[row.SrcVerdict]++
	if row.DstVerdict != nil {
		v.Dst[*row.DstVerdict]++
	}
}

// complete fills in all but the blobs.
func (c *Completeness) complete(seen *census, q *Question, d *derivation, known []string) {
	c.Verdicts = seen.verdicts()
	from, to := int64(q.Since), int64(q.Until)
	if from == 0 {
		from = seen.from
	}
	if to == 0 {
		to = seen.to + 1
	}
	c.NICs = nicHours(seen, d.nics, c.Blobs, from, to)
	c.Clusters, c.NAT = []Watched{}, []Watched{}
	for _, st := range d.view.Stats() {
		c.Clusters = append(c.Clusters, watched(st.Name, "", st.Watched, from, to))
	}
	for _, st := range d.nat.Stats() {
		for _, node := range slices.Sorted(maps.Keys(st.Covered)) {
			ranges := make([]attribution.Range, 0, len(st.Covered[node]))
			for _, r := range st.Covered[node] {
				ranges = append(ranges, attribution.Range(nat.Range(r)))
			}
			slices.SortFunc(ranges, func(a, b attribution.Range) int { return cmp.Compare(a.From, b.From) })
			c.NAT = append(c.NAT, watched(st.Name, node, ranges, from, to))
		}
	}
	c.missing(known)
}

// nicHours lists each interface that logged anything in each hour of the time: one
// that was silent is in it with no record.
func nicHours(seen *census, known []attribution.NICSighting, blobs []Blob, from, to int64) []NICHour {
	nics := make(map[string]bool)
	for k := range seen.hours {
		nics[k.nic] = true
	}
	for _, s := range known {
		nics[s.NIC] = true
	}
	rejected := make(map[nicHour]int64)
	for i := range blobs {
		if mac, at := ingest.BlobOf(blobs[i].Name); mac != "" {
			for _, n := range blobs[i].Rejected {
				rejected[nicHour{mac, at.UnixMilli()}] += n
			}
			nics[mac] = true
		}
	}
	out := []NICHour{}
	for _, nic := range slices.Sorted(maps.Keys(nics)) {
		for at := from / hour * hour; at < to; at += hour {
			k := nicHour{nic, at}
			n := NICHour{NIC: nic, Hour: moments(at), Expected: int((min(to, at+hour) - max(from, at) + 59_999) / 60_000), Rejected: rejected[k]}
			if h := seen.hours[k]; h != nil {
				n.Seen, n.Rows = len(h.records), h.rows
			}
			out = append(out, n)
		}
	}
	return out
}

// watched is what of the half-open time from one moment to another the ranges cover.
func watched(cluster, node string, ranges []attribution.Range, from, to int64) Watched {
	w := Watched{Cluster: cluster, Node: node, Watched: []Spell{}, Unwatched: []Spell{}}
	at := from
	for _, r := range ranges {
		first, last := max(r.From, from), min(r.To, to)
		if first > last {
			continue
		}
		if first > at {
			w.Unwatched = append(w.Unwatched, Spell{moments(at), moments(first)})
		}
		w.Watched = append(w.Watched, Spell{moments(first), moments(last)})
		at = max(at, last)
	}
	if at < to-1 {
		w.Unwatched = append(w.Unwatched, Spell{moments(at), moments(to)})
	}
	return w
}

// missing says in sentences what of the logs is known not to be there. That an
// interface logged nothing is in NICs: it may have had nothing to log.
func (c *Completeness) missing(known []string) {
	c.Missing = append([]string{}, known...)
	for i := range c.Blobs {
		if b := &c.Blobs[i]; len(b.Rejected) > 0 {
			var parts []string
			for _, reason := range slices.Sorted(maps.Keys(b.Rejected)) {
				parts = append(parts, fmt.Sprintf("%d %s", b.Rejected[reason], reason))
			}
			c.Missing = append(c.Missing, fmt.Sprintf("of blob %q pieces were left out: %s", b.Name, strings.Join(parts, ", ")))
		}
	}
}
