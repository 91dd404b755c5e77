package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/whichpod/whichpod/evidence/bundle"
)

// scheduleFlags are those of "export --bundle" that write a bundle for each window.
type scheduleFlags struct {
	every, window, deadline time.Duration
	once                    bool
	amend                   string
}

func (f *scheduleFlags) add(cmd *cobra.Command) {
	spanVar(cmd, &f.every, "every", "with --bundle: look so often for windows that are over, and write a bundle for each")
	spanVar(cmd, &f.window, "window", "with --every or --once: length of a window (default that of --every)")
	f.deadline = 2 * time.Hour
	spanVar(cmd, &f.deadline, "deadline", "with --every or --once: how long a window waits for late logs")
	cmd.Flags().BoolVar(&f.once, "once", false, "with --window: look once and end, for a CronJob")
	cmd.Flags().StringVar(&f.amend, "amend", "", "with --bundle: write this bundle anew, with what is known now")
}

func (f *scheduleFlags) scheduled() bool { return f.every != 0 || f.once || f.window != 0 }

func (f *scheduleFlags) check(cmd *cobra.Command, until moment) error {
	if f.window == 0 {
		f.window = f.every
	}
	switch {
	case !f.scheduled():
		return nil
	case f.once && f.every != 0:
		return usage(cmd, "--every does not go with --once, which looks once; --window is how long a window is")
	case f.amend != "":
		return usage(cmd, "--amend does not go with --every, --window or --once")
	case until != 0 && !f.once:
		return usage(cmd, "--until does not go with --every, which has no end; it goes with --once")
	case f.window < time.Minute || f.window%time.Minute != 0:
		return usage(cmd, "--window is %s, want whole minutes", f.window)
	case f.every == 0 && !f.once:
		return usage(cmd, "--window needs --every or --once")
	case f.every < 0 || f.deadline < 0:
		return usage(cmd, "--every and --deadline want 0s or more")
	default:
		return nil
	}
}

// exportWindows writes the bundles that are due, once or again and again until it is
// told to end.
func (a *app) exportWindows(ctx context.Context, to bundle.Destination, b *bundleFlags, f *scheduleFlags, key bundle.Signer) error {
	for {
		err := a.exportDue(ctx, to, b, f, key)
		if f.once || err != nil && ctx.Err() == nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil // what was under way is not there, and comes with the next run
		case <-time.After(f.every):
		}
	}
}

func (a *app) exportDue(ctx context.Context, to bundle.Destination, b *bundleFlags, f *scheduleFlags, key bundle.Signer) error {
	lock, err := to.Lock()
	if err != nil {
		return err
	}
	var written []bundle.Summary
	err = a.withInput(b, func(in bundle.Input) (err error) {
		p := newProgress(a.stderr)
		defer p.done()
		in.Progress = p.rows
		s := bundle.Schedule{To: to, Window: f.window, Deadline: f.deadline, Since: int64(b.since), Until: int64(b.until), Now: time.Now}
		written, err = s.Run(ctx, in, key)
		return err
	})
	for i := range written {
		err = errors.Join(err, a.printBundle(&written[i]))
	}
	return errors.Join(err, lock.Close())
}

// exportAmendment writes the bundle of an earlier one's time anew.
func (a *app) exportAmendment(ctx context.Context, to bundle.Destination, name string, in bundle.Input, key bundle.Signer) (bundle.Summary, error) {
	chain, err := to.Chain(ctx)
	if err != nil {
		return bundle.Summary{}, err
	}
	for i := range chain {
		if chain[i].Name == name {
			s := bundle.Schedule{To: to}
			sum, err := s.Amend(ctx, in, key, &chain[i])
			if superseded := (bundle.SupersededError{}); errors.As(err, &superseded) {
				err = hinted{err, "amend that one"}
			}
			return sum, err
		}
	}
	return bundle.Summary{}, fmt.Errorf("amend bundle %q: no such bundle is there", name)
}
