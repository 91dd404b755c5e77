package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/netip"
	"path/filepath"
	"time"

	"github.com/whichpod/whichpod/attribution"
	"github.com/whichpod/whichpod/benchmarks/bulk"
	"github.com/whichpod/whichpod/index"
	"github.com/whichpod/whichpod/query"
)

// ask puts the question eight times in this process, and prints what the scripts of
// the peers print.
func ask(ctx context.Context, data string, out io.Writer) (err error) {
	store, err := index.Open(data, index.Options{ReadOnly: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	ledger, err := attribution.OpenLedger(filepath.Join(data, "ledger"), attribution.Options{ReadOnly: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, ledger.Close()) }()
	cfg, err := attribution.ParseConfig([]byte(clusterConfig))
	if err != nil {
		return err
	}
	engine := query.New(store, ledger.View(cfg))
	question := query.Question{
		Of:    query.Endpoint{Prefix: netip.PrefixFrom(netip.MustParseAddr(bulk.Needle), 32)},
		Since: bulk.Start.Add(-time.Hour).UnixMilli(), Until: bulk.Start.Add(100_000 * time.Hour).UnixMilli(),
	}
	var p printed
	var took []float64
	for range 8 {
		begin := time.Now()
		answer, err := engine.Talkers(ctx, question)
		took = append(took, float64(time.Since(begin))/float64(time.Millisecond))
		if err != nil {
			return err
		}
		p.Rows = answer.Flows.Rows // of all answers
	}
	p.First, p.Warm = took[0], median(took[1:])
	return json.NewEncoder(out).Encode(p)
}
