//go:build e2e

package node_test

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/whichpod/whichpod/e2e/kube"
	"github.com/whichpod/whichpod/e2e/process"
	"github.com/whichpod/whichpod/e2e/rig"
)

// apiAddress is the API server's. It is in the internet, as that of AKS is: the VNet
// has it.
const apiAddress = "198.51.100.10"

// kubelet is the kubelet's user.
const kubelet = "system:node:" + nodeName

// driller is the account of deploy/drill.yaml.
const driller = "system:serviceaccount:whichpod:whichpod-drill"

// controlPlane is an API server with its etcd.
type controlPlane struct {
	*kube.ControlPlane
	audit string // its log
}

// newControlPlane starts both servers in the VNet.
func newControlPlane(t *testing.T) *controlPlane {
	t.Helper()
	rig.VNet.Do(t, "ip addr add "+apiAddress+"/32 dev lo")
	policy, err := filepath.Abs("testdata/audit-policy.yaml")
	process.Must(t, err)
	c := &controlPlane{audit: filepath.Join(t.TempDir(), "audit.log")}
	c.ControlPlane = kube.New(t, kube.Config{Address: apiAddress, Users: []string{kubelet + "=system:nodes", driller},
		Args: []string{"--audit-policy-file", policy, "--audit-log-path", c.audit}})
	return c
}

// send sends a request of the admin until it is decided, and reads the answer into out,
// which may be nil.
func (c *controlPlane) send(method, path string, body, out any) error {
	ctx, cancel := context.WithTimeout(context.Background(), process.Patience)
	defer cancel()
	return c.Send(ctx, kube.Request{Method: method, Path: path, Body: body}, out)
}
