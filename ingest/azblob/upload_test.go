package azblob

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// An uploader sends one Put Blob on the condition that nothing is there, and takes a
// blob that is there for success.
func TestUploader(t *testing.T) {
	blobs := map[string]string{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		if r.Method != http.MethodPut || r.URL.Query().Get("comp") != "" || r.Header.Get("If-None-Match") != "*" || r.Header.Get("x-ms-blob-type") != "BlockBlob" {
			t.Errorf("request %s %s with If-None-Match %q", r.Method, r.URL, r.Header.Get("If-None-Match"))
		}
		if _, ok := blobs[r.URL.Path]; ok {
			w.Header().Set("x-ms-error-code", "BlobAlreadyExists")
			w.WriteHeader(http.StatusConflict)
			return
		}
		if strings.HasSuffix(r.URL.Path, "denied") {
			w.Header().Set("x-ms-error-code", "AuthorizationFailure")
			w.WriteHeader(http.StatusForbidden)
			return
		}
		blobs[r.URL.Path] = string(body)
		w.WriteHeader(http.StatusCreated)
	}))
	defer server.Close()
	for path, want := range map[string]string{
		"/devstoreaccount1/c":      "/devstoreaccount1/c/a/b.wpnb",
		"/devstoreaccount1/c/pre":  "/devstoreaccount1/c/pre/a/b.wpnb",
		"/devstoreaccount1/c/pre/": "/devstoreaccount1/c/pre/a/b.wpnb",
	} {
		clear(blobs)
		u, err := NewUploader(server.URL+path, func(string) string { return "" })
		if err != nil {
			t.Fatal(err)
		}
		for _, data := range []string{"first", "second"} {
			if err := u.Put(context.Background(), "a/b.wpnb", []byte(data)); err != nil {
				t.Errorf("%s: %v", path, err)
			}
		}
		if blobs[want] != "first" || len(blobs) != 1 {
			t.Errorf("%s: got %v, want the first at %s", path, blobs, want)
		}
		if err := u.Put(context.Background(), "denied", []byte("x")); err == nil || strings.Contains(err.Error(), "Eby8vdM0") {
			t.Errorf("denied: got %v", err)
		}
	}
}
