// Package claim decides assertions about who reached a destination: whether the rows
// prove them, refute them, or leave them open, and what would close them.
//
// In: a claim and attributed rows. Out: a result with the rows against it and the rows
// that prove nothing, by why. A [Judge] is for one goroutine.
package claim

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/whichpod/whichpod/attribution"
	"github.com/whichpod/whichpod/internal/strictyaml"
)

// Claim says that only some pods reached a destination.
type Claim struct {
	Name string         `json:"name,omitempty"`
	To   netip.AddrPort `json:"to"`
	Only Selector       `json:"only"`
}

func (c *Claim) String() string {
	if c.Name != "" {
		return c.Name
	}
	return "only " + c.Only.String() + " reached " + c.To.String()
}

// Read reads claims from a YAML file: one, or a list of them.
func Read(path string) ([]Claim, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read claims: %w", err)
	}
	var list []Claim
	if err := strictyaml.Unmarshal(data, &list); err != nil {
		var one Claim
		if e := strictyaml.Unmarshal(data, &one); e != nil {
			return nil, fmt.Errorf("read claims %q: %w; want a list of name, to, only", path, err)
		}
		list = []Claim{one}
	}
	for i := range list {
		if !list[i].To.IsValid() || len(list[i].Only) == 0 {
			return nil, fmt.Errorf("read claims %q: claim %d has no to or no only", path, i+1)
		}
		if err := list[i].Only.Check(); err != nil {
			return nil, fmt.Errorf("read claims %q: claim %d: %w", path, i+1, err)
		}
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("read claims %q: there is none", path)
	}
	return list, nil
}

// Selector chooses pods: all of its terms must hold.
type Selector []Term

// Term compares one property of a pod, or one of its labels, with a value.
type Term struct {
	Key, Value string
	Not        bool
}

// properties of a pod that a term may name; any other key is a label.
var properties = []struct {
	name string
	of   func(*attribution.Candidate) string
}{
	{"cluster", func(c *attribution.Candidate) string { return c.Cluster }},
	{"namespace", func(c *attribution.Candidate) string { return c.Namespace }},
	{"name", func(c *attribution.Candidate) string { return c.Name }},
	{"uid", func(c *attribution.Candidate) string { return c.UID }},
	{"owner", func(c *attribution.Candidate) string { return c.Owner }},
	{"node", func(c *attribution.Candidate) string { return c.Node }},
}

// property is what a key means of a pod; false where it has no such label.
func property(c *attribution.Candidate, key string) (string, bool) {
	for i := range properties {
		if properties[i].name == key {
			return properties[i].of(c), true
		}
	}
	return label(c.Labels, key)
}

// ParseSelector reads "namespace=payments,app=api,tier!=test".
func ParseSelector(text string) (Selector, error) {
	var s Selector
	for part := range strings.SplitSeq(text, ",") {
		key, value, ok := strings.Cut(part, "=")
		t := Term{Key: strings.TrimSpace(key), Value: strings.TrimSpace(strings.TrimPrefix(value, "="))}
		t.Key, t.Not = strings.CutSuffix(t.Key, "!")
		if !ok || t.Key == "" || strings.ContainsAny(t.Key+t.Value, " !=()") {
			return nil, fmt.Errorf("selector is %q, want KEY=VALUE or KEY!=VALUE with commas between; a key is cluster, namespace, name, uid, owner, node or a label", text)
		}
		s = append(s, t)
	}
	return s, nil
}

// Check says where a selector can choose no pod, whatever pods there are, or compares a
// property with nothing. Only a label can have an empty value.
func (s Selector) Check() error {
	for i, t := range s {
		if t.Value == "" && isProperty(t.Key) {
			return fmt.Errorf("selector is %q, and %s has no value", s, t.Key)
		}
		for _, o := range s[:i] {
			if o.Key == t.Key && (!o.Not || !t.Not) && (o.Value == t.Value) == (o.Not != t.Not) {
				return fmt.Errorf("selector is %q, which no pod can be: all terms must hold, and %s has one value", s, t.Key)
			}
		}
	}
	return nil
}

// Labels are the keys of a selector that are labels.
func (s Selector) Labels() []string {
	var out []string
	for _, t := range s {
		if !isProperty(t.Key) && !slices.Contains(out, t.Key) {
			out = append(out, t.Key)
		}
	}
	return out
}

func isProperty(key string) bool {
	for i := range properties {
		if properties[i].name == key {
			return true
		}
	}
	return false
}

func (s Selector) String() string {
	terms := make([]string, len(s))
	for i, t := range s {
		op := "="
		if t.Not {
			op = "!="
		}
		terms[i] = t.Key + op + t.Value
	}
	return strings.Join(terms, ",")
}

// MarshalText writes what [ParseSelector] reads.
func (s Selector) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText is [ParseSelector].
func (s *Selector) UnmarshalText(text []byte) (err error) {
	*s, err = ParseSelector(string(text))
	return err
}

// label finds a label's value among sorted "key=value".
func label(labels []string, key string) (string, bool) {
	i := slices.IndexFunc(labels, func(l string) bool { return strings.HasPrefix(l, key+"=") })
	if i < 0 {
		return "", false
	}
	return labels[i][len(key)+1:], true
}
