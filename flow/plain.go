package flow

import "slices"

// A plain flow is logged as Azure does when nothing is lost: it begins, perhaps goes on,
// and ends, or it goes on and ends and began before the logs do. Nearly all rows are of
// such flows, and nobody could foresee which of its states a row has: so their spans are
// found without a jump that hangs on a row. Where a row is not of one, [openFlows] looks at
// its flow again.

// States by number; all that are none of these are ends.
const (
	plainBegin = iota
	plainContinue
	plainEnd
	plainDenied
	plainStates // how many
)

var plainState = func() (numbers [256]uint8) {
	for s := range numbers {
		numbers[s] = plainEnd
	}
	numbers[Begin], numbers[Continue], numbers[Denied] = plainBegin, plainContinue, plainDenied
	return numbers
}()

// What a row's state says after that of the row before it, in the same flow. Of pairs of
// states that are none of these it says that the flow is not plain.
const (
	goesOn = 1 << iota // the flow goes on, unless it was idle for too long
	again              // the next flow begins, unless in the same millisecond
	denied             // another attempt was
)

// plainPair has the state of the row before at plainStates times its number.
var plainPair = [plainStates * plainStates]uint8{
	plainStates*plainBegin + plainContinue:    goesOn,
	plainStates*plainBegin + plainEnd:         goesOn,
	plainStates*plainContinue + plainContinue: goesOn,
	plainStates*plainContinue + plainEnd:      goesOn,
	plainStates*plainEnd + plainBegin:         again,
	plainStates*plainDenied + plainDenied:     denied,
}

// plain sets the spans of rows from the given one on, which begins a flow, as if all flows
// were plain, and appends to odd the rows that are of none.
func (b *Batch) plain(spans []Span, from int, odd []int32) []int32 {
	n := len(spans)
	times, states, same := b.Time[:n], b.State[:n], b.Follows()[:n]
	odd = slices.Grow(odd[:0], n)[:n]
	reach := [plainStates]int64{plainContinue: MaxIdle, plainEnd: MaxIdle}
	var began, back int64 // the span of the row before is as long as back, and ends when it began
	var state uint8       // of that row, as is time
	var time int64
	found := 0
	for i := from; i < n; i++ {
		number := plainState[states[i]] % plainStates
		follows, pair := bit(same[i]), plainPair[state*plainStates%(plainStates*plainStates)+number]
		passed := int64(times[i]) - time
		state, time = number, int64(times[i])
		ok := pair&goesOn&bit(passed <= MaxIdle) | pair>>1&bit(passed != 0) | pair>>2
		odd[found] = int32(i)
		found += int(follows &^ ok)
		keep := -int64(follows & pair & goesOn)
		began = began&keep | time&^keep
		back = back&keep | reach[number]&^keep
		spans[i] = Span{began - back, began}
	}
	return odd[:found]
}

func bit(b bool) uint8 {
	if b {
		return 1
	}
	return 0
}
