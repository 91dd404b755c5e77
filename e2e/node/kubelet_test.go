//go:build e2e

package node_test

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/whichpod/whichpod/e2e/kube"
	"github.com/whichpod/whichpod/e2e/process"
	"github.com/whichpod/whichpod/e2e/rig"
)

// nodeName is the node's name.
const nodeName = "node-1"

// image holds one program, "traffic": pods run it, and so does their sandbox.
const image = "docker.io/local/traffic:1"

var (
	nodeAddress = netip.MustParseAddr("10.224.0.4")
	podCIDR     = netip.MustParsePrefix("10.244.0.0/24")
)

// newNode makes the node, starts containerd and the kubelet on it, and waits until it
// is registered and ready.
func newNode(t *testing.T, c *controlPlane) *rig.Node {
	t.Helper()
	n := rig.NewNode(t, nodeName, rig.NodeConfig{MAC: "000D3A00BEEF", Addresses: []netip.Addr{nodeAddress}, PodCIDRs: []netip.Prefix{podCIDR}})
	n.Track(t)
	startContainerd(t, n)
	folders, err := cgroupFolders()
	process.Must(t, err)
	for _, f := range folders {
		process.Must(t, os.MkdirAll(f, 0o755))
	}
	t.Cleanup(func() {
		process.Until(t, "the cgroups can be removed", func() bool { return removeCgroups() == nil })
	})
	config, err := filepath.Abs("testdata/kubelet.yaml")
	process.Must(t, err)
	program := n.Start(t, nil, filepath.Join(kube.Programs, "kubelet"), "--config", config, "--kubeconfig", c.Kubeconfig(t, kubelet, c.Port()),
		"--hostname-override", nodeName, "--node-ip", nodeAddress.String())
	process.Until(t, "the node is ready", func() bool {
		if !program.Alive() {
			t.Fatal("the kubelet ended")
		}
		var node object
		err := c.send(http.MethodGet, "/api/v1/nodes/"+nodeName, nil, &node)
		return err == nil && node.Status.is("Ready")
	})
	return n
}

// startContainerd starts containerd on the node and gives it the image.
func startContainerd(t *testing.T, n *rig.Node) {
	t.Helper()
	process.Must(t, os.MkdirAll("/run/cni", 0o755))
	network, err := os.ReadFile("testdata/bridge.conflist")
	process.Must(t, err)
	process.Must(t, os.WriteFile("/run/cni/bridge.conflist", network, 0o644))
	n.Start(t, nil, "containerd", "--config", "testdata/containerd.toml")
	archive := filepath.Join(t.TempDir(), "image.tar")
	process.Must(t, writeImage(archive))
	process.Until(t, "containerd takes the image", func() bool { return ctr("images", "import", archive) == nil })
}

// ctr runs containerd's client.
func ctr(args ...string) error {
	out, err := exec.Command("ctr", append([]string{"--namespace", "k8s.io"}, args...)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ctr %v: %w: %s", args, err, out)
	}
	return nil
}

// killSandbox kills the process that holds a pod's sandbox, as a crash would do. The
// kubelet makes a new one, with a new address.
func killSandbox(uid string) error {
	filter := fmt.Sprintf("labels.%q==%s,labels.%q==sandbox", "io.kubernetes.pod.uid", uid, "io.cri-containerd.kind")
	out, err := exec.Command("ctr", "--namespace", "k8s.io", "containers", "list", "--quiet", filter).Output()
	if err != nil {
		return err
	}
	ids := strings.Fields(string(out))
	if len(ids) != 1 {
		return fmt.Errorf("pod %s has sandboxes %v, want one", uid, ids)
	}
	return ctr("tasks", "kill", "--signal", "SIGKILL", ids[0])
}

// The parts of an image (github.com/opencontainers/image-spec).
type (
	descriptor struct {
		MediaType   string            `json:"mediaType"`
		Digest      string            `json:"digest"`
		Size        int               `json:"size"`
		Annotations map[string]string `json:"annotations,omitempty"`
	}
	manifest struct {
		SchemaVersion int          `json:"schemaVersion"`
		MediaType     string       `json:"mediaType,omitempty"`
		Config        *descriptor  `json:"config,omitempty"`
		Layers        []descriptor `json:"layers,omitempty"`
		Manifests     []descriptor `json:"manifests,omitempty"`
	}
	imageConfig struct {
		Architecture string      `json:"architecture"`
		OS           string      `json:"os"`
		Config       imageRun    `json:"config"`
		RootFS       imageRootFS `json:"rootfs"`
	}
	imageRun struct {
		Entrypoint []string `json:"Entrypoint"`
		Cmd        []string `json:"Cmd"`
	}
	imageRootFS struct {
		Type    string   `json:"type"`
		DiffIDs []string `json:"diff_ids"`
	}
)

// layout is an OCI image layout in a tar archive.
type layout struct {
	out *tar.Writer
	err error
}

func (l *layout) file(name string, data []byte, mode int64) {
	l.err = errors.Join(l.err, l.out.WriteHeader(&tar.Header{Name: name, Mode: mode, Size: int64(len(data)), ModTime: time.Unix(0, 0)}))
	_, err := l.out.Write(data)
	l.err = errors.Join(l.err, err)
}

// blob adds a blob and describes it.
func (l *layout) blob(kind string, data []byte) descriptor {
	sum := fmt.Sprintf("%x", sha256.Sum256(data))
	l.file("blobs/sha256/"+sum, data, 0o644)
	return descriptor{MediaType: "application/vnd.oci.image." + kind, Digest: "sha256:" + sum, Size: len(data)}
}

func (l *layout) document(v any) []byte {
	data, err := json.Marshal(v)
	l.err = errors.Join(l.err, err)
	return data
}

// writeImage writes the image: one layer with one file.
func writeImage(name string) error {
	program, err := os.ReadFile(rig.Program("traffic"))
	if err != nil {
		return err
	}
	var content, archive bytes.Buffer
	inner := layout{out: tar.NewWriter(&content)}
	inner.file("traffic", program, 0o755)
	l := layout{out: tar.NewWriter(&archive)}
	l.err = errors.Join(inner.err, inner.out.Close())
	layer := l.blob("layer.v1.tar", content.Bytes())
	config := l.blob("config.v1+json", l.document(imageConfig{runtime.GOARCH, "linux", imageRun{[]string{"/traffic"}, []string{"pause"}}, imageRootFS{"layers", []string{layer.Digest}}}))
	m := l.blob("manifest.v1+json", l.document(manifest{SchemaVersion: 2, MediaType: "application/vnd.oci.image.manifest.v1+json", Config: &config, Layers: []descriptor{layer}}))
	m.Annotations = map[string]string{"io.containerd.image.name": image, "org.opencontainers.image.ref.name": "1"}
	l.file("index.json", l.document(manifest{SchemaVersion: 2, Manifests: []descriptor{m}}), 0o644)
	l.file("oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`), 0o644)
	if err := errors.Join(l.err, l.out.Close()); err != nil {
		return err
	}
	return os.WriteFile(name, archive.Bytes(), 0o644)
}
