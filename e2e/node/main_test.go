//go:build e2e

// Package node_test runs one real node: a kubelet with containerd and the bridge
// plugin of Debian's packages, under a real API server, in namespaces of its own (see
// e2e/rig). Pods come and go on it and call servers with their UID, which is the
// truth. The flow log of the node's interface is written from what the far side saw,
// and attributed with the ledger that "whichpod watch" kept meanwhile, and with the
// API server's audit log alone. Meanwhile "whichpod drill" runs canaries of its own on
// the node, whose flows it finds in what is published to Azurite.
//
// It needs root, what .ci/run installs, and what "make e2e" puts into .e2e at the root of
// the repository: etcd, kube-apiserver, kubelet and Azurite. Where the machine allows no
// node it says so and passes.
package node_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/whichpod/whichpod/e2e/kube"
	"github.com/whichpod/whichpod/e2e/rig"
)

func TestMain(m *testing.M) {
	tools := []string{"containerd", "runc", "ctr", "/usr/lib/cni/bridge", "/usr/lib/cni/host-local"}
	for _, server := range []string{"etcd", "kube-apiserver", "kubelet"} {
		tools = append(tools, filepath.Join(kube.Programs, server))
	}
	tools = append(tools, rig.Azurite)
	os.Exit(rig.Main(m, tools, probeCgroups))
}

// cgroup is the one below which the kubelet makes those of its pods (kubelet.yaml).
const cgroup = "whichpod-e2e"

// cgroupFolders are the folders of that cgroup: one for each hierarchy of cgroup v1,
// or one of v2.
func cgroupFolders() ([]string, error) {
	const root = "/sys/fs/cgroup"
	if _, err := os.Stat(filepath.Join(root, "cgroup.controllers")); err == nil {
		return []string{filepath.Join(root, cgroup)}, nil
	}
	entries, err := os.ReadDir(root)
	if err != nil {
		return nil, err
	}
	var folders []string
	for _, e := range entries {
		if e.IsDir() {
			folders = append(folders, filepath.Join(root, e.Name(), cgroup))
		}
	}
	for _, want := range []string{"cpu", "cpuset", "memory", "pids"} {
		if !slices.ContainsFunc(folders, func(f string) bool { return slices.Contains(strings.Split(filepath.Base(filepath.Dir(f)), ","), want) }) {
			return nil, fmt.Errorf("there is no cgroup hierarchy for %s below %s", want, root)
		}
	}
	return folders, nil
}

// probeCgroups says why the kubelet could make no cgroups here.
func probeCgroups() error {
	folders, err := cgroupFolders()
	for _, f := range folders {
		err = errors.Join(err, os.MkdirAll(f, 0o755))
	}
	return errors.Join(err, removeCgroups())
}

// removeCgroups removes the kubelet's cgroups, those inside first.
func removeCgroups() error {
	folders, err := cgroupFolders()
	for _, top := range folders {
		var all []string
		walk := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				all = append(all, path)
			}
			return err
		})
		if walk != nil && !errors.Is(walk, fs.ErrNotExist) {
			err = errors.Join(err, walk)
		}
		for _, path := range slices.Backward(all) {
			err = errors.Join(err, os.Remove(path))
		}
	}
	return err
}
