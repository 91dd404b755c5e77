package report

import (
	"bytes"
	"encoding/json"
	"html"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/whichpod/whichpod/benchmarks/stats"
)

func example() *Document {
	return &Document{
		Title: "A & B <i>", Lead: "lead", Findings: []Finding{{Figure: "0 wrong", Says: "in all runs"}, {Figure: "9 %", Says: "wrong", Bad: true}},
		Conclusions: []Conclusion{{Says: "it is so"}},
		Setting:     []Entry{{"seeds", "1 to 10"}}, Environment: []Entry{{"go", "go1"}},
		Sections: []Section{{Title: "Modes", Text: []string{"a < b"}, Notes: []string{"a note"},
			Charts: []Chart{{Title: "shares <b>", Max: 1, Unit: "%", Legend: []Key{{Good, "exact"}}, Panels: []Panel{{Title: "overlay", Bars: []Bar{
				{Label: `"x" & <y>`, Says: "25 % exact", Parts: []Part{{Good, 0.25}, {Absent, 0.75}}}, {Label: "little", Parts: []Part{{Bad, 0.0001}}}}}}}},
			Tables: []Table{{Title: "t", Head: []string{"a", "b"}, Rows: [][]Cell{{Text("x|y"), {Text: "bad", Bad: true}}}}}}},
	}
}

func written(t *testing.T, write func(io.Writer) error) string {
	t.Helper()
	var b bytes.Buffer
	if err := write(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestMarkdown(t *testing.T) {
	want := `# A & B <i>

lead

- **0 wrong** in all runs
- **9 %** wrong

## In short

- it is so

## Modes

a < b

**shares <b>**

|  |  | exact |  |
|---|---|---|---|
| overlay | "x" & <y> | 25.0 % | 25 % exact |
| overlay | little |  |  |

**t**

| a | b |
|---|---|
| x\|y | **bad** |

- a note

## Setting

- seeds: 1 to 10

## Environment

- go: go1
`
	if diff := cmp.Diff(want, written(t, example().WriteMarkdown)); diff != "" {
		t.Error(diff)
	}
}

// The page holds all, escaped, and loads nothing.
func TestHTML(t *testing.T) {
	page := written(t, example().WriteHTML)
	for _, want := range []string{
		"<title>A &amp; B &lt;i&gt;</title>", `class="finding bad"`, "a &lt; b", `<td class="bad">bad</td>`, "<dt>seeds</dt><dd>1 to 10</dd>",
		"&#34;x&#34; &amp; &lt;y&gt;</text>", `aria-label="shares &lt;b&gt;"`, "25 % exact", `width="162.5" height="17" fill="#12795b"`,
		`width="1.0" height="17" fill="#c2302a"`, // what is there is seen
		"<title>exact: 25.0 %</title>", "<li>it is so</li>",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %s", want)
		}
	}
	for _, loads := range []string{"<script", "src=", "url(", "@import", "<link"} {
		if strings.Contains(page, loads) {
			t.Errorf("the page has %s", loads)
		}
	}
}

func TestJSON(t *testing.T) {
	var got Document
	if err := json.Unmarshal([]byte(written(t, example().WriteJSON)), &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(example(), &got); diff != "" {
		t.Error(diff)
	}
}

// The page and the Markdown say all that the JSON does: figures, charts, what they rest on.
func TestSameFiguresEverywhere(t *testing.T) {
	d := example()
	share := Share(stats.Summary{Median: 0.5, Low: 0.25, High: 0.75, Runs: 10})
	d.Sections[0].Tables[0].Rows = append(d.Sections[0].Tables[0].Rows, []Cell{share, Figure(stats.Summary{Median: 2, Low: 1, High: 3}, 1, "bits")})
	page, markdown := html.UnescapeString(written(t, d.WriteHTML)), written(t, d.WriteMarkdown)
	var said any
	if err := json.Unmarshal([]byte(written(t, d.WriteJSON)), &said); err != nil {
		t.Fatal(err)
	}
	texts := 0
	eachText("", said, func(key, text string) {
		if key == "tone" || key == "unit" {
			return // a colour's name; a unit stands with its figures
		}
		texts++
		if !strings.Contains(markdown, strings.ReplaceAll(text, "|", `\|`)) {
			t.Errorf("the Markdown lacks %s %q", key, text)
		}
		// The page has an interval on a line of its own.
		for _, part := range split(Cell{Text: text, Summary: &stats.Summary{}}) {
			if !strings.Contains(page, part) {
				t.Errorf("the page lacks %s %q", key, part)
			}
		}
	})
	if texts < 20 {
		t.Errorf("%d texts were compared", texts)
	}
}

// eachText calls fn with each text of a JSON value, and the name that it has there.
func eachText(key string, v any, fn func(key, text string)) {
	switch v := v.(type) {
	case string:
		fn(key, v)
	case []any:
		for _, e := range v {
			eachText(key, e, fn)
		}
	case map[string]any:
		for k, e := range v {
			eachText(k, e, fn)
		}
	}
}

// A share that is not 0 or 1 never looks as if it were.
func TestShares(t *testing.T) {
	for _, c := range []struct {
		s    stats.Summary
		want string
	}{
		{stats.Summary{}, "0 %"},
		{stats.Summary{Median: 1, Low: 1, High: 1}, "100 %"},
		{stats.Summary{Median: 0.00001, High: 0.0002}, "<0.01 (0 to 0.02) %"},
		{stats.Summary{Median: 0.99999, Low: 0.98765, High: 1}, ">99.99 (98.8 to 100) %"},
		{stats.Summary{Median: 0.5, Low: 0.5, High: 0.5}, "50.0 %"},
	} {
		if got := Share(c.s).Text; got != c.want {
			t.Errorf("%+v: %q, want %q", c.s, got, c.want)
		}
	}
	if got := Figure(stats.Summary{Median: 4.125, Low: 4, High: 4.5}, 2, "bits").Text; got != "4.12 (4.00 to 4.50) bits" {
		t.Errorf("figure: %q", got)
	}
}
