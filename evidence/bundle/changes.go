package bundle

import (
	"errors"
	"io"
	"net/netip"
	"reflect"
	"strings"

	"github.com/whichpod/whichpod/evidence"
	"github.com/whichpod/whichpod/flow"
)

// changes counts in what the rows of a bundle differ from those of an earlier one
// about the same time.
type changes struct {
	late      int64 // rows that the earlier one has not
	gone      int64 // rows that only the earlier one has
	nat       int64 // rows of both that say otherwise who was there, in one of the two by NAT evidence
	otherwise int64 // other rows that say otherwise
}

// compareRows walks through both, which are in flow order: its memory does not grow
// with the number of rows.
func compareRows(before, after files) (c changes, err error) {
	a, err := newWalk(before)
	if err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, a.rows.Close()) }()
	b, err := newWalk(after)
	if err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, b.rows.Close()) }()
	for err == nil && (a.there || b.there) {
		var order int
		if order, err = a.compare(b); err != nil {
			return c, err
		}
		switch {
		case order < 0:
			c.gone++
			err = a.next()
		case order > 0:
			c.late++
			err = b.next()
		default:
			c.pair(&a.row, &b.row)
			err = errors.Join(a.next(), b.next())
		}
	}
	return c, err
}

// pair counts two rows of one place.
func (c *changes) pair(before, after *evidence.Row) {
	switch {
	case reflect.DeepEqual(before, after):
	case byNAT(before) != byNAT(after):
		c.nat++
	default:
		c.otherwise++
	}
}

// byNAT says at which ends NAT evidence decides.
func byNAT(r *evidence.Row) (ends [2]bool) {
	for i, source := range []*string{r.SrcSource, r.DstSource} {
		ends[i] = source != nil && strings.Contains(*source, "nat")
	}
	return ends
}

// walk is a place in the rows of a bundle.
type walk struct {
	rows  *rowsOf
	row   evidence.Row
	there bool
}

func newWalk(f files) (*walk, error) {
	rows, err := openRows(f)
	if err != nil {
		return nil, err
	}
	w := &walk{rows: rows}
	if err := w.next(); err != nil {
		return nil, errors.Join(err, rows.Close())
	}
	return w, nil
}

func (w *walk) next() error {
	err := w.rows.Next(&w.row)
	w.there = err == nil
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// compare is less than 0 where w's row comes first in flow order, or is the last.
func (w *walk) compare(o *walk) (int, error) {
	switch {
	case !o.there:
		return -1, nil
	case !w.there:
		return 1, nil
	case placeOf(&w.row) == placeOf(&o.row):
		return 0, nil
	}
	a, err1 := flowRow(&w.row)
	b, err2 := flowRow(&o.row)
	return flow.Compare(&a, &b), errors.Join(err1, err2)
}

// flowRow is what of a row decides its place in flow order.
func flowRow(r *evidence.Row) (out flow.Row, err error) {
	out = flow.Row{Dst: flow.Unknown, SrcPort: r.SrcPort, DstPort: r.DstPort, Protocol: r.Protocol, Blob: r.Blob, Offset: r.Offset}
	at, err1 := moment(&r.Time)
	out.Time = int64(at)
	var err2, err3 error
	out.Src, err2 = netip.ParseAddr(r.SrcIP)
	if r.DstIP != nil {
		out.Dst, err3 = netip.ParseAddr(*r.DstIP)
	}
	if r.NIC != nil {
		out.NIC = *r.NIC
	}
	for _, letter := range []struct {
		into *byte
		text *string
	}{{&out.Direction, r.Direction}, {&out.State, &r.State}} {
		if letter.text != nil && len(*letter.text) == 1 {
			*letter.into = (*letter.text)[0]
		}
	}
	return out, errors.Join(err1, err2, err3)
}
