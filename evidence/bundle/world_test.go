package bundle

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/whichpod/whichpod/attribution"
	"github.com/whichpod/whichpod/attribution/nat"
	"github.com/whichpod/whichpod/attribution/natlog"
	"github.com/whichpod/whichpod/attribution/podlog"
	"github.com/whichpod/whichpod/benchmarks/sim"
	"github.com/whichpod/whichpod/index"
	"github.com/whichpod/whichpod/ingest"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// lab is a simulated cluster with its data folder, and a folder for bundles.
type lab struct {
	t      testing.TB
	world  *sim.World
	data   string
	out    string
	raw    ingest.Source
	store  *index.Store
	config attribution.Config
	key    Signer
	public *PublicKey
}

// smallCluster has a thousand rows or so.
func smallCluster() sim.Config {
	cfg := sim.DefaultConfig()
	cfg.Mode, cfg.Seed = sim.Kubenet, 5
	cfg.Duration, cfg.Warmup = 20*time.Minute, 0
	cfg.Nodes, cfg.PodsPerNode, cfg.MeanLifetime = 3, 6, 4*time.Minute
	cfg.Traffic.FlowsPerSecond, cfg.Traffic.NodeFlows, cfg.Traffic.Scans, cfg.Traffic.FromVMs = 0.05, 0.05, 0.02, 0.02
	return cfg
}

func newLab(t testing.TB, cfg sim.Config, withNAT bool) *lab {
	t.Helper()
	dir := t.TempDir()
	l := &lab{t: t, world: sim.Generate(cfg), data: filepath.Join(dir, "data"), out: filepath.Join(dir, "bundles")}
	must(t, l.world.WriteBlobs(filepath.Join(dir, "blobs")))
	var err error
	l.raw, err = ingest.OpenFolder(filepath.Join(dir, "blobs"))
	must(t, err)
	l.ingest(l.data, l.raw)
	l.store, err = index.Open(l.data, index.Options{ReadOnly: true})
	must(t, err)
	t.Cleanup(func() { must(t, l.store.Close()) })

	var journal, config bytes.Buffer
	must(t, errors.Join(l.world.WriteWatch(&journal), l.world.WriteConfig(&config)))
	ledger, err := attribution.OpenLedger(filepath.Join(l.data, "ledger"), attribution.Options{})
	must(t, err)
	_, err = podlog.Read(&journal, podlog.Options{Cluster: cfg.Cluster, Format: podlog.Auto, ReadBy: cfg.Start.Add(2 * cfg.Duration).UnixMilli()}, func(facts []attribution.Fact) error {
		_, err := ledger.Append(facts...)
		return err
	})
	must(t, errors.Join(err, ledger.Close()))
	l.config, err = attribution.ParseConfig(config.Bytes())
	must(t, err)
	if withNAT {
		l.translations()
	}
	seed := bytes.Repeat([]byte{7}, ed25519.SeedSize)
	l.key, l.public = keys(t, ed25519.NewKeyFromSeed(seed))
	return l
}

func (l *lab) ingest(data string, raw ingest.Source) {
	l.t.Helper()
	store, err := index.Open(data, index.Options{})
	must(l.t, err)
	w, err := store.Writer()
	must(l.t, err)
	_, err = ingest.Run(context.Background(), raw, w, ingest.Options{})
	must(l.t, errors.Join(err, w.Close(), store.Close()))
}

// translations imports what each node's kernel printed.
func (l *lab) translations() {
	l.t.Helper()
	store, err := nat.Open(filepath.Join(l.data, "nat"), nat.Options{})
	must(l.t, err)
	for i := range l.world.Config.Nodes {
		r, to := io.Pipe()
		go func() { to.CloseWithError(l.world.WriteConntrack(to, i)) }()
		im, err := store.Begin(nat.Import{Cluster: l.world.Config.Cluster, Kind: "conntrack", Name: fmt.Sprint(i)})
		must(l.t, err)
		_, err = natlog.Read(r, natlog.Options{Node: l.world.NICs[i].Name}, im)
		must(l.t, err)
		_, err = im.Commit("")
		must(l.t, err)
	}
	must(l.t, store.Close())
}

// keys are a private key as a file has it, and its public key as a file has that.
func keys(t testing.TB, private any) (Signer, *PublicKey) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(private)
	must(t, err)
	key, err := ParsePrivateKey(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	must(t, err)
	der, err = x509.MarshalPKIXPublicKey(key.(*fileKey).key.Public())
	must(t, err)
	public, err := ParsePublicKey(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	must(t, err)
	return key, public
}

func ecdsaKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	return key
}

func (l *lab) input() Input {
	return Input{Index: l.store, Ledger: filepath.Join(l.data, "ledger"), NAT: filepath.Join(l.data, "nat"), Config: l.config, Raw: l.raw}
}

// minute is a moment of the run, in Unix milliseconds.
func (l *lab) minute(n int) int64 {
	return l.world.Config.Start.Add(time.Duration(n) * time.Minute).UnixMilli()
}

// write writes the next bundle and returns its folder.
func (l *lab) write(in Input) string {
	l.t.Helper()
	lock, err := Folder(l.out).Lock()
	must(l.t, err)
	s, err := Write(context.Background(), Folder(l.out), in, l.key)
	must(l.t, errors.Join(err, lock.Close()))
	return filepath.Join(l.out, s.Name)
}

// window writes the bundle of some minutes of the run.
func (l *lab) window(from, to int) string {
	in := l.input()
	in.Since, in.Until = l.minute(from), l.minute(to)
	return l.write(in)
}

// check verifies, with or without the flow logs.
func (l *lab) check(path string, raw ingest.Source) []Report {
	l.t.Helper()
	reports, err := Verify(context.Background(), path, l.public, Options{Raw: raw})
	must(l.t, err)
	return reports
}

// good wants no problem.
func (l *lab) good(path string, raw ingest.Source) []Report {
	l.t.Helper()
	reports := l.check(path, raw)
	for i := range reports {
		if !reports[i].OK() || !reports[i].Signed || reports[i].Derived != (raw != nil) {
			l.t.Fatalf("%+v", reports[i])
		}
	}
	return reports
}

// copied is a copy of a folder, to do harm to.
func copied(t testing.TB, from string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), filepath.Base(from))
	must(t, os.CopyFS(to, os.DirFS(from)))
	return to
}
