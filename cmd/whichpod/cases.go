package main

import (
	"encoding/json"
	"fmt"
	"path/filepath"
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
	timeFlag(cmd, &f.detected, "detected", "with --case: when the incident was detected")
}

func (f *caseFlags) check(cmd *cobra.Command) error {
	if (f.name == "") != (f.detected == 0) {
		return usage(cmd, "--case and --detected go together")
	}
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
	mean, ok := caselog.Mean(report.Cases)
	if ok {
		report.Mean = &mean
	}
	if a.output == "json" {
		return a.json(report)
	}
	for _, c := range report.Cases {
		took := "not identified"
		if c.Seconds != nil {
			took = fmt.Sprintf("identified after %s", seconds(*c.Seconds))
		}
		fmt.Fprintf(a.stdout, "%s: detected %s, %s, %s\n", c.Name, c.Detected.Format(time.RFC3339), count(int64(c.Questions), "question"), took)
	}
	if ok {
		fmt.Fprintf(a.stdout, "mean time to identify: %s\n", seconds(mean))
	}
	if len(report.Cases) == 0 {
		return exitCode(nothingFound)
	}
	return nil
}

func seconds(s float64) time.Duration {
	return time.Duration(s * float64(time.Second)).Round(time.Millisecond)
}
