package podwatch

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"
)

// bookmark is how far the watch came, kept beside the ledger.
type bookmark struct {
	Cluster string `json:"cluster"`
	Kind    string `json:"kind"` // plural
	Version string `json:"resourceVersion"`
	Alive   int64  `json:"watchedUntil"` // Unix milliseconds
	Check   uint32 `json:"check"`        // CRC-32C of the rest, for another version would pass over events unseen; 0: an earlier whichpod wrote it
}

func (b *bookmark) sum() uint32 {
	return crc32.Checksum(fmt.Appendf(nil, "%q %q %q %d", b.Cluster, b.Kind, b.Version, b.Alive), crc32.MakeTable(crc32.Castagnoli))
}

// parseBookmark reads one, or says that it can not be used.
func parseBookmark(data []byte) (b bookmark, ok bool) {
	err := json.Unmarshal(data, &b)
	return b, err == nil && b.Version != "" && (b.Check == 0 || b.Check == b.sum())
}

// resume reads where an earlier run stopped. A file that can not be used costs a
// list, and the time since then stays unwatched.
func (r *reflector) resume() {
	if r.cfg.Bookmark == "" {
		return
	}
	data, err := os.ReadFile(r.cfg.Bookmark)
	if err != nil {
		return
	}
	b, ok := parseBookmark(data)
	if !ok || b.Cluster != r.cfg.Cluster || b.Kind != r.String() || b.Alive > r.stamp() {
		return
	}
	// The version is worth no more than the ledger: all that came before it must be there.
	if r.ledger.KindWatchedUntil(r.cfg.Cluster, r.kind, b.Alive) != b.Alive {
		return
	}
	r.version, r.alive, r.seen, r.told, r.saved = b.Version, b.Alive, b.Alive, b.Alive, b.Alive
	r.report(fmt.Sprintf("going on with %s from version %s", r, b.Version))
}

// keep writes the bookmark, once what it stands for is in the ledger. A crash before
// it is renamed leaves the older one, from which events come again: that is harmless.
func (r *reflector) keep() error {
	if r.cfg.Bookmark == "" || r.version == "" {
		return nil
	}
	b := bookmark{Cluster: r.cfg.Cluster, Kind: r.String(), Version: r.version, Alive: r.alive}
	b.Check = b.sum()
	data, err := json.Marshal(b)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(r.cfg.Bookmark), ".bookmark-*")
	if err != nil {
		return fmt.Errorf("keep bookmark: %w", err)
	}
	defer os.Remove(f.Name())
	if _, err := f.Write(data); err != nil {
		f.Close()
		return fmt.Errorf("keep bookmark: %w", err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("keep bookmark: %w", err)
	}
	if err := os.Rename(f.Name(), r.cfg.Bookmark); err != nil {
		return fmt.Errorf("keep bookmark: %w", err)
	}
	return nil
}

// backoff waits longer after each failure, up to max, with some chance so that many
// watchers do not come back at once.
type backoff struct {
	max  time.Duration
	next time.Duration
}

func (b *backoff) reset() { b.next = 0 }

func (b *backoff) sleep(ctx context.Context) {
	b.next = min(max(2*b.next, 100*time.Millisecond), b.max)
	t := time.NewTimer(b.next/2 + rand.N(b.next/2+1))
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
