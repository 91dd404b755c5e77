package natwatch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// shipper holds batches on disk until the target has them.
type shipper struct {
	dir    string
	max    int64
	target Target
	report func(string)
	wake   chan struct{}

	mu        sync.Mutex
	waiting   []spooled // the oldest first
	bytes     int64
	shipped   uint64
	forgotten uint64
}

type spooled struct {
	name string // below the target's root; in the spool with its slashes escaped
	size int64
}

// escaped is a batch's name as one file's name; "%" is in no batch's name.
func escaped(name string) string { return strings.ReplaceAll(name, "/", "%") }

func newShipper(cfg *Config, target Target) (*shipper, error) {
	s := &shipper{dir: cfg.Spool, max: cfg.MaxSpool, target: target, report: cfg.Report, wake: make(chan struct{}, 1)}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return nil, fmt.Errorf("make spool: %w", err)
	}
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, fmt.Errorf("read spool: %w", err)
	}
	for _, e := range entries { // what an earlier run left
		info, err := e.Info()
		if err != nil || !strings.HasSuffix(e.Name(), Suffix) || !info.Mode().IsRegular() {
			continue
		}
		s.waiting = append(s.waiting, spooled{strings.ReplaceAll(e.Name(), "%", "/"), info.Size()})
		s.bytes += info.Size()
	}
	slices.SortFunc(s.waiting, func(a, b spooled) int { return cmp.Compare(filepath.Base(a.name), filepath.Base(b.name)) })
	return s, nil
}

// spool makes a batch durable.
func (s *shipper) spool(name string, data []byte) error {
	if err := s.makeRoom(int64(len(data))); err != nil {
		return err
	}
	if err := writeNew(s.dir, escaped(name), data); err != nil {
		return fmt.Errorf("spool batch: %w", err)
	}
	s.mu.Lock()
	s.waiting = append(s.waiting, spooled{name, int64(len(data))})
	s.bytes += int64(len(data))
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
	return nil
}

// makeRoom forgets the oldest batches: a gap in the evidence, and the node goes on.
func (s *shipper) makeRoom(size int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.bytes+size > s.max && len(s.waiting) > 0 {
		old := s.waiting[0]
		if err := s.drop(old); err != nil {
			return err
		}
		s.forgotten++
		s.report(fmt.Sprintf("the spool is full: forgot %s", old.name))
	}
	return nil
}

// drop takes a batch out of the spool; s.mu is held.
func (s *shipper) drop(b spooled) error {
	if err := os.Remove(filepath.Join(s.dir, escaped(b.name))); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("empty spool: %w", err)
	}
	if i := slices.Index(s.waiting, b); i >= 0 {
		s.waiting = slices.Delete(s.waiting, i, i+1)
		s.bytes -= b.size
	}
	return nil
}

// Waits between two tries.
const (
	firstWait = time.Second
	longWait  = 5 * time.Minute
)

// run ships until ctx ends.
func (s *shipper) run(ctx context.Context) {
	wait := firstWait
	for {
		err := s.all(ctx)
		var again <-chan time.Time
		if err != nil {
			if ctx.Err() != nil {
				return
			}
			s.report(fmt.Sprintf("ship: %v; trying again in %s", err, wait))
			timer := time.NewTimer(wait)
			defer timer.Stop()
			again = timer.C
			wait = min(2*wait, longWait)
		} else {
			wait = firstWait
		}
		wake := s.wake
		if err != nil {
			wake = nil
		}
		select {
		case <-ctx.Done():
			return
		case <-wake:
		case <-again:
		}
	}
}

// all ships what is waiting, the oldest first, up to the first error.
func (s *shipper) all(ctx context.Context) error {
	for {
		s.mu.Lock()
		if len(s.waiting) == 0 {
			s.mu.Unlock()
			return nil
		}
		b := s.waiting[0]
		s.mu.Unlock()
		data, err := os.ReadFile(filepath.Join(s.dir, escaped(b.name)))
		if err == nil {
			err = s.target.Put(ctx, b.name, data)
		}
		gone := errors.Is(err, fs.ErrNotExist) // forgotten meanwhile, or removed by a person
		if err != nil && !gone {
			return err
		}
		s.mu.Lock()
		err = s.drop(b)
		if !gone {
			s.shipped++
		}
		s.mu.Unlock()
		if err != nil {
			return err
		}
	}
}

func (s *shipper) counts() (shipped, forgotten uint64, batches int, bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.shipped, s.forgotten, len(s.waiting), s.bytes
}

// Dir is a folder as a target.
type Dir string

// Put implements [Target]: the file appears whole, and durable.
func (d Dir) Put(_ context.Context, name string, data []byte) error {
	full := filepath.Join(string(d), filepath.FromSlash(name))
	if _, err := os.Stat(full); err == nil {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		return err
	}
	return writeNew(filepath.Dir(full), filepath.Base(full), data)
}

// writeNew writes a file that appears with its name once it is complete and on disk.
func writeNew(dir, name string, data []byte) (err error) {
	f, err := os.CreateTemp(dir, ".batch.*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = f.Write(data)
	if err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), filepath.Join(dir, name)); err != nil {
		return err
	}
	return syncDir(dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
