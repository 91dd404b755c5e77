package podwatch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"
)

// errGone says that a resource version is too old for the API server (410 Gone,
// https://kubernetes.io/docs/reference/using-api/api-concepts/#410-gone-responses).
var errGone = errors.New("resource version is too old")

// ForbiddenError says which right is missing. It is returned as a pointer.
type ForbiddenError struct {
	Verb, Resource string
	Namespace      string // empty: all
	Message        string // the API server's
}

func (e *ForbiddenError) Error() string {
	where := ""
	if e.Namespace != "" {
		where = fmt.Sprintf(" in namespace %q", e.Namespace)
	}
	return fmt.Sprintf("watch %s: the API server allows no %q on %q%s: %s", e.Resource, e.Verb, e.Resource, where, e.Message)
}

// Hint says what to do about it.
func (e *ForbiddenError) Hint() string {
	if e.Namespace != "" {
		return fmt.Sprintf("a Role in %s with the verbs list and watch on %s is needed: deploy/watch.yaml has it", e.Namespace, e.Resource)
	}
	return fmt.Sprintf("a ClusterRole with the verbs list and watch on %s is needed: deploy/watch.yaml has it", e.Resource)
}

// MissingError says that the API server does not have a kind of objects: the cluster
// has no such CustomResourceDefinition. It is returned as a pointer.
type MissingError struct{ Resource, Group string }

func (e *MissingError) Error() string {
	return fmt.Sprintf("watch %s: the API server has no such kind in the group %q", e.Resource, e.Group)
}

// apiStatus is a Kubernetes Status object.
type apiStatus struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

// get is ask, for which no right is missing any more once it goes through.
func (r *reflector) get(ctx context.Context, verb string, query url.Values) (io.ReadCloser, error) {
	body, err := r.ask(ctx, verb, query)
	if err == nil {
		r.refused = time.Time{}
	}
	return body, err
}

// ask asks for the objects and returns the body of an answer that is 200. Several
// goroutines may call it at once.
func (r *reflector) ask(ctx context.Context, verb string, query url.Values) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.base+r.path+"?"+query.Encode(), nil)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", verb, r, err)
	}
	req.Header.Set("Accept", "application/json")
	resp, err := r.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", verb, r, err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp.Body, nil
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<16))
	st := apiStatus{Message: string(body)}
	_ = json.Unmarshal(body, &st) // a proxy's answer is no Status: then it is shown as it is
	switch resp.StatusCode {
	case http.StatusGone:
		return nil, errGone
	case http.StatusUnauthorized, http.StatusForbidden:
		return nil, &ForbiddenError{Verb: verb, Resource: r.String(), Namespace: r.namespace, Message: st.Message}
	case http.StatusNotFound:
		if r.group != "" {
			return nil, &MissingError{Resource: r.String(), Group: r.group}
		}
	}
	return nil, fmt.Errorf("%s %s: the API server says %s: %s", verb, r, resp.Status, st.Message)
}

// list takes in all objects, page by page, as one state of the API, and sets where the
// watch goes on.
func (r *reflector) list(ctx context.Context) error {
	query := url.Values{"limit": {strconv.Itoa(r.cfg.PageSize)}}
	version, at, asked := "", int64(0), r.now().UnixMilli()
	for page := 0; ; page++ {
		body, err := r.get(ctx, "list", query)
		if err != nil {
			return err // 410: the continue token is too old, and the list begins again
		}
		data, err := io.ReadAll(body)
		body.Close()
		if err != nil {
			return fmt.Errorf("list %s: %w", r, err)
		}
		var list struct {
			Metadata struct {
				ResourceVersion string `json:"resourceVersion"`
				Continue        string `json:"continue"`
			} `json:"metadata"`
		}
		if err := json.Unmarshal(data, &list); err != nil {
			return fmt.Errorf("list %s: %w", r, err)
		}
		if page == 0 {
			// Later pages show the same state. What came after it is still to be watched.
			version = list.Metadata.ResourceVersion
			if err := r.tell(); err != nil {
				return err // until the watch broke off
			}
			at = r.stamp()
			r.record.BeginList(at, r.missedSince(at), version)
		}
		if err := r.written(r.record.ListPage(data)); err != nil {
			return err
		}
		if list.Metadata.Continue == "" {
			break
		}
		query.Set("continue", list.Metadata.Continue)
	}
	if err := r.written(r.record.EndList()); err != nil {
		return err
	}
	if err := r.written(r.record.Watched(at, at)); err != nil {
		return err // a stretch begins here, however soon we are stopped
	}
	r.version, r.alive, r.told, r.seen = version, at, at, asked
	r.report(fmt.Sprintf("listed all %s at version %s", r, version))
	return r.flush()
}

// missedSince is until when all was watched before a list, or 0.
func (r *reflector) missedSince(at int64) int64 {
	if r.alive != 0 {
		return r.alive
	}
	return r.ledger.KindWatchedUntil(r.cfg.Cluster, r.kind, at)
}

// watchTimeout bounds one watch request, as client-go's do (5 to 10 minutes): the API
// server ends it, and the next one goes on from the same version.
const watchTimeout = 8 * time.Minute

// frame is a line of a watch.
type frame struct {
	Type   string          `json:"type"`
	Object json.RawMessage `json:"object"`
}

// underWay is how long a bookmark can have been under way. It is needed where the API
// server's bookmarks lag behind what it answers to questions: then they fulfil no
// proof, and in a cluster in which nothing happens, nothing else does.
const underWay = time.Minute

// watch reads events until the watch ends, stalls, or the context does.
func (r *reflector) watch(parent context.Context, wait *backoff) error {
	ctx, cancel := context.WithCancel(parent)
	defer cancel()
	stalled := time.AfterFunc(r.cfg.Stall, cancel)
	defer stalled.Stop()
	body, err := r.get(ctx, "watch", url.Values{
		"watch": {"1"}, "allowWatchBookmarks": {"true"}, "resourceVersion": {r.version},
		"timeoutSeconds": {strconv.Itoa(int(watchTimeout.Seconds()))},
	})
	if err != nil {
		return err
	}
	defer body.Close()
	var open proofs
	var proving sync.WaitGroup
	proving.Go(func() { r.prove(ctx, &open) })
	defer func() { cancel(); proving.Wait() }()
	frames := 0
	for dec := json.NewDecoder(body); ; frames++ {
		var f frame
		err := dec.Decode(&f)
		switch {
		case err != nil && ctx.Err() != nil && parent.Err() == nil:
			return fmt.Errorf("watch %s: nothing came for %v", r, r.cfg.Stall)
		case errors.Is(err, io.EOF) && frames > 0:
			return nil // ended in order: the next request goes on
		case err != nil:
			return fmt.Errorf("watch %s: %w", r, err)
		}
		stalled.Reset(r.cfg.Stall)
		wait.reset()
		if err := r.event(&f, &open); err != nil {
			return err
		}
	}
}

// event takes in one line of a watch, and what it proves.
func (r *reflector) event(f *frame, open *proofs) error {
	at := r.stamp()
	var o struct {
		apiStatus
		Metadata struct {
			ResourceVersion string `json:"resourceVersion"`
		} `json:"metadata"`
	}
	if err := json.Unmarshal(f.Object, &o); err != nil {
		return fmt.Errorf("watch %s: %w", r, err)
	}
	switch f.Type {
	case "ERROR":
		if o.Code == http.StatusGone {
			return errGone
		}
		return fmt.Errorf("watch %s: the API server says %d: %s", r, o.Code, o.Message)
	case "ADDED", "MODIFIED", "DELETED":
		if err := r.written(r.record.Event(f.Object, at, r.seen, f.Type == "DELETED")); err != nil {
			return err
		}
	}
	if o.Metadata.ResourceVersion != "" {
		r.version = o.Metadata.ResourceVersion
	}
	until := open.fulfil(number(o.Metadata.ResourceVersion))
	if f.Type == "BOOKMARK" {
		until = max(until, at-underWay.Milliseconds())
	}
	r.alive, r.seen = max(r.alive, until), max(r.seen, until)
	return r.due()
}
