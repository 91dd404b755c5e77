package azblob

import (
	"net/http"
	"strconv"
	"sync"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
)

// Request is a kind of request with its outcome.
type Request struct {
	Kind    string // list, read or properties
	Outcome string // HTTP status, or "error" where there was no answer
}

// Requests counts what was sent until now, repeated requests each by itself.
func (s *Source) Requests() map[Request]int64 { return s.requests.counts() }

// requests counts, as a policy of the SDK that sees each try of a request.
type requests struct {
	mu sync.Mutex
	by map[Request]int64
}

// Do implements [policy.Policy].
func (r *requests) Do(req *policy.Request) (*http.Response, error) {
	raw := req.Raw()
	k := Request{Kind: "read", Outcome: "error"}
	switch {
	case raw.Method == http.MethodHead:
		k.Kind = "properties"
	case raw.URL.Query().Get("comp") == "list":
		k.Kind = "list"
	}
	resp, err := req.Next()
	if err == nil {
		k.Outcome = strconv.Itoa(resp.StatusCode)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.by == nil {
		r.by = make(map[Request]int64)
	}
	r.by[k]++
	return resp, err
}

func (r *requests) counts() map[Request]int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make(map[Request]int64, len(r.by))
	for k, n := range r.by {
		out[k] = n
	}
	return out
}
