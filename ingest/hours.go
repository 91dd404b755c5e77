package ingest

import (
	"strconv"
	"strings"
	"time"
)

// Hours is a range of hours, as blobs bear them in their names; both ends are included
// and a zero one is open. The zero value is all hours.
type Hours struct{ First, Last time.Time }

// All says whether no hour is left out.
func (h Hours) All() bool { return h.First.IsZero() && h.Last.IsZero() }

// lateLogs is how much later than its rows' hour a firewall's blob may be: "Logs are
// written to blobs based on the time that the log was received, regardless of the time
// it was generated", up to 48 hours later ("Azure resource logs", azure-monitor).
const lateLogs = 48 * time.Hour

// Cover says whether blobs whose names begin with prefix may have rows of these hours.
// One without y= in it may always.
func (h Hours) Cover(prefix string) bool {
	from, to, ok := hoursOf(prefix)
	last := h.Last
	if strings.Contains(strings.ToUpper(prefix), "/AZUREFIREWALLS/") && !last.IsZero() {
		last = last.Add(lateLogs)
	}
	return !ok || (h.First.IsZero() || to.After(h.First)) && (last.IsZero() || !from.After(last))
}

// WithHour says whether a prefix names its hour, down to h=.
func WithHour(prefix string) bool {
	from, to, ok := hoursOf(prefix)
	return ok && to.Sub(from) == time.Hour
}

// hoursOf is the range [from, to) of the hours that a prefix may have,
// …/y=2026/m=07/d=07/h=15/m=00/… (flow-logs-read), as far as it goes.
func hoursOf(prefix string) (from, to time.Time, ok bool) {
	rest := ""
	if i := strings.Index(strings.ToLower("/"+prefix), "/y="); i >= 0 {
		rest = prefix[i:]
	} else {
		return from, to, false
	}
	n := [4]int{1, 1, 1, 0} // year, month, day, hour
	depth := 0
	for part := range strings.SplitSeq(rest, "/") {
		if depth == len(n) || len(part) < 3 || !strings.EqualFold(part[:2], "ymdh"[depth:depth+1]+"=") {
			break
		}
		v, err := strconv.Atoi(part[2:])
		if err != nil {
			break
		}
		n[depth] = v
		depth++
	}
	if depth == 0 {
		return from, to, false
	}
	from = time.Date(n[0], time.Month(n[1]), n[2], n[3], 0, 0, 0, time.UTC)
	switch depth {
	case 1:
		to = from.AddDate(1, 0, 0)
	case 2:
		to = from.AddDate(0, 1, 0)
	case 3:
		to = from.AddDate(0, 0, 1)
	default:
		to = from.Add(time.Hour)
	}
	return from, to, true
}
