package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/whichpod/whichpod/attribution"
	"github.com/whichpod/whichpod/attribution/nat"
	"github.com/whichpod/whichpod/query"
)

// status is the document that "status -o json" prints.
type status struct {
	Data       string           `json:"data"`
	Index      indexStatus      `json:"index"`
	Rejections map[string]int64 `json:"rejections"` // by reason
	Rejected   []rejected       `json:"rejected"`   // the last few of each blob
	Clusters   []clusterStatus  `json:"clusters"`
	Facts      int              `json:"facts"`
	NAT        []natStatus      `json:"nat"` // by cluster and node
	// Contradictions are what nodes translated for addresses that the ledger gives to no
	// pod of theirs at that time.
	Contradictions []contradiction `json:"contradictions"`
	NICs           nicStatus       `json:"nics"`
	Damage         []damaged       `json:"damage"`
}

// nicStatus counts the interfaces that logged rows, by how it is known whose they are.
type nicStatus struct {
	Configured     int                `json:"configured"`
	Learned        int                `json:"learned"` // from rows with a node's own address
	Unknown        int                `json:"unknown"` // of no node, or of one that is not known
	Contradictions []nicContradiction `json:"contradictions"`
}

// nicContradiction is an address behind a NIC that the ledger places elsewhere then.
type nicContradiction struct {
	NIC           string     `json:"nic"`
	Cluster       string     `json:"cluster"` // whose the NIC is
	Node          string     `json:"node"`
	Address       string     `json:"address"`
	Kind          string     `json:"kind"`           // pod or node: whose address it is
	LedgerCluster string     `json:"ledger_cluster"` // where the ledger has it
	LedgerNode    string     `json:"ledger_node"`    // empty where only the cluster is known
	Rows          int64      `json:"rows"`
	First         query.Time `json:"first"`
	Last          query.Time `json:"last"`
}

type indexStatus struct {
	Blobs    int        `json:"blobs"`
	Rows     int64      `json:"rows"`
	Segments int        `json:"segments"`
	Bytes    int64      `json:"bytes"`
	First    query.Time `json:"first"`
	Last     query.Time `json:"last"`
}

type rejected struct {
	Blob   string `json:"blob"`
	Offset int64  `json:"offset"`
	Reason string `json:"reason"`
	Detail string `json:"detail"`
}

type clusterStatus struct {
	Name      string    `json:"name"`
	Pods      int       `json:"pods"`
	Addresses int       `json:"addresses"`
	Nodes     int       `json:"nodes"`
	Watched   []watched `json:"watched"`
	// ChangesOnly is the part of it in which pods that did not change were not on record.
	ChangesOnly []watched `json:"changes_only"`
	// Contradictions counts the pairs of statements about pods of which one must be wrong.
	Contradictions int `json:"contradictions"`
	// Unwatched are the kinds of objects that nobody ever watched: nodes, configmaps.
	Unwatched []string `json:"unwatched"`
	Pools     []pool   `json:"pools"` // as of the last moment that was watched
}

// pool is a node pool with its network mode; "posture" says what follows from it.
type pool struct {
	Pool     string         `json:"pool"`
	Nodes    int            `json:"nodes"`
	Modes    []string       `json:"modes"`
	Unproven bool           `json:"unproven"`
	Reasons  []query.Reason `json:"reasons"`
}

type watched struct {
	From query.Time `json:"from"`
	To   query.Time `json:"to"`
}

type natStatus struct {
	Cluster string    `json:"cluster"`
	Records int64     `json:"records"` // of the whole cluster, what merging leaves out counted once
	Nodes   []natNode `json:"nodes"`
}

type natNode struct {
	Node    string    `json:"node"`
	Covered []watched `json:"covered"` // when all that it translated was seen
}

type contradiction struct {
	Cluster      string     `json:"cluster"`
	Node         string     `json:"node"`
	Address      string     `json:"address"`
	Translations int64      `json:"translations"`
	First        query.Time `json:"first"`
	Last         query.Time `json:"last"`
}

type damaged struct {
	Path   string `json:"path"`
	Offset int64  `json:"offset"`
	Detail string `json:"detail"`
}

func (a *app) statusCommand() *cobra.Command {
	var cases bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "What the data folder holds, and what was rejected",
		Args:  args(0, 0, "none"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := a.needStore(); err != nil {
				return err
			}
			if cases {
				return a.printCases()
			}
			st, err := a.status(cmd.Context())
			if err != nil {
				return err
			}
			if a.output == "json" {
				return a.json(st)
			}
			return a.printStatus(st)
		},
	}
	cmd.Flags().BoolVar(&cases, "case", false, "the case log instead: how long it took to identify who it was")
	return cmd
}

func (a *app) status(ctx context.Context) (st status, err error) {
	o, err := a.open(0)
	if err != nil {
		return st, err
	}
	defer func() { err = errors.Join(err, o.close()) }()
	store, ledger, evidence := o.index, o.ledger, o.evidence
	is := store.Stats()
	st = status{
		Data:       a.data,
		Index:      indexStatus{is.Blobs, is.Rows, is.Segments, is.Bytes, query.Time(is.First), query.Time(is.Last)},
		Rejections: is.Rejections, Rejected: []rejected{}, Clusters: []clusterStatus{}, Damage: []damaged{}, Facts: ledger.Facts(),
	}
	for _, r := range is.Rejected {
		st.Rejected = append(st.Rejected, rejected(r))
	}
	a.doubtNames(o.config, ledger.Clusters())
	view := o.view()
	st.NAT, st.Contradictions = natStatusOf(view, evidence)
	for _, c := range view.Stats() {
		cs := clusterStatus{c.Name, c.Pods, c.Addresses, c.Nodes, []watched{}, []watched{}, len(view.Disputes(c.Name)), []string{}, []pool{}}
		for _, k := range view.Unwatched(c.Name) {
			cs.Unwatched = append(cs.Unwatched, k.String())
		}
		for _, p := range query.PostureOf(view, c.Name, view.LastSettled(c.Name)).Pools {
			cs.Pools = append(cs.Pools, pool{p.Pool, p.Nodes, p.Modes, p.Unproven, p.Reasons})
		}
		for _, w := range c.Watched {
			cs.Watched = append(cs.Watched, watched{query.Time(w.From), query.Time(w.To)})
		}
		for _, w := range c.ChangesOnly {
			cs.ChangesOnly = append(cs.ChangesOnly, watched{query.Time(w.From), query.Time(w.To)})
		}
		st.Clusters = append(st.Clusters, cs)
	}
	nics, err := query.New(store, view).NICs(ctx)
	if err != nil {
		return st, err
	}
	st.NICs = nicStatusOf(&nics)
	damage, err := attribution.Check(a.ledgerFolder(), ledger.Damage())
	if err != nil {
		return st, err
	}
	for _, d := range slices.Concat(damage, evidence.Damage()) {
		st.Damage = append(st.Damage, damaged(d))
	}
	return st, nil
}

func nicStatusOf(s *attribution.NICSummary) nicStatus {
	st := nicStatus{s.Configured, s.Learned, s.Unknown, []nicContradiction{}}
	for _, c := range s.Contradictions {
		kind := "pod"
		if c.NodeAddress {
			kind = "node"
		}
		st.Contradictions = append(st.Contradictions, nicContradiction{c.NIC, c.Cluster, c.Node, c.Address.String(), kind, c.LedgerCluster, c.LedgerNode,
			c.Sent + c.Received, query.Time(c.First), query.Time(c.Last)})
	}
	return st
}

// natStatusOf says what evidence of translations there is, and what of it the ledger
// contradicts.
func natStatusOf(view *attribution.View, evidence *nat.Store) ([]natStatus, []contradiction) {
	list, odd := []natStatus{}, []contradiction{}
	for _, c := range evidence.Stats() {
		one := natStatus{Cluster: c.Name, Records: c.Records, Nodes: []natNode{}}
		for _, node := range slices.Sorted(maps.Keys(c.Covered)) {
			n := natNode{node, []watched{}}
			for _, r := range c.Covered[node] {
				n.Covered = append(n.Covered, watched{query.Time(r.From), query.Time(r.To)})
			}
			one.Nodes = append(one.Nodes, n)
		}
		list = append(list, one)
		for _, s := range view.Contradicted(c.Sources) {
			odd = append(odd, contradiction{s.Cluster, s.Node, s.Address.String(), s.Flows, query.Time(s.First), query.Time(s.Last)})
		}
	}
	return list, odd
}

func (a *app) printStatus(st status) error {
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "data\t%s\n", st.Data)
	fmt.Fprintf(w, "rows\t%d in %s and %s, %d bytes\n", st.Index.Rows, count(int64(st.Index.Blobs), "blob"), count(int64(st.Index.Segments), "segment"), st.Index.Bytes)
	if st.Index.Rows > 0 {
		fmt.Fprintf(w, "from\t%s to %s\n", st.Index.First, st.Index.Last)
	}
	if len(st.Rejections) == 0 {
		fmt.Fprintf(w, "rejected\tnothing\n")
	} else {
		fmt.Fprintf(w, "rejected\t%s\n", reasons(st.Rejections))
	}
	for _, r := range st.Rejected {
		fmt.Fprintf(w, "\tbyte %d of %s: %s: %s\n", r.Offset, r.Blob, r.Reason, r.Detail)
	}
	for _, c := range st.Clusters {
		fmt.Fprintf(w, "cluster %s\t%s, %s, %s\n", c.Name, count(int64(c.Pods), "pod"), count(int64(c.Addresses), "address"), count(int64(c.Nodes), "node"))
		for _, r := range c.Watched {
			fmt.Fprintf(w, "\twatched from %s to %s\n", r.From, r.To)
		}
		for _, r := range c.ChangesOnly {
			fmt.Fprintf(w, "\tof that, only changes from %s to %s: pods that were there before and did not change are not known\n", r.From, r.To)
		}
		if len(c.Watched) == 0 {
			fmt.Fprintf(w, "\tnever watched\n")
		}
		if len(c.Unwatched) > 0 {
			fmt.Fprintf(w, "\tnever watched of it: %s\n", strings.Join(c.Unwatched, ", "))
		}
		for _, p := range c.Pools {
			fmt.Fprintf(w, "\t%s: %s, %s\n", cmp.Or(p.Pool, "nodes of no pool"), poolMode(&query.Pool{Modes: p.Modes, Unproven: p.Unproven}), count(int64(p.Nodes), "node"))
			for _, r := range p.Reasons {
				fmt.Fprintf(w, "\t  from %s\n", oneLine(r.String()))
			}
		}
		if c.Contradictions > 0 {
			fmt.Fprintf(w, "\t%s in what is recorded: \"whichpod owners\" and \"who\" show both statements\n", count(int64(c.Contradictions), "contradiction"))
		}
	}
	for _, n := range st.NAT {
		fmt.Fprintf(w, "NAT evidence %s\t%s of %s\n", n.Cluster, count(n.Records, "record"), count(int64(len(n.Nodes)), "node"))
		for _, node := range n.Nodes {
			for _, r := range node.Covered {
				fmt.Fprintf(w, "\t%s complete from %s to %s\n", node.Node, r.From, r.To)
			}
		}
	}
	for _, c := range st.Contradictions {
		fmt.Fprintf(w, "contradicted\t%s of %s by node %s of cluster %s, %s to %s: the ledger has no such pod there\n", count(c.Translations, "translation"), c.Address, c.Node, c.Cluster, c.First, c.Last)
	}
	if n := st.NICs; n.Configured+n.Learned+n.Unknown > 0 {
		fmt.Fprintf(w, "NICs\t%d configured, %d learned, %d unknown\n", n.Configured, n.Learned, n.Unknown)
	}
	for _, c := range st.NICs.Contradictions {
		fmt.Fprintf(w, "contradicted\tNIC %s of node %s of cluster %s, %s to %s: %s with the address %s, a %s's of %s in the ledger\n", c.NIC, c.Node, c.Cluster,
			c.First, c.Last, count(c.Rows, "row"), c.Address, c.Kind, strings.TrimRight(c.LedgerCluster+"/"+c.LedgerNode, "/"))
	}
	for _, d := range st.Damage {
		fmt.Fprintf(w, "damage\tbyte %d of %s: %s\n", d.Offset, d.Path, d.Detail)
	}
	return w.Flush()
}

// version is the document that "version -o json" prints.
type version struct {
	Version string `json:"version"`
	Commit  string `json:"commit"`
	Go      string `json:"go"`
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Which whichpod this is",
		Args:  args(0, 0, "none"),
		RunE: func(*cobra.Command, []string) error {
			v := version{Version: "devel", Go: runtime.Version()}
			if info, ok := debug.ReadBuildInfo(); ok {
				if info.Main.Version != "" && info.Main.Version != "(devel)" {
					v.Version = info.Main.Version
				}
				for _, s := range info.Settings {
					if s.Key == "vcs.revision" {
						v.Commit = s.Value
					}
				}
			}
			if a.output == "json" {
				return a.json(v)
			}
			fmt.Fprintf(a.stdout, "whichpod %s %s %s\n", v.Version, v.Go, v.Commit)
			return nil
		},
	}
}
