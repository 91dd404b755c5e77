// Package bundle writes evidence that an outsider can check, and checks it: a folder
// with attributed rows, all that they rest on, what is missing, and a signed manifest
// that names the bundle before it.
//
// In: an index, the folders of a ledger and of NAT evidence, a question, a key. Out: a
// folder that is there whole or not at all. The same input gives the same bytes, but for
// two that others make: a time stamp, and the signature in the manifest where the key is
// in a vault, which takes a new nonce each time. To
// check one takes the folder and the public key, and no network; with the flow logs
// themselves every row is derived again. docs/format/bundle.md describes each file.
//
// One process writes to a folder of bundles at a time, under a lock. Anybody may check
// beside it.
package bundle

import (
	"encoding/json"
	"time"

	"github.com/whichpod/whichpod/attribution"
	"github.com/whichpod/whichpod/evidence/claim"
	"github.com/whichpod/whichpod/query"
)

// The files of a bundle.
const (
	manifestFile     = "manifest.json"
	stampFile        = "manifest.tsr" // a time stamp of the manifest, where one was asked for
	questionFile     = "question.json"
	rowsFile         = "rows.parquet"
	completenessFile = "completeness.json"
	nicsFile         = "nics.jsonl"
	claimsFile       = "claims.json"
	readmeFile       = "README.md"
	textFile         = "summary.txt"
	pageFile         = "summary.html"
	ledgerFolder     = "ledger"
	natFolder        = "nat"
)

// contextSpan is how long before a window rows are looked at, in milliseconds, to
// learn when the flows began that are open in it.
const contextSpan = 24 * 60 * 60 * 1000

// Question is what a bundle answers: which pods were at both ends of all rows of a time.
type Question struct {
	Since     query.Time `json:"since"` // null is from the first row on
	Until     query.Time `json:"until"` // null is to the last row
	AsKnownAt query.Time `json:"as_known_at"`
	// ContextFrom is where reading began: rows before Since say when a flow began.
	ContextFrom query.Time    `json:"context_from"`
	Config      Config        `json:"config"`
	Claims      []claim.Claim `json:"claims"`
}

// Config is the description of the clusters that was used.
type Config struct{ attribution.Config }

// UnmarshalJSON reads it as the configuration file is read.
func (c *Config) UnmarshalJSON(data []byte) (err error) {
	c.Config, err = attribution.ParseConfig(data)
	return err
}

// MarshalJSON writes it under the names of the configuration file.
func (c Config) MarshalJSON() ([]byte, error) { return json.Marshal(c.Config) }

// moment reads what [query.Time] writes.
func moment(text *string) (query.Time, error) {
	if text == nil {
		return 0, nil
	}
	t, err := time.Parse(time.RFC3339Nano, *text)
	return query.Time(t.UnixMilli()), err
}

// UnmarshalJSON reads the file as it was written.
func (q *Question) UnmarshalJSON(data []byte) error {
	var raw struct {
		Since       *string       `json:"since"`
		Until       *string       `json:"until"`
		AsKnownAt   *string       `json:"as_known_at"`
		ContextFrom *string       `json:"context_from"`
		Config      Config        `json:"config"`
		Claims      []claim.Claim `json:"claims"`
	}
	if err := json.Unmarshal(data, &raw); err != nil {
		return err
	}
	q.Config, q.Claims = raw.Config, raw.Claims
	for _, t := range []struct {
		into *query.Time
		text *string
	}{{&q.Since, raw.Since}, {&q.Until, raw.Until}, {&q.AsKnownAt, raw.AsKnownAt}, {&q.ContextFrom, raw.ContextFrom}} {
		var err error
		if *t.into, err = moment(t.text); err != nil {
			return err
		}
	}
	return nil
}

// has says whether a row of that time is asked for.
func (q *Question) has(ms int64) bool {
	return ms >= int64(q.Since) && (q.Until == 0 || ms < int64(q.Until))
}

// inContext says whether something that lasted from first to last, both included, is
// read for the answer.
func (q *Question) inContext(first, last int64) bool {
	return last >= int64(q.ContextFrom) && (q.Until == 0 || first < int64(q.Until))
}
