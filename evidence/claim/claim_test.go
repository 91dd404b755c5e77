package claim

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCheckSelector(t *testing.T) {
	for text, want := range map[string]string{
		"namespace=web,app=api":        "",
		"namespace=web,namespace=web":  "",
		"namespace!=web,namespace!=db": "",
		"namespace=web,namespace!=db":  "",
		"tier=":                        "", // a label's value may be empty
		"tier!=":                       "",
		"namespace=web,namespace=jobs": "which no pod can be",
		"app=a,uid!=x,app!=a":          "which no pod can be",
		"app!=a,app=a":                 "which no pod can be",
		"namespace=":                   "namespace has no value",
		"app=a,owner!=":                "owner has no value",
	} {
		s, err := ParseSelector(text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if err := s.Check(); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", text, err, want)
		}
		path := filepath.Join(t.TempDir(), "claims.yaml")
		if err := os.WriteFile(path, []byte("to: 10.0.0.1:80\nonly: "+text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Read(path); (err == nil) != (want == "") {
			t.Errorf("%s in a file: got %v, want %q", text, err, want)
		}
	}
	s, err := ParseSelector("namespace=web,app=a,tier!=b,app!=c")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"app", "tier"}, s.Labels()); diff != "" {
		t.Error(diff)
	}
}
