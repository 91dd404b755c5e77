// Package attribution knows who held which address when, and says which pod an end
// of a flow belongs to and how sure that is.
//
// In: facts about pods ([Fact]), read from a live watch, a watch journal or a list
// by the packages below this one. Out: a [Resolution] for an address and the span of
// time in which a flow began ([View.Resolve]), or for every row of an Arrow batch
// ([View.Join]).
//
// # Brackets
//
// Nobody sees the moment at which a pod gets its address or loses it. Four times
// bound them: FromEarliest and FromLatest the one, ToEarliest and ToLatest the
// other. The outer two must hold whatever was late, lost or out of order: a pod is a
// candidate from FromEarliest to ToLatest, and `exact` is said only where it is the
// only one. So each outer bound rests on causality (a pod has no address before its
// kubelet took it on; none after its containers ended) and never on how fast
// somebody reported it, but for one: see startLag. Times from objects have whole seconds: an upper bound is one
// second later. All bounds are widened by Config.ClockTolerance when they are used.
//
// # What exact rests on
//
//   - The cluster was watched then, or the pod is known to have held the address
//     before and after (then nobody else can have).
//   - An address is handed out again only after its last holder gave it back. Where
//     the ledger itself shows two holders at once, nothing is concluded from this,
//     and no unwatched time of that cluster is certain.
//   - Whoever sent had the address. Whoever is called need not be there: a
//     destination is exact only while its pod surely had the address, or where
//     somebody answered.
//
// # Durability and concurrency
//
// The ledger is an append-only journal (docs/format/ledger.md). Append returns once
// its facts are on disk; a checkpoint beside it (docs/format/checkpoint.md) only saves
// time at a start. Facts are merged by minimum and maximum, so order,
// repetition and lateness do not change the outcome. A Ledger may be used by many
// goroutines; a View is an immutable picture of one moment and may be shared.
//
// # From journal to answer
//
// Facts are merged into pods (fact.go, ledger.go), pods are filed as records
// (record.go, store.go, archive.go), records become stays at an address (stay.go),
// stays a timeline (timeline.go, resolve.go), and a timeline a track (track.go), along
// which most questions are answered (lookup.go, join.go). oracle.go answers them again
// from the definitions. docs/design/0004-a-ledger-in-few-bytes.md says why.
package attribution
