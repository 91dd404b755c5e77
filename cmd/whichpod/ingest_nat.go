package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strconv"
	"strings"

	"github.com/whichpod/whichpod/attribution/nat"
	"github.com/whichpod/whichpod/attribution/natwatch"
	"github.com/whichpod/whichpod/ingest"
)

// natSummary is what an ingest found of agents' batches.
type natSummary struct {
	Batches      int       `json:"batches"` // that were new
	Known        int       `json:"known"`
	Translations int64     `json:"translations"`
	Rejected     []skipped `json:"rejected"` // blobs that are no whole batch: they are read again next time

	clusters map[string]bool // whose names were looked at
}

// ingestNAT takes what agents shipped to a source, each batch once.
func (a *app) ingestNAT(ctx context.Context, src ingest.Source, name string, sum *natSummary) (err error) {
	beside, ok := src.(interface {
		Below(folder, suffix string) ingest.Source
	})
	if !ok {
		return nil
	}
	t := &batchTaker{app: a, source: beside.Below(natwatch.Folder, natwatch.Suffix), name: name, sum: sum}
	defer func() { err = errors.Join(err, t.close()) }()
	if err := t.source.List(ctx, ingest.Hours{}, func(b ingest.Blob) error { return t.blob(ctx, b) }); err != nil {
		return err
	}
	return t.commit()
}

// followNAT takes, after a pass over a source, what agents shipped to it. What fails is
// said, and tried again after the next pass.
func (a *app) followNAT(ctx context.Context, sources []ingest.Followed, p ingest.Pass, sum *natSummary) {
	sum.Known, sum.Rejected = 0, sum.Rejected[:0] // of this pass
	for _, s := range sources {
		if s.Name != p.Source || p.Err != nil || ctx.Err() != nil {
			continue
		}
		if err := a.ingestNAT(ctx, s.Source, s.Name, sum); err != nil {
			fmt.Fprintf(a.stderr, "whichpod: warning: NAT evidence of %s: %s; trying again\n", s.Name, oneLine(err.Error()))
		}
	}
}

// batchTaker takes batches, those of one cluster at a time.
type batchTaker struct {
	app    *app
	source ingest.Source
	name   string // of the source
	sum    *natSummary

	store   *nat.Store // opened at the first batch
	writer  *nat.Writer
	cluster string // of the writer
}

func (t *batchTaker) blob(ctx context.Context, blob ingest.Blob) (err error) {
	if t.store == nil {
		if t.store, err = nat.Open(t.app.natFolder(), nat.Options{}); err != nil {
			return err
		}
	}
	if session, number, ok := batchName(blob.Name); ok && t.store.Taken(session, number) {
		t.sum.Known++
		return nil
	}
	b, err := t.read(ctx, blob)
	if errors.Is(err, nat.ErrBatch) || errors.Is(err, ingest.ErrChanged) {
		t.sum.Rejected = append(t.sum.Rejected, skipped{blob.Name, err.Error()})
		return nil
	}
	if err != nil {
		return err
	}
	if t.writer != nil && t.cluster != b.Cluster {
		if err := t.commit(); err != nil {
			return err
		}
	}
	if t.writer == nil {
		if t.writer, err = t.store.Begin(nat.Import{Cluster: b.Cluster, Kind: "agent", Name: t.name}); err != nil {
			return err
		}
		t.cluster = b.Cluster
		t.doubtCluster()
	}
	known, err := t.writer.Take(b)
	if known {
		t.sum.Known++
		return err
	}
	t.sum.Batches++
	t.sum.Translations += int64(len(b.Flows))
	return err
}

// doubtCluster looks once at what agents call their cluster. What they call a node is the
// cluster's own word, and it may be a node that the ledger is yet to hear of.
func (t *batchTaker) doubtCluster() {
	if t.sum.clusters == nil {
		t.sum.clusters = make(map[string]bool)
	}
	if !t.sum.clusters[t.cluster] {
		t.sum.clusters[t.cluster] = true
		t.app.doubtNode(t.cluster, "")
	}
}

func (t *batchTaker) read(ctx context.Context, blob ingest.Blob) (*nat.Batch, error) {
	if blob.Length > nat.MaxBatchBytes {
		return nil, fmt.Errorf("%w: %d bytes, at most %d are allowed", nat.ErrBatch, blob.Length, nat.MaxBatchBytes)
	}
	r, err := t.source.Open(ctx, blob, 0)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	return nat.DecodeBatch(data)
}

// commit makes what was taken count.
func (t *batchTaker) commit() error {
	if t.writer == nil {
		return nil
	}
	_, err := t.writer.Commit("")
	t.writer = nil
	return err
}

func (t *batchTaker) close() (err error) {
	if t.writer != nil {
		err = t.writer.Discard()
	}
	if t.store != nil {
		err = errors.Join(err, t.store.Close())
	}
	return err
}

// batchName is the session and the number in a batch's name: natwatch.Name.
func batchName(name string) (session string, number uint64, ok bool) {
	base := strings.TrimSuffix(path.Base(name), natwatch.Suffix)
	i := strings.LastIndexByte(base, '-')
	if i < 0 {
		return "", 0, false
	}
	number, err := strconv.ParseUint(base[i+1:], 10, 40)
	return base[:i], number, err == nil
}

func (a *app) printIngestNAT(s *natSummary) {
	if s.Batches+s.Known > 0 {
		fmt.Fprintf(a.stdout, "%s from %d agents' batches (%d known)\n", count(s.Translations, "translation"), s.Batches, s.Known)
	}
	for i, r := range s.Rejected {
		if i == 3 {
			fmt.Fprintf(a.stderr, "whichpod: warning: %d more are no batches of an agent: -o json names them\n", len(s.Rejected)-i)
			break
		}
		fmt.Fprintf(a.stderr, "whichpod: warning: blob %q: %s\n", r.Blob, oneLine(r.Reason))
	}
}
