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
	"time"
)

// errGone says that a resource version is too old for the API server (410 Gone,
// https://kubernetes.io/docs/reference/using-api/api-concepts/#410-gone-responses).
var errGone = errors.New("resource version is too old")

// ForbiddenError says which right is missing. It is returned as a pointer.
type ForbiddenError struct {
	Verb, Resource string
	Message        string // the API server's
}

func (e *ForbiddenError) Error() string {
	return fmt.Sprintf("watch pods: the API server allows no %q on %q: %s", e.Verb, e.Resource, e.Message)
}

// Hint says what to do about it.
func (e *ForbiddenError) Hint() string {
	return fmt.Sprintf("a ClusterRole with the verbs list and watch on %s is needed", e.Resource)
}

// apiStatus is a Kubernetes Status object.
type apiStatus struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

// get asks for pods and returns the body of an answer that is 200.
func (w *Watcher) get(ctx context.Context, verb string, query url.Values) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.base+"/api/v1/pods?"+query.Encode(), nil)
	if err != nil {
		return nil, fmt.Errorf("%s pods: %w", verb, err)
	}
	req.Header.Set("Accept", "application/json")
	resp, err := w.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%s pods: %w", verb, err)
	}
	if resp.StatusCode == http.StatusOK {
		w.refused = time.Time{}
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
		return nil, &ForbiddenError{Verb: verb, Resource: "pods", Message: st.Message}
	default:
		return nil, fmt.Errorf("%s pods: the API server says %s: %s", verb, resp.Status, st.Message)
	}
}

// list takes in all pods, page by page, as one state of the API, and sets where the
// watch goes on.
func (w *Watcher) list(ctx context.Context) error {
	query := url.Values{"limit": {strconv.Itoa(w.cfg.PageSize)}}
	version := ""
	for page := 0; ; page++ {
		body, err := w.get(ctx, "list", query)
		if err != nil {
			return err // 410: the continue token is too old, and the list begins again
		}
		data, err := io.ReadAll(body)
		body.Close()
		if err != nil {
			return fmt.Errorf("list pods: %w", err)
		}
		var list struct {
			Metadata struct {
				ResourceVersion string `json:"resourceVersion"`
				Continue        string `json:"continue"`
			} `json:"metadata"`
		}
		if err := json.Unmarshal(data, &list); err != nil {
			return fmt.Errorf("list pods: %w", err)
		}
		if page == 0 {
			// Later pages show the same state. What came after it is still to be watched.
			version = list.Metadata.ResourceVersion
			at := w.stamp()
			w.record.BeginList(at, w.missedSince(at), version)
			w.alive = at
		}
		if err := w.written(w.record.ListPage(data)); err != nil {
			return err
		}
		if list.Metadata.Continue == "" {
			break
		}
		query.Set("continue", list.Metadata.Continue)
	}
	if err := w.written(w.record.EndList()); err != nil {
		return err
	}
	if err := w.written(w.record.Watched(w.alive, w.alive)); err != nil {
		return err // a stretch begins here, however soon we are stopped
	}
	w.version = version
	w.report(fmt.Sprintf("listed all pods at version %s", version))
	return w.flush()
}

// missedSince is until when the pods were watched before a list, or 0.
func (w *Watcher) missedSince(at int64) int64 {
	if w.alive != 0 {
		return w.alive
	}
	return w.ledger.WatchedUntil(w.cfg.Cluster, at)
}

// watchTimeout bounds one watch request, as client-go's do (5 to 10 minutes): the API
// server ends it, and the next one goes on from the same version.
const watchTimeout = 8 * time.Minute

// frame is a line of a watch.
type frame struct {
	Type   string          `json:"type"`
	Object json.RawMessage `json:"object"`
}

// catchUp is how long after a watch began its events may still be those of the time
// before: they come as fast as they can be sent. A bookmark says that they all came.
const catchUp = 5 * time.Second

// watch reads events until the watch ends, stalls, or the context does.
func (w *Watcher) watch(parent context.Context, wait *backoff) error {
	ctx, cancel := context.WithCancel(parent)
	defer cancel()
	stalled := time.AfterFunc(w.cfg.Stall, cancel)
	defer stalled.Stop()
	body, err := w.get(ctx, "watch", url.Values{
		"watch": {"1"}, "allowWatchBookmarks": {"true"}, "resourceVersion": {w.version},
		"timeoutSeconds": {strconv.Itoa(int(watchTimeout.Seconds()))},
	})
	if err != nil {
		return err
	}
	defer body.Close()
	began, frames := w.now(), 0
	for dec := json.NewDecoder(body); ; frames++ {
		var f frame
		err := dec.Decode(&f)
		switch {
		case err != nil && ctx.Err() != nil && parent.Err() == nil:
			return fmt.Errorf("watch pods: nothing came for %v", w.cfg.Stall)
		case errors.Is(err, io.EOF) && frames > 0:
			return nil // ended in order: the next request goes on
		case err != nil:
			return fmt.Errorf("watch pods: %w", err)
		}
		stalled.Reset(w.cfg.Stall)
		wait.reset()
		w.current = w.current && frames > 0 || f.Type == "BOOKMARK" || w.now().Sub(began) >= catchUp
		if err := w.event(&f); err != nil {
			return err
		}
	}
}

// event takes in one line of a watch.
func (w *Watcher) event(f *frame) error {
	at := w.stamp()
	var o struct {
		apiStatus
		Metadata struct {
			ResourceVersion string `json:"resourceVersion"`
		} `json:"metadata"`
	}
	if err := json.Unmarshal(f.Object, &o); err != nil {
		return fmt.Errorf("watch pods: %w", err)
	}
	switch f.Type {
	case "ERROR":
		if o.Code == http.StatusGone {
			return errGone
		}
		return fmt.Errorf("watch pods: the API server says %d: %s", o.Code, o.Message)
	case "ADDED", "MODIFIED", "DELETED":
		if err := w.written(w.record.Event(f.Object, at, f.Type == "DELETED")); err != nil {
			return err
		}
	}
	if o.Metadata.ResourceVersion != "" {
		w.version = o.Metadata.ResourceVersion
	}
	if !w.current {
		return w.due()
	}
	return w.seen(at)
}
