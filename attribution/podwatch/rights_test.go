package podwatch

import (
	"os"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// deploy/watch.yaml gives the rights that the watch asks for, and no others.
func TestRightsInDeploy(t *testing.T) {
	data, err := os.ReadFile("../../deploy/watch.yaml")
	must(t, err)
	given := map[string]bool{} // "namespace/group/resource"
	for _, doc := range strings.Split(string(data), "\n---\n") {
		var role struct {
			Metadata struct{ Namespace string }
			Rules    []struct{ APIGroups, Resources, Verbs []string }
		}
		must(t, yaml.Unmarshal([]byte(doc), &role))
		for _, rule := range role.Rules {
			if !slices.Equal(rule.Verbs, []string{"list", "watch"}) {
				t.Errorf("verbs %v, want list and watch", rule.Verbs)
			}
			for _, res := range rule.Resources {
				given[role.Metadata.Namespace+"/"+rule.APIGroups[0]+"/"+res] = true
			}
		}
	}
	for _, r := range resources {
		key := r.namespace + "/" + r.group + "/" + r.String()
		if !given[key] {
			t.Errorf("no right to watch %s", key)
		}
		delete(given, key)
	}
	if len(given) > 0 {
		t.Errorf("rights that nothing needs: %v", given)
	}
}
