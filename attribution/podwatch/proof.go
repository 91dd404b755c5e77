package podwatch

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"sync"
	"time"
)

// proof is an answer to the question how far the API is. Whatever changed before the
// question was asked bears this version or a lower one, and a watch shows changes in
// their order: once it has shown this version, all of that was seen, however long
// events were under way. That versions can be compared is promised since Kubernetes
// 1.35 (KEP-5504); etcd's always could.
type proof struct {
	at      int64 // when the question was asked, Unix milliseconds
	version uint64
}

// proofs are those that a watch has yet to fulfil, at most mostProofs.
type proofs struct {
	mu   sync.Mutex
	list []proof
}

// mostProofs is half an hour of them: no watch is further behind.
const mostProofs = 1000

func (p *proofs) add(x proof) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.list) < mostProofs {
		p.list = append(p.list, x)
	}
}

// fulfil takes out the proofs that a version fulfils, and returns until when all that
// changed was seen then; 0 is unknown.
func (p *proofs) fulfil(version uint64) (until int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	kept := p.list[:0]
	for _, x := range p.list {
		if x.version <= version {
			until = max(until, x.at)
		} else {
			kept = append(kept, x)
		}
	}
	p.list = kept
	return until
}

// prove collects proofs until the context ends. One that can not be had is missing:
// the next one covers its time too.
func (r *reflector) prove(ctx context.Context, p *proofs) {
	tick := time.NewTicker(r.cfg.ProveEvery)
	defer tick.Stop()
	for {
		at := r.now().UnixMilli()
		if version, err := r.stands(ctx); err == nil && version != 0 {
			p.add(proof{at, version})
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// stands asks at which version the API is: a list shows it, however short.
func (r *reflector) stands(ctx context.Context) (uint64, error) {
	body, err := r.ask(ctx, "list", url.Values{"limit": {"1"}})
	if err != nil {
		return 0, err
	}
	defer body.Close()
	var list struct {
		Metadata struct {
			ResourceVersion string `json:"resourceVersion"`
		} `json:"metadata"`
	}
	if err := json.NewDecoder(body).Decode(&list); err != nil {
		return 0, fmt.Errorf("list %s: %w", r, err)
	}
	return number(list.Metadata.ResourceVersion), nil
}

// number is a resource version as one, or 0.
func number(version string) uint64 {
	v, err := strconv.ParseUint(version, 10, 64)
	if err != nil {
		return 0
	}
	return v
}
