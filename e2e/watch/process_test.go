//go:build e2e

package watch_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience bounds every wait. A machine that has much other work needs minutes for what
// takes two seconds here; nothing waits longer than it must.
const patience = 5 * time.Minute

// servers is where "make e2e" puts what it builds of e2e/components.
const servers = "../../.e2e/bin"

// process is a program that the test started. It is killed when the test ends, and
// the end of its log is shown where the test failed.
type process struct {
	name   string
	cmd    *exec.Cmd
	exited chan struct{}
	log    *logFile
}

// logFile keeps what a program says, over all its runs.
type logFile struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logFile) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logFile) bytes() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Clone(l.text.Bytes())
}

func (l *logFile) count(words string) int { return bytes.Count(l.bytes(), []byte(words)) }

// newLog returns a log that is shown where the test fails.
func newLog(t *testing.T, name string) *logFile {
	l := &logFile{}
	t.Cleanup(func() {
		if !t.Failed() {
			return
		}
		text := l.bytes()
		t.Logf("the end of the log of %s:\n%s", name, text[max(0, len(text)-8000):])
	})
	return l
}

func start(t *testing.T, log *logFile, program string, args ...string) *process {
	t.Helper()
	p := &process{name: filepath.Base(program), cmd: exec.Command(program, args...), exited: make(chan struct{}), log: log}
	fmt.Fprintf(log, "== started at %s\n", time.Now().UTC().Format(time.RFC3339Nano))
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // even if the test is killed
	if err := p.cmd.Start(); err != nil {
		if errors.Is(err, os.ErrNotExist) {
			t.Fatalf("start %s: %v: \"make e2e\" builds it", p.name, err)
		}
		t.Fatalf("start %s: %v", p.name, err)
	}
	go func() {
		_ = p.cmd.Wait() // the exit code is in ProcessState
		close(p.exited)
	}()
	t.Cleanup(func() { p.end(syscall.SIGKILL, patience) })
	return p
}

// end sends a signal, and SIGKILL where that does not help in time, and waits for the
// end.
func (p *process) end(sig syscall.Signal, grace time.Duration) (code int) {
	_ = p.cmd.Process.Signal(sig) // it may have ended already
	select {
	case <-p.exited:
	case <-time.After(grace):
		_ = p.cmd.Process.Kill()
		<-p.exited
	}
	return p.cmd.ProcessState.ExitCode()
}

// peak is the most memory that the program had so far, in bytes (proc(5): VmHWM).
func (p *process) peak() int64 {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0 // it has ended
	}
	_, rest, _ := bytes.Cut(status, []byte("VmHWM:"))
	var kib int64
	_, _ = fmt.Sscanf(string(rest), "%d", &kib) // 0 where it ended just now
	return kib << 10
}

// alive says whether the program still runs.
func (p *process) alive() bool {
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// until polls for a condition.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("waited %v in vain: %s", patience, what)
}

// steadily waits until a count is reached, for as long as it grows.
func steadily(t *testing.T, what string, want int, count func() int) {
	t.Helper()
	last, grew := count(), time.Now()
	for last < want {
		time.Sleep(50 * time.Millisecond)
		if n := count(); n > last {
			last, grew = n, time.Now()
		} else if time.Since(grew) > patience {
			t.Fatalf("waited %v in vain: %s: %d of %d", patience, what, last, want)
		}
	}
}

// freePort returns a port that nobody listens on, below the range of which systems
// take the ports of outgoing connections: it must still be free after a restart.
func freePort(t *testing.T) int {
	t.Helper()
	for range 100 {
		port := 20000 + rand.IntN(10000)
		if l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			l.Close()
			return port
		}
	}
	t.Fatal("found no free port between 20000 and 30000")
	return 0
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
