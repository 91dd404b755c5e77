//go:build e2e

package rig

import (
	"context"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"

	"github.com/whichpod/whichpod/e2e/process"
)

// The emulator's account: "Use the Azurite emulator", learn.microsoft.com.
const (
	storageAccount = "devstoreaccount1"
	// StorageKey is what AZURE_STORAGE_KEY is to be.
	StorageKey = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)

// Azurite is Microsoft's emulator of Blob Storage, where "make e2e" installs it, as a
// test of any package in e2e sees it.
const Azurite = "../../.e2e/node_modules/.bin/azurite-blob"

// StartStorage starts Azurite in the VNet and returns the URL of a new container.
func StartStorage(t testing.TB) string {
	t.Helper()
	const port = 10000
	VNet.Start(t, nil, Azurite, "--blobHost", "127.0.0.1", "--blobPort", fmt.Sprint(port),
		"--location", t.TempDir(), "--silent", "--skipApiVersionCheck")
	process.Until(t, "Azurite listens", func() bool {
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	url := fmt.Sprintf("http://127.0.0.1:%d/%s/flow-logs", port, storageAccount)
	_, err := newContainer(t, url).Create(context.Background(), nil)
	process.Must(t, err)
	return url
}

func newContainer(t testing.TB, url string) *container.Client {
	t.Helper()
	key, err := container.NewSharedKeyCredential(storageAccount, StorageKey)
	process.Must(t, err)
	c, err := container.NewClientWithSharedKeyCredential(url, key, nil)
	process.Must(t, err)
	return c
}

// Publisher writes the flow log of nodes to a container while it is recorded, as Azure
// does each minute, only more often.
type Publisher struct {
	recorder      *Recorder
	nodes         []*Node
	every, lag    time.Duration
	to            *container.Client
	stop, stopped chan struct{}
	failed        error
}

// StartPublisher begins. Records are of spans of time like every. A row comes lag after
// its time: lag MUST be longer than it takes until the recorder has sampled each flow,
// or rows would come into records that were published before.
func StartPublisher(t testing.TB, r *Recorder, nodes []*Node, url string, every, lag time.Duration) *Publisher {
	t.Helper()
	p := &Publisher{recorder: r, nodes: nodes, every: every, lag: lag, to: newContainer(t, url), stop: make(chan struct{}), stopped: make(chan struct{})}
	go p.run(t.TempDir())
	return p
}

func (p *Publisher) run(dir string) {
	defer close(p.stopped)
	tick := time.NewTicker(p.every)
	defer tick.Stop()
	for p.failed == nil {
		select {
		case <-tick.C:
			p.failed = p.publish(dir)
		case <-p.stop:
			return
		}
	}
}

// publish writes all blobs anew, each to the end of the last whole span.
func (p *Publisher) publish(dir string) error {
	until := time.Now().Add(-p.lag).Truncate(p.every).UnixMilli()
	var rows []Row
	for _, r := range Rows(p.recorder.Flows(), p.nodes) {
		if r.Time < until {
			rows = append(rows, r)
		}
	}
	if err := writeFlowLog(dir, rows, p.every); err != nil {
		return err
	}
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		_, err = p.to.NewBlockBlobClient(filepath.ToSlash(name)).UploadBuffer(context.Background(), data, nil)
		return err
	})
}

// Stop ends it. It MUST come before the recorder's.
func (p *Publisher) Stop(t testing.TB) {
	t.Helper()
	close(p.stop)
	<-p.stopped
	process.Must(t, p.failed)
}
