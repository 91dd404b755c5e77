package main

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/whichpod/whichpod/evidence/caselog"
	"github.com/whichpod/whichpod/query"
)

// caseFlags are those of "who" that note the answer for an incident.
type caseFlags struct {
	name     string
	detected moment
}

func (f *caseFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.name, "case", "", "note question and answer in the case log, under this name")
	timeFlag(cmd, &f.detected, "detected", "with the first --case of this name: when the incident was detected")
}

// checkCase checks the flags and takes from the case log what they leave out.
func (a *app) checkCase(cmd *cobra.Command, f *caseFlags) error {
	switch {
	case f.name == "" && f.detected == 0:
		return nil
	case f.name == "":
		return usage(cmd, "--case and --detected go together")
	case f.detected.time().After(time.Now()):
		return usage(cmd, "--detected is %s, want a time that is not in the future", query.Time(f.detected))
	}
	entries, err := caselog.Read(a.caseLog())
	if err != nil {
		return err
	}
	first := slices.IndexFunc(entries, func(e caselog.Entry) bool { return e.Case == f.name })
	if first < 0 {
		if f.detected == 0 {
			return usage(cmd, "--case and --detected go together in the first question of a case, and %q has none", f.name)
		}
		return nil
	}
	recorded := moment(entries[first].Detected.UnixMilli())
	// How long ago it was is another length of time with each question.
	if exact := isTime(cmd.Flag("detected").Value.String()); exact && f.detected != recorded {
		return usage(cmd, "--detected is %s, and the case log has %s for %q: leave it out", query.Time(f.detected), query.Time(recorded), f.name)
	}
	f.detected = recorded
	return nil
}

func (a *app) caseLog() string { return filepath.Join(a.data, "cases.journal") }

// note adds an answer to the case log, where a case is named.
func (a *app) note(f *caseFlags, answer *query.Answer) error {
	if f.name == "" {
		return nil
	}
	document, err := json.Marshal(answer)
	if err != nil {
		return fmt.Errorf("write case log: %w", err)
	}
	return caselog.Append(a.caseLog(), caselog.Entry{Case: f.name, Detected: f.detected.time().UTC(), Asked: time.Now().UTC(), Verdict: answer.Verdict.String(), Answer: document})
}

// caseReport is the document that "status --case -o json" prints.
type caseReport struct {
	Cases []caselog.Case `json:"cases"`
	Mean  *float64       `json:"mtti_seconds"` // null where nobody was identified yet
}

// printCases prints how long it took to identify who it was, by case and over all.
func (a *app) printCases() error {
	entries, err := caselog.Read(a.caseLog())
	if err != nil {
		return err
	}
	report := caseReport{Cases: caselog.Cases(entries)}
	if report.Cases == nil {
		report.Cases = []caselog.Case{}
	}
	if mean, ok := caselog.Mean(report.Cases); ok {
		report.Mean = &mean
	}
	if a.output == "json" {
		err = a.json(report)
	} else {
		a.printCaseReport(&report)
	}
	if err == nil && len(report.Cases) == 0 {
		err = exitCode(nothingFound)
	}
	return err
}

func (a *app) printCaseReport(report *caseReport) {
	if len(report.Cases) == 0 {
		fmt.Fprintln(a.stdout, "no case is on record")
	}
	for _, c := range report.Cases {
		took := "not identified"
		if c.Seconds != nil {
			took = fmt.Sprintf("identified after %s", seconds(*c.Seconds))
		}
		fmt.Fprintf(a.stdout, "%s: detected %s, %s, %s\n", c.Name, time.UnixMilli(int64(c.Detected)).UTC().Format(time.RFC3339), count(int64(c.Questions), "question"), took)
	}
	if report.Mean != nil {
		fmt.Fprintf(a.stdout, "mean time to identify: %s\n", seconds(*report.Mean))
	}
}

func seconds(s float64) time.Duration {
	return time.Duration(s * float64(time.Second)).Round(time.Millisecond)
}
