package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"sync"

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

// opened is a data folder that is open for reading.
type opened struct {
	config   attribution.Config
	index    *index.Store
	ledger   *attribution.Ledger
	evidence *nat.Store
}

// open opens the data folder for reading. knownAt leaves out what ledger and NAT
// evidence learnt later; 0 is all. The caller closes what it returns.
func (a *app) open(knownAt moment) (*opened, error) {
	if err := a.needData(); err != nil {
		return nil, err
	}
	cfg, err := a.readConfig()
	if err != nil {
		return nil, err
	}
	o := &opened{config: cfg}
	if o.index, err = index.Open(a.data, index.Options{ReadOnly: true}); err != nil {
		return nil, err
	}
	if o.ledger, err = attribution.OpenLedger(a.ledgerFolder(), attribution.Options{ReadOnly: true, AsKnownAt: int64(knownAt)}); err != nil {
		return nil, errors.Join(err, o.close())
	}
	if o.evidence, err = nat.Open(a.natFolder(), nat.Options{ReadOnly: true, AsKnownAt: int64(knownAt)}); err != nil {
		return nil, errors.Join(err, o.close())
	}
	return o, nil
}

func (o *opened) close() error {
	err := o.index.Close()
	if o.ledger != nil {
		err = errors.Join(err, o.ledger.Close())
	}
	if o.evidence != nil {
		err = errors.Join(err, o.evidence.Close())
	}
	return err
}

// view is the ledger as the configuration reads it, with the NAT evidence.
func (o *opened) view() *attribution.View { return o.ledger.View(o.config).WithNAT(o.evidence) }

// ask opens the data folder for reading, warns on standard error of what is amiss there,
// and calls fn with an engine over it. knownAt is as for open.
func (a *app) ask(knownAt moment, fn func(*query.Engine) error) (err error) {
	defer collectLate()()
	o, err := a.open(knownAt)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, o.close()) }()
	a.warn(o)
	return fn(query.New(o.index, o.view()))
}

// firstCollection is how much memory the process may have before the garbage collector looks
// at it for the first time, in bytes. Most questions are answered with less, and took a fifth
// longer where it ran at 4 MB, 8 MB and so on.
const firstCollection = 48 << 20

// collectLate lets the collector begin late, and then do as it does. What it returns sets
// everything back. It is for one caller at a time.
func collectLate() (restore func()) {
	percent, limit := debug.SetGCPercent(-1), debug.SetMemoryLimit(-1)
	debug.SetMemoryLimit(min(limit, firstCollection))
	restore = sync.OnceFunc(func() {
		debug.SetGCPercent(percent)
		debug.SetMemoryLimit(limit)
	})
	runtime.AddCleanup(new([16]byte), func(restore func()) { restore() }, restore) // nobody has it, so this is after the first collection
	return restore
}

// warn says what is damaged, and which names may be misspelt.
func (a *app) warn(o *opened) {
	a.doubtNames(o.config, o.ledger.Clusters())
	for _, d := range o.ledger.Damage() {
		fmt.Fprintf(a.stderr, "whichpod: warning: %v; what is before and after it counts\n", d)
	}
	for _, d := range o.evidence.Damage() {
		fmt.Fprintf(a.stderr, "whichpod: warning: %v; none of the cluster's NAT evidence counts\n", d)
	}
}

// change opens the index for writing and calls fn with it.
func (a *app) change(fn func(*index.Store, *index.Writer) error) (err error) {
	store, err := index.Open(a.data, index.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	w, err := store.Writer()
	if err != nil {
		return err
	}
	return errors.Join(fn(store, w), w.Close())
}
