package query

import (
	"encoding/json"
	"testing"
)

func TestParseEndpoint(t *testing.T) {
	for in, want := range map[string]string{ // what comes out as text, or "!" with the reason
		"10.0.0.1":             "10.0.0.1",
		"10.0.0.1:443":         "10.0.0.1:443",
		"10.0.0.1:65535":       "10.0.0.1:65535",
		"10.0.0.0/8":           "10.0.0.0/8",
		"10.1.2.3/8":           "10.0.0.0/8",
		"10.0.0.0/8:443":       "10.0.0.0/8:443",
		"10.0.0.1/32":          "10.0.0.1",
		"2001:db8::1":          "2001:db8::1",
		"[2001:db8::1]:443":    "[2001:db8::1]:443",
		"2001:db8::/32":        "2001:db8::/32",
		"2001:DB8:0::1":        "2001:db8::1",
		"::ffff:10.0.0.1":      "10.0.0.1",
		"[::ffff:10.0.0.1]:80": "10.0.0.1:80",
		"[10.0.0.1]:80":        "10.0.0.1:80",
		"::1":                  "::1",
		"2001:db8::/32:443":    "2001:db8::/32:443",
		"":                     `!"" is no address, want ADDR, ADDR:PORT or [IPV6]:PORT`,
		"web":                  `!"web" is no address, want ADDR, ADDR:PORT or [IPV6]:PORT`,
		"web:80":               `!"web:80" is no address, want ADDR, ADDR:PORT or [IPV6]:PORT`,
		"10.0.0.1:":            `!port of "10.0.0.1:" is "", want 1 to 65535`,
		"10.0.0.1:0":           `!port of "10.0.0.1:0" is "0", want 1 to 65535`,
		"10.0.0.1:65536":       `!port of "10.0.0.1:65536" is "65536", want 1 to 65535`,
		"10.0.0.1:-1":          `!port of "10.0.0.1:-1" is "-1", want 1 to 65535`,
		"10.0.0.1:http":        `!port of "10.0.0.1:http" is "http", want 1 to 65535`,
		"10.0.0.1:80:90":       `!"10.0.0.1:80:90" is no address, want ADDR, ADDR:PORT or [IPV6]:PORT`,
		"[2001:db8::1":         `!"[2001:db8::1" is no address, want ADDR, ADDR:PORT or [IPV6]:PORT`,
		"fe80::1%eth0":         `!address "fe80::1%eth0" has a zone, want none`,
		"10.0.0.0/33":          `!"10.0.0.0/33" is no address, want ADDR, ADDR:PORT or [IPV6]:PORT`,
		"10.0.0.256":           `!"10.0.0.256" is no address, want ADDR, ADDR:PORT or [IPV6]:PORT`,
	} {
		e, err := ParseEndpoint(in)
		got := e.String()
		if err != nil {
			got = "!" + err.Error()
		}
		if got != want {
			t.Errorf("%q: got %s, want %s", in, got, want)
		}
		if again, err2 := ParseEndpoint(got); err == nil && (err2 != nil || again != e) {
			t.Errorf("%q: its text %q reads as %v, %v", in, got, again, err2)
		}
	}
	if (Endpoint{}).Valid() || (Endpoint{}).String() != "" {
		t.Error("the zero endpoint is set")
	}
}

func TestQuestionJSON(t *testing.T) {
	for want, q := range map[string]Question{
		`{"address":"10.224.0.4","port":1035,"to":"203.0.113.66:8443","at":null,"since":"2026-11-23T10:00:00.000Z","until":"2026-11-23T10:01:00.000Z","as_known_at":"2026-11-23T10:00:00.001Z"}`: {
			Of: endpoint(t, "10.224.0.4:1035"), To: endpoint(t, "203.0.113.66:8443"), Since: sec(0), Until: sec(60), AsKnownAt: sec(0.001)},
		`{"address":"2001:db8::1","port":null,"to":"[2001:db8::2]:443","at":"2026-11-23T10:00:00.000Z","since":null,"until":null,"as_known_at":null}`: {
			Of: endpoint(t, "2001:db8::1"), To: endpoint(t, "[2001:db8::2]:443"), At: sec(0)},
		`{"address":"10.0.0.0/8","port":null,"to":null,"at":null,"since":null,"until":null,"as_known_at":null}`: {Of: endpoint(t, "10.0.0.0/8")},
	} {
		got, err := json.Marshal(q)
		if err != nil || string(got) != want {
			t.Errorf("got  %s, %v\nwant %s", got, err, want)
		}
	}
}
