package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/whichpod/whichpod/attribution"
	"github.com/whichpod/whichpod/attribution/nat"
	"github.com/whichpod/whichpod/index"
	"github.com/whichpod/whichpod/query"
)

func (a *app) ledgerFolder() string { return filepath.Join(a.data, "ledger") }

func (a *app) readConfig() (attribution.Config, error) {
	if a.config == "" {
		return attribution.DefaultConfig(), nil
	}
	return attribution.ReadConfig(a.config)
}

// needData says what makes a data folder where there is none.
func (a *app) needData() error {
	if _, err := os.Stat(a.data); err != nil {
		return hinted{fmt.Errorf("open data folder: %w", err), `"whichpod ingest" and "whichpod import pods" make it; --data names another`}
	}
	return nil
}

// ask opens index and ledger for reading, calls fn with an engine over both, and
// closes them. knownAt leaves out what the ledger learnt later; 0 is all.
func (a *app) ask(knownAt moment, fn func(*query.Engine) error) (err error) {
	if err := a.needData(); err != nil {
		return err
	}
	cfg, err := a.readConfig()
	if err != nil {
		return err
	}
	store, err := index.Open(a.data, index.Options{ReadOnly: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	ledger, err := attribution.OpenLedger(a.ledgerFolder(), attribution.Options{ReadOnly: true, AsKnownAt: int64(knownAt)})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, ledger.Close()) }()
	for _, d := range ledger.Damage() {
		fmt.Fprintf(a.stderr, "whichpod: warning: %v; what is before and after it counts\n", d)
	}
	evidence, err := nat.Open(a.natFolder(), nat.Options{ReadOnly: true, AsKnownAt: int64(knownAt)})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, evidence.Close()) }()
	for _, d := range evidence.Damage() {
		fmt.Fprintf(a.stderr, "whichpod: warning: %v; none of the cluster's NAT evidence counts\n", d)
	}
	return fn(query.New(store, ledger.View(cfg).WithNAT(evidence)))
}
