package main

import (
	"fmt"

	"github.com/whichpod/whichpod/attribution"
	"github.com/whichpod/whichpod/query"
)

// exitCode ends the program with a code and no message.
type exitCode int

// The exit codes, part of the contract.
const (
	answered          = 0
	nothingFound      = 1
	refuted           = 1 // a claim is violated, a bundle does not check
	failed            = 2 // usage or failure
	severalCandidates = 3 // boundary, ambiguous, masked, host
	unwatched         = 4 // gap
)

func (c exitCode) Error() string { return fmt.Sprintf("exit code %d", int(c)) }

// exitFor is the code that tells the verdict of an answer.
func exitFor(verdict query.Word) error {
	switch attribution.Verdict(verdict) {
	case attribution.Exact, attribution.External:
		return nil
	case attribution.Boundary, attribution.Ambiguous, attribution.Masked, attribution.Host:
		return exitCode(severalCandidates)
	case attribution.Gap:
		return exitCode(unwatched)
	default:
		return exitCode(nothingFound)
	}
}
