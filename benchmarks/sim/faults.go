package sim

import "slices"

// stall is a stretch in which the watcher got nothing: all of it arrives at its end.
type stall struct{ from, to int64 } // Unix microseconds

// stalls draws the bursts of lateness: about one a minute, each up to Faults.Lateness.
func stalls(cfg *Config) []stall {
	r := stream(cfg.Seed, "lateness", 0)
	longest := cfg.Faults.Lateness.Microseconds()
	if longest <= 0 {
		return nil
	}
	var out []stall
	for at := cfg.startMS() * 1000; ; {
		at += around(r, 60_000_000, 1_000_000)
		if at >= cfg.endMS()*1000 {
			return out
		}
		end := at + between(r, min(longest, 500_000), longest)
		out = append(out, stall{at, end})
		at = end
	}
}

// held moves an arrival that falls into a stall to the stall's end.
func held(stalls []stall, at int64) int64 {
	for _, s := range stalls {
		if at >= s.from && at < s.to {
			return s.to
		}
	}
	return at
}

// lostWatches draws the holes of the journal, one in each of as many equal parts of
// the run, so that they do not touch.
func lostWatches(cfg *Config) []hole {
	r := stream(cfg.Seed, "lost watches", 0)
	var out []hole
	n := int64(cfg.Faults.LostWatches)
	for i := range n {
		part := (cfg.endMS() - cfg.startMS()) / n
		length := int64((0.75 + 0.5*r.Float64()) * float64(ms(cfg.Faults.LostFor)))
		from := cfg.startMS() + i*part
		at := between(r, from+part/10, from+part-length-part/10)
		out = append(out, hole{at, at + length})
	}
	return out
}

// lost says whether a line sent and received then fell into a hole. The list at the
// hole's end tells all that was sent before it, so what is still under way is not told again.
func lost(holes []hole, sent, received int64) bool {
	for _, h := range holes {
		if received >= h.from && sent < h.to {
			return true
		}
	}
	return false
}

// maxDisorder bounds how far apart in time two swapped lines are, in microseconds: an
// event may come later than sent, never earlier.
const maxDisorder = 2_000_000

// misorder swaps lines with one of the next three. Both then came when the later one
// did, so the file stays in order of receivedAt.
func misorder(cfg *Config, lines []line) []line {
	r := stream(cfg.Seed, "disorder", 0)
	for i := 1; i < len(lines); i++ {
		hit, step := chance(r, cfg.Faults.OutOfOrder), 1+r.IntN(3)
		j := i + step
		if !hit || j >= len(lines) || lines[j].received-lines[i].received > maxDisorder {
			continue
		}
		if slices.ContainsFunc(lines[i:j+1], func(l line) bool { return l.version < 0 }) {
			continue // a bookmark or list is a promise about what came before it
		}
		at := lines[j].received
		lines[i], lines[j] = lines[j], lines[i]
		for k := i; k <= j; k++ {
			lines[k].received = at
		}
		i = j
	}
	return lines
}

// duplicate repeats lines, at once or up to five lines later.
func duplicate(cfg *Config, lines []line) []line {
	r := stream(cfg.Seed, "duplicates", 0)
	type again struct {
		at int // after so many lines of the input
		line
	}
	var waiting []again
	var out []line
	for i, l := range lines {
		if l.snapshot {
			waiting = nil // another connection: it repeats nothing of the last
		}
		out = append(out, l)
		hit, step := chance(r, cfg.Faults.Duplicates), r.IntN(6)
		if hit && l.version >= 0 {
			waiting = append(waiting, again{i + step, l})
		}
		waiting = slices.DeleteFunc(waiting, func(w again) bool {
			if w.at > i {
				return false
			}
			w.received = l.received
			out = append(out, w.line)
			return true
		})
	}
	return out
}

// LostWatch is the first time in which the journal has a hole, [from, to) in Unix
// milliseconds; both are 0 where it has none.
func (w *World) LostWatch() (from, to int64) {
	if holes := lostWatches(&w.Config); len(holes) > 0 {
		return holes[0].from, holes[0].to
	}
	return 0, 0
}
