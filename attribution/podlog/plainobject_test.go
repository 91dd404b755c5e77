package podlog

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// fullPod has a value for each member that is used, and others between them.
const fullPod = `{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a","namespace":"web","uid":"u","resourceVersion":"7","creationTimestamp":"2026-11-23T10:00:00Z",` +
	`"deletionTimestamp":"2026-11-23T10:01:00Z","deletionGracePeriodSeconds":30,"finalizers":["x","y"],"labels":{"app":"a","Name":"\u00e9"},` +
	`"annotations":{"kubernetes.io/config.mirror":"{\"a\":[1]}"},"ownerReferences":[{"kind":"ReplicaSet","name":"a-1","controller":true}],"managedFields":[{"f:a":{}}]},` +
	`"spec":{"nodeName":"n","hostNetwork":true,"containers":[{"name":"c","args":["]}\\"]}],"priority":-1.5e3},` +
	`"status":{"phase":"Running","reason":"r","podIP":"10.244.0.9","podIPs":[{"ip":"10.244.0.9"},{"ip":"fd00::9"}],"hostIP":"10.224.0.4","hostIPs":[{"ip":"10.224.0.4"}],` +
	`"startTime":"2026-11-23T10:00:00.5Z","qosClass":"Burstable","conditions":[{"type":"Ready","status":"True","lastTransitionTime":"2026-11-23T10:00:01Z"}],` +
	`"initContainerStatuses":[{"restartCount":1}],"containerStatuses":[{"state":{"running":{"startedAt":"2026-11-23T10:00:02Z"}}}],"ephemeralContainerStatuses":[]}}`

// checkObject wants an object that is taken to be what json makes of it.
func checkObject(t *testing.T, doc string) (taken bool) {
	t.Helper()
	var got, want object
	if !plainObject([]byte(doc), &got) {
		return false
	}
	if err := json.Unmarshal([]byte(doc), &want); err != nil {
		t.Fatalf("%q was taken: %v", doc, err)
	}
	if !reflect.DeepEqual(want, got) {
		t.Fatalf("%q (-json +plain):\n%s", doc, cmp.Diff(want, got))
	}
	return true
}

func TestPlainObject(t *testing.T) {
	with := func(old, other string) string {
		if !strings.Contains(fullPod, old) {
			t.Fatalf("the pod has no %q", old)
		}
		return strings.Replace(fullPod, old, other, 1)
	}
	deep := strings.Repeat("[", 10_001) + strings.Repeat("]", 10_001) // more than json takes
	for _, c := range []struct {
		doc   string
		taken bool
	}{
		{fullPod, true},
		{with(`"apiVersion":"v1"`, `"apiVersion":{},"apiVersion":null`), true},
		{with(`"deletionTimestamp":"2026-11-23T10:01:00Z"`, `"deletionTimestamp":null`), true},
		{with(`"finalizers":["x","y"]`, `"finalizers":null`), true},
		{with(`"name":"a"`, `"name":"a","name":"b"`), false},
		{with(`"labels":{"app":"a"`, `"labels":{"app":"a"},"labels":{"b":"b"`), false},
		{with(`"name":"a"`, `"name":"a","NAME":"b"`), false},
		{with(`"apiVersion"`, `"ſpec"`), false}, // json takes it for "spec"
		{with(`"apiVersion"`, `"\u0073pec"`), false},
		{with(`"name":"a"`, `"name":"\u0061"`), false},
		{with(`"name":"a"`, `"name":"é"`), false},
		{with(`"name":"a"`, `"name":null`), false},
		{with(`"name":"a"`, `"name":7`), false},
		{with(`"hostNetwork":true`, `"hostNetwork":"true"`), false},
		{with(`"podIPs":[{"ip":"10.244.0.9"},`, `"podIPs":[null,`), false},
		{with(`"podIPs":[{"ip":"10.244.0.9"},{"ip":"fd00::9"}]`, `"podIPs":[]`), false},
		{with(`"startTime":"2026-11-23T10:00:00.5Z"`, `"startTime":"soon"`), false},
		{with(`"startTime":"2026-11-23T10:00:00.5Z"`, `"startTime":null`), false},
		{with(`"priority":-1.5e3`, `"priority":01`), false},
		{with(`"priority":-1.5e3`, `"priority":`), false},
		{with(`"priority":-1.5e3`, `"priority":`+deep), false},
		{with(`,"priority":-1.5e3`, `, "priority":1`), false},
		{with(`,"priority":-1.5e3`, `,`), false},
		{fullPod + " ", false}, {fullPod + "}", false}, {"", false}, {"{}", false}, {"null", false},
	} {
		if taken := checkObject(t, c.doc); taken != c.taken {
			t.Errorf("%.2000q was taken: %v, want %v", c.doc, taken, c.taken)
		}
	}
	for i := range fullPod { // whatever is cut out or changed
		checkObject(t, fullPod[:i])
		checkObject(t, fullPod[:i]+fullPod[i+1:])
		for _, c := range []string{`"`, `\`, "{", "}", "]", ",", "0", " ", "\n", "\xff"} {
			checkObject(t, fullPod[:i]+c+fullPod[i+1:])
		}
	}
}

func FuzzPlainObject(f *testing.F) {
	f.Add(fullPod)
	f.Add(podJSON("a", theIP, 7, 10, ran(11, 0)))
	f.Fuzz(func(t *testing.T, doc string) { checkObject(t, doc) })
}
