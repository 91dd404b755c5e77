package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/spf13/cobra"

	"github.com/whichpod/whichpod/attribution"
	"github.com/whichpod/whichpod/evidence/bundle"
	"github.com/whichpod/whichpod/evidence/claim"
	"github.com/whichpod/whichpod/query"
)

func (a *app) assertCommand() *cobra.Command {
	var to, only string
	var files []string
	var since, until, known moment
	cmd := &cobra.Command{
		Use:   "assert --to ADDR:PORT --only SELECTOR",
		Short: "Prove that only some pods reached a destination, or say why not",
		Long: `Prove that only some pods reached a destination, or say why that cannot be done.

A selector is KEY=VALUE or KEY!=VALUE, with commas between: cluster, namespace, name,
uid, owner (kind/name), node, or a pod's label. Labels are those that the pod had last.
A row proves something only where its sender is exact.

Exit codes: 0 holds, 1 violated, 2 usage or failure, 3 cannot be proven, as rows have
several candidates, 4 cannot be proven, as nobody watched, logs are missing, or no row
shows the destination. Of several claims, the first of 1, 4, 3 that occurs.`,
		Example: `  whichpod assert --to 10.225.0.10:5432 --only 'namespace=payments,app=api' --since 90d
  whichpod assert --claim claims.yaml -o json`,
		Args: args(0, 0, "none"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkRange(cmd, since, until); err != nil {
				return err
			}
			claims, err := readClaims(files)
			if err != nil {
				return err
			}
			if to != "" || only != "" {
				one, err := newClaim(to, only)
				if err != nil {
					return usage(cmd, "%s", err)
				}
				claims = append(claims, one)
			}
			if len(claims) == 0 {
				return usage(cmd, "nothing is asserted: want --to and --only, or --claim")
			}
			return a.assert(cmd.Context(), claims, int64(since), int64(until), known)
		},
	}
	cmd.Flags().StringVar(&to, "to", "", "the destination: ADDR:PORT")
	cmd.Flags().StringVar(&only, "only", "", "who alone may have reached it: KEY=VALUE,...")
	cmd.Flags().StringArrayVar(&files, "claim", nil, "YAML file of claims: a list of name, to, only; repeatable")
	rangeFlags(cmd, &since, &until)
	timeFlag(cmd, &known, "as-known-at", knownAtHelp)
	return cmd
}

func newClaim(to, only string) (claim.Claim, error) {
	dst, err := netip.ParseAddrPort(to)
	if err != nil {
		return claim.Claim{}, fmt.Errorf("--to is %q, want ADDR:PORT", to)
	}
	if only == "" {
		return claim.Claim{}, errors.New("--to needs --only")
	}
	selector, err := claim.ParseSelector(only)
	if err == nil {
		err = selector.Check()
	}
	return claim.Claim{To: dst, Only: selector}, err
}

func (a *app) assert(ctx context.Context, claims []claim.Claim, since, until int64, known moment) (err error) {
	var results []claim.Result
	o, err := a.open(known)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, o.close()) }()
	a.warn(o)
	engine := query.New(o.index, o.view())
	if err := engine.LearnNICs(ctx); err != nil {
		return err
	}
	a.warnLabels(claims, engine.View())
	missing := bundle.Missing(o.index, engine.View(), since, until)
	for _, c := range claims {
		r, err := claim.Decide(ctx, engine, c, since, until, missing)
		if err != nil {
			return err
		}
		results = append(results, r)
	}
	if a.output == "json" {
		err = a.json(struct {
			Claims []claim.Result `json:"claims"`
		}{results})
	} else {
		for i := range results {
			a.printClaim(&results[i])
		}
	}
	if err != nil {
		return err
	}
	return exitForClaims(results)
}

// warnLabels says which labels of claims no pod has: that may be a slip of the pen.
func (a *app) warnLabels(claims []claim.Claim, view *attribution.View) {
	for i := range claims {
		for _, key := range claims[i].Only.Labels() {
			if !view.HasLabel(key) {
				fmt.Fprintf(a.stderr, "whichpod: warning: %s: no pod on record has a label %q\n", &claims[i], key)
			}
		}
	}
}

// exitForClaims is the code that tells the worst outcome.
func exitForClaims(results []claim.Result) error {
	worst := answered
	for i := range results {
		code := answered
		switch r := &results[i]; {
		case r.Outcome == claim.Violated:
			return exitCode(refuted)
		case r.Outcome == claim.Unproven && (r.Rows == 0 || len(r.Missing) > 0 || r.Open["gap"]+r.Open["external"] > 0):
			code = unwatched
		case r.Outcome == claim.Unproven:
			code = severalCandidates
		}
		worst = max(worst, code)
	}
	if worst == answered {
		return nil
	}
	return exitCode(worst)
}

func (a *app) printClaim(r *claim.Result) {
	fmt.Fprintf(a.stdout, "%s: %s\n", r.Outcome, r.Claim.String())
	fmt.Fprintf(a.stdout, "  %s: %d by pods that it allows, %d by others", count(r.Rows, "row"), r.Proven, r.Against)
	for _, verdict := range slices.Sorted(maps.Keys(r.Open)) {
		fmt.Fprintf(a.stdout, ", %d %s", r.Open[verdict], verdict)
	}
	if r.Excluded > 0 {
		fmt.Fprintf(a.stdout, " (of those, %d without a candidate that it allows)", r.Excluded)
	}
	fmt.Fprintln(a.stdout)
	for _, v := range r.Violations {
		who := v.Verdict.String()
		if v.Pod != "" {
			who = v.Namespace + "/" + v.Pod + " (" + v.PodUID + ")"
		}
		fmt.Fprintf(a.stdout, "  against it: %s %s, %s, %s at %d\n", v.Time, v.Source, who, v.Blob, v.Offset)
	}
	for _, m := range r.Missing {
		fmt.Fprintf(a.stdout, "  missing: %s\n", m)
	}
	for _, n := range r.Needed {
		fmt.Fprintf(a.stdout, "  needed: %s\n", n)
	}
}
