package nat

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/whichpod/whichpod/internal/journal"
	"github.com/whichpod/whichpod/internal/journal/disk"
)

const (
	journalName    = "evidence.journal"
	journalVersion = 1
	segmentSuffix  = ".nat"
)

var journalMagic = [4]byte{'w', 'p', 'n', 'j'}

// Samples is the Kind of an import whose records tell of packets and not of connections.
const Samples = "hubble"

// Import is one reading of evidence, from a file or from what agents shipped.
type Import struct {
	Number  uint32    `json:"number"`
	KnownAt int64     `json:"known_at"` // Unix milliseconds
	Cluster string    `json:"cluster"`
	Kind    string    `json:"kind"`             // conntrack, hubble or agent
	Name    string    `json:"name"`             // of the file, or of the source that the batches came from
	Digest  string    `json:"digest,omitempty"` // of the file: SHA-256, hex
	Batches []Batches `json:"batches,omitempty"`
	Covered []Covered `json:"covered"`
	Flows   int64     `json:"flows"` // taken, known or not
}

// Batches are an agent's, numbered without a hole: of one run of it, its session.
type Batches struct {
	Node    string `json:"node"`
	Session string `json:"session"`
	First   uint64 `json:"first"`
	Last    uint64 `json:"last"`
}

// Covered is a stretch in which all that a node translated was seen.
type Covered struct {
	Node    string `json:"node"`
	Session string `json:"session,omitempty"` // an agent's; empty is the import's own
	Range
}

// commit is a line of the journal: all of it counts together.
type commit struct {
	Import   *Import       `json:"import,omitempty"`
	Segments []segmentName `json:"segments,omitempty"` // that count from now on
	Removed  []string      `json:"removed,omitempty"`  // that count no longer: others hold the same
}

type segmentName struct {
	File    string `json:"file"`
	Cluster string `json:"cluster"`
	Flows   int64  `json:"flows"`
}

// Options say how to open a store.
type Options struct {
	ReadOnly  bool             // do not create, lock or change anything
	AsKnownAt int64            // leave out what was imported after it, Unix milliseconds; 0 is all. Needs ReadOnly
	Now       func() time.Time // nil is time.Now
	FS        disk.FS          // nil is the operating system's
}

// Store is the evidence in one folder.
type Store struct {
	dir     string
	opt     Options
	journal *journal.Journal // nil when read-only
	damage  []journal.CorruptError
	cache   blockCache

	mu       sync.RWMutex
	clusters map[string]*cluster
	imports  []Import // by number, without Covered and Batches; Number 0 is none
	hidden   map[uint32]bool
	digests  map[string]bool                // of files, with cluster and node
	sessions map[string]ranges              // numbers of the batches that were taken
	names    map[string]segmentName         // segments that count
	covered  map[string]map[string]coverage // by cluster and node
	next     uint32                         // number of the next import
	files    int                            // number of the next segment
	writing  bool
}

// cluster is the evidence of one cluster.
type cluster struct {
	segments []*segment
	damaged  atomic.Bool // evidence is missing: nothing is certain
}

// Open opens the evidence in dir, and creates it where it is not there. A folder
// without any, opened read-only, is an empty store. A segment that is damaged is no
// error: see [Store.Damage].
func Open(dir string, opt Options) (*Store, error) {
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if opt.FS == nil {
		opt.FS = disk.OS{}
	}
	if opt.AsKnownAt != 0 && !opt.ReadOnly {
		return nil, errors.New("open NAT evidence: an earlier state can only be read")
	}
	for attempt := 0; ; attempt++ {
		s := &Store{dir: dir, opt: opt}
		gone, err := s.load()
		if err != nil {
			return nil, errors.Join(fmt.Errorf("open NAT evidence: %w", err), s.Close())
		}
		if gone && opt.ReadOnly && attempt < 3 {
			// A writer has merged segments since the journal was read.
			if err := s.Close(); err != nil {
				return nil, fmt.Errorf("open NAT evidence: %w", err)
			}
			continue
		}
		return s, nil
	}
}

// load reads the journal and opens the segments; gone says that one was not there.
func (s *Store) load() (gone bool, err error) {
	s.clusters, s.hidden, s.names = make(map[string]*cluster), make(map[uint32]bool), make(map[string]segmentName)
	s.digests, s.sessions, s.covered, s.next = make(map[string]bool), make(map[string]ranges), make(map[string]map[string]coverage), 1
	path := filepath.Join(s.dir, journalName)
	replay := func(offset int64, payload []byte) error {
		var c commit
		if err := json.Unmarshal(payload, &c); err != nil {
			s.damage = append(s.damage, journal.CorruptError{Path: path, Offset: offset, Detail: err.Error()})
			return nil
		}
		s.apply(&c)
		return nil
	}
	if s.opt.ReadOnly {
		damage, err := journal.Read(path, journalMagic, journalVersion, replay)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false, err
		}
		s.damage = append(s.damage, damage...)
	} else {
		if err := s.opt.FS.MkdirAll(s.dir, 0o755); err != nil {
			return false, err
		}
		if s.journal, err = journal.OpenOn(s.opt.FS, path, journalMagic, journalVersion, replay); err != nil {
			return false, err
		}
		s.damage = append(s.damage, s.journal.Damage()...)
		if err := s.sweep(); err != nil {
			return false, err
		}
	}
	for _, name := range s.sortedNames() {
		missing, err := s.open(name)
		if err != nil {
			return false, err
		}
		gone = gone || missing
	}
	return gone, nil
}

func (s *Store) sortedNames() []segmentName {
	var out []segmentName
	for _, n := range s.names {
		out = append(out, n)
	}
	slices.SortFunc(out, func(a, b segmentName) int { return strings.Compare(a.File, b.File) })
	return out
}

// open opens a segment; one that is gone or damaged makes its cluster's evidence so.
func (s *Store) open(name segmentName) (gone bool, err error) {
	c := s.clusterOf(name.Cluster)
	seg, err := openSegment(s.opt.FS, filepath.Join(s.dir, name.File))
	var corrupt journal.CorruptError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		corrupt, gone = journal.CorruptError{Path: filepath.Join(s.dir, name.File), Detail: "the file is gone"}, true
	case errors.As(err, &corrupt):
	case err != nil:
		return false, err
	default:
		seg.id = s.files
		s.files++
		c.segments = append(c.segments, seg)
		return false, nil
	}
	c.damaged.Store(true)
	s.damage = append(s.damage, corrupt)
	return gone, nil
}

func (s *Store) clusterOf(name string) *cluster {
	c := s.clusters[name]
	if c == nil {
		c = &cluster{}
		s.clusters[name] = c
	}
	return c
}

// apply takes a line of the journal that is on disk.
func (s *Store) apply(c *commit) {
	for _, n := range c.Segments {
		s.names[n.File] = n
	}
	for _, file := range c.Removed {
		delete(s.names, file)
	}
	if c.Import == nil {
		return
	}
	im := *c.Import
	s.next = max(s.next, im.Number+1)
	if s.opt.AsKnownAt != 0 && im.KnownAt > s.opt.AsKnownAt {
		s.hidden[im.Number] = true
		return
	}
	if im.Digest != "" {
		s.digests[im.Digest] = true
	}
	for _, b := range im.Batches {
		s.sessions[b.Session] = s.sessions[b.Session].add(Range{int64(b.First), int64(b.Last) + 1})
	}
	s.clusterOf(im.Cluster)
	byNode := s.covered[im.Cluster]
	if byNode == nil {
		byNode = make(map[string]coverage)
		s.covered[im.Cluster] = byNode
	}
	for _, r := range im.Covered {
		session := r.Session
		if session == "" {
			session = strconv.Itoa(int(im.Number))
		}
		if byNode[r.Node] == nil {
			byNode[r.Node] = make(coverage)
		}
		byNode[r.Node][session] = byNode[r.Node][session].add(r.Range)
	}
	im.Covered = nil
	for len(s.imports) <= int(im.Number) {
		s.imports = append(s.imports, Import{})
	}
	s.imports[im.Number] = im
}

// sweep removes segments that do not count: what a crash left behind. Beside a damaged
// journal they stay, for it may be the damage that keeps them from counting; no name is
// given a second time.
func (s *Store) sweep() error {
	entries, err := s.opt.FS.ReadDir(s.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if _, counts := s.names[e.Name()]; counts || filepath.Ext(e.Name()) != segmentSuffix {
			continue
		}
		if len(s.damage) > 0 {
			number, _, _ := strings.Cut(strings.TrimPrefix(e.Name(), "m"), "-")
			if n, err := strconv.ParseUint(number, 10, 31); err == nil {
				s.next = max(s.next, uint32(n)+1)
			}
			continue
		}
		if err := s.opt.FS.Remove(filepath.Join(s.dir, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// Damage is what could not be read. While a cluster's evidence is damaged, none of it
// is certain.
func (s *Store) Damage() []journal.CorruptError { return s.damage }

// Empty says whether there is no evidence at all.
func (s *Store) Empty() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.clusters) == 0
}

// Import is the import with a number, or the zero Import.
func (s *Store) Import(number uint32) Import {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if int(number) >= len(s.imports) {
		return Import{}
	}
	return s.imports[number]
}

// Taken says whether a batch of a session was imported.
func (s *Store) Taken(session string, number uint64) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.sessions[session].has(int64(number), int64(number)+1)
}

// Knows lists the clusters that have evidence of a node with this address.
func (s *Store) Knows(a netip.Addr) []string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var out []string
	for name, c := range s.clusters {
		if slices.ContainsFunc(c.segments, func(seg *segment) bool { return s.tellsOf(seg, a) }) {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// Addresses lists the addresses under which connections left by a cluster's evidence, sorted:
// more than those of which [Store.Knows].
func (s *Store) Addresses(cluster string) []netip.Addr {
	s.mu.RLock()
	defer s.mu.RUnlock()
	c := s.clusters[cluster]
	if c == nil {
		return nil
	}
	var out []netip.Addr
	for _, seg := range c.segments {
		out = append(out, seg.senders...)
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return slices.Compact(out)
}

// tellsOf says whether a segment has a connection of somebody else that left under the
// address, of an import that counts. One that can not be read may have. A pod's own address is
// kept where the kernel gave its connection another port. s.mu is held.
func (s *Store) tellsOf(seg *segment, a netip.Addr) bool {
	if _, ok := slices.BinarySearchFunc(seg.senders, a, netip.Addr.Compare); !ok {
		return false
	}
	w := walker{store: s, seg: seg}
	if err := w.seek(&Key{Src: a}, 0); err != nil {
		return true
	}
	for {
		f, err := w.next()
		switch {
		case err != nil:
			return true
		case f == nil || f.Src != a:
			return false
		case f.Translated() && f.Original.Src != a && !s.hidden[f.Import]:
			return true
		}
	}
}

// ClusterStats counts a cluster's evidence.
type ClusterStats struct {
	Name    string
	Records int64
	Damaged bool
	Covered map[string][]Range // by node
	Sources []Source
}

// Stats counts what the store holds, by cluster. Records of imports that are left out
// by AsKnownAt are counted too.
func (s *Store) Stats() []ClusterStats {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var out []ClusterStats
	for name, c := range s.clusters {
		st := ClusterStats{Name: name, Damaged: c.damaged.Load(), Covered: make(map[string][]Range)}
		for node, r := range s.covered[name] {
			st.Covered[node] = r.all()
		}
		for _, seg := range c.segments {
			st.Records += seg.flows
			st.Sources = append(st.Sources, seg.sources...)
		}
		out = append(out, st)
	}
	slices.SortFunc(out, func(a, b ClusterStats) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// Close releases the files. It deletes nothing.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var err error
	for _, c := range s.clusters {
		for _, seg := range c.segments {
			err = errors.Join(err, seg.f.Close())
		}
		c.segments = nil
	}
	if s.journal != nil {
		err = errors.Join(err, s.journal.Close())
	}
	return err
}
