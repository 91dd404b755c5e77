package attribution

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"sigs.k8s.io/yaml"
)

// masqConfigMaps are the ConfigMaps of which ip-masq-agent, or Cilium by way of ACN's
// azure-ip-masq-merger, reads the list of what is not masqueraded. They are merged.
// Source: Azure/ip-masq-agent-v2, which reads every file that begins with "ip-masq".
var masqConfigMaps = []string{
	"azure-ip-masq-agent-config-reconciled", "azure-ip-masq-agent-config", "azure-ip-masq-agent-user", "azure-dns-imds-ip-masq-agent-config", "ip-masq-agent",
}

const (
	ciliumConfigMap  = "cilium-config"
	upgradeConfigMap = "overlay-upgrade-data"
)

// resync is how often the agent reads its files, and propagation how long a changed
// ConfigMap may take to be in them: the kubelet's sync period of a minute, half as
// much again for its jitter, and as much for its cache
// (https://kubernetes.io/docs/concepts/configuration/configmap/#mounted-configmaps-are-updated-automatically).
// In milliseconds.
const (
	resync      = 60 * 1000
	propagation = 120 * 1000
)

// maxMasqCIDRs is how many prefixes the agent takes (ip-masq-agent-v2).
const maxMasqCIDRs = 64

// defaultMasqCIDRs are not masqueraded where no config is valid (ip-masq-agent-v2).
var defaultMasqCIDRs = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("172.16.0.0/12"), netip.MustParsePrefix("192.168.0.0/16")}

// masqConfig is what an agent has read.
type masqConfig struct {
	list           []netip.Prefix
	local4, local6 bool
	there          bool // a ConfigMap is there, with or without a valid config
	valid          bool
	unwatched      bool // of some ConfigMap nobody knows what it said
	why            []Reason
}

// parseMasqConfig merges the configs in a ConfigMap. Keys of a config are
// case-insensitive. An error says that the agent takes nothing of it, and goes on with
// what it had.
func parseMasqConfig(s *State) (masqConfig, time.Duration, error) {
	c := masqConfig{there: true}
	var every time.Duration
	for _, f := range s.Fields {
		key, ok := strings.CutPrefix(f.Key, "data/")
		if !ok || !strings.HasPrefix(key, "ip-masq") {
			continue
		}
		var file struct {
			NonMasqueradeCIDRs []string `json:"nonMasqueradeCIDRs"`
			MasqLinkLocal      bool     `json:"masqLinkLocal"`
			MasqLinkLocalIPv6  bool     `json:"masqLinkLocalIPv6"`
			ResyncInterval     string   `json:"resyncInterval"`
		}
		if err := yaml.Unmarshal([]byte(f.Value), &file); err != nil {
			return masqConfig{there: true}, every, fmt.Errorf("read %s: %w", key, err)
		}
		if d, err := time.ParseDuration(file.ResyncInterval); err == nil {
			every = max(every, d)
		}
		for _, text := range file.NonMasqueradeCIDRs {
			p, err := netip.ParsePrefix(text)
			if err != nil || p != p.Masked() || len(c.list) == maxMasqCIDRs {
				return masqConfig{there: true}, every, fmt.Errorf("read %s: %q is no CIDR, or the %dth", key, text, len(c.list)+1)
			}
			c.list = append(c.list, p)
		}
		c.local4, c.local6, c.valid = c.local4 || file.MasqLinkLocal, c.local6 || file.MasqLinkLocalIPv6, true
	}
	return c, every, nil
}

// with merges two configs: what either excepts is excepted, what either includes is
// included.
func (c masqConfig) with(o masqConfig) masqConfig {
	return masqConfig{
		list: append(slices.Clip(c.list), o.list...), local4: c.local4 || o.local4, local6: c.local6 || o.local6,
		there: c.there || o.there, valid: c.valid || o.valid, unwatched: c.unwatched || o.unwatched, why: append(slices.Clip(c.why), o.why...),
	}
}

// same says whether two configs do the same, whatever they rest on.
func (c *masqConfig) same(o masqConfig) bool {
	return slices.Equal(c.list, o.list) && c.local4 == o.local4 && c.local6 == o.local6 && c.there == o.there && c.valid == o.valid && c.unwatched == o.unwatched
}

// agentPhases are the phases of a ConfigMap as an agent may see it: what was written is
// in force for a while after it was replaced, and for as long as what replaced it can
// not be read.
func agentPhases(phases []phase) []phase {
	out := slices.Clone(phases)
	for i := len(out) - 1; i >= 0; i-- {
		p := &out[i]
		if p.to == Open {
			continue
		}
		after := int64(resync)
		if p.state != nil {
			if _, every, _ := parseMasqConfig(p.state); every.Milliseconds() > after {
				after = every.Milliseconds()
			}
		}
		until := p.to
		for k := i + 1; k < len(out) && !out[k].unknown && !p.unknown; k++ {
			if out[k].state == nil || out[k].from > until {
				break
			}
			if _, _, err := parseMasqConfig(out[k].state); err == nil {
				break
			}
			until = max(until, out[k].to)
		}
		p.to = until
		if until != Open {
			p.to += after + propagation
		}
	}
	return out
}

// maxMerges bounds the ways in which states of the ConfigMaps that are possible at once
// are put together. Past it nothing is known.
const maxMerges = 64

// masqConfigsAt are all configs that an agent may have had at a moment.
func masqConfigsAt(configs map[string][]phase, t int64) []masqConfig {
	all := []masqConfig{{}}
	for _, name := range masqConfigMaps {
		var next []masqConfig
		for _, p := range phasesAt(configs[name], t) {
			adds := p.masqConfig(name)
			for _, c := range all {
				if merged := c.with(adds); !slices.ContainsFunc(next, merged.same) {
					next = append(next, merged)
				}
			}
		}
		if all = next; len(all) > maxMerges || len(all) == 0 { // or it was there in a state that nobody saw
			return []masqConfig{{unwatched: true}}
		}
	}
	for i := range all {
		if c := &all[i]; c.there && !c.valid {
			c.list, c.valid = defaultMasqCIDRs, true
			c.why = append(slices.Clip(c.why), Reason{Says: "no valid config: the agent's defaults"})
		}
	}
	return all
}

// masqConfig is what a phase of a ConfigMap adds.
func (p *phase) masqConfig(name string) masqConfig {
	object := "configmap kube-system/" + name
	switch {
	case p.unknown:
		return masqConfig{unwatched: true}
	case p.state == nil:
		return masqConfig{}
	}
	c, _, err := parseMasqConfig(p.state)
	says := fmt.Sprintf("nonMasqueradeCIDRs %v", c.list)
	if c.local4 {
		says += ", masqLinkLocal"
	}
	if err != nil {
		says = "not valid: " + err.Error()
	}
	c.why = []Reason{{Object: object, Version: p.version, Says: says}}
	return c
}
