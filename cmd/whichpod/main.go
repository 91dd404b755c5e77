// Command whichpod says which pod sent a flow, how sure that is, and what proves it.
//
// The package holds flags, wiring, printing and exit codes; what the commands do is
// in the packages below it. docs/verdicts.md says what the answers mean,
// docs/cli-json.md what -o json prints.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func main() { os.Exit(mainCode()) }

// mainCode runs the program and returns its exit code.
func mainCode() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends it at once
	return run(ctx, os.Args[1:], os.Stdout, os.Stderr, os.Getenv)
}

// app is what all commands share.
type app struct {
	stdout *answerWriter
	stderr io.Writer
	getenv func(string) string

	doubts []string // what was warned of: see doubt

	data   string // flag values
	config string
	output string
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer, getenv func(string) string) int {
	a := &app{stdout: &answerWriter{w: stdout}, stderr: stderr, getenv: getenv}
	root := a.root()
	root.SetArgs(args)
	return a.outcome(root.ExecuteContext(ctx))
}

// outcome is the exit code for how a command ended. It reports what went wrong, and
// also where the command did not see that its answer was not written.
func (a *app) outcome(err error) int {
	var code exitCode
	coded := errors.As(err, &code)
	cut := a.stdout.err
	if err != nil && !coded && (cut == nil || !errors.Is(err, cut)) {
		a.report(err)
	}
	switch {
	case cut != nil:
		a.report(cut)
		return failed
	case coded:
		return int(code)
	case err != nil:
		return failed
	default:
		return answered
	}
}

// report prints an error, and a hint where there is one.
func (a *app) report(err error) {
	fmt.Fprintf(a.stderr, "whichpod: error: %s\n", oneLine(err.Error()))
	var hinted interface{ Hint() string }
	if errors.As(err, &hinted) {
		fmt.Fprintf(a.stderr, "whichpod: hint: %s\n", hinted.Hint())
	}
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "whichpod",
		Short: "Which pod sent this: Azure flow logs joined with who held an address when",
		Long: `whichpod says which pod sent a flow, how sure that is, and what proves it.

Flow logs go in with "ingest", what is known of the cluster's pods with "import
pods". Then "who" answers. "whichpod demo" shows it all without an account.

Exit codes: 0 answered, 1 nothing found, 2 usage or failure, 3 several candidates
(boundary, ambiguous, masked, host), 4 a gap in what was watched.`,
		SilenceErrors: true, SilenceUsage: true,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			return usage(cmd, "unknown command %q", args[0])
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	flags := root.PersistentFlags()
	flags.StringVar(&a.data, "data", "", `folder of index and ledger (default $WHICHPOD_DATA, else "./whichpod-data")`)
	flags.StringVar(&a.config, "config", "", "YAML file that describes the clusters")
	flags.StringVarP(&a.output, "output", "o", "text", "text or json")
	_ = root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"text", "json"}, cobra.ShellCompDirectiveNoFileComp))
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return usage(cmd, "%s", err) })
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
		if err := noneEmpty(cmd); err != nil {
			return err
		}
		if a.output != "text" && a.output != "json" {
			return usage(cmd, "output is %q, want text or json", a.output)
		}
		if a.data == "" {
			a.data = a.getenv("WHICHPOD_DATA")
		}
		if a.data == "" {
			a.data = "whichpod-data"
		}
		return nil
	}
	root.AddCommand(a.ingestCommand(), a.importCommand(), a.watchCommand(), a.agentCommand(), a.whoCommand(), a.talkersCommand(), a.trailCommand(), a.ownersCommand(),
		a.exportCommand(), a.verifyCommand(), a.publicKeyCommand(), a.assertCommand(), a.decodeCommand(), a.postureCommand(), a.statusCommand(), a.compactCommand(), a.fsckCommand(), a.versionCommand(), a.demoCommand(), a.benchCommand(), a.drillCommand())
	root.InitDefaultHelpCmd()
	for _, cmd := range root.Commands() {
		if cmd.Name() == "help" {
			cmd.Args = helpArgs
		}
	}
	return root
}

// helpArgs checks that there is the command that help is asked about.
func helpArgs(cmd *cobra.Command, words []string) error {
	if _, rest, err := cmd.Root().Find(words); err != nil || len(rest) > 0 {
		return usage(cmd.Root(), "unknown command %q", strings.Join(words, " "))
	}
	return nil
}

// usageError is a mistake in how the program was called.
type usageError struct{ message, command string }

func usage(cmd *cobra.Command, format string, args ...any) error {
	return usageError{fmt.Sprintf(format, args...), cmd.CommandPath()}
}

func (e usageError) Error() string { return e.message }
func (e usageError) Hint() string  { return fmt.Sprintf("see %q", e.command+" --help") }

// args checks the number of a command's arguments, of which none is empty; what names
// them.
func args(least, most int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, got []string) error {
		if len(got) < least || len(got) > most {
			return usage(cmd, "got %s, want %s", count(int64(len(got)), "argument"), what)
		}
		if slices.Contains(got, "") {
			return usage(cmd, "an argument is empty, want %s", what)
		}
		return nil
	}
}

// noneEmpty refuses flags that were given with nothing, as by a variable of the shell
// that is not set: without them another question would be answered.
func noneEmpty(cmd *cobra.Command) (err error) {
	cmd.Flags().Visit(func(f *pflag.Flag) {
		list, isList := f.Value.(pflag.SliceValue)
		switch {
		case err != nil:
		case isList && (len(list.GetSlice()) == 0 || slices.Contains(list.GetSlice(), "")), !isList && f.Value.Type() == "string" && f.Value.String() == "":
			err = usage(cmd, "--%s is empty; leave it out, or give it a value", f.Name)
		}
	})
	return err
}

// hinted adds advice to an error.
type hinted struct {
	error
	hint string
}

func (h hinted) Hint() string  { return h.hint }
func (h hinted) Unwrap() error { return h.error }
