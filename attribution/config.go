package attribution

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/whichpod/whichpod/internal/strictyaml"
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

// ParseConfig reads YAML, one document.
func ParseConfig(data []byte) (Config, error) {
	file := struct {
		ClockTolerance Duration          `json:"clockTolerance"`
		Clusters       []json.RawMessage `json:"clusters"`
	}{ClockTolerance: DefaultConfig().ClockTolerance}
	if err := parse(data, "", &file); err != nil {
		return Config{}, err
	}
	c := Config{ClockTolerance: file.ClockTolerance}
	if file.Clusters != nil { // a bundle says whether a list was empty or absent
		c.Clusters = make([]Cluster, 0, len(file.Clusters))
	}
	for i, text := range file.Clusters {
		cl, err := parseCluster(text, fmt.Sprintf("clusters[%d]", i))
		if err != nil {
			return Config{}, err
		}
		c.Clusters = append(c.Clusters, cl)
	}
	return c, c.normalise()
}

// parseCluster reads the cluster that stands at a key.
func parseCluster(data []byte, at string) (c Cluster, err error) {
	var text struct {
		Name               string            `json:"name"`
		Network            Network           `json:"network"`
		VNetCIDRs          []string          `json:"vnetCIDRs"`
		PodCIDRs           []string          `json:"podCIDRs"`
		NonMasqueradeCIDRs []string          `json:"nonMasqueradeCIDRs"`
		NICs               map[string]string `json:"nics"`
	}
	if err := parse(data, at, &text); err != nil {
		return c, err
	}
	c = Cluster{Name: text.Name, Network: text.Network, NICs: text.NICs}
	for _, list := range []struct {
		key  string
		from []string
		to   *[]netip.Prefix
	}{{"vnetCIDRs", text.VNetCIDRs, &c.VNetCIDRs}, {"podCIDRs", text.PodCIDRs, &c.PodCIDRs}, {"nonMasqueradeCIDRs", text.NonMasqueradeCIDRs, &c.NonMasqueradeCIDRs}} {
		if list.from != nil {
			*list.to = make([]netip.Prefix, 0, len(list.from))
		}
		for i, s := range list.from {
			p, err := netip.ParsePrefix(s)
			if err != nil {
				_, reason, _ := strings.Cut(err.Error(), "): ") // after the name of the function
				return c, fmt.Errorf("%s.%s[%d]: %q is no prefix (%s), want e.g. 10.244.0.0/16", at, list.key, i, s, reason)
			}
			*list.to = append(*list.to, p.Masked())
		}
	}
	return c, nil
}

// parse reads YAML that stands at a key, strictly. Its errors name the key.
func parse(data []byte, at string, to any) error {
	err := strictyaml.Unmarshal(data, to)
	if err == nil {
		return nil
	}
	if wrong := (*json.UnmarshalTypeError)(nil); errors.As(err, &wrong) {
		key := strings.Trim(at+"."+wrong.Field, ".")
		if key == "" {
			key = "the file"
		}
		return fmt.Errorf("%s: got %s, want %s", key, kindOf(wrong.Value), wanted(wrong.Field, at))
	}
	text := err.Error()
	for _, step := range []string{"error converting YAML to JSON: ", "error unmarshaling JSON: while decoding JSON: ", "json: "} {
		text = strings.TrimPrefix(text, step)
	}
	if at != "" {
		at += ": "
	}
	return errors.New(at + text)
}

// kindOf is what YAML calls a kind of JSON's values.
func kindOf(value string) string {
	switch word, _, _ := strings.Cut(value, " "); word { // a number has its digits after it
	case "array":
		return "a list"
	case "object":
		return "a map"
	case "bool":
		return "true or false"
	case "string":
		return "text"
	default:
		return "a " + word
	}
}

// wanted says what a field of a cluster, or of the file where at is empty, has to be.
func wanted(field, at string) string {
	switch {
	case strings.HasSuffix(field, "CIDRs"):
		return "a list of prefixes like [10.244.0.0/16]"
	case strings.HasPrefix(field, "nics"):
		return "the name of a node for each MAC, {MAC: NODE}"
	case field == "clusters":
		return "a list, an item for each cluster"
	case field != "":
		return "text"
	case at != "":
		return "a cluster with name, network, podCIDRs"
	default:
		return "the keys clockTolerance and clusters"
	}
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
	}
	return nil
}

func (c *Cluster) normaliseNICs() error {
	nics := make(map[string]string, len(c.NICs))
	for mac, node := range c.NICs {
		m := strings.ToUpper(strings.NewReplacer(":", "", "-", "").Replace(mac))
		if len(m) != 12 || strings.Trim(m, "0123456789ABCDEF") != "" {
			return fmt.Errorf("cluster %q: NIC %q is no MAC, want 12 hex digits, in quotes where they read as a number", c.Name, mac)
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
		return fmt.Errorf("duration is %q, want a text like 1s: %w", s, err)
	}
	*d = Duration(v)
	return nil
}

// MarshalJSON writes it as text.
func (d Duration) MarshalJSON() ([]byte, error) { return json.Marshal(time.Duration(d).String()) }
