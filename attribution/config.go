package attribution

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"time"

	"sigs.k8s.io/yaml"
)

// Config is what a person says about the clusters: the file given with --config.
// Every key is optional; an unknown key is an error.
type Config struct {
	// ClockTolerance widens all brackets: the clocks of the hosts that write flow
	// logs, of the API server and of the watcher differ.
	ClockTolerance Duration  `json:"clockTolerance"`
	Clusters       []Cluster `json:"clusters"`
}

// Cluster describes one cluster.
type Cluster struct {
	Name               string            `json:"name"`
	Network            Network           `json:"network"`
	VNetCIDRs          []netip.Prefix    `json:"vnetCIDRs"`
	PodCIDRs           []netip.Prefix    `json:"podCIDRs"`
	NonMasqueradeCIDRs []netip.Prefix    `json:"nonMasqueradeCIDRs"` // when set, wins over what Network implies
	NICs               map[string]string `json:"nics"`               // MAC, 12 upper-case hex digits, to node name
}

// DefaultConfig knows no cluster and allows clocks to differ by a second.
func DefaultConfig() Config { return Config{ClockTolerance: Duration(time.Second)} }

// ReadConfig reads the YAML file at path.
func ReadConfig(path string) (Config, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return Config{}, fmt.Errorf("read config: %w", err)
	}
	c, err := ParseConfig(data)
	if err != nil {
		return Config{}, fmt.Errorf("read config %q: %w", path, err)
	}
	return c, nil
}

// ParseConfig reads YAML.
func ParseConfig(data []byte) (Config, error) {
	c := DefaultConfig()
	if err := yaml.UnmarshalStrict(data, &c); err != nil {
		return Config{}, err
	}
	return c, c.normalise()
}

func (c *Config) normalise() error {
	if c.ClockTolerance < 0 {
		return fmt.Errorf("clockTolerance is %v, want 0 or more", time.Duration(c.ClockTolerance))
	}
	seen := map[string]bool{}
	for i := range c.Clusters {
		cl := &c.Clusters[i]
		if cl.Name == "" {
			return fmt.Errorf("clusters[%d] has no name", i)
		}
		if seen[cl.Name] {
			return fmt.Errorf("cluster %q is described twice", cl.Name)
		}
		seen[cl.Name] = true
		if cl.Network == "" {
			cl.Network = Auto
		}
		if err := cl.normaliseNICs(); err != nil {
			return err
		}
		for _, list := range [][]netip.Prefix{cl.VNetCIDRs, cl.PodCIDRs, cl.NonMasqueradeCIDRs} {
			for k := range list {
				list[k] = list[k].Masked()
			}
		}
	}
	return nil
}

func (c *Cluster) normaliseNICs() error {
	nics := make(map[string]string, len(c.NICs))
	for mac, node := range c.NICs {
		m := strings.ToUpper(strings.NewReplacer(":", "", "-", "").Replace(mac))
		if len(m) != 12 || strings.Trim(m, "0123456789ABCDEF") != "" {
			return fmt.Errorf("cluster %q: NIC %q is no MAC, want 12 hex digits", c.Name, mac)
		}
		nics[m] = node
	}
	c.NICs = nics
	return nil
}

// Network is a cluster's network mode. It is only a default for the destinations
// that are not masqueraded.
type Network string

const (
	Auto       Network = "auto" // unknown until a live cluster says it
	Kubenet    Network = "kubenet"
	Overlay    Network = "overlay"
	NodeSubnet Network = "node-subnet"
	PodSubnet  Network = "pod-subnet"
)

// UnmarshalText accepts the names above.
func (n *Network) UnmarshalText(text []byte) error {
	switch v := Network(text); v {
	case Auto, Kubenet, Overlay, NodeSubnet, PodSubnet:
		*n = v
		return nil
	default:
		return fmt.Errorf("network is %q, want auto, kubenet, overlay, node-subnet or pod-subnet", text)
	}
}

// Duration is a time.Duration, written as "1s" in a file.
type Duration time.Duration

// UnmarshalJSON accepts a string that time.ParseDuration accepts.
func (d *Duration) UnmarshalJSON(data []byte) error {
	var s string
	if err := json.Unmarshal(data, &s); err != nil {
		return fmt.Errorf("duration is %s, want a text like 1s", data)
	}
	v, err := time.ParseDuration(s)
	if err != nil {
		return err
	}
	*d = Duration(v)
	return nil
}

// MarshalJSON writes it as text.
func (d Duration) MarshalJSON() ([]byte, error) { return json.Marshal(time.Duration(d).String()) }
