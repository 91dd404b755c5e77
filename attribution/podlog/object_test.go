package podlog

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/whichpod/whichpod/attribution"
)

// What the kubelet's own times in one object prove. An upper bound is a second later
// than the time in the object, which has whole seconds.
func TestEvidence(t *testing.T) {
	t.Parallel()
	const podIP = `"podIP":"10.244.0.9","podIPs":[{"ip":"10.244.0.9"}],`
	running := `{"state":{"running":{"startedAt":"2026-11-23T10:00:05Z"}}}`
	done := `{"state":{"terminated":{"startedAt":"2026-11-23T10:00:05Z","finishedAt":"2026-11-23T10:00:30Z"}}}`
	waiting := `{"state":{"waiting":{"reason":"CrashLoopBackOff"}}}`
	sandbox := func(status, at string) string {
		return fmt.Sprintf(`"conditions":[{"type":"PodReadyToStartContainers","status":%q,"lastTransitionTime":"2026-11-23T10:00:%sZ"}],`, status, at)
	}
	const leaving = `"deletionTimestamp":"2026-11-23T10:01:00Z"`
	for _, c := range []struct {
		name, metadata, status string
		want                   string // running by, alive at, ended, sandbox gone; 0 is nothing
	}{
		{"nothing yet", "", `"phase":"Pending"`, "0 0 0 0"},
		{"pending with a ready sandbox, no address shown", "", sandbox("True", "03") + `"phase":"Pending"`, "0 0 0 0"},
		{"a ready sandbox", "", podIP + sandbox("True", "03") + `"phase":"Running"`, "4 3 0 0"},
		{"running", "", podIP + sandbox("True", "03") + `"phase":"Running","containerStatuses":[` + running + `]`, "4 5 0 0"},
		{"running, no condition (before 1.29)", "", podIP + `"phase":"Running","containerStatuses":[` + running + `]`, "6 5 0 0"},
		{"restarted: the sandbox was perhaps made again without a transition", "", podIP + sandbox("True", "03") +
			`"phase":"Running","containerStatuses":[{"restartCount":1,"state":{"running":{"startedAt":"2026-11-23T10:00:40Z"}}}]`, "41 40 0 0"},
		{"crashed, waits to be started again: not its end", "", podIP + `"phase":"Running","containerStatuses":[` + waiting + `]`, "0 0 0 0"},
		{"one container done, another runs", "", podIP + `"phase":"Running","containerStatuses":[` + done + `,` + running + `]`, "6 30 0 0"},
		{"all done, but they are started again", "", podIP + `"phase":"Running","containerStatuses":[` + done + `]`, "6 30 0 0"},
		{"a job's pod that finished keeps podIP (antrea #8030)", "", podIP + `"phase":"Succeeded","containerStatuses":[` + done + `]`, "6 30 31 31"},
		{"failed, evicted by the kubelet, with no container's word: by when it was seen", "", podIP + `"phase":"Failed","reason":"Evicted"`, "0 0 99 99"},
		{"being deleted, all done", leaving, podIP + `"phase":"Running","containerStatuses":[` + done + `]`, "6 30 31 31"},
		{"being deleted, still running: it sends during its grace period", leaving, podIP + `"phase":"Running","containerStatuses":[` + running + `]`, "6 5 0 0"},
		{"the sandbox is gone, to be made again", "", podIP + sandbox("False", "40") + `"phase":"Running","containerStatuses":[` + done + `]`, "6 30 0 41"},
		{"the sandbox is gone for good", leaving, podIP + sandbox("False", "28") + `"phase":"Running","containerStatuses":[` + done + `]`, "6 30 29 29"},
		{"failed by the pod garbage collector: its node does not answer, it may run", leaving, podIP +
			`"conditions":[{"type":"DisruptionTarget","status":"True","reason":"DeletionByPodGC"}],"phase":"Failed","containerStatuses":[` + running + `]`, "6 5 0 0"},
		{"the same with no container status", leaving, podIP + `"conditions":[{"type":"DisruptionTarget","status":"True","reason":"DeletionByPodGC"}],"phase":"Failed"`, "0 0 0 0"},
		{"failed since the node was lost", "", podIP + `"phase":"Failed","reason":"NodeLost"`, "0 0 0 0"},
		{"an init container done, the main one waits", "", podIP + `"phase":"Pending","initContainerStatuses":[` + done + `],"containerStatuses":[` + waiting + `]`, "6 30 0 0"},
		{"a failed init container ends the pod", "", podIP + `"phase":"Failed","initContainerStatuses":[` + done + `],"containerStatuses":[` + waiting + `]`, "6 30 99 99"},
		{"a debug container still runs", leaving, podIP + `"phase":"Running","containerStatuses":[` + done + `],"ephemeralContainerStatuses":[` + running + `]`, "6 30 0 0"},
		{"terminated without a time: unknown to the kubelet", leaving, podIP + `"phase":"Running","containerStatuses":[{"state":{"terminated":{"startedAt":null,"finishedAt":null}}}]`, "0 0 0 0"},
	} {
		var o object
		metadata := `"uid":"a"`
		if c.metadata != "" {
			metadata += "," + c.metadata
		}
		if err := json.Unmarshal([]byte(`{"metadata":{`+metadata+`},"status":{`+c.status+`}}`), &o); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		ev := (&observation{object: &o, at: sec(99)}).evidence()
		var got []string
		for _, v := range []int64{ev.runningBy, ev.aliveAt, ev.ended, ev.sandboxGone} {
			s := "0"
			if v != 0 {
				s = fmt.Sprint(float64(v-sec(0)) / 1000)
			}
			got = append(got, s)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: got %s, want %s", c.name, strings.Join(got, " "), c.want)
		}
	}
}

// What a pod is called, where it runs, and since when it can have begun.
func TestIdentity(t *testing.T) {
	t.Parallel()
	read := func(t *testing.T, text string) attribution.Fact {
		t.Helper()
		var o object
		if err := json.Unmarshal([]byte(text), &o); err != nil {
			t.Fatal(err)
		}
		return (&observation{object: &o, at: sec(99)}).fact("c")
	}
	for _, c := range []struct{ name, object, want string }{
		{"an ordinary pod", `{"metadata":{"uid":"a","name":"api-7","namespace":"web","resourceVersion":"17","creationTimestamp":"2026-11-23T10:00:01Z","labels":{"tier":"x","app":"api"},
			"ownerReferences":[{"kind":"Node","name":"no"},{"kind":"ReplicaSet","name":"api","controller":true}]},
			"spec":{"nodeName":"n"},"status":{"podIP":"10.244.0.9","podIPs":[{"ip":"10.244.0.9"}],"hostIP":"10.224.0.4","startTime":"2026-11-23T10:00:03Z",
			"conditions":[{"type":"PodScheduled","status":"True","lastTransitionTime":"2026-11-23T10:00:02Z"}]}}`,
			"web/api-7 on n [10.224.0.4] of ReplicaSet/api [app=api tier=x] host false v17 not before 3 has [10.244.0.9]"},
		{"bound, not taken on yet", `{"metadata":{"uid":"a","creationTimestamp":"2026-11-23T10:00:01Z"},"spec":{"nodeName":"n"},
			"status":{"conditions":[{"type":"PodScheduled","status":"True","lastTransitionTime":"2026-11-23T10:00:02Z"}]}}`,
			"/ on n [] of  [] host false v0 not before 2 has []"},
		{"not bound", `{"metadata":{"uid":"a","creationTimestamp":"2026-11-23T10:00:01Z"},"status":{"conditions":[{"type":"PodScheduled","status":"False","lastTransitionTime":"2026-11-23T10:00:02Z"}]}}`,
			"/ on  [] of  [] host false v0 not before 1 has []"},
		{"dual stack", `{"metadata":{"uid":"a"},"status":{"podIP":"10.244.0.9","podIPs":[{"ip":"10.244.0.9"},{"ip":"fd00::9"}],"hostIP":"10.224.0.4","hostIPs":[{"ip":"10.224.0.4"},{"ip":"fd00::4"}]}}`,
			"/ on  [10.224.0.4 fd00::4] of  [] host false v0 not before 0 has [10.244.0.9 fd00::9]"},
		{"on the host's network: its node's addresses are none of its own", `{"metadata":{"uid":"a"},"spec":{"hostNetwork":true},"status":{"podIP":"10.224.0.4","podIPs":[{"ip":"10.224.0.4"}],"hostIP":"10.224.0.4"}}`,
			"/ on  [10.224.0.4] of  [] host true v0 not before 0 has []"},
		{"on the host's network, not said so", `{"metadata":{"uid":"a"},"status":{"podIP":"10.224.0.4","hostIP":"10.224.0.4"}}`,
			"/ on  [10.224.0.4] of  [] host true v0 not before 0 has []"},
		{"a mirror pod is made after the static pod was started", `{"metadata":{"uid":"a","creationTimestamp":"2026-11-23T10:00:50Z","annotations":{"kubernetes.io/config.mirror":"x"}},
			"status":{"startTime":"2026-11-23T10:00:03Z","podIP":"10.244.0.9"}}`,
			"/ on  [] of  [] host false v0 not before 3 has [10.244.0.9]"},
		{"a version that is no number", `{"metadata":{"uid":"a","resourceVersion":"x1"},"status":{"podIP":"::ffff:10.244.0.9"}}`,
			"/ on  [] of  [] host false v0 not before 0 has [10.244.0.9]"},
		{"addresses that are none", `{"metadata":{"uid":"a"},"status":{"podIP":"none","podIPs":[{"ip":""},{"ip":" 10.244.0.9 "},{"ip":"fe80::1%eth0"}]}}`,
			"/ on  [] of  [] host false v0 not before 0 has [10.244.0.9 fe80::1]"},
	} {
		f := read(t, c.object)
		id, has := f.Pod.Identity, []string{}
		for _, h := range f.Pod.Holdings {
			has = append(has, h.Address.String())
			if h.Bounds.SeenBy != sec(99) || h.Bounds.NotBefore != 0 {
				t.Errorf("%s: bounds of %s are %+v", c.name, h.Address, h.Bounds)
			}
		}
		before := f.Pod.Presence.NotBefore
		if before != 0 {
			before = (before - sec(0)) / 1000
		}
		got := fmt.Sprintf("%s/%s on %s %v of %s %v host %v v%d not before %d has %v", id.Namespace, id.Name, id.Node, id.HostAddresses, id.Owner, id.Labels, id.HostNetwork, id.Version, before, has)
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: -want +got:\n%s", c.name, diff)
		}
	}
}
