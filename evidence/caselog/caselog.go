// Package caselog keeps which questions were asked for an incident, what was answered
// and when: each entry names the one before it by its digest, so that none can be
// changed or left out without a trace, but for the last ones: an end that was cut off is
// not noticed.
//
// In: entries, appended one at a time. Out: the entries in order, and for each case how
// long it took from detection to the first answer that names the sender. An entry is
// durable when Append returns nil. One process appends at a time; any number read.
package caselog

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/whichpod/whichpod/internal/journal"
	"github.com/whichpod/whichpod/query"
)

var magic = [4]byte{'w', 'p', 'c', 'l'}

const version = 1

// Entry is a question that was asked for a case.
type Entry struct {
	Case     string          `json:"case"`
	Detected time.Time       `json:"detected"` // when the incident was detected, as the asker says; UTC
	Asked    time.Time       `json:"asked"`    // when the answer was there; UTC
	Verdict  string          `json:"verdict"`
	Answer   json.RawMessage `json:"answer"`   // with the question in it, as "who -o json" prints it
	Previous string          `json:"previous"` // SHA-256 of the entry before, hex; empty for the first
}

// Append adds an entry to the log at path. Previous is set here.
func Append(path string, e Entry) (err error) {
	last := ""
	j, err := journal.Open(path, magic, version, func(_ int64, payload []byte) error {
		last = digest(payload)
		return nil
	})
	if err != nil {
		return fmt.Errorf("write case log: %w", err)
	}
	defer func() { err = errors.Join(err, j.Close()) }()
	if d := j.Damage(); len(d) > 0 {
		return fmt.Errorf("write case log: %w", d[0])
	}
	e.Previous = last
	payload, err := json.Marshal(&e)
	if err == nil {
		err = j.Append(payload)
	}
	if err != nil {
		return fmt.Errorf("write case log: %w", err)
	}
	return nil
}

// Read returns the entries of the log at path, in order; of one that is not there, none.
// An entry that was changed, or that does not follow the one before it, is an error.
func Read(path string) ([]Entry, error) {
	var out []Entry
	last := ""
	damage, err := journal.Read(path, magic, version, func(offset int64, payload []byte) error {
		var e Entry
		if err := json.Unmarshal(payload, &e); err != nil {
			return journal.CorruptError{Path: path, Offset: offset, Detail: err.Error()}
		}
		if e.Previous != last {
			return journal.CorruptError{Path: path, Offset: offset, Detail: fmt.Sprintf("entry %d does not follow the one before it", len(out)+1)}
		}
		out, last = append(out, e), digest(payload)
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil && len(damage) > 0 {
		err = damage[0]
	}
	if err != nil {
		return nil, fmt.Errorf("read case log: %w", err)
	}
	return out, nil
}

// Check reads the log at path and returns all damage of its file; where there is none,
// the first entry that does not follow the one before it.
func Check(path string) ([]journal.CorruptError, error) {
	damage, err := journal.Read(path, magic, version, nil)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil && len(damage) == 0 {
		_, err = Read(path)
	}
	var one journal.CorruptError
	if errors.As(err, &one) {
		return append(damage, one), nil
	}
	return damage, err
}

func digest(payload []byte) string {
	sum := sha256.Sum256(payload)
	return hex.EncodeToString(sum[:])
}

// Case is what the log holds of one incident.
type Case struct {
	Name       string     `json:"case"`
	Detected   query.Time `json:"detected"` // as the first entry says
	Questions  int        `json:"questions"`
	Identified query.Time `json:"identified"` // of the first exact answer; null where there is none yet
	Seconds    *float64   `json:"seconds"`    // from detected to identified
}

// Cases sums entries up, by name.
func Cases(entries []Entry) []Case {
	var out []Case
	for i := range entries {
		e := &entries[i]
		at := slices.IndexFunc(out, func(c Case) bool { return c.Name == e.Case })
		if at < 0 {
			at = len(out)
			out = append(out, Case{Name: e.Case, Detected: query.Time(e.Detected.UnixMilli())})
		}
		c := &out[at]
		c.Questions++
		if c.Seconds == nil && e.Verdict == "exact" {
			seconds := e.Asked.Sub(time.UnixMilli(int64(c.Detected))).Seconds()
			c.Identified, c.Seconds = query.Time(e.Asked.UnixMilli()), &seconds
		}
	}
	slices.SortFunc(out, func(a, b Case) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// Mean is the mean time to identify, in seconds, over the cases in which somebody was;
// false where there is none.
func Mean(cases []Case) (seconds float64, ok bool) {
	n := 0
	for i := range cases {
		if cases[i].Seconds != nil {
			seconds += *cases[i].Seconds
			n++
		}
	}
	return seconds / float64(max(n, 1)), n > 0
}
