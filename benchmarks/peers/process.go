package main

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"
)

// usage is what a process took.
type usage struct {
	wall, cpu time.Duration
	peak      float64 // MiB of memory
}

// process runs a program to its end and returns what it printed. On Linux the peak of
// a process is never less than what its parent had: so this program has to stay small,
// and a peak that is not above its own is an error.
func process(ctx context.Context, env []string, program string, args ...string) ([]byte, usage, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append(os.Environ(), env...)
	var out, messages bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &messages
	start := time.Now()
	err := cmd.Run()
	wall := time.Since(start)
	if err != nil {
		return nil, usage{}, fmt.Errorf("run %s: %w: %s%s", filepath.Base(program), err, out.Bytes(), messages.Bytes())
	}
	p := cmd.ProcessState
	u := usage{wall, p.UserTime() + p.SystemTime(), mebibytes(p.SysUsage().(*syscall.Rusage))}
	var own syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &own); err != nil {
		return nil, usage{}, err
	}
	if u.peak <= mebibytes(&own) {
		u.peak = 0 // unknown: a short process in the shadow of this one
	}
	return out.Bytes(), u, nil
}

func mebibytes(u *syscall.Rusage) float64 {
	n := float64(u.Maxrss)
	if runtime.GOOS != "darwin" { // elsewhere it counts in KiB
		n *= 1024
	}
	return n / (1 << 20)
}

// folderBytes is the size of all files below the paths.
func folderBytes(paths ...string) (n int64, err error) {
	for _, p := range paths {
		err = filepath.WalkDir(p, func(_ string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return err
			}
			info, err := e.Info()
			if err == nil {
				n += info.Size()
			}
			return err
		})
		if err != nil {
			return 0, err
		}
	}
	return n, nil
}
