package attribution

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/whichpod/whichpod/internal/journal"
	"github.com/whichpod/whichpod/internal/journal/disk"
)

const (
	journalName    = "ledger.journal"
	journalVersion = 1
)

var journalMagic = [4]byte{'w', 'p', 'l', 'g'}

// Ledger holds who had which address when. See the package comment.
type Ledger struct {
	journal *journal.Journal // nil when read-only
	damage  []journal.CorruptError
	now     func() time.Time

	mu      sync.RWMutex
	recent  map[podKey]*pod     // those that changed since the store knew them; each is replaced when it changes, never written to
	store   *store              // all others
	view    *View               // the last one, while nothing has changed
	watched map[string]coverage // when all pods were on record
	changes map[string]coverage // when at least all changes were
	late    map[string]int64    // how late things were seen at most
	objects objects             // all kinds but pods
	facts   int

	checkpoints checkpoints
}

type podKey struct{ cluster, uid string }

// Options say how to open a ledger.
type Options struct {
	ReadOnly  bool             // do not create, lock or change anything; Append fails
	AsKnownAt int64            // leave out what the ledger learnt after it, Unix milliseconds; 0 is all. Needs ReadOnly
	Now       func() time.Time // the clock that stamps facts; nil is time.Now
}

// OpenLedger opens the ledger in dir, and creates it where it is not there. A folder
// without one, opened read-only, is an empty ledger. What a checkpoint holds is not
// read from the journal again, but for an earlier state. Errors are those of
// [journal.Open]; damage in the middle of the journal is no error: see Damage.
func OpenLedger(dir string, opt Options) (*Ledger, error) { return openLedger(disk.OS{}, dir, opt) }

func openLedger(fsys disk.FS, dir string, opt Options) (*Ledger, error) {
	l := NewLedger()
	if opt.Now != nil {
		l.now = opt.Now
	}
	path, from := filepath.Join(dir, journalName), int64(0)
	if opt.AsKnownAt == 0 {
		from = l.restore(dir)
	}
	replay := func(offset int64, payload []byte) error {
		f, err := decodeFact(payload, nil)
		if err != nil {
			l.damage = append(l.damage, journal.CorruptError{Path: path, Offset: offset, Detail: err.Error()})
			return nil
		}
		if opt.AsKnownAt == 0 || f.KnownAt <= opt.AsKnownAt {
			l.apply(&f)
		}
		return nil
	}
	if opt.ReadOnly {
		damage, err := journal.ReadFrom(path, journalMagic, journalVersion, from, replay)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("open ledger: %w", err)
		}
		l.damage = append(l.damage, damage...)
		return l, nil
	}
	if opt.AsKnownAt != 0 {
		return nil, errors.New("open ledger: an earlier state can only be read")
	}
	if err := fsys.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("open ledger: %w", err)
	}
	j, err := journal.OpenFrom(fsys, path, journalMagic, journalVersion, from, replay)
	if err != nil {
		return nil, fmt.Errorf("open ledger: %w", err)
	}
	l.journal, l.damage = j, append(l.damage, j.Damage()...)
	l.checkpoints = checkpoints{fs: fsys, dir: dir, covered: from}
	return l, nil
}

// NewLedger returns an empty ledger that is kept in memory only.
func NewLedger() *Ledger {
	return &Ledger{recent: make(map[podKey]*pod), store: newStore(), watched: make(map[string]coverage), changes: make(map[string]coverage), late: make(map[string]int64), objects: newObjects(), now: time.Now}
}

// Append adds facts and returns how many of them told something new. Those are on
// disk when it returns nil; after an error none of them counts.
func (l *Ledger) Append(facts ...Fact) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.view = nil
	known := l.now().UnixMilli()
	news := make([][]byte, 0, len(facts))
	undo := make(map[podKey]*pod)
	before := make(map[objectKey]*object)
	var ranges []*Fact
	for i := range facts {
		f := &facts[i]
		if f.KnownAt == 0 {
			f.KnownAt = known
		}
		if f.Watched != nil {
			if !l.covered(f) {
				news, ranges = append(news, f.encode(nil)), append(ranges, f)
			}
			continue
		}
		if f.aboutObjects() {
			if l.objects.learn(f, before) {
				news = append(news, f.encode(nil))
			}
			continue
		}
		key := podKey{f.Cluster, f.Pod.UID}
		was := l.recent[key]
		if l.applyPod(f) {
			learnt := *f
			if p := l.recent[key]; p.ordered() || len(p.voices) > 0 {
				learnt.Pod = p.said(f.Pod.Source) // with the versions that were not worth a line so far
			}
			news = append(news, learnt.encode(nil))
			if _, ok := undo[key]; !ok {
				undo[key] = was
			}
		}
	}
	if err := l.write(news); err != nil {
		for key, p := range undo {
			if l.recent[key] = p; p == nil {
				delete(l.recent, key)
			}
		}
		l.objects.restore(before)
		return 0, err
	}
	for _, f := range ranges {
		l.apply(f)
	}
	l.facts += len(news) - len(ranges)
	if len(l.recent) >= recentPods {
		l.settle()
	}
	if l.journal != nil && l.journal.Size()-l.checkpoints.covered >= checkpointEvery {
		l.beginCheckpoint()
	}
	return len(news), nil
}

// recentPods is how many pods that changed are kept as they are, at a few hundred
// bytes each, before they are filed in the store.
const recentPods = 8192

// settle files what is recent, pods in the order in which they began: then a look at
// each by itself tells of most addresses that one pod had them after the other.
func (l *Ledger) settle() {
	if len(l.recent) == 0 {
		return
	}
	l.store.file(slices.SortedFunc(maps.Values(l.recent), func(a, b *pod) int {
		return cmp.Or(cmp.Compare(a.presence.began(), b.presence.began()), strings.Compare(a.cluster, b.cluster), strings.Compare(a.uid, b.uid))
	}))
	clear(l.recent)
}

func (l *Ledger) write(payloads [][]byte) error {
	if l.journal == nil || len(payloads) == 0 {
		return nil
	}
	return l.journal.Append(payloads...)
}

// apply merges a fact that is on disk.
func (l *Ledger) apply(f *Fact) {
	l.facts++
	if f.aboutObjects() {
		l.objects.apply(f)
		return
	}
	if f.Watched != nil {
		l.late[f.Cluster] = max(l.late[f.Cluster], f.Late)
		l.changes[f.Cluster] = l.changes[f.Cluster].add(*f.Watched)
		if !f.Partial {
			l.watched[f.Cluster] = l.watched[f.Cluster].add(*f.Watched)
		}
		return
	}
	l.applyPod(f)
	if len(l.recent) >= recentPods {
		l.settle()
	}
}

// covered says whether a fact about coverage tells nothing new.
func (l *Ledger) covered(f *Fact) bool {
	if f.aboutObjects() {
		return l.objects.covered(f)
	}
	if f.Late > l.late[f.Cluster] {
		return false
	}
	if f.Partial {
		return l.changes[f.Cluster].has(f.Watched.From, f.Watched.To)
	}
	return l.watched[f.Cluster].has(f.Watched.From, f.Watched.To)
}

func (l *Ledger) applyPod(f *Fact) bool {
	key := podKey{f.Cluster, f.Pod.UID}
	have := l.recent[key]
	if have == nil {
		if n, ok := l.store.find(key); ok {
			have = l.store.pod(n)
		}
	}
	p := &pod{cluster: f.Cluster, uid: f.Pod.UID, knownAt: f.KnownAt}
	if have != nil {
		*p = *have
		p.holdings = slices.Clone(have.holdings)
	}
	changed := p.merge(&f.Pod)
	changed = p.voice(have, f) || changed
	l.recent[key] = p
	return changed
}

// View returns an immutable picture of the ledger as it is now: the same one as
// before, where nothing has changed since.
func (l *Ledger) View(cfg Config) *View {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.view == nil || !reflect.DeepEqual(cfg, l.view.cfg) {
		l.settle()
		l.view = newView(cfg, l.store.snapshot(), cloneCoverage(l.watched), cloneCoverage(l.changes), maps.Clone(l.late), l.objects.clone(), len(l.damage) > 0)
	}
	return l.view
}

func cloneCoverage(m map[string]coverage) map[string]coverage {
	out := make(map[string]coverage, len(m))
	for name, c := range m {
		out[name] = append(coverage(nil), c...)
	}
	return out
}

// Existing calls yield with each pod of a cluster whose object is there as far as the
// ledger knows, the highest resource version that showed it, and when it was seen last.
func (l *Ledger) Existing(cluster string, yield func(uid string, version uint64, seen int64)) {
	l.mu.Lock()
	l.settle()
	pods, watched := l.store.snapshot(), slices.Clone(l.watched[cluster])
	l.mu.Unlock()
	for n := range pods.pods {
		if pods.clusterOf(n) != cluster {
			continue
		}
		if p := pods.pod(n); p.removal(watched).At == 0 {
			yield(p.uid, p.presence.LastVersion, p.presence.SeenLast)
		}
	}
}

// WatchedUntil is the latest time, not after before, at which the cluster was
// watched, or 0.
func (l *Ledger) WatchedUntil(cluster string, before int64) int64 {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.watched[cluster].until(before)
}

// ChangesUntil is the same for a time at which at least all changes were seen.
func (l *Ledger) ChangesUntil(cluster string, before int64) int64 {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.changes[cluster].until(before)
}

// ChangesFrom is the earliest time after a time at which at least all changes were
// seen, or 0.
func (l *Ledger) ChangesFrom(cluster string, after int64) int64 {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.changes[cluster].startAfter(after)
}

// Damage is what could not be read of the journal.
func (l *Ledger) Damage() []journal.CorruptError { return l.damage }

// ClusterStats counts what the ledger holds of one cluster.
type ClusterStats struct {
	Name      string
	Pods      int
	Addresses int // distinct
	Nodes     int
	Watched   []Range // sorted, apart
	// ChangesOnly is the part of it in which pods that did not change were not on record.
	ChangesOnly []Range
}

// Facts is how many facts the ledger rests on.
func (l *Ledger) Facts() int {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.facts
}

// Close writes a checkpoint where a start would take long without, and releases the
// journal. It deletes nothing. An error of the checkpoint loses nothing.
func (l *Ledger) Close() error {
	if l.journal == nil {
		return nil
	}
	err := l.lastCheckpoint()
	return errors.Join(l.journal.Close(), err)
}

// CheckCheckpoint reads the checkpoint in dir, where there is one, and returns as damage
// why a start passes it over. The journal beside it MUST be there and without damage.
func CheckCheckpoint(dir string) ([]journal.CorruptError, error) {
	name, path := filepath.Join(dir, checkpointName), filepath.Join(dir, journalName)
	_, err := readCheckpoint(name, path)
	var system *fs.PathError
	switch {
	case err == nil || errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case errors.As(err, &system):
		return nil, fmt.Errorf("check ledger: %w", err)
	}
	why := errors.Unwrap(err)
	if why == nil {
		why = errors.New("it is of another journal, or of this one when it was longer")
	}
	return []journal.CorruptError{{Path: name, Detail: why.Error() + "; it is passed over, and can be deleted"}}, nil
}
