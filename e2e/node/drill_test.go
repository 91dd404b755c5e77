//go:build e2e

package node_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/whichpod/whichpod/attribution"
	"github.com/whichpod/whichpod/e2e/kube"
	"github.com/whichpod/whichpod/e2e/process"
	"github.com/whichpod/whichpod/e2e/rig"
)

// canaries are the pods of drills.
const canaries = "/api/v1/namespaces/whichpod-drill/pods"

// publishEvery stands for Azure's minute.
const publishEvery = 5 * time.Second

// drills are what runs while "whichpod drill" is tried: a watch and a follower that fill
// one data folder, the follower from Azurite, where the flow log is published as it is
// recorded. The drills run with the rights of deploy/drill.yaml.
type drills struct {
	*controlPlane
	data, source, kubeconfig string
	server                   *rig.Server // of the address that canaries call
	publisher                *rig.Publisher
	running                  map[string]*process.Process
}

func newDrills(t *testing.T, c *controlPlane, node *rig.Node, recorder *rig.Recorder, server *rig.Server) *drills {
	t.Helper()
	c.apply(t, "../../deploy/drill.yaml")
	t.Setenv("AZURE_STORAGE_KEY", rig.StorageKey)
	d := &drills{controlPlane: c, data: t.TempDir(), source: rig.StartStorage(t), kubeconfig: c.Kubeconfig(t, driller, c.Port()), server: server}
	d.publisher = rig.StartPublisher(t, recorder, []*rig.Node{node}, d.source, publishEvery, sampled+2*time.Second)
	whichpod := func(args ...string) *process.Process {
		return rig.VNet.Start(t, nil, rig.Program("whichpod"), append(args, "--data", d.data)...)
	}
	d.running = map[string]*process.Process{
		"watch":  whichpod("watch", "--cluster", clusterName, "--kubeconfig", c.Kubeconfig(t, "admin", c.Port())),
		"follow": whichpod("ingest", "--follow", "--every", "1s", d.source),
	}
	return d
}

// stop ends what newDrills started.
func (d *drills) stop(t *testing.T) {
	t.Helper()
	d.publisher.Stop(t)
	for name, p := range d.running {
		if code := p.End(syscall.SIGTERM); code != 0 {
			t.Errorf("whichpod %s beside the drills: exit code %d, want 0", name, code)
		}
	}
}

// apply makes the objects of a manifest.
func (c *controlPlane) apply(t *testing.T, file string) {
	t.Helper()
	text, err := os.ReadFile(file)
	process.Must(t, err)
	for _, doc := range strings.Split(string(text), "\n---\n") {
		var o struct {
			APIVersion, Kind string
			Metadata         struct{ Namespace string }
		}
		process.Must(t, yaml.Unmarshal([]byte(doc), &o))
		body, err := yaml.YAMLToJSONStrict([]byte(doc))
		process.Must(t, err)
		path := "/apis/" + o.APIVersion
		if o.APIVersion == "v1" {
			path = "/api/v1"
		}
		if o.Metadata.Namespace != "" {
			path += "/namespaces/" + o.Metadata.Namespace
		}
		process.Must(t, c.send(http.MethodPost, path+"/"+strings.ToLower(o.Kind)+"s", json.RawMessage(body), nil))
	}
}

// drilled is what the test reads of a drill's report.
type drilled struct {
	Outcome, Reason string
	Canary          struct {
		Name, UID, Node string
		Port            uint16
	}
	Stages []struct {
		Stage   string
		At      *time.Time
		Seconds *float64
	}
	Total  *float64 `json:"total_seconds"`
	Answer struct{ Verdict string }
}

// during drills in a network mode, and lets at least so much time pass.
func (d *drills) during(t *testing.T, least time.Duration, mode attribution.Network) {
	t.Helper()
	timer := time.NewTimer(least)
	config := filepath.Join(t.TempDir(), "config.yaml")
	process.Must(t, os.WriteFile(config, fmt.Appendf(nil, "clusters: [{name: %s, network: %s, vnetCIDRs: [10.224.0.0/12], podCIDRs: [%s]}]\n", clusterName, mode, podCIDR), 0o644))
	want := map[attribution.Network]struct {
		outcome, verdict string
		code             int
	}{attribution.PodSubnet: {"named", "exact", 0}, attribution.Kubenet: {"unknown", "masked", 3}}[mode]

	metrics := filepath.Join(t.TempDir(), "drill.prom")
	code, out := d.drill(t, "--config", config, "--source", d.source, "--metrics-file", metrics, "--every", "1s", "--settle", "5s", "--timeout", process.Patience.String(), "-o", "json",
		"--", "/traffic", "call", "-uid", "$(UID)", "-count", "1", "tcp/$(TO)")
	var r drilled
	process.Must(t, json.Unmarshal(out, &r))
	t.Logf("%s: drill: %s", mode, out)
	if r.Outcome != want.outcome || r.Answer.Verdict != want.verdict || code != want.code {
		t.Errorf("%s: the drill's canary is %s (%s) with the verdict %s, exit code %d; want %s, %s, %d", mode, r.Outcome, r.Reason, r.Answer.Verdict, code, want.outcome, want.verdict, want.code)
	}
	d.check(t, &r)
	text, err := os.ReadFile(metrics)
	process.Must(t, err)
	if line := fmt.Sprintf("whichpod_drill_outcome{outcome=%q} 1\n", want.outcome); !bytes.Contains(text, []byte(line)) {
		t.Errorf("%s: the metrics have no line %q:\n%s", mode, line, text)
	}
	if mode == attribution.Kubenet {
		d.interrupted(t)
	}
	<-timer.C
}

// interrupted makes sure that a drill that is told to end deletes its canary, and that
// its rights are for nothing else.
func (d *drills) interrupted(t *testing.T) {
	t.Helper()
	var list struct{ Items []object }
	p := d.start(t, nil, "--", "/traffic", "call", "-uid", "$(UID)", "-hold", "5m", "-count", "1", "tcp/$(TO)")
	process.Until(t, "the canary runs", func() bool {
		process.Must(t, d.send(http.MethodGet, canaries, nil, &list))
		return len(list.Items) == 1 && list.Items[0].Status.Phase == "Running"
	})
	if code := p.End(syscall.SIGTERM); code != 2 {
		t.Errorf("an interrupted drill: exit code %d, want 2", code)
	}
	process.Until(t, "the interrupted canary is gone", func() bool {
		process.Must(t, d.send(http.MethodGet, canaries, nil, &list))
		return len(list.Items) == 0
	})
	for _, path := range []string{canaries, pods, "/api/v1/namespaces/whichpod-drill/secrets"} {
		if err := d.Once(t.Context(), kube.Request{Method: http.MethodGet, Path: path, User: driller}, nil); !kube.IsStatus(err, http.StatusForbidden) {
			t.Errorf("the drill's account may list %s: %v", path, err)
		}
	}
}

// check holds what a drill says against what others say of its canary.
func (d *drills) check(t *testing.T, r *drilled) {
	t.Helper()
	i := slices.IndexFunc(d.server.Calls(t), func(c rig.Call) bool { return c.UID == r.Canary.UID })
	if i < 0 {
		t.Fatalf("nobody with the UID %q called, which the drill calls its canary's", r.Canary.UID)
	}
	call := d.server.Calls(t)[i]
	if call.From.Port() != r.Canary.Port || r.Canary.Node != nodeName {
		t.Errorf("the canary called from %s; the drill says port %d on node %q", call.From, r.Canary.Port, r.Canary.Node)
	}
	before := time.UnixMilli(call.Time).Add(-time.Second) // storage has whole seconds
	for _, s := range r.Stages {
		switch {
		case s.Stage == "fetched":
		case s.At == nil:
			t.Errorf("the stage %q has no time", s.Stage)
		case s.At.Before(before):
			t.Errorf("the stage %q is at %s, and the one before at %s", s.Stage, s.At, before)
		default:
			before = s.At.Add(-time.Second)
		}
	}
	if r.Total == nil || *r.Total < publishEvery.Seconds() {
		t.Errorf("the drill took %v s in all, and the log is published each %s", r.Total, publishEvery)
	}
	process.Until(t, "the canary is gone", func() bool {
		return kube.IsStatus(d.send(http.MethodGet, canaries+"/"+r.Canary.Name, nil, nil), http.StatusNotFound)
	})
}

// drill runs a drill to the end.
func (d *drills) drill(t *testing.T, args ...string) (code int, stdout []byte) {
	t.Helper()
	var out bytes.Buffer
	code = d.start(t, &out, args...).Wait()
	return code, out.Bytes()
}

func (d *drills) start(t *testing.T, stdout io.Writer, args ...string) *process.Process {
	t.Helper()
	_, address, _ := strings.Cut(targets[0], "/")
	cmd := exec.Command(rig.Program("whichpod"), append([]string{"drill", "--data", d.data, "--kubeconfig", d.kubeconfig, "-n", "whichpod-drill", "--node", nodeName, "--image", image, "--to", address}, args...)...)
	cmd.Stdout = stdout
	return process.Start(t, process.NewLog(t, "whichpod drill"), cmd)
}
