package main

import (
	"fmt"
	"regexp"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// moment is a flag's time, Unix milliseconds; 0 is not given.
type moment int64

var daysOrWeeks = regexp.MustCompile(`^(?:(\d+)w)?(?:(\d+)d)?(.*)$`)

// parseMoment reads RFC 3339, or how long ago: 45m, 7d, 1d12h, 2w.
func parseMoment(s string, now time.Time) (moment, error) {
	if t, err := time.Parse(time.RFC3339Nano, s); err == nil {
		return moment(t.UnixMilli()), nil
	}
	if s == "" {
		return 0, fmt.Errorf("time is empty, want RFC 3339 or how long ago (45m, 7d)")
	}
	ago, ok := parseSpan(s)
	if !ok {
		return 0, fmt.Errorf("time is %q, want RFC 3339 (2026-11-23T13:04:00Z) or how long ago (45m, 7d)", s)
	}
	return moment(now.Add(-ago).UnixMilli()), nil
}

// parseSpan reads a length of time: 45m, 7d, 1d12h, 2w.
func parseSpan(s string) (time.Duration, bool) {
	m := daysOrWeeks.FindStringSubmatch(s)
	weeks, _ := strconv.Atoi(m[1])
	days, _ := strconv.Atoi(m[2])
	span := time.Duration(7*weeks+days) * 24 * time.Hour
	if m[3] == "" {
		return span, s != ""
	}
	rest, err := time.ParseDuration(m[3])
	return span + rest, err == nil && rest >= 0
}

var _ pflag.Value = (*momentFlag)(nil)

type momentFlag struct {
	at   *moment
	text string
}

func (f *momentFlag) String() string { return f.text }
func (f *momentFlag) Type() string   { return "time" }

func (f *momentFlag) Set(s string) error {
	at, err := parseMoment(s, time.Now())
	if err != nil {
		return err
	}
	*f.at, f.text = at, s
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

// rangeFlags adds --since and --until.
func rangeFlags(cmd *cobra.Command, since, until *moment) {
	timeFlag(cmd, since, "since", "from this time on (RFC 3339, or how long ago: 45m, 7d)")
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
