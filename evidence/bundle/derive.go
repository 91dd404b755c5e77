package bundle

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/netip"
	"slices"
	"strings"

	"github.com/whichpod/whichpod/attribution"
	"github.com/whichpod/whichpod/attribution/nat"
	"github.com/whichpod/whichpod/index"
	"github.com/whichpod/whichpod/query"
)

// derivation makes rows out of an index and what lies in a bundle: the slices of the
// ledger and of the NAT evidence, and what is behind each interface. Writing a bundle
// and checking one derive rows in this one way.
type derivation struct {
	ledger *attribution.Ledger
	nat    *nat.Store
	view   *attribution.View
	nics   []attribution.NICSighting
	q      *Question
}

// openDerivation opens what lies in the folder of a bundle. The caller MUST close it.
func openDerivation(f files, q *Question) (*derivation, error) {
	d := &derivation{q: q}
	nics, err := f.read(nicsFile)
	if err != nil {
		return nil, err
	}
	if d.nics, err = decodeNICs(nics); err != nil {
		return nil, err
	}
	d.ledger, err = attribution.OpenLedger(f.path(ledgerFolder), attribution.Options{ReadOnly: true})
	if err != nil {
		return nil, err
	}
	d.nat, err = nat.Open(f.path(natFolder), nat.Options{ReadOnly: true})
	if err != nil {
		return nil, errors.Join(err, d.ledger.Close())
	}
	damage := append(slices.Clone(d.ledger.Damage()), d.nat.Damage()...)
	if len(damage) > 0 {
		return nil, errors.Join(damage[0], d.close())
	}
	d.view = d.ledger.View(q.Config.Config).WithNAT(d.nat)
	return d, nil
}

func (d *derivation) close() error { return errors.Join(d.nat.Close(), d.ledger.Close()) }

// each hands the rows of the question to the writers, in flow order.
func (d *derivation) each(ctx context.Context, store *index.Store, writers ...rowWriter) error {
	engine := query.New(store, d.view)
	engine.TeachNICs(slices.Values(d.nics))
	var rows []int32
	return engine.Each(ctx, index.Filter{From: int64(d.q.ContextFrom), To: int64(d.q.Until)}, func(a query.Attributed) error {
		rows = a.Within(int64(d.q.Since), int64(d.q.Until), rows)
		for _, w := range writers {
			if err := w.Write(a, rows); err != nil {
				return err
			}
		}
		return nil
	})
}

// rowWriter is what takes attributed rows.
type rowWriter interface {
	Write(a query.Attributed, rows []int32) error
}

// nicReach is how far from the time of a question sightings of interfaces count, in
// milliseconds: whose an interface is, is taken to hold for an hour.
const nicReach = 60 * 60 * 1000

// sighting is a line of nics.jsonl.
type sighting struct {
	NIC      string      `json:"nic"`
	Address  *netip.Addr `json:"address"` // null where there were too many to name them
	First    int64       `json:"first"`   // Unix milliseconds
	Last     int64       `json:"last"`
	Sent     int64       `json:"sent"`
	Received int64       `json:"received"`
}

// encodeNICs writes the sightings that matter to a question, in an order of its own:
// how the index was cut into segments leaves no trace.
func encodeNICs(sightings iter.Seq2[index.Sighting, error], q *Question) ([]byte, error) {
	type key struct {
		nic         string
		address     netip.Addr
		first, last int64
	}
	var order []key
	sums := make(map[key]*sighting)
	for s, err := range sightings {
		if err != nil {
			return nil, fmt.Errorf("list interfaces: %w", err)
		}
		if !s.Capped && !q.inContext(s.First-nicReach, s.Last+nicReach) {
			continue
		}
		k := key{s.NIC, s.Address, s.First, s.Last}
		if sums[k] == nil {
			sums[k] = &sighting{NIC: s.NIC, First: s.First, Last: s.Last}
			if !s.Capped {
				sums[k].Address = &k.address
			}
			order = append(order, k)
		}
		sums[k].Sent += s.Sent
		sums[k].Received += s.Received
	}
	slices.SortFunc(order, func(a, b key) int {
		return cmp.Or(strings.Compare(a.nic, b.nic), a.address.Compare(b.address), cmp.Compare(a.first, b.first), cmp.Compare(a.last, b.last))
	})
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	for _, k := range order {
		if err := enc.Encode(sums[k]); err != nil {
			return nil, fmt.Errorf("list interfaces: %w", err)
		}
	}
	return out.Bytes(), nil
}

func decodeNICs(data []byte) ([]attribution.NICSighting, error) {
	var out []attribution.NICSighting
	d := json.NewDecoder(bufio.NewReader(bytes.NewReader(data)))
	for {
		var s sighting
		err := d.Decode(&s)
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", nicsFile, err)
		}
		n := attribution.NICSighting{NIC: s.NIC, First: s.First, Last: s.Last, Sent: s.Sent, Received: s.Received}
		if s.Address == nil {
			n = attribution.NICSighting{NIC: s.NIC, Capped: true}
		} else {
			n.Address = *s.Address
		}
		out = append(out, n)
	}
}
