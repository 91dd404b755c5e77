//go:build e2e

package kube

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// Request is one write to the API, or a read.
type Request struct {
	Method, Path string
	Kind         string // the media type of the body; empty is JSON
	Body         any
	User         string // empty is admin
}

// StatusError is an answer that is no success.
type StatusError struct {
	Code int
	Text string
}

func (e *StatusError) Error() string {
	return fmt.Sprintf("the API server says %d: %s", e.Code, e.Text)
}

// IsStatus says whether an error is an answer with this code.
func IsStatus(err error, code int) bool {
	var s *StatusError
	return errors.As(err, &s) && s.Code == code
}

// Once sends a request and reads the answer into out, which may be nil.
func (c *ControlPlane) Once(ctx context.Context, r Request, out any) error {
	body, err := json.Marshal(r.Body)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, r.Method, c.url(c.port)+r.Path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	user, kind := r.User, r.Kind
	if user == "" {
		user = "admin"
	}
	if kind == "" {
		kind = "application/json"
	}
	req.Header.Set("Authorization", "Bearer "+token(user))
	req.Header.Set("Content-Type", kind)
	resp, err := c.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode >= 300 {
		return &StatusError{resp.StatusCode, string(data)}
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(data, out)
}

// Send repeats a request until the API server, which may be away, has decided it. What is
// there when it is to be made again, or gone when it is to be removed again, an earlier
// try made or removed, whose answer was lost; who wants that answer gets the error.
func (c *ControlPlane) Send(ctx context.Context, r Request, out any) error {
	for again := false; ; again = true {
		err := c.Once(ctx, r, out)
		done := map[string]int{http.MethodPost: http.StatusConflict, http.MethodDelete: http.StatusNotFound}[r.Method]
		if again && out == nil && done != 0 && IsStatus(err, done) {
			return nil
		}
		var s *StatusError
		if err == nil || ctx.Err() != nil || (errors.As(err, &s) && s.Code < 500 && s.Code != http.StatusTooManyRequests) {
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
		}
	}
}
