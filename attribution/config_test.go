package attribution

import (
	"encoding/json"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestParseConfig(t *testing.T) {
	got, err := ParseConfig([]byte(`
clockTolerance: 1500ms
clusters:
  - name: prod
    network: node-subnet
    vnetCIDRs: [10.224.0.7/12, "fd00::1/48"]
    podCIDRs: [10.244.0.0/16]
    nonMasqueradeCIDRs: [0.0.0.0/0]
    nics: {"00:0d:3a:1b:2c:3d": aks-np1-0, 00-0D-3A-1B-2C-3E: aks-np1-1, 000d3a1b2c3f: aks-np1-2}
  - name: dev
`))
	if err != nil {
		t.Fatal(err)
	}
	want := Config{ClockTolerance: Duration(1500 * time.Millisecond), Clusters: []Cluster{
		{Name: "prod", Network: NodeSubnet, VNetCIDRs: prefixes("10.224.0.0/12", "fd00::/48"), PodCIDRs: prefixes("10.244.0.0/16"), NonMasqueradeCIDRs: prefixes("0.0.0.0/0"),
			NICs: map[string]string{"000D3A1B2C3D": "aks-np1-0", "000D3A1B2C3E": "aks-np1-1", "000D3A1B2C3F": "aks-np1-2"}},
		{Name: "dev", Network: Auto},
	}}
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Prefix{}), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	empty, err := ParseConfig(nil)
	if diff := cmp.Diff(DefaultConfig(), empty); err != nil || diff != "" {
		t.Errorf("an empty file: %v, -default +got:\n%s", err, diff)
	}
}

func TestBadConfig(t *testing.T) {
	for text, want := range map[string]string{
		"clusterz: []":                                    `unknown field "clusterz"`,
		"clusters: [{name: a, nic: {}}]":                  `unknown field "nic"`,
		"clockTolerance: 1s\nclockTolerance: 2s":          "already set",
		"clockTolerance: -1s":                             "clockTolerance is -1s, want 0 or more",
		"clockTolerance: soon":                            `invalid duration "soon"`,
		"clockTolerance: 5":                               "duration is 5, want a text like 1s",
		"clusters: [{network: overlay}]":                  "clusters[0] has no name",
		"clusters: [{name: a}, {name: a}]":                `cluster "a" is described twice`,
		"clusters: [{name: a, network: calico}]":          `network is "calico", want auto, kubenet, overlay, node-subnet or pod-subnet`,
		"clusters: [{name: a, podCIDRs: [10.0.0.0]}]":     "no '/'",
		"clusters: [{name: a, vnetCIDRs: [10.0.0.0/33]}]": "prefix length out of range",
		"clusters: [{name: a, nics: {000D3A1B2C3: n}}]":   `cluster "a": NIC "000D3A1B2C3" is no MAC, want 12 hex digits`,
		"clusters: [{name: a, nics: {000D3A1B2C3G: n}}]":  `NIC "000D3A1B2C3G" is no MAC`,
		"clusters: [{name: a":                             "yaml: line 1: did not find",
		// With the key, and what would be right.
		"clusters: [{name: a}, {name: [b]}]":                           "clusters[1].name: got a list, want text",
		"clusters: [{name: a}, {name: b, nic: {}}]":                    `clusters[1]: unknown field "nic"`,
		"clusters: [{name: a, podCIDRs: [10.244.0.0/16, 10.244.0.0]}]": `clusters[0].podCIDRs[1]: "10.244.0.0" is no prefix (no '/'), want e.g. 10.244.0.0/16`,
		"clusters: [{name: a, nonMasqueradeCIDRs: [null]}]":            `clusters[0].nonMasqueradeCIDRs[0]: "" is no prefix`,
		"clusters: [{name: a, podCIDRs: 10.0.0.0/8}]":                  "clusters[0].podCIDRs: got text, want a list of prefixes like [10.244.0.0/16]",
		"clusters: [{name: a, nics: [x]}]":                             "clusters[0].nics: got a list, want the name of a node for each MAC",
		"clusters: [{name: a, network: [overlay]}]":                    "clusters[0].network: got a list, want text",
		"clusters: [{name: a}, 5]":                                     "clusters[1]: got a number, want a cluster",
		"clusters: {name: a}":                                          "clusters: got a map, want a list",
		"- clusters":                                                   "the file: got a list, want the keys clockTolerance and clusters",
		"clusters: [{name: a, nics: {002248123456: n}}]":               "in quotes where they read as a number",
		"clusters: []\n---\nclusterz: []":                              "several YAML documents",
		"---\n---\nclusters: []":                                       "several YAML documents",
		"clusters: []\n...\nclusterz: []":                              "several YAML documents",
		"--- {clusters: []}\r\n--- {clusterz: []}\r\n":                 "several YAML documents",
	} {
		if _, err := ParseConfig([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\n got %v\nwant %s", text, err, want)
		}
	}
}

// One document is all there is, whatever marks it has.
func TestOneDocument(t *testing.T) {
	for _, text := range []string{
		"", "# nothing\n", "---\n", "%YAML 1.1\n--- # x\nclusters: [{name: a}]\n...\n---\n# nothing\n", "clusters:\n- {name: a, nics: {000D3A1B2C3D: ---b}}\n---",
		"clusters: [{name: \n ---}]",
	} {
		if _, err := ParseConfig([]byte(text)); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// An empty list stays one, in the bundles too that hold a configuration.
func TestEmptyLists(t *testing.T) {
	for _, text := range []string{"clusters: []", "clusters: [{name: a, podCIDRs: [], nonMasqueradeCIDRs: []}]"} {
		c, err := ParseConfig([]byte(text))
		if err != nil || c.Clusters == nil || len(c.Clusters) > 0 && (c.Clusters[0].PodCIDRs == nil || c.Clusters[0].VNetCIDRs != nil) {
			t.Errorf("%s: got %+v, %v", text, c, err)
		}
	}
}

// What reads as a number is a name where a name is wanted.
func TestNamesLikeNumbers(t *testing.T) {
	c, err := ParseConfig([]byte("clusters: [{name: 5, nics: {\"002248123456\": 7}}]"))
	if err != nil || c.Clusters[0].Name != "5" || c.Clusters[0].NICs["002248123456"] != "7" {
		t.Errorf("got %+v, %v", c, err)
	}
}

func TestReadConfig(t *testing.T) {
	path := filepath.Join(t.TempDir(), "clusters.yaml")
	if _, err := ReadConfig(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that is not there: got %v", err)
	}
	if err := os.WriteFile(path, []byte("nope: 1"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadConfig(path); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("the error does not name the file: %v", err)
	}
}

func TestDurationAsText(t *testing.T) {
	data, err := json.Marshal(DefaultConfig().ClockTolerance)
	if err != nil || string(data) != `"1s"` {
		t.Errorf("got %s, %v", data, err)
	}
}
