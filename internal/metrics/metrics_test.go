package metrics

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestWrite(t *testing.T) {
	rows := Family{Name: "rows_total", Help: "Rows\\ of\nall.", Type: Counter}
	rows.Add(12345678901, "source", "b", "kind", "x")
	rows.Add(1, "source", "a \"q\" \\ \n\xff", "kind", "y")
	up := Family{Name: "up", Help: "Up.", Type: Gauge}
	up.Add(0.5)
	var out strings.Builder
	if err := Write(&out, []Family{rows, {Name: "none"}, up}); err != nil {
		t.Fatal(err)
	}
	want := `# HELP rows_total Rows\\ of\nall.
# TYPE rows_total counter
rows_total{source="a \"q\" \\ \n` + "\ufffd" + `",kind="y"} 1
rows_total{source="b",kind="x"} 1.2345678901e+10
# HELP up Up.
# TYPE up gauge
up 0.5
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if err := Write(full{}, []Family{up}); !errors.Is(err, errFull) {
		t.Errorf("got error %v", err)
	}
}

type full struct{}

var errFull = errors.New("full")

func (full) Write([]byte) (int, error) { return 0, errFull }
