package sim

import (
	"cmp"
	"slices"
)

// version is what the API server held of a pod from one change on. Times are Unix
// milliseconds as their writer's clock showed them; 0 means not there.
type version struct {
	at        int64 // when it was written, true time
	eventType string
	rv        uint64
	pod       *Pod

	bound      bool
	acked      int64 // status.startTime
	boundAt    int64
	phase      string
	ready      int64 // last transition of PodReadyToStartContainers
	isReady    bool
	serving    bool
	servingAt  int64 // last transition of Ready
	box        int   // sandbox whose address it shows, -1 none
	started    int64 // running or terminated container
	finished   int64
	lastEnd    *version // the container before a restart
	restarts   int
	deletion   int64
	grace      int64
	generation int
	observed   int
}

// publisher folds one pod's life into versions.
type publisher struct {
	pod  *Pod
	skew int64 // of the kubelet's clock
	now  version
	out  []version
}

// put writes the current state down as of the given true time.
func (p *publisher) put(at int64, eventType string) {
	v := p.now
	v.at, v.eventType = at, eventType
	p.out = append(p.out, v)
}

// publish lists what the API server would say of the pod, in order. The sequence is
// that of a real kubelet 1.36.
func publish(pod *Pod, nic *NIC) []version {
	p := &publisher{pod: pod, skew: nic.KubeletSkew}
	p.now = version{pod: pod, phase: "Pending", box: -1, generation: 1}
	p.put(pod.created, "ADDED")
	p.now.bound, p.now.boundAt = true, pod.scheduled
	p.put(pod.scheduled, "MODIFIED")
	p.now.acked = pod.acked + p.skew
	p.now.ready, p.now.servingAt = p.now.acked, p.now.acked
	p.now.observed = 1
	if pod.HostNetwork { // the kubelet knows that address at once
		p.now.box = 0
	}
	p.put(pod.acked, "MODIFIED")
	for i := range pod.Sandboxes {
		p.sandbox(i)
	}
	p.ending()
	// A deletion is written between the kubelet's words, whichever these are.
	slices.SortStableFunc(p.out, func(a, b version) int { return cmp.Compare(a.at, b.at) })
	return p.deletion()
}

// sandbox publishes the way up of one sandbox and, if it is re-made, its loss.
func (p *publisher) sandbox(i int) {
	s := &p.pod.Sandboxes[i]
	if i > 0 {
		before := p.now
		p.now.lastEnd, p.now.restarts = &before, p.now.restarts+1
		p.now.lastEnd.finished = p.pod.Sandboxes[i-1].sendTo + p.skew
		p.now.started, p.now.finished = 0, 0
	}
	if s.readySaid > 0 {
		p.now.isReady, p.now.ready = true, s.ready+p.skew
		p.put(s.readySaid, "MODIFIED")
	}
	if s.reported < s.sendTo {
		p.up(i)
		p.put(s.reported, "MODIFIED")
	}
	if s.lossSaid > 0 {
		p.now.isReady, p.now.ready = false, s.To+p.skew
		p.now.serving, p.now.servingAt = false, s.To+p.skew
		p.now.finished = s.sendTo + p.skew
		p.put(s.lossSaid, "MODIFIED")
	}
}

// up sets what is known once the containers of sandbox i run.
func (p *publisher) up(i int) {
	s := &p.pod.Sandboxes[i]
	p.now.phase, p.now.box = "Running", i
	p.now.started, p.now.finished = s.sendFrom+p.skew, 0
	p.now.serving, p.now.servingAt = true, s.reported+p.skew
}

// ending publishes how the containers and the sandbox went.
func (p *publisher) ending() {
	pod := p.pod
	i := len(pod.Sandboxes) - 1
	s := &pod.Sandboxes[i]
	p.up(i) // a job can be over before anything else was said of it
	p.now.finished = pod.finished + p.skew
	p.now.serving, p.now.servingAt = false, pod.finished+p.skew
	if pod.firstWord > 0 {
		p.put(pod.firstWord, "MODIFIED")
	}
	p.now.isReady, p.now.ready = false, s.To+p.skew+10
	p.now.phase = "Succeeded"
	if pod.failed {
		p.now.phase = "Failed"
	}
	if pod.terminal > 0 {
		p.put(pod.terminal, "MODIFIED")
	}
}

// deletion adds the API server's own part: the request, and the end of the object.
// What the kubelet says in between carries the deletion too.
func (p *publisher) deletion() []version {
	pod := p.pod
	var out []version
	asked := func(v version, at int64, eventType string, grace int64) version {
		v.at, v.eventType, v.generation, v.grace = at, eventType, 2, grace
		v.deletion = pod.asked + pod.grace*1000
		return v
	}
	done := pod.asked == 0
	for _, v := range p.out {
		if !done && v.at >= pod.asked {
			done = true
			if !pod.forced && pod.grace > 0 {
				out = append(out, asked(out[len(out)-1], pod.asked, "MODIFIED", pod.grace))
			}
		}
		if done && pod.asked > 0 {
			v = asked(v, v.at, v.eventType, pod.grace)
			v.observed = 2
		}
		if pod.deleted == 0 || v.at < pod.deleted {
			out = append(out, v)
		}
	}
	if pod.deleted > 0 {
		end := out[len(out)-1]
		if !pod.forced {
			out = append(out, asked(end, pod.deleted-2, "MODIFIED", 0))
		}
		out = append(out, asked(end, pod.deleted, "DELETED", 0))
	}
	return out
}

// publishAll lists all versions of all pods in true order, with their resource
// versions. The step between two is whatever else the cluster wrote.
func publishAll(cfg *Config, pods []*Pod, nics []NIC) []version {
	var out []version
	for _, p := range pods {
		out = append(out, publish(p, &nics[p.Node])...)
	}
	slices.SortStableFunc(out, func(a, b version) int { return cmp.Compare(a.at, b.at) })
	r := stream(cfg.Seed, "resource versions", 0)
	rv := uint64(100_000)
	for i := range out {
		rv += 1 + r.Uint64N(6)
		out[i].rv = rv
	}
	return out
}
