package main

import (
	"strings"
	"testing"
	"time"
)

func TestParseMoment(t *testing.T) {
	now := time.Date(2026, 11, 23, 13, 0, 0, 0, time.UTC)
	for text, want := range map[string]string{
		"2026-11-23T12:00:00.5Z":    "2026-11-23T12:00:00.5Z",
		"2026-11-23T13:30:00+01:00": "2026-11-23T12:30:00Z",
		"1970-01-01T00:00:00.001Z":  "1970-01-01T00:00:00.001Z",
		"45m":                       "2026-11-23T12:15:00Z",
		"1w1d1h":                    "2026-11-15T12:00:00Z",
		"0s":                        "2026-11-23T13:00:00Z",
	} {
		if got, err := parseMoment(text, now); err != nil || got.time().Format(time.RFC3339Nano) != want {
			t.Errorf("%q is %v, %v; want %s", text, got.time(), err, want)
		}
	}
	for text, want := range map[string]string{
		"":                          "is empty",
		"yesterday":                 "want RFC 3339",
		"-5m":                       "want RFC 3339",
		"2026-11-23":                "want RFC 3339",
		"2026-11-23T13:04:00":       "without its zone",
		"2026-11-23T13:04:00.250":   "without its zone",
		"1970-01-01T00:00:00Z":      "want one after 1970-01-01T00:00:00Z", // 0, which is "not given"
		"1970-01-01T00:00:00.0005Z": "want one after 1970-01-01T00:00:00Z", // and so is less than a millisecond
		"1969-12-31T23:59:59Z":      "want one after 1970-01-01T00:00:00Z",
		"100w30000d":                "want one after 1970-01-01T00:00:00Z",
		"200000d":                   "want RFC 3339", // more than fits
		"15000w15000d":              "want RFC 3339",
		"106751d999h":               "want RFC 3339",
		"99999999999999999999d":     "want RFC 3339",
	} {
		if got, err := parseMoment(text, now); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is %v, %v; want an error with %q", text, got, err, want)
		}
	}
}
