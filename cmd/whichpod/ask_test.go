package main

import "testing"

func TestCount(t *testing.T) {
	for _, c := range []struct {
		n          int64
		noun, want string
	}{{0, "row", "0 rows"}, {1, "row", "1 row"}, {2, "row", "2 rows"}, {1, "address", "1 address"}, {2, "address", "2 addresses"}} {
		if got := count(c.n, c.noun); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}
