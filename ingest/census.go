package ingest

import (
	"context"
	"io"
	"slices"
	"strings"
	"time"
)

const (
	// An interface that logged steadily, steadyBlocks blocks at most steadyGap apart,
	// and then none for silentAfter, has fallen silent. Flow logs add a block about
	// every minute; a rotated storage key stops them without a word (vnet-flow-logs-
	// overview). After forgetAfter it is taken for gone with its machine.
	steadyBlocks = 5
	steadyGap    = 5 * time.Minute
	silentAfter  = 10 * time.Minute
	forgetAfter  = 24 * time.Hour
)

// Silent is an interface that logged steadily and stopped.
type Silent struct {
	NIC  string
	Last time.Time // of its last block
}

// census is a source that takes note of what is listed.
type census struct {
	listing Source
	newest  time.Time
	nics    map[string]*heard
}

// heard is when an interface last logged.
type heard struct {
	last   time.Time
	steady int // blocks in a row without a long gap
}

func newCensus() census { return census{nics: make(map[string]*heard)} }

// List implements [Source].
func (c *census) List(ctx context.Context, hours Hours, fn func(Blob) error) error {
	return c.listing.List(ctx, hours, func(b Blob) error {
		c.note(b)
		return fn(b)
	})
}

// Open implements [Source].
func (c *census) Open(ctx context.Context, b Blob, offset int64) (io.ReadCloser, error) {
	return c.listing.Open(ctx, b, offset)
}

func (c *census) note(b Blob) {
	if b.Modified.After(c.newest) {
		c.newest = b.Modified
	}
	nic := pathMAC(b.Name)
	if nic == "" {
		return
	}
	h := c.nics[nic]
	if h == nil {
		c.nics[nic] = &heard{last: b.Modified}
		return
	}
	switch gap := b.Modified.Sub(h.last); {
	case gap <= 0:
		return
	case gap <= steadyGap:
		h.steady++
	default:
		h.steady = 0
	}
	h.last = b.Modified
}

// silent lists who has fallen silent by now, in order.
func (c *census) silent(now time.Time) []Silent {
	var out []Silent
	for nic, h := range c.nics {
		switch quiet := now.Sub(h.last); {
		case quiet > forgetAfter:
			delete(c.nics, nic)
		case quiet > silentAfter && h.steady >= steadyBlocks:
			out = append(out, Silent{nic, h.last})
		}
	}
	slices.SortFunc(out, func(a, b Silent) int { return strings.Compare(a.NIC, b.NIC) })
	return out
}
