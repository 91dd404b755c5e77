//go:build e2e

package watch_test

import (
	"fmt"
	"net/netip"
	"sync"
	"time"
)

// truth is what really happened, by the clock of whoever did it. It owes nothing to
// the code under test.
type truth struct {
	mu   sync.Mutex
	pods []*truePod
	late []unreported
}

// window is a time within which something took place, Unix milliseconds: before the
// request was sent, and after it was answered. The zero value is: it did not.
type window struct{ from, to int64 }

// truePod is a pod as it was. It is written by its kubelet only, until the churn is
// over.
type truePod struct {
	uid, namespace, name string
	node                 string
	nodeAddress          netip.Addr
	hostNetwork          bool
	end                  string // how it ends, where there is a choice
	created, removed     window // its object
	holds                []hold // its own addresses, in order
}

func (p *truePod) String() string {
	s := fmt.Sprintf("%s/%s %s on %s, made %v, removed %v, end %q, host network %v, with", p.namespace, p.name, p.uid, p.node, p.created, p.removed, p.end, p.hostNetwork)
	for _, h := range p.holds {
		s += fmt.Sprintf(" [%s from %d to %d..%d, shown %v, hidden %v]", h.address, h.from, h.to, h.until, h.shown, h.hidden)
	}
	return s
}

// hold is an address with a pod: it had it in [from, to), and by until it had lost it;
// to and until are 0 while it has.
type hold struct {
	address  netip.Addr
	from, to int64
	until    int64
	shown    window // when the API began to show it
	hidden   window // when it stopped to; zero: it shows it still
}

// unreported is an address in a time in which the API showed it with a pod that had
// given it back long before, since the kubelet could not reach the API. How long that
// can take is an assumption of the ledger (attribution, reportLag: ten seconds), so
// such times are not asked about.
type unreported struct {
	address  netip.Addr
	from, to int64
}

// longestLag is from when on an end counts as reported late, in milliseconds.
const longestLag = 8000

func now() int64 { return time.Now().UnixMilli() }

func (tr *truth) add(p *truePod) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.pods = append(tr.pods, p)
}

// reported notes when the API learnt that a hold had ended.
func (tr *truth) reported(h *hold) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	if h.hidden.to-h.to > longestLag {
		tr.late = append(tr.late, unreported{h.address, h.to, h.hidden.to})
	}
}

// asked says whether a moment may be asked about.
func (tr *truth) asked(a netip.Addr, t int64) bool {
	for _, l := range tr.late {
		if l.address == a && l.from <= t && t < l.to {
			return false
		}
	}
	return true
}
