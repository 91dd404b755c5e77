package main

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/whichpod/whichpod/evidence/stamp/stamptest"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"whichpod": main})
}

// The scripts say what a person types and sees. Each starts in a folder of its own
// with a copy of testdata/fixture: a small cluster's flow log and watch journal. $TSA is
// a time stamping authority, tsa.pem the certificate of its root.
func TestScripts(t *testing.T) {
	fixture, err := filepath.Abs("testdata/fixture")
	if err != nil {
		t.Fatal(err)
	}
	authority := stamptest.New(stamptest.ForTimeStamps)
	t.Cleanup(authority.Close)
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("TSA", authority.URL)
			return errors.Join(os.CopyFS(env.WorkDir, os.DirFS(fixture)), os.WriteFile(filepath.Join(env.WorkDir, "tsa.pem"), authority.RootPEM(), 0o644))
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits},
	})
}

// exits runs a command and checks its exit code: exits 3 whichpod who …
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND [ARG ...]")
	}
	err := ts.Exec(args[1], args[2:]...)
	got := "0"
	if err != nil {
		code, ok := err.(interface{ ExitCode() int })
		if !ok {
			ts.Fatalf("%v", err)
		}
		got = string(rune('0' + code.ExitCode()))
	}
	if got != args[0] {
		ts.Fatalf("exit code is %s, want %s", got, args[0])
	}
}
