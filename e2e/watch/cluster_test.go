//go:build e2e

package watch_test

import (
	"context"
	"net/http"
	"slices"
	"syscall"
	"testing"

	"github.com/whichpod/whichpod/e2e/kube"
)

// cluster is an API server with its etcd, and no nodes.
type cluster struct{ *kube.ControlPlane }

// newCluster starts both servers. Only admin has rights from the start.
func newCluster(t *testing.T, args ...string) *cluster {
	t.Helper()
	return &cluster{kube.New(t, kube.Config{Address: "127.0.0.1", Users: []string{"nobody", "lister", "watcher"}, Args: args})}
}

// restart ends the API server and starts it on the same etcd.
func (c *cluster) restart(t *testing.T, sig syscall.Signal, cached bool) {
	t.Helper()
	c.StopServer(sig)
	c.StartServer(t, cached)
}

// podUIDs are the pods that the API server has now.
func (c *cluster) podUIDs(ctx context.Context) (map[string]bool, error) {
	var list struct {
		Items []object `json:"items"`
	}
	if err := c.Send(ctx, kube.Request{Method: http.MethodGet, Path: "/api/v1/pods"}, &list); err != nil {
		return nil, err
	}
	uids := make(map[string]bool)
	for i := range list.Items {
		uids[list.Items[i].Metadata.UID] = true
	}
	return uids, nil
}

// readyNodes counts the nodes that are ready.
func (c *cluster) readyNodes(ctx context.Context) (int, error) {
	var list struct {
		Items []object `json:"items"`
	}
	if err := c.Send(ctx, kube.Request{Method: http.MethodGet, Path: "/api/v1/nodes"}, &list); err != nil {
		return 0, err
	}
	n := 0
	for i := range list.Items {
		if slices.ContainsFunc(list.Items[i].Status.Conditions, func(c condition) bool { return c.Type == "Ready" && c.Status == "True" }) {
			n++
		}
	}
	return n, nil
}
