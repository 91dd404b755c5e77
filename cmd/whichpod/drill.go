package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

	"github.com/spf13/cobra"

	"github.com/whichpod/whichpod/attribution"
	"github.com/whichpod/whichpod/attribution/podwatch"
	"github.com/whichpod/whichpod/attribution/podwatch/canary"
	"github.com/whichpod/whichpod/benchmarks/drill"
	"github.com/whichpod/whichpod/internal/metrics"
	"github.com/whichpod/whichpod/query"
)

// drillFlags are the flags of "drill" that its packages do not have.
type drillFlags struct {
	to, kubeconfig, kubecontext, source, metricsFile string
}

func (a *app) drillCommand() *cobra.Command {
	var f drillFlags
	pod, cfg := canary.DefaultConfig(), drill.DefaultConfig()
	cmd := &cobra.Command{
		Use:   "drill --to ADDR:PORT [-- COMMAND...]",
		Short: "On a live cluster: let a canary pod send one flow, and time how long its name takes",
		Long: `Start a pod that sends one flow to an address, wait until whichpod names it, and say how
long each stage took and by whose clock: sent, published, indexed, named. The pod is
deleted as soon as it has sent, and also where the drill is interrupted.

It asks the data folder that "watch" and "ingest --follow" fill, and fetches nothing by
itself. With --source it also lists the place where the logs are published, to tell that
stage apart.

The pod passes the Pod Security Standard "restricted" and sends from one port that the
drill chose. What it runs may name $(ADDRESS), $(PORT), $(TO) and $(UID). It needs the
verbs create, get and delete on pods; deploy/drill.yaml has them, and a CronJob.

Exit codes: 0 the canary was named, 1 another pod was, or the canary was ruled out,
2 there was no row in time or the drill failed, 3 several candidates, 4 a gap.`,
		Example: `  whichpod drill --to 203.0.113.66:443 --source https://ACCOUNT.blob.core.windows.net
  whichpod drill --to 10.224.0.66:443 -n drills --image REGISTRY/tool:1 -- /tool call '$(TO)'`,
		Args: func(cmd *cobra.Command, got []string) error {
			if len(got) > 0 && cmd.ArgsLenAtDash() != 0 {
				return usage(cmd, "got the argument %q, want the canary's command after --", got[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, command []string) error {
			if err := f.check(cmd, &pod, &cfg); err != nil {
				return err
			}
			if len(command) > 0 {
				pod.Command = command
			} else if pod.Image != canary.DefaultImage {
				return usage(cmd, "--image without a command: what is it to run? Put it after --")
			}
			return a.drill(cmd, &f, pod, cfg)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.to, "to", "", "where the canary's flow goes: ADDR:PORT, TCP (required)")
	flags.StringVar(&f.source, "source", "", "folder, container or account where the flow logs are published: it is only listed")
	flags.StringVar(&f.metricsFile, "metrics-file", "", "file for Prometheus' textfile collector")
	flags.StringVar(&f.kubeconfig, "kubeconfig", "", "kubeconfig file (default $KUBECONFIG, else ~/.kube/config, else the pod's own account)")
	flags.StringVar(&f.kubecontext, "context", "", "context of the kubeconfig")
	flags.StringVarP(&pod.Namespace, "namespace", "n", "", "namespace of the canary (default: the kubeconfig's)")
	flags.StringVar(&pod.Node, "node", "", "node that the canary is to run on (default: the scheduler chooses)")
	flags.StringVar(&pod.Image, "image", pod.Image, "image of the canary")
	flags.DurationVar(&cfg.Timeout, "timeout", cfg.Timeout, "how long all of it may take")
	flags.DurationVar(&cfg.Settle, "settle", cfg.Settle, "how long to wait for a better answer once there is a row")
	flags.DurationVar(&cfg.Every, "every", cfg.Every, "how often to look")
	return cmd
}

// check reads the flags that are not simply text.
func (f *drillFlags) check(cmd *cobra.Command, pod *canary.Config, cfg *drill.Config) error {
	if f.to == "" {
		return usage(cmd, "--to is missing: where is the canary's flow to go?")
	}
	to, err := netip.ParseAddrPort(f.to)
	if err != nil || to.Port() == 0 || to.Addr().Zone() != "" {
		return usage(cmd, "--to is %q, want ADDR:PORT or [IPV6]:PORT", f.to)
	}
	if cfg.Every < time.Second || cfg.Settle < 0 || cfg.Timeout < cfg.Every {
		return usage(cmd, "--every is %s, --settle %s and --timeout %s, want at least 1s, 0s, and what --every is", cfg.Every, cfg.Settle, cfg.Timeout)
	}
	cfg.To = netip.AddrPortFrom(to.Addr().Unmap(), to.Port())
	pod.To = cfg.To
	return nil
}

func (a *app) drill(cmd *cobra.Command, f *drillFlags, pod canary.Config, cfg drill.Config) error {
	result, err := a.runDrill(cmd.Context(), f, pod, cfg)
	if f.metricsFile != "" {
		err = errors.Join(err, writeMetrics(f.metricsFile, drill.Families(result, time.Now())))
	}
	if result == nil {
		return err
	}
	if a.output == "json" {
		err = errors.Join(err, a.json(result))
	} else {
		err = errors.Join(err, result.WriteText(a.stdout))
	}
	if err != nil {
		return err
	}
	return a.drillExit(result)
}

// drillExit is the code that tells the outcome. A wrong name is shouted.
func (a *app) drillExit(r *drill.Result) error {
	switch r.Outcome {
	case drill.Named:
		return nil
	case drill.Wrong:
		fmt.Fprintf(a.stderr, "whichpod: error: WRONG ANSWER: %s\n", r.Reason)
		return exitCode(refuted)
	case drill.Unknown:
		if r.Answer.Verdict == query.Word(attribution.Gap) {
			return exitCode(unwatched)
		}
		return exitCode(severalCandidates)
	default:
		fmt.Fprintf(a.stderr, "whichpod: error: %s\n", r.Reason)
		return exitCode(failed)
	}
}

func (a *app) runDrill(ctx context.Context, f *drillFlags, pod canary.Config, cfg drill.Config) (_ *drill.Result, err error) {
	if pod.API, err = podwatch.LoadAPI(f.kubeconfig, f.kubecontext); err != nil {
		return nil, err
	}
	if pod.Namespace == "" {
		if pod.Namespace, err = podwatch.LoadNamespace(f.kubeconfig, f.kubecontext); err != nil {
			return nil, err
		}
	}
	if f.source != "" {
		src, err := a.source(f.source)
		if err != nil {
			return nil, err
		}
		cfg.List = src.List
	}
	c, err := canary.New(pod)
	if err != nil {
		return nil, err
	}
	cfg.Send = func(ctx context.Context) (*canary.Sent, error) {
		sent, err := c.Run(ctx)
		if sent != nil {
			fmt.Fprintf(a.stderr, "whichpod: drill: canary %s/%s has run on %s; waiting for its flow in the log\n", sent.Namespace, sent.Name, sent.Node)
		}
		return sent, err
	}
	cfg.Ask = func(ctx context.Context, q query.Question) (answer *query.Answer, err error) {
		err = a.ask(0, func(e *query.Engine) error {
			answer, err = e.Who(ctx, q)
			return err
		})
		return answer, err
	}
	return drill.Run(ctx, cfg)
}

// writeMetrics replaces a file that a collector may be reading.
func writeMetrics(path string, families []metrics.Family) error {
	var text bytes.Buffer
	if err := metrics.Write(&text, families); err != nil {
		return err
	}
	err := toPath(path, func(w io.Writer) error {
		_, err := w.Write(text.Bytes())
		return err
	})
	if err != nil {
		return fmt.Errorf("write metrics: %w", err)
	}
	return nil
}
