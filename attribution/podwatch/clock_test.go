package podwatch

import (
	"testing"
	"time"
)

// A clock that is set back is noticed, each time it is; one that is slewed is not.
func TestClockSetBack(t *testing.T) {
	at := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	var back []int64
	var said []string
	r := &reflector{now: func() time.Time { return at }, setBack: func(by int64) { back = append(back, by) }, cfg: Config{Report: func(s string) { said = append(said, s) }}}
	for _, step := range []time.Duration{0, time.Second, -500 * time.Millisecond, time.Second, -time.Minute, time.Second, time.Hour, -time.Hour} {
		at = at.Add(step)
		if got := r.stamp(); got != at.UnixMilli() {
			t.Errorf("stamped %d, want %d", got, at.UnixMilli())
		}
	}
	if len(back) != 2 || back[0] != 60_000 || back[1] != 3_600_000 || len(said) != 2 {
		t.Errorf("noticed %v, said %q", back, said)
	}
}
