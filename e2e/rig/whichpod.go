//go:build e2e

package rig

import (
	"bytes"
	"os/exec"
	"testing"
)

// Whichpod runs the program under test with a data folder and returns its stdout. It
// fails the test where the exit code is none of those given; 0 where none is.
func Whichpod(t testing.TB, data string, args []string, codes ...int) []byte {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := exec.Command(Program("whichpod"), append(args, "--data", data)...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	for _, code := range append(codes, 0) {
		if cmd.ProcessState.ExitCode() == code {
			return stdout.Bytes()
		}
	}
	t.Fatalf("whichpod %v: %v\n%s%s", args, err, stdout.Bytes(), stderr.Bytes())
	return nil
}
