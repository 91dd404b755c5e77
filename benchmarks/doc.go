// Package benchmarks measures whichpod against the truth: how often an answer is
// right, withheld or wrong, and how fast.
//
// In: scenarios of the simulator in benchmarks/sim. Out: counts and Go benchmark
// lines. Nothing here is needed to run whichpod.
package benchmarks
