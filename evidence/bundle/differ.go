package bundle

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/whichpod/whichpod/evidence"
	"github.com/whichpod/whichpod/evidence/claim"
	"github.com/whichpod/whichpod/index"
)

// Difference is a row that a bundle has otherwise than the flow logs give it.
type Difference struct {
	Blob    string   `json:"blob"`
	Offset  int64    `json:"offset"`
	Kind    string   `json:"kind"`    // "changed", "added" (only the bundle has it), or "dropped" (only the logs give it)
	Columns []Change `json:"columns"` // of a changed row
}

// Change is a column of a row that differs.
type Change struct {
	Column  string `json:"column"`
	Bundle  string `json:"bundle"`
	Derived string `json:"derived"`
}

func (d *Difference) String() string {
	out := fmt.Sprintf("row %s of %q at %d", d.Kind, d.Blob, d.Offset)
	for _, c := range d.Columns {
		out += fmt.Sprintf("; %s is %s, derived %s", c.Column, c.Bundle, c.Derived)
	}
	return out
}

// maxDifferences bounds the differences that are listed; the count is always exact.
const maxDifferences = 100

// differ compares two sequences of rows in the same order, of which each may have rows
// that the other has not.
type differ struct {
	left, right map[rowPlace]evidence.Row // rows that wait for the other's
	report      *Report
}

type rowPlace struct {
	blob   string
	offset int64
}

func (p rowPlace) compare(o rowPlace) int {
	return cmp.Or(strings.Compare(p.blob, o.blob), cmp.Compare(p.offset, o.offset))
}

func placeOf(r *evidence.Row) rowPlace { return rowPlace{r.Blob, r.Offset} }

func newDiffer(r *Report) *differ {
	return &differ{make(map[rowPlace]evidence.Row), make(map[rowPlace]evidence.Row), r}
}

// pair takes the next row of each; nil where there is none.
func (d *differ) pair(bundle, derived *evidence.Row) {
	if bundle != nil && derived != nil && placeOf(bundle) == placeOf(derived) {
		d.compare(bundle, derived)
		return
	}
	if bundle != nil {
		if other, ok := d.right[placeOf(bundle)]; ok {
			delete(d.right, placeOf(bundle))
			d.compare(bundle, &other)
		} else if _, twice := d.left[placeOf(bundle)]; twice {
			d.add(Difference{Blob: bundle.Blob, Offset: bundle.Offset, Kind: "added"})
		} else {
			d.left[placeOf(bundle)] = *bundle
		}
	}
	if derived != nil {
		if other, ok := d.left[placeOf(derived)]; ok {
			delete(d.left, placeOf(derived))
			d.compare(&other, derived)
		} else {
			d.right[placeOf(derived)] = *derived
		}
	}
}

func (d *differ) compare(bundle, derived *evidence.Row) {
	a, b := reflect.ValueOf(bundle).Elem(), reflect.ValueOf(derived).Elem()
	if reflect.DeepEqual(bundle, derived) {
		return
	}
	out := Difference{Blob: bundle.Blob, Offset: bundle.Offset, Kind: "changed"}
	for i, name := range evidence.Columns {
		if x, y := a.Field(i).Interface(), b.Field(i).Interface(); !reflect.DeepEqual(x, y) {
			out.Columns = append(out.Columns, Change{name, cell(x), cell(y)})
		}
	}
	d.add(out)
}

// cell writes a column's value.
func cell(v any) string {
	switch v := v.(type) {
	case *string:
		if v == nil {
			return "null"
		}
		return fmt.Sprintf("%q", *v)
	case *uint64:
		if v == nil {
			return "null"
		}
		return fmt.Sprint(*v)
	case []string:
		return "[" + strings.Join(v, " ") + "]"
	default:
		return fmt.Sprint(v)
	}
}

func (d *differ) add(diff Difference) {
	if diff.Columns == nil {
		diff.Columns = []Change{}
	}
	if d.report.Different++; len(d.report.Differences) < maxDifferences {
		d.report.Differences = append(d.report.Differences, diff)
	}
}

// finish names the rows that still wait.
func (d *differ) finish() {
	for _, side := range []struct {
		rows map[rowPlace]evidence.Row
		kind string
	}{{d.left, "added"}, {d.right, "dropped"}} {
		for _, p := range slices.SortedFunc(maps.Keys(side.rows), rowPlace.compare) {
			d.add(Difference{Blob: p.blob, Offset: p.offset, Kind: side.kind})
		}
	}
}

// derive reads the flow logs again and compares every row, what is counted of them, and
// what the claims come to.
func (r *Report) derive(ctx context.Context, f files, d *derivation, c *Completeness, opt Options) error {
	rows, err := openRows(f)
	if err != nil {
		return err
	}
	diff, seen, judges := newDiffer(r), newCensus(), newJudges(d.q.Claims, d.view)
	next := func() (*evidence.Row, error) {
		var row evidence.Row
		err := rows.Next(&row)
		if errors.Is(err, io.EOF) {
			return nil, nil
		}
		return &row, err
	}
	compare := evidence.EachRow(func(derived *evidence.Row) error {
		bundle, err := next()
		if err == nil {
			diff.pair(bundle, derived)
		}
		return err
	})
	problems, err := rederive(ctx, opt.Raw, c, func(store *index.Store) error {
		writers := append([]rowWriter{compare, seen, progress(opt.Progress)}, judges.writers()...)
		if err := d.each(ctx, store, writers...); err != nil {
			return err
		}
		for {
			bundle, err := next()
			if bundle == nil || err != nil {
				diff.finish()
				return err
			}
			diff.pair(bundle, nil)
		}
	})
	r.Problems = append(r.Problems, problems...)
	if err = errors.Join(err, rows.Close()); err != nil {
		return err
	}
	if r.Different > 0 {
		r.problem("%d rows are not as the flow logs and the evidence in the bundle give them", r.Different)
		return nil
	}
	r.counts(f, d, c, seen, judges)
	r.Derived = r.OK()
	return nil
}

// counts compares what a bundle counts with what was derived.
func (r *Report) counts(f files, d *derivation, c *Completeness, seen *census, j judges) {
	again := &Completeness{Blobs: c.Blobs}
	again.complete(seen, d.q, d, nil)
	again.Missing = c.Missing // it may name what nobody can see afterwards
	if same, err := sameJSON(again, c); err != nil || !same {
		r.problem("%s is not what the flow logs give", completenessFile)
	}
	data, err := f.read(claimsFile)
	if err != nil || !sameClaims(data, j.results(c.Missing)) {
		r.problem("%s is not what the flow logs give", claimsFile)
	}
	r.Claims = []claim.Result{}
	for _, one := range j {
		r.Claims = append(r.Claims, one.Result(c.Missing))
	}
}

// sameClaims says whether claims were decided as they are now. What would be needed is advice,
// in the words of the version that gave it.
func sameClaims(written []byte, want []claim.Result) bool {
	var got, again []map[string]any
	data, err := json.Marshal(want)
	if err != nil || json.Unmarshal(written, &got) != nil || json.Unmarshal(data, &again) != nil {
		return false
	}
	for _, results := range [][]map[string]any{got, again} {
		for _, one := range results {
			delete(one, "needed")
		}
	}
	same, err := sameJSON(got, again)
	return err == nil && same
}
