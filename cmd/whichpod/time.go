package main

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// moment is a flag's time, Unix milliseconds; 0 is not given, so a time is later than 1970.
type moment int64

var errEarly = errors.New("want one after 1970-01-01T00:00:00Z")

var daysOrWeeks = regexp.MustCompile(`^(?:(\d+)w)?(?:(\d+)d)?(.*)$`)

// parseMoment reads RFC 3339, or how long ago: 45m, 7d, 1d12h, 2w.
func parseMoment(s string, now time.Time) (moment, error) {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		if _, err := time.Parse("2006-01-02T15:04:05", s); err == nil {
			return 0, fmt.Errorf("time is %q, without its zone: Z after it is UTC", s)
		}
		if s == "" {
			return 0, fmt.Errorf("time is empty, want RFC 3339 or how long ago (45m, 7d)")
		}
		ago, ok := parseSpan(s)
		if !ok {
			return 0, fmt.Errorf("time is %q, want RFC 3339 (2026-11-23T13:04:00Z) or how long ago (45m, 7d)", s)
		}
		t = now.Add(-ago)
	}
	at := moment(t.UnixMilli())
	if at <= 0 {
		return 0, fmt.Errorf("time is %q, %w", s, errEarly)
	}
	return at, nil
}

// isTime says whether a flag's text is a time and not how long ago it was.
func isTime(s string) bool {
	_, err := time.Parse(time.RFC3339Nano, s)
	return err == nil
}

// parseSpan reads a length of time: 45m, 7d, 1d12h, 2w. One of 292 years is too long.
func parseSpan(s string) (time.Duration, bool) {
	m := daysOrWeeks.FindStringSubmatch(s)
	var span time.Duration
	for i, unit := range []time.Duration{7 * 24 * time.Hour, 24 * time.Hour} {
		if m[i+1] == "" {
			continue
		}
		n, err := strconv.ParseInt(m[i+1], 10, 64)
		if err != nil || n > int64(math.MaxInt64/unit) {
			return 0, false
		}
		span += time.Duration(n) * unit
	}
	if m[3] == "" {
		return span, s != "" && span >= 0
	}
	rest, err := time.ParseDuration(m[3])
	span += rest
	return span, err == nil && rest >= 0 && span >= 0
}

var _ pflag.Value = (*momentFlag)(nil)

type momentFlag struct {
	at    *moment
	early moment // what a time stands for that is not after 1970 began; 0: it is refused
	text  string
}

func (f *momentFlag) String() string { return f.text }
func (f *momentFlag) Type() string   { return "time" }

func (f *momentFlag) Set(s string) error {
	at, err := parseMoment(s, time.Now())
	if err != nil && (f.early == 0 || !errors.Is(err, errEarly)) {
		return err
	}
	*f.at, f.text = max(at, f.early), s
	return nil
}

func timeFlag(cmd *cobra.Command, into *moment, name, help string) {
	cmd.Flags().Var(&momentFlag{at: into}, name, help)
}

// spanFlag is a flag's length of time, with days and weeks.
type spanFlag time.Duration

var _ pflag.Value = (*spanFlag)(nil)

func (f *spanFlag) String() string {
	if *f == 0 {
		return ""
	}
	return time.Duration(*f).String()
}

func (f *spanFlag) Type() string { return "duration" }

func (f *spanFlag) Set(s string) error {
	span, ok := parseSpan(s)
	if !ok {
		return fmt.Errorf("want a length of time (45m, 7d, 52w)")
	}
	*f = spanFlag(span)
	return nil
}

// spanVar adds a flag for a length of time; what is in it is the default.
func spanVar(cmd *cobra.Command, into *time.Duration, name, help string) {
	cmd.Flags().Var((*spanFlag)(into), name, help)
}

// rangeFlags adds --since and --until. Since a time before all logs is since ever.
func rangeFlags(cmd *cobra.Command, since, until *moment) {
	cmd.Flags().Var(&momentFlag{at: since, early: 1}, "since", "from this time on (RFC 3339, or how long ago: 45m, 7d)")
	timeFlag(cmd, until, "until", "before this time")
}

func checkRange(cmd *cobra.Command, since, until moment) error {
	if until != 0 && since >= until {
		return usage(cmd, "--since is not before --until")
	}
	return nil
}

func (m moment) time() time.Time {
	if m == 0 {
		return time.Time{}
	}
	return time.UnixMilli(int64(m)).UTC()
}
