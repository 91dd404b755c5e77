package attribution

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/whichpod/whichpod/internal/journal"
	"github.com/whichpod/whichpod/internal/journal/disk"
)

// A checkpoint is the ledger as it was when its journal had a certain length, in a file
// beside it: a start reads that, and of the journal only what came after. It is worked
// out from the journal and never the truth: one that is missing, damaged or about
// another journal is passed over, and the journal read from its beginning.
const checkpointName = "ledger.checkpoint"

// When a checkpoint is written, by what the journal grew since the last one, in bytes:
// while facts are appended, and when the ledger is closed. Reading as much of a journal
// takes half a second, and four milliseconds.
const (
	checkpointEvery = 32 << 20
	checkpointAtEnd = 256 << 10
)

// checkpoints is what a ledger that is written to knows of its checkpoint.
type checkpoints struct {
	fs      disk.FS
	dir     string
	covered int64         // of the journal, by the last one that was begun
	writing chan struct{} // closed when the one under way is done; nil: there is none
	err     error         // of the last one
}

// restore takes the state of the checkpoint in dir, and says from where on the journal
// has to be read: 0 is all of it.
func (l *Ledger) restore(dir string) int64 {
	path := filepath.Join(dir, journalName)
	im, err := readCheckpoint(filepath.Join(dir, checkpointName), path)
	if err != nil {
		return 0
	}
	others := make([]Fact, len(im.others))
	for i, payload := range im.others {
		if others[i], err = decodeFact(payload, nil); err != nil {
			return 0
		}
	}
	for i := range others {
		l.apply(&others[i])
	}
	l.store, l.facts, l.damage = im.store, im.facts, im.damage
	return im.journal.Length
}

// readCheckpoint reads a checkpoint where it is about the journal at path.
func readCheckpoint(name, path string) (*image, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	im, err := readImage(bufio.NewReader(f), path)
	if err != nil {
		return nil, fmt.Errorf("read checkpoint %q: %w", name, err)
	}
	j, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer j.Close()
	found, err := takeFingerprint(j, im.journal.Length)
	if err != nil || found != im.journal {
		return nil, errors.Join(fmt.Errorf("checkpoint %q is of another journal", name), err)
	}
	return im, nil
}

// Checkpoint writes a checkpoint of what the journal holds now. Others may append
// meanwhile. An error loses nothing: the next start takes longer.
func (l *Ledger) Checkpoint() error {
	l.mu.Lock()
	done := l.beginCheckpoint()
	l.mu.Unlock()
	if done == nil {
		return nil
	}
	<-done
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.checkpoints.err
}

// lastCheckpoint waits for the one under way and writes another where it is worth it.
func (l *Ledger) lastCheckpoint() error {
	l.mu.Lock()
	writing := l.checkpoints.writing
	l.mu.Unlock()
	if writing != nil {
		<-writing
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.journal.Size()-l.checkpoints.covered < checkpointAtEnd {
		return l.checkpoints.err
	}
	done := l.beginCheckpoint()
	l.mu.Unlock()
	<-done
	l.mu.Lock()
	return l.checkpoints.err
}

// beginCheckpoint writes one beside what goes on. It returns what is closed when it
// is done, also where another was under way, or nil for a ledger without a journal.
// The caller holds the lock.
func (l *Ledger) beginCheckpoint() chan struct{} {
	c := &l.checkpoints
	if l.journal == nil || c.writing != nil {
		return c.writing
	}
	l.settle()
	im := &image{journal: fingerprint{Length: l.journal.Size()}, facts: l.facts, damage: l.damage, others: l.others(), store: l.store.frozen()}
	done := make(chan struct{})
	c.writing, c.covered = done, im.journal.Length
	go func() {
		err := writeCheckpoint(c.fs, c.dir, im)
		l.mu.Lock()
		defer l.mu.Unlock()
		c.writing, c.err = nil, err
		close(done)
	}()
	return done
}

// others is what the ledger knows beside pods.
func (l *Ledger) others() [][]byte {
	var out [][]byte
	keep := func(f Fact) { out = append(out, f.encode(nil)) }
	for _, all := range []bool{true, false} {
		ranges := l.changes
		if all {
			ranges = l.watched
		}
		for cluster, c := range ranges {
			for _, r := range c {
				keep(Fact{Cluster: cluster, Watched: &r, Partial: !all, Late: l.late[cluster]})
			}
		}
	}
	l.objects.each(keep)
	return out
}

// writeCheckpoint puts a new checkpoint in the place of the old one, in one step.
func writeCheckpoint(fsys disk.FS, dir string, im *image) (err error) {
	name := filepath.Join(dir, checkpointName)
	defer func() {
		if err != nil {
			err = fmt.Errorf("write checkpoint %q: %w", name, err)
		}
	}()
	j, err := os.Open(filepath.Join(dir, journalName))
	if err != nil {
		return err
	}
	defer j.Close()
	if im.journal, err = takeFingerprint(j, im.journal.Length); err != nil {
		return err
	}
	fresh := name + ".new"
	f, err := fsys.OpenFile(fresh, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	err = errors.Join(im.write(f), f.Sync(), f.Close())
	if err == nil {
		err = fsys.Rename(fresh, name)
	}
	if err != nil {
		return errors.Join(err, fsys.Remove(fresh))
	}
	return fsys.SyncDir(dir)
}

// Check reads all of the journal again and returns all damage: what was found when the
// ledger was opened, and what has become of the part that a checkpoint stood for.
func Check(dir string, known []journal.CorruptError) ([]journal.CorruptError, error) {
	damage, err := journal.Read(filepath.Join(dir, journalName), journalMagic, journalVersion, nil)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return known, fmt.Errorf("check ledger: %w", err)
	}
	for _, d := range known {
		if !slices.ContainsFunc(damage, func(o journal.CorruptError) bool { return o.Offset == d.Offset }) {
			damage = append(damage, d)
		}
	}
	slices.SortFunc(damage, func(a, b journal.CorruptError) int { return int(a.Offset - b.Offset) })
	return damage, nil
}
