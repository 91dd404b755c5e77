package main

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/whichpod/whichpod/attribution/nat"
	"github.com/whichpod/whichpod/attribution/natlog"
	"github.com/whichpod/whichpod/query"
)

func (a *app) natFolder() string { return filepath.Join(a.data, "nat") }

func (a *app) importNATCommand() *cobra.Command {
	var cluster, node, format string
	cmd := &cobra.Command{
		Use:   "nat FILE...",
		Short: "Read what a node translated: which pod is behind its address",
		Long: `Read what a node translated, from files ("-" is standard input): which pod is behind
the node's address in a flow log.

Format conntrack: what "conntrack -E -o timestamp,extended" prints on the node. What it
shows from its first to its last line is taken for complete, unless the lines themselves
show that some are missing; conntrack warns on its standard error when it loses any.

Format hubble: JSON lines of Hubble or Retina ("hubble observe -o json"), packets whose
source was translated when they left a node. They show who used a port, and not since
when or until when: alone they make no answer exact. Without --node, those of all nodes
are taken.

A file can be imported again: what is known already adds nothing.`,
		Args: args(1, 10000, "at least one file"),
		RunE: func(cmd *cobra.Command, files []string) error {
			switch {
			case cluster == "":
				return usage(cmd, "--cluster is missing: which cluster is the node of?")
			case node == "" && format != string(natlog.Hubble):
				return usage(cmd, "--node is missing: which node was this recorded on?")
			case !slices.Contains(natlog.Formats(), format):
				return usage(cmd, "format is %q, want %s", format, strings.Join(natlog.Formats(), ", "))
			}
			report, err := a.importNAT(files, cluster, natlog.Options{Node: node, Format: natlog.Format(format)})
			if err != nil {
				return err
			}
			return a.printImportNAT(report)
		},
	}
	cmd.Flags().StringVar(&cluster, "cluster", "", "name of the cluster (required)")
	cmd.Flags().StringVar(&node, "node", "", "name of the node (required, but for format hubble)")
	cmd.Flags().StringVar(&format, "format", "auto", strings.Join(natlog.Formats(), ", "))
	_ = cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions(natlog.Formats(), cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// natReport is the document that "import nat -o json" prints.
type natReport struct {
	Files    []natFile `json:"files"`
	Warnings []string  `json:"warnings"` // of likely slips: names that may be misspelt, empty files
}

type natFile struct {
	File       string             `json:"file"`
	Format     string             `json:"format"`
	Lines      int                `json:"lines"`
	Events     int                `json:"events"`
	Flows      int                `json:"translations"`
	Known      bool               `json:"known"` // it was imported before, and adds nothing
	Losses     int                `json:"losses"`
	Covered    []watched          `json:"covered"`
	Rejected   int                `json:"rejected"`
	Rejections []natlog.Rejection `json:"rejections"`
	Unusable   []natlog.Unusable  `json:"unusable"` // read, and of no use, by reason
}

func (a *app) importNAT(files []string, cluster string, opt natlog.Options) (report natReport, err error) {
	store, err := nat.Open(a.natFolder(), nat.Options{})
	if err != nil {
		return report, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	a.warnWriter(store.Damage())
	for _, file := range files {
		one, err := importNATFile(store, file, cluster, opt)
		if err != nil {
			return report, fmt.Errorf("import nat %q: %w", file, err)
		}
		if one.Lines == 0 {
			a.doubt("%s: there is nothing in it", file)
		}
		report.Files = append(report.Files, one)
	}
	a.doubtNode(cluster, opt.Node)
	report.Warnings = append([]string{}, a.doubts...)
	return report, nil
}

func importNATFile(store *nat.Store, file, cluster string, opt natlog.Options) (out natFile, err error) {
	var r io.Reader = os.Stdin
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return out, err
		}
		defer f.Close()
		if info, err := f.Stat(); err == nil && info.IsDir() {
			return out, errors.New("it is a folder, want a file")
		}
		r = f
	}
	in := bufio.NewReaderSize(r, 1<<16)
	if opt.Format == natlog.Auto {
		begin, _ := in.Peek(1 << 10) // an error comes again when it is read
		opt.Format = natlog.Detect(begin)
	}
	sum := sha256.New()
	fmt.Fprintf(sum, "%q %q\n", cluster, opt.Node) // the same file of another node is another file
	w, err := store.Begin(nat.Import{Cluster: cluster, Kind: string(opt.Format), Name: file})
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, w.Discard()) }()
	s, err := natlog.Read(io.TeeReader(in, sum), opt, w)
	if err != nil {
		return out, err
	}
	out = natFile{File: file, Format: string(s.Format), Lines: s.Lines, Events: s.Events, Flows: s.Flows, Losses: s.Losses,
		Covered: []watched{}, Rejected: s.Rejected, Rejections: append([]natlog.Rejection{}, s.Rejections...), Unusable: append([]natlog.Unusable{}, s.Unusable...)}
	for _, r := range s.Covered {
		out.Covered = append(out.Covered, watched{query.Time(r.From), query.Time(r.To)})
	}
	if s.Events == 0 {
		return out, nil // nothing was read: nothing is known
	}
	if s.Flows == 0 && len(s.Unusable) > 0 {
		return out, unusable(&s)
	}
	out.Known, err = w.Commit(hex.EncodeToString(sum.Sum(nil)))
	return out, err
}

// unusable says why none of what was read is evidence.
func unusable(s *natlog.Summary) error {
	all := make([]string, len(s.Unusable))
	for i, u := range s.Unusable {
		all[i] = fmt.Sprintf("%d: %s", u.Records, u.Reason)
	}
	return hinted{fmt.Errorf("none of %s is evidence: %s", count(int64(s.Events), "record"), strings.Join(all, "; ")),
		"only Cilium's own masquerading tells translated addresses (source_xlated); Retina does not. Where the kernel translates, \"whichpod agent\" records it"}
}

func (a *app) printImportNAT(report natReport) error {
	bad, good := 0, 0
	for _, f := range report.Files {
		bad, good = bad+f.Rejected, good+f.Events
		if a.output != "json" {
			a.printImportedNAT(&f)
		}
	}
	if a.output == "json" {
		if err := a.json(report); err != nil {
			return err
		}
	}
	if good == 0 && bad > 0 {
		return errors.New("import nat: nothing could be read")
	}
	return nil
}

// printImportedNAT says what one file held, and warns of what it lacked.
func (a *app) printImportedNAT(f *natFile) {
	what := fmt.Sprintf("%s in %s (%s)", count(int64(f.Flows), "translation"), count(int64(f.Events), "event"), f.Format)
	if f.Known {
		what += ", imported before"
	}
	fmt.Fprintf(a.stdout, "%s: %s\n", f.File, what)
	for _, u := range f.Unusable {
		fmt.Fprintf(a.stderr, "whichpod: warning: %s: %s of no use: %s\n", f.File, count(int64(u.Records), "record"), u.Reason)
	}
	if f.Format == nat.Samples {
		fmt.Fprintf(a.stderr, "whichpod: warning: %s: packets show who used a port, and not until when: alone they make no answer exact\n", f.File)
	}
	if f.Losses > 0 {
		fmt.Fprintf(a.stderr, "whichpod: warning: %s: events may be missing in %s; rows of that time stay masked\n", f.File, count(int64(f.Losses), "place"))
	}
	for i, r := range f.Rejections {
		if i == 3 {
			break
		}
		fmt.Fprintf(a.stderr, "whichpod: warning: %s: line %d: %s\n", f.File, r.Line, oneLine(r.Reason))
	}
	if f.Rejected > 3 {
		fmt.Fprintf(a.stderr, "whichpod: warning: %s: %d lines could not be read, -o json lists more of them\n", f.File, f.Rejected)
	}
}
