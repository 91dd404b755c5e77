//go:build e2e

package node_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/whichpod/whichpod/e2e/kube"
	"github.com/whichpod/whichpod/e2e/process"
)

// The parts of Kubernetes' objects that the tests use (kubernetes/api,
// core/v1/types.go and meta/v1/types.go).
type (
	object struct {
		APIVersion string    `json:"apiVersion,omitempty"`
		Kind       string    `json:"kind,omitempty"`
		Metadata   *metadata `json:"metadata,omitempty"`
		Spec       *spec     `json:"spec,omitempty"`
		Status     *status   `json:"status,omitempty"`
		Target     *target   `json:"target,omitempty"` // of a binding
	}
	metadata struct {
		Name   string            `json:"name,omitempty"`
		UID    string            `json:"uid,omitempty"`
		Labels map[string]string `json:"labels,omitempty"`
		Owners []owner           `json:"ownerReferences,omitempty"`
	}
	owner struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
		Name       string `json:"name"`
		UID        string `json:"uid"`
		Controller bool   `json:"controller"`
	}
	spec struct {
		NodeName      string      `json:"nodeName,omitempty"`
		HostNetwork   bool        `json:"hostNetwork,omitempty"`
		RestartPolicy string      `json:"restartPolicy,omitempty"`
		Grace         *int64      `json:"terminationGracePeriodSeconds,omitempty"`
		Containers    []container `json:"containers,omitempty"`
	}
	container struct {
		Name            string   `json:"name"`
		Image           string   `json:"image"`
		ImagePullPolicy string   `json:"imagePullPolicy"`
		Args            []string `json:"args"`
		Env             []env    `json:"env"`
	}
	env struct {
		Name      string  `json:"name"`
		ValueFrom envFrom `json:"valueFrom"`
	}
	envFrom struct {
		FieldRef fieldRef `json:"fieldRef"`
	}
	fieldRef struct {
		FieldPath string `json:"fieldPath"`
	}
	target struct {
		Kind string `json:"kind"`
		Name string `json:"name"`
	}
	status struct {
		Phase      string      `json:"phase,omitempty"`
		PodIP      string      `json:"podIP,omitempty"`
		Conditions []condition `json:"conditions,omitempty"`
	}
	condition struct {
		Type   string `json:"type"`
		Status string `json:"status"`
	}
	deletion struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
		Grace      *int64 `json:"gracePeriodSeconds,omitempty"`
	}
)

func (s *status) is(kind string) bool {
	for _, c := range s.Conditions {
		if c.Type == kind {
			return c.Status == "True"
		}
	}
	return false
}

// churn is what users do: pods come and go on the node.
type churn struct {
	*controlPlane
	targets  []string // whom the pods call
	stopping chan struct{}
	done     sync.WaitGroup

	mu     sync.Mutex
	kinds  map[string]string // of each pod, by UID
	errors []error
}

// kindsOfPods: each runs in slots of its own, one pod after the other.
var kindsOfPods = []struct {
	name  string
	slots int
	life  func(*slot) error
}{
	{"job", 3, (*slot).job},
	{"database", 2, (*slot).database},
	{"plain", 1, (*slot).plain},
	{"forced", 1, (*slot).forced},
	{"sandbox", 1, (*slot).sandbox},
	{"host", 1, (*slot).host},
}

// startChurn begins. Stop ends it.
func startChurn(c *controlPlane, seed uint64, targets ...string) *churn {
	d := &churn{controlPlane: c, targets: targets, stopping: make(chan struct{}), kinds: make(map[string]string)}
	for k, kind := range kindsOfPods {
		for i := range kind.slots {
			s := &slot{churn: d, kind: kind.name, number: i, r: rand.New(rand.NewPCG(seed, uint64(k*100+i)))}
			d.done.Go(func() { s.run(kind.life) })
		}
	}
	return d
}

// stop lets no more pods come, and waits until all are gone.
func (d *churn) stop(t *testing.T) {
	t.Helper()
	close(d.stopping)
	d.done.Wait()
	for _, err := range d.errors {
		t.Error(err)
	}
}

// slot runs pods of one kind, one after the other.
type slot struct {
	*churn
	kind   string
	number int
	r      *rand.Rand
	made   int
}

func (s *slot) run(life func(*slot) error) {
	for s.made = 1; ; s.made++ {
		select {
		case <-s.stopping:
			return
		default:
		}
		if err := life(s); err != nil {
			s.mu.Lock()
			s.errors = append(s.errors, fmt.Errorf("%s %d.%d: %w", s.kind, s.number, s.made, err))
			s.mu.Unlock()
			return
		}
	}
}

// live lets a random time pass, or less where the churn stops.
func (s *slot) live(shortest, longest time.Duration) {
	timer := time.NewTimer(shortest + time.Duration(s.r.Int64N(int64(longest-shortest))))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.stopping:
	}
}

// Jobs complete, and their objects stay a while.
func (s *slot) job() error {
	p := s.newPod(fmt.Sprintf("job-%d-%d", s.number, s.made), "-count", fmt.Sprint(20+s.r.IntN(40)))
	p.Spec.RestartPolicy = "Never"
	p.Metadata.Owners = []owner{{"batch/v1", "Job", p.Metadata.Name, fmt.Sprintf("00000000-0000-0000-0000-%012d", s.made), true}}
	if err := s.create(p, s.r.IntN(2) == 0); err != nil {
		return err
	}
	err := s.wait(p, "it completes", func(now *object, err error) bool { return err == nil && now.Status.Phase == "Succeeded" })
	if err != nil {
		return err
	}
	s.live(time.Second, 5*time.Second)
	return s.remove(p, nil)
}

// A database's name is used again, under a new UID, as a StatefulSet does.
func (s *slot) database() error {
	p := s.newPod(fmt.Sprintf("db-%d", s.number))
	p.Metadata.Owners = []owner{{"apps/v1", "StatefulSet", "db", "00000000-0000-0000-0001-000000000000", true}}
	if err := s.create(p, true); err != nil {
		return err
	}
	s.live(8*time.Second, 18*time.Second)
	return s.remove(p, nil)
}

// A plain pod has no owner.
func (s *slot) plain() error {
	p := s.newPod(fmt.Sprintf("plain-%d-%d", s.number, s.made))
	if err := s.create(p, false); err != nil {
		return err
	}
	s.live(12*time.Second, 30*time.Second)
	return s.remove(p, nil)
}

// A pod that does not listen is deleted by force: its object is gone at once, and it
// goes on calling until the kubelet has killed it.
func (s *slot) forced() error {
	p := s.newPod(fmt.Sprintf("forced-%d-%d", s.number, s.made), "-deaf")
	*p.Spec.Grace = 3
	if err := s.create(p, false); err != nil {
		return err
	}
	s.live(8*time.Second, 15*time.Second)
	none := int64(0)
	return s.remove(p, &none)
}

// A pod loses its sandbox and gets another, with another address.
func (s *slot) sandbox() error {
	p := s.newPod(fmt.Sprintf("sandbox-%d-%d", s.number, s.made))
	p.Spec.RestartPolicy = "Always"
	if err := s.create(p, true); err != nil {
		return err
	}
	var first string
	err := s.wait(p, "it has an address", func(now *object, err error) bool {
		if err == nil {
			first = now.Status.PodIP
		}
		return first != ""
	})
	if err != nil {
		return err
	}
	s.live(7*time.Second, 12*time.Second)
	if err := killSandbox(p.Metadata.UID); err != nil {
		return err
	}
	err = s.wait(p, "it has another address", func(now *object, err error) bool {
		return err == nil && now.Status.PodIP != "" && now.Status.PodIP != first
	})
	if err != nil {
		return err
	}
	s.live(7*time.Second, 12*time.Second)
	return s.remove(p, nil)
}

// A pod on the host's network shows the node's address, whatever the mode.
func (s *slot) host() error {
	p := s.newPod(fmt.Sprintf("host-%d-%d", s.number, s.made))
	p.Spec.HostNetwork = true
	if err := s.create(p, false); err != nil {
		return err
	}
	s.live(15*time.Second, 30*time.Second)
	return s.remove(p, nil)
}

// newPod is a pod that calls the targets, several times a second, with its UID.
func (s *slot) newPod(name string, flags ...string) *object {
	grace := int64(1)
	args := append([]string{"call", "-uid", "$(UID)", "-every", fmt.Sprintf("%dms", 200+s.r.IntN(200))}, flags...)
	return &object{APIVersion: "v1", Kind: "Pod", Metadata: &metadata{Name: name, Labels: map[string]string{"app": s.kind}},
		Spec: &spec{RestartPolicy: "Never", Grace: &grace, Containers: []container{{Name: "c", Image: image, ImagePullPolicy: "Never",
			Args: append(args, s.targets...), Env: []env{{"UID", envFrom{fieldRef{"metadata.uid"}}}}}}}}
}

const pods = "/api/v1/namespaces/default/pods"

// create makes the pod on the node: at once, or as a scheduler does, by a binding.
func (s *slot) create(p *object, bind bool) error {
	if !bind {
		p.Spec.NodeName = nodeName
	}
	var made object
	err := s.send(http.MethodPost, pods, p, &made)
	if kube.IsStatus(err, http.StatusConflict) { // an earlier try went through, though its answer was lost
		err = s.send(http.MethodGet, pods+"/"+p.Metadata.Name, nil, &made)
	}
	if err != nil {
		return err
	}
	p.Metadata.UID = made.Metadata.UID
	s.mu.Lock()
	s.kinds[made.Metadata.UID] = s.kind
	s.mu.Unlock()
	if !bind {
		return nil
	}
	binding := object{APIVersion: "v1", Kind: "Binding", Metadata: &metadata{Name: p.Metadata.Name}, Target: &target{"Node", nodeName}}
	return s.send(http.MethodPost, pods+"/"+p.Metadata.Name+"/binding", binding, nil)
}

// remove deletes a pod and waits until its object is gone.
func (s *slot) remove(p *object, grace *int64) error {
	if err := s.send(http.MethodDelete, pods+"/"+p.Metadata.Name, deletion{"v1", "DeleteOptions", grace}, nil); err != nil {
		return err
	}
	return s.wait(p, "it is gone", func(_ *object, err error) bool { return kube.IsStatus(err, http.StatusNotFound) })
}

// wait polls a pod.
func (s *slot) wait(p *object, what string, ok func(now *object, err error) bool) error {
	for deadline := time.Now().Add(process.Patience); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		var now object
		if err := s.send(http.MethodGet, pods+"/"+p.Metadata.Name, nil, &now); ok(&now, err) {
			return nil
		}
	}
	return fmt.Errorf("waited for pod %s in vain: %s", p.Metadata.Name, what)
}
