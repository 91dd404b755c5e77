package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/whichpod/whichpod/attribution"
	"github.com/whichpod/whichpod/query"
)

const knownAtHelp = "answer as the ledger would have at this time"

func (a *app) whoCommand() *cobra.Command {
	var to string
	var at, since, until, known moment
	var incident caseFlags
	cmd := &cobra.Command{
		Use:   "who ADDR[:PORT]",
		Short: "Which pod sent this",
		Long: `Which pod sent this.

With an address alone: who held it, from the ledger, even where no row was logged.
With a port or --to: about flows: the flow open at --at, else the rows within a minute
of it; without a time, all rows there are.`,
		Example: `  whichpod who 10.244.3.17 --at 2026-11-23T13:04:05Z
  whichpod who 10.224.0.4:47902 --to 203.0.113.66:8443 --since 7d
  whichpod who '[fd12:3456:789a::15]:443' -o json`,
		Args: args(1, 1, "one address, with or without a port"),
		RunE: func(cmd *cobra.Command, words []string) error {
			q := query.Question{At: int64(at), Since: int64(since), Until: int64(until), AsKnownAt: int64(known)}
			if err := a.checkCase(cmd, &incident); err != nil {
				return err
			}
			if at != 0 && (since != 0 || until != 0) {
				return usage(cmd, "--at excludes --since and --until")
			}
			if err := checkRange(cmd, since, until); err != nil {
				return err
			}
			var err error
			if q.Of, err = endpoint(words[0]); err != nil {
				return usage(cmd, "%s", err)
			}
			if _, ok := q.Of.Single(); !ok {
				return usage(cmd, "%q is a range, want one address", words[0])
			}
			if to != "" {
				if q.To, err = endpoint(to); err != nil {
					return usage(cmd, "--to: %s", err)
				}
			}
			return a.who(cmd, q, known, &incident)
		},
	}
	cmd.Flags().StringVar(&to, "to", "", "where it went: ADDR[:PORT]")
	timeFlag(cmd, &at, "at", "at this moment (RFC 3339, or how long ago: 45m, 7d)")
	rangeFlags(cmd, &since, &until)
	timeFlag(cmd, &known, "as-known-at", knownAtHelp)
	incident.add(cmd)
	return cmd
}

func (a *app) who(cmd *cobra.Command, q query.Question, known moment, incident *caseFlags) error {
	return a.ask(known, func(e *query.Engine) error {
		answer, err := e.Who(cmd.Context(), q)
		if err != nil {
			return err
		}
		if err := errors.Join(a.note(incident, answer), a.printAnswer(answer)); err != nil {
			return err
		}
		return exitFor(answer.Verdict)
	})
}

func (a *app) talkersCommand() *cobra.Command {
	var since, until, known moment
	cmd := &cobra.Command{
		Use:   "talkers ADDR|CIDR[:PORT]",
		Short: "Which pods exchanged traffic with an address or a range",
		Args:  args(1, 1, "one address or range, with or without a port"),
		RunE: func(cmd *cobra.Command, words []string) error {
			of, err := endpoint(words[0])
			if err != nil {
				return usage(cmd, "%s", err)
			}
			if err := checkRange(cmd, since, until); err != nil {
				return err
			}
			return a.ask(known, func(e *query.Engine) error {
				answer, err := e.Talkers(cmd.Context(), query.Question{Of: of, Since: int64(since), Until: int64(until), AsKnownAt: int64(known)})
				if err != nil {
					return err
				}
				if err := a.printAnswer(answer); err != nil {
					return err
				}
				return exitFor(answer.Verdict)
			})
		},
	}
	rangeFlags(cmd, &since, &until)
	timeFlag(cmd, &known, "as-known-at", knownAtHelp)
	return cmd
}

func (a *app) ownersCommand() *cobra.Command {
	var since, until, known moment
	var limit int
	cmd := &cobra.Command{
		Use:   "owners ADDR",
		Short: "Who held an address, in order",
		Long: `Who held an address, in order, drawn as a timeline: a line for each owner, for each
time that nobody watched, and for each in which nobody held it.`,
		Args: args(1, 1, "one address"),
		RunE: func(cmd *cobra.Command, words []string) error {
			of, err := endpoint(words[0])
			if err != nil {
				return usage(cmd, "%s", err)
			}
			if _, ok := of.Single(); !ok || of.HasPort {
				return usage(cmd, "%q is no single address", words[0])
			}
			if err := checkRange(cmd, since, until); err != nil {
				return err
			}
			if limit < 1 {
				return usage(cmd, "--limit is %d, want at least 1", limit)
			}
			return a.ask(known, func(e *query.Engine) error {
				owners, err := e.Owners(query.Question{Of: of, Since: int64(since), Until: int64(until), AsKnownAt: int64(known)})
				if err != nil {
					return err
				}
				if err := a.printOwners(owners, limit); err != nil {
					return err
				}
				if len(owners.Owners) == 0 {
					return exitCode(nothingFound)
				}
				return nil
			})
		},
	}
	rangeFlags(cmd, &since, &until)
	timeFlag(cmd, &known, "as-known-at", knownAtHelp)
	cmd.Flags().IntVar(&limit, "limit", fewOwners, "draw the last so many owners; -o json names all")
	return cmd
}

func (a *app) trailCommand() *cobra.Command {
	var uid, namespace, cluster string
	var since, until, known moment
	cmd := &cobra.Command{
		Use:   "trail [NAMESPACE/]POD | --uid UID",
		Short: "Where a pod went: its addresses, its peers",
		Long: `Where a pod went: the addresses that it had and who was at the other end.

A name can have had several pods, one after the other; each is shown. Under a node's
address a pod is one of several that may have sent: such rows say masked.`,
		Args: args(0, 1, "one pod, or --uid"),
		RunE: func(cmd *cobra.Command, words []string) error {
			ref := attribution.PodRef{UID: uid, Namespace: namespace, Cluster: cluster}
			if len(words) == 1 {
				ref.Name = words[0]
				if ns, name, ok := strings.Cut(words[0], "/"); ok {
					if ns == "" || name == "" {
						return usage(cmd, "pod is %q, want NAMESPACE/POD or POD", words[0])
					}
					if namespace != "" && namespace != ns {
						return usage(cmd, "--namespace is %q, and the pod %q names another", namespace, words[0])
					}
					ref.Namespace, ref.Name = ns, name
				}
			}
			if ref.Name == "" && ref.UID == "" {
				return usage(cmd, "got no pod, want a name or --uid")
			}
			if err := checkRange(cmd, since, until); err != nil {
				return err
			}
			return a.ask(known, func(e *query.Engine) error {
				trail, err := e.Trail(cmd.Context(), ref, int64(since), int64(until))
				if err != nil {
					return err
				}
				if err := a.printTrail(trail); err != nil {
					return err
				}
				if len(trail.Pods) == 0 {
					return exitCode(nothingFound)
				}
				return nil
			})
		},
	}
	cmd.Flags().StringVar(&uid, "uid", "", "the pod's UID")
	cmd.Flags().StringVarP(&namespace, "namespace", "n", "", "the pod's namespace")
	cmd.Flags().StringVar(&cluster, "cluster", "", "the pod's cluster")
	rangeFlags(cmd, &since, &until)
	timeFlag(cmd, &known, "as-known-at", knownAtHelp)
	return cmd
}

// endpoint reads an address, also one that was copied with the space around it.
func endpoint(s string) (query.Endpoint, error) { return query.ParseEndpoint(strings.TrimSpace(s)) }

// count is a number with its noun.
func count(n int64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	if strings.HasSuffix(noun, "s") {
		noun += "e"
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
