package attribution

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"path/filepath"

	"github.com/whichpod/whichpod/internal/journal"
)

// Slice says which part of a ledger an answer about some rows needs.
type Slice struct {
	From, To  int64               // the rows' times, Unix milliseconds; To 0 is without end
	AsKnownAt int64               // leave out what was learnt after it; 0 is all
	Addresses map[netip.Addr]bool // of the rows, at either end
}

const (
	sliceMargin = 24 * 60 * 60 * 1000 // beyond From and To, in milliseconds
	sliceGroup  = 4096                // facts that are written at once
)

// SliceLedger writes what the slice needs of the ledger in dir into a ledger in the
// folder to, which MUST be empty: facts word for word, in their order. It leaves out
// only pods that had none of the addresses, and of which the kubelet said that they
// ended, and somebody that their objects went, a day before From; or that cannot have
// begun before a day after To. A ledger with damage cannot be sliced: the error is a
// [journal.CorruptError].
func SliceLedger(dir, to string, s Slice) (err error) {
	pods := make(map[podKey]*sliced)
	err = eachFact(dir, s.AsKnownAt, func(f *Fact, _ []byte) error {
		if f.Watched == nil && !f.aboutObjects() {
			key := podKey{f.Cluster, f.Pod.UID}
			if pods[key] == nil {
				pods[key] = &sliced{}
			}
			pods[key].add(&f.Pod, s.Addresses)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("slice ledger: %w", err)
	}
	out, err := journal.Open(filepath.Join(to, journalName), journalMagic, journalVersion, func(int64, []byte) error { return nil })
	if err != nil {
		return fmt.Errorf("slice ledger: %w", err)
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	var group [][]byte
	err = eachFact(dir, s.AsKnownAt, func(f *Fact, payload []byte) error {
		if p := pods[podKey{f.Cluster, f.Pod.UID}]; p != nil && !p.needed(&s) {
			return nil
		}
		if group = append(group, append([]byte(nil), payload...)); len(group) < sliceGroup {
			return nil
		}
		err := out.Append(group...)
		group = group[:0]
		return err
	})
	if err == nil && len(group) > 0 {
		err = out.Append(group...)
	}
	if err != nil {
		return fmt.Errorf("slice ledger: %w", err)
	}
	return nil
}

// eachFact replays a ledger's journal. The payload is valid during the call only.
func eachFact(dir string, asKnownAt int64, fn func(f *Fact, payload []byte) error) error {
	path := filepath.Join(dir, journalName)
	damage, err := journal.Read(path, journalMagic, journalVersion, func(offset int64, payload []byte) error {
		f, err := decodeFact(payload, nil)
		if err != nil {
			return journal.CorruptError{Path: path, Offset: offset, Detail: err.Error()}
		}
		if asKnownAt != 0 && f.KnownAt > asKnownAt {
			return nil
		}
		return fn(&f, payload)
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && len(damage) > 0 {
		err = damage[0]
	}
	return err
}

// sliced is what decides whether a pod is in a slice.
type sliced struct {
	notBefore int64 // it cannot have begun earlier
	stopped   int64 // the kubelet's last word that it ended, 0: none
	removed   int64 // its object went, 0: not
	alive     int64 // the last sign of it
	addressed bool  // it had one of the addresses
}

func (p *sliced) add(f *PodFact, addresses map[netip.Addr]bool) {
	p.bounds(&f.Presence)
	for i := range f.Holdings {
		p.bounds(&f.Holdings[i].Bounds)
		p.addressed = p.addressed || addresses[f.Holdings[i].Address]
	}
	if f.Identity != nil {
		for _, a := range f.Identity.HostAddresses {
			p.addressed = p.addressed || f.Identity.HostNetwork && addresses[a]
		}
	}
	p.notBefore = max(p.notBefore, f.Presence.NotBefore)
	p.stopped = max(p.stopped, f.Presence.StoppedLast)
	p.removed = max(p.removed, f.Deleted.At, f.Missing.At)
	p.alive = max(p.alive, f.Listed)
}

func (p *sliced) bounds(b *Bounds) { p.alive = max(p.alive, b.SeenLast, b.AliveAt, b.StoppedLast) }

func (p *sliced) needed(s *Slice) bool {
	if p.addressed {
		return true
	}
	over := p.stopped != 0 && p.removed != 0 && max(p.stopped, p.removed, p.alive) < s.From-sliceMargin
	later := s.To != 0 && p.notBefore > s.To+sliceMargin
	return !over && !later
}
