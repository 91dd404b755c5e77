//go:build e2e

package rig

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience bounds every wait. A machine that builds something else at the same time
// needs tens of seconds for what takes two here; nothing waits longer than it must.
const patience = 2 * time.Minute

// Process is a program that a test started. It is killed when the test ends.
type Process struct {
	Log    *Log
	cmd    *exec.Cmd
	exited chan struct{}
}

// Log keeps what a program says, over all its runs.
type Log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// NewLog returns a log whose end is shown where the test fails.
func NewLog(t testing.TB, name string) *Log {
	l := &Log{}
	t.Cleanup(func() {
		if text := l.Bytes(); t.Failed() && len(text) > 0 {
			t.Logf("the end of the log of %s:\n%s", name, text[max(0, len(text)-6000):])
		}
	})
	return l
}

func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// Bytes is all that was said.
func (l *Log) Bytes() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Clone(l.text.Bytes())
}

// Start starts a program in a namespace; what it says on stderr, and on stdout where
// that is nil, goes to a log.
func (n *Namespace) Start(t testing.TB, stdout *os.File, program string, args ...string) *Process {
	t.Helper()
	p := &Process{Log: NewLog(t, n.name+": "+filepath.Base(program)), cmd: n.Command(program, args...), exited: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = p.Log, p.Log
	if stdout != nil {
		p.cmd.Stdout = stdout
	}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	Must(t, p.cmd.Start())
	go func() {
		_ = p.cmd.Wait() // the exit code is in ProcessState
		close(p.exited)
	}()
	t.Cleanup(func() { p.End(syscall.SIGKILL) })
	return p
}

// End sends a signal, and SIGKILL where that does not help, and waits for the end.
func (p *Process) End(sig syscall.Signal) (code int) {
	_ = p.cmd.Process.Signal(sig) // it may have ended already
	select {
	case <-p.exited:
	case <-time.After(patience):
		_ = p.cmd.Process.Kill()
		<-p.exited
	}
	return p.cmd.ProcessState.ExitCode()
}

// Signal sends a signal and waits for nothing.
func (p *Process) Signal(t testing.TB, sig syscall.Signal) {
	t.Helper()
	Must(t, p.cmd.Process.Signal(sig))
}

// Wait waits for the program to end by itself.
func (p *Process) Wait() (code int) {
	<-p.exited
	return p.cmd.ProcessState.ExitCode()
}

// Usage is what a program that ended had used.
func (p *Process) Usage() *syscall.Rusage { return p.cmd.ProcessState.SysUsage().(*syscall.Rusage) }

// Alive says whether the program still runs.
func (p *Process) Alive() bool {
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// Until polls for a condition.
func Until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("waited %v in vain: %s", patience, what)
}

// Must fails the test at an error.
func Must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

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
