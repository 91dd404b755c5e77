package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/whichpod/whichpod/benchmarks/drill"
)

// The CronJob of deploy/drill.yaml calls the program with flags that it has.
func TestDrillInDeploy(t *testing.T) {
	data, err := os.ReadFile("../../deploy/drill.yaml")
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, doc := range strings.Split(string(data), "\n---\n") {
		var job struct {
			Spec struct {
				JobTemplate struct {
					Spec struct {
						Template struct {
							Spec struct {
								Containers []struct{ Args []string }
							}
						}
					}
				}
			}
		}
		if err := yaml.Unmarshal([]byte(doc), &job); err != nil {
			t.Fatal(err)
		}
		for _, c := range job.Spec.JobTemplate.Spec.Template.Spec.Containers {
			found = true
			cmd, rest, err := (&app{}).root().Find(c.Args)
			if err != nil || cmd.Name() != "drill" {
				t.Fatalf("%v is the command %v, %v", c.Args, cmd, err)
			}
			if err := cmd.ParseFlags(rest); err != nil {
				t.Error(err)
			}
			if n, err := cmd.Flags().GetDuration("timeout"); err != nil || n < time.Minute || n >= 20*time.Minute {
				t.Errorf("timeout %v, %v; want less than the job's deadline", n, err)
			}
		}
	}
	if !found {
		t.Error("there is no container")
	}
}

// A collector never finds half a file, and nothing but the file.
func TestWriteMetrics(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "drill.prom")
	for range 2 {
		if err := writeMetrics(path, drill.Families(nil, time.Now())); err != nil {
			t.Fatal(err)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil || !slices.ContainsFunc(entries, func(e os.DirEntry) bool { return e.Name() == "drill.prom" }) || len(entries) != 1 {
		t.Errorf("the folder has %v, %v", entries, err)
	}
	if err := writeMetrics(filepath.Join(dir, "missing", "drill.prom"), nil); err == nil || !strings.HasPrefix(err.Error(), "write metrics: ") {
		t.Errorf("the error is %v", err)
	}
}
