//go:build e2e

// Package process runs the programs of end-to-end tests, keeps what they say for the
// test that fails, and waits for what they do, with patience but not for ever.
package process

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Patience bounds every wait. A machine that has much other work needs minutes for what
// takes two seconds here; nothing waits longer than it must.
const Patience = 10 * time.Minute

// Process is a program that a test started. It is killed when the test ends.
type Process struct {
	Log    *Log
	cmd    *exec.Cmd
	exited chan struct{}
}

// Start starts a command. What it says on stderr goes to the log, and on stdout too
// where the command has none yet.
func Start(t testing.TB, log *Log, cmd *exec.Cmd) *Process {
	t.Helper()
	p := &Process{Log: log, cmd: cmd, exited: make(chan struct{})}
	fmt.Fprintf(log, "== started at %s\n", time.Now().UTC().Format(time.RFC3339Nano))
	cmd.Stderr = log
	if cmd.Stdout == nil {
		cmd.Stdout = log
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // even if the test is killed
	if err := cmd.Start(); err != nil {
		if errors.Is(err, os.ErrNotExist) {
			t.Fatalf("start %s: %v: \"make e2e\" builds it", filepath.Base(cmd.Path), err)
		}
		t.Fatalf("start %s: %v", filepath.Base(cmd.Path), err)
	}
	go func() {
		_ = cmd.Wait() // the exit code is in ProcessState
		close(p.exited)
	}()
	t.Cleanup(func() { p.End(syscall.SIGKILL) })
	return p
}

// End sends a signal, and SIGKILL where that does not help, and waits for the end.
func (p *Process) End(sig syscall.Signal) (code int) { return p.EndIn(sig, Patience) }

// EndIn is End with its own patience.
func (p *Process) EndIn(sig syscall.Signal, grace time.Duration) (code int) {
	_ = p.cmd.Process.Signal(sig) // it may have ended already
	select {
	case <-p.exited:
	case <-time.After(grace):
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

// Alive says whether the program still runs.
func (p *Process) Alive() bool {
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// Usage is what a program that ended had used.
func (p *Process) Usage() *syscall.Rusage { return p.cmd.ProcessState.SysUsage().(*syscall.Rusage) }

// Peak is the most memory that the program had so far, in bytes (proc(5): VmHWM), or 0
// where it has ended.
func (p *Process) Peak() int64 {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	_, rest, _ := bytes.Cut(status, []byte("VmHWM:"))
	var kib int64
	_, _ = fmt.Sscanf(string(rest), "%d", &kib) // 0 where it ended just now
	return kib << 10
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
			t.Logf("the end of the log of %s:\n%s", name, text[max(0, len(text)-3000):])
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

// Count is how often the program said these words.
func (l *Log) Count(words string) int { return bytes.Count(l.Bytes(), []byte(words)) }

// Until polls for a condition.
func Until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(Patience); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("waited %v in vain: %s", Patience, what)
}

// Steadily waits until a count is reached, for as long as it grows.
func Steadily(t testing.TB, what string, want int, count func() int) {
	t.Helper()
	last, grew := count(), time.Now()
	for last < want {
		time.Sleep(50 * time.Millisecond)
		if n := count(); n > last {
			last, grew = n, time.Now()
		} else if time.Since(grew) > Patience {
			t.Fatalf("waited %v in vain: %s: %d of %d", Patience, what, last, want)
		}
	}
}

// Must fails the test at an error.
func Must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
