package ingest

import (
	"testing"
	"time"
)

func TestHours(t *testing.T) {
	at := func(d, h int) time.Time { return time.Date(2026, 8, d, h, 0, 0, 0, time.UTC) }
	some := Hours{at(20, 14), at(20, 15)}
	for prefix, want := range map[string]struct{ covered, hour bool }{
		"":                        {true, false},
		"flowLogResourceID=/S/":   {true, false},
		"x/y=2026/":               {true, false},
		"x/y=2025/":               {false, false},
		"x/y=2026/m=08/":          {true, false},
		"x/y=2026/m=07/":          {false, false},
		"x/y=2026/m=08/d=20/":     {true, false},
		"x/y=2026/m=08/d=21/":     {false, false},
		"x/Y=2026/M=08/D=20/H=14": {true, true},
		"y=2026/m=08/d=20/h=15/":  {true, true},
		"x/y=2026/m=08/d=20/h=13/m=00/macAddress=A/PT1H.json":   {false, true},
		"x/y=2026/m=08/d=20/h=16/m=00/macAddress=A/PT1H.json":   {false, true},
		"x/y=2026/m=08/d=20/h=14/m=00/macAddress=A/PT1H.json":   {true, true},
		"resourceId=/S/AZUREFIREWALLS/F/y=2026/m=08/d=22/h=15/": {true, true},
		"resourceId=/S/AZUREFIREWALLS/F/y=2026/m=08/d=22/h=16/": {false, true},
		"resourceId=/S/AZUREFIREWALLS/F/y=2026/m=08/d=20/h=13/": {false, true},
		"x/y=oops/m=08/": {true, false},
	} {
		if got := some.Cover(prefix); got != want.covered {
			t.Errorf("%q: covered is %v", prefix, got)
		}
		if got := WithHour(prefix); got != want.hour {
			t.Errorf("%q: has an hour is %v", prefix, got)
		}
		if !(Hours{}).Cover(prefix) || !(Hours{}).All() || some.All() {
			t.Errorf("%q: all hours do not cover it", prefix)
		}
	}
	if (Hours{First: at(20, 14)}).Cover("x/y=2026/m=08/d=20/h=13/") || !(Hours{First: at(20, 14)}).Cover("x/y=2027/") || (Hours{Last: at(20, 14)}).Cover("y=2026/m=08/d=20/h=15") {
		t.Error("an open end")
	}
}
