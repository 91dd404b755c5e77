package azblob

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// vault answers Put Block, Put Block List, Get Block List, Get Blob, Get Blob Properties
// and Get Container Properties as the service documents them, and fails the test on
// any other request. It knows immutability, which Azurite does not.
type vault struct {
	t      *testing.T
	server *httptest.Server

	mu       sync.Mutex
	staged   map[string]map[string][]byte // by blob and block
	blobs    map[string][]byte
	headers  map[string]http.Header // of the request that made the blob
	supports bool                   // version-level immutability
	knows    bool                   // the headers of a hold
	put      []string               // blocks that were sent, in order
	fault    func(kind string) fault
}

// fault is what happens to a request: nothing, an answer instead, the connection cut
// before the body was read, or cut after the request was carried out.
type fault struct {
	status       int
	code         string
	before, lost bool
}

func newVault(t *testing.T) *vault {
	v := &vault{t: t, staged: map[string]map[string][]byte{}, blobs: map[string][]byte{}, headers: map[string]http.Header{}, supports: true, knows: true, fault: func(string) fault { return fault{} }}
	v.server = httptest.NewServer(v)
	t.Cleanup(v.server.Close)
	return v
}

func (v *vault) store(hold Hold) *Store {
	v.t.Helper()
	s, err := NewStore(v.server.URL+"/devstoreaccount1/evidence/prod", hold, func(string) string { return "" })
	if err != nil {
		v.t.Fatal(err)
	}
	return s
}

func (v *vault) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	kind := r.Method + " " + r.URL.Query().Get("comp") + r.URL.Query().Get("restype")
	v.mu.Lock()
	defer v.mu.Unlock()
	f := v.fault(kind)
	if f.before { // in the middle of the body
		_, _ = io.CopyN(io.Discard, r.Body, r.ContentLength/2)
		panic(http.ErrAbortHandler)
	}
	if f.status != 0 {
		w.Header().Set("x-ms-error-code", f.code)
		w.WriteHeader(f.status)
		return
	}
	name, ok := strings.CutPrefix(r.URL.Path, "/devstoreaccount1/evidence/prod/")
	if !ok && kind != "GET container" {
		v.t.Errorf("request %s %s", r.Method, r.URL)
	}
	var answer func(http.ResponseWriter, *http.Request, string)
	switch kind {
	case "PUT block":
		answer = v.putBlock
	case "PUT blocklist":
		answer = v.putList
	case "GET blocklist":
		answer = v.getList
	case "GET ":
		answer = v.get
	case "HEAD ":
		answer = v.head
	case "GET container":
		answer = func(w http.ResponseWriter, _ *http.Request, _ string) {
			w.Header().Set("x-ms-immutable-storage-with-versioning-enabled", strconv.FormatBool(v.supports))
		}
	default:
		v.t.Errorf("request %s %s: a store must not send it", r.Method, r.URL)
		return
	}
	if f.lost {
		answer(httptest.NewRecorder(), r, name)
		panic(http.ErrAbortHandler)
	}
	answer(w, r, name)
}

func (v *vault) putBlock(w http.ResponseWriter, r *http.Request, name string) {
	data, err := io.ReadAll(r.Body)
	if err != nil || r.Header.Get("x-ms-content-crc64") == "" {
		v.t.Errorf("block of %q: error %v, CRC-64 %q", name, err, r.Header.Get("x-ms-content-crc64"))
	}
	if v.staged[name] == nil {
		v.staged[name] = map[string][]byte{}
	}
	id := r.URL.Query().Get("blockid")
	v.staged[name][id] = data
	v.put = append(v.put, id)
	w.WriteHeader(http.StatusCreated)
}

func (v *vault) putList(w http.ResponseWriter, r *http.Request, name string) {
	var list struct{ Latest, Uncommitted []string }
	if err := xml.NewDecoder(r.Body).Decode(&list); err != nil || r.Header.Get("If-None-Match") != "*" {
		v.t.Errorf("block list: error %v, If-None-Match %q", err, r.Header.Get("If-None-Match"))
	}
	if _, ok := v.blobs[name]; ok {
		w.Header().Set("x-ms-error-code", "BlobAlreadyExists")
		w.WriteHeader(http.StatusConflict)
		return
	}
	data := []byte{}
	for _, id := range append(list.Latest, list.Uncommitted...) {
		data = append(data, v.staged[name][id]...)
	}
	v.blobs[name], v.headers[name] = data, r.Header.Clone()
	delete(v.staged, name)
	w.WriteHeader(http.StatusCreated)
}

func (v *vault) getList(w http.ResponseWriter, r *http.Request, name string) {
	if r.URL.Query().Get("blocklisttype") != "uncommitted" {
		v.t.Errorf("request %s", r.URL)
	}
	if v.staged[name] == nil {
		w.Header().Set("x-ms-error-code", "BlobNotFound")
		w.WriteHeader(http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", "application/xml")
	fmt.Fprint(w, "<BlockList><UncommittedBlocks>")
	for id, data := range v.staged[name] {
		fmt.Fprintf(w, "<Block><Name>%s</Name><Size>%d</Size></Block>", id, len(data))
	}
	fmt.Fprint(w, "</UncommittedBlocks></BlockList>")
}

func (v *vault) get(w http.ResponseWriter, r *http.Request, name string) {
	data, ok := v.blobs[name]
	if !ok {
		w.Header().Set("x-ms-error-code", "BlobNotFound")
		w.WriteHeader(http.StatusNotFound)
		return
	}
	if r.Header.Get("x-ms-range") != "" {
		r.Header.Set("Range", r.Header.Get("x-ms-range"))
	}
	w.Header().Set("ETag", fmt.Sprintf(`"%x"`, len(data)))
	if len(data) == 0 {
		w.Header().Set("x-ms-error-code", "InvalidRange")
		w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
		return
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
}

func (v *vault) head(w http.ResponseWriter, _ *http.Request, name string) {
	if v.knows {
		for _, h := range []string{"x-ms-immutability-policy-until-date", "x-ms-immutability-policy-mode", "x-ms-legal-hold"} {
			if value := v.headers[name].Get(h); value != "" {
				w.Header().Set(h, value)
			}
		}
	}
	w.WriteHeader(http.StatusOK)
}

// content is some bytes that are the same each time, of three blocks and a piece.
func content() []byte {
	r, data := rand.NewChaCha8([32]byte{4}), make([]byte, 3*blockSize+1000)
	_, _ = r.Read(data)
	return data
}

func readAll(t *testing.T, s *Store, name string) []byte {
	t.Helper()
	in, err := s.Open(context.Background(), name)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	data, err := io.ReadAll(in)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// A blob is what was given, and a second one of its name changes nothing.
func TestStore(t *testing.T) {
	v := newVault(t)
	s := v.store(Hold{})
	for name, data := range map[string][]byte{"000001.tar": content(), "000002.tar": []byte("x"), "000003.tar": {}} {
		if err := s.Put(context.Background(), name, "bundle.tar", bytes.NewReader(data)); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(readAll(t, s, name), data) {
			t.Errorf("%s: read other bytes", name)
		}
		if err := s.Put(context.Background(), name, "bundle.tar", strings.NewReader("y")); !errors.Is(err, fs.ErrExist) {
			t.Errorf("again: got %v", err)
		}
		if !bytes.Equal(v.blobs[name], data) {
			t.Errorf("%s: was overwritten", name)
		}
	}
	h := v.headers["000001.tar"]
	if h.Get("x-ms-blob-content-disposition") != `attachment; filename="bundle.tar"` || h.Get("x-ms-legal-hold") != "" || h.Get("x-ms-immutability-policy-until-date") != "" {
		t.Errorf("headers: %v", h)
	}
	if _, err := s.Open(context.Background(), "none.tar"); err == nil || !strings.Contains(err.Error(), "gone") {
		t.Errorf("none: got %v", err)
	}
}

// An upload that was cut goes on where it was: no block is sent that is there.
func TestStoreResumes(t *testing.T) {
	v, data := newVault(t), content()
	s := v.store(Hold{})
	cut := io.MultiReader(bytes.NewReader(data[:2*blockSize+77]), errReader{})
	if err := s.Put(context.Background(), "a.tar", "a.tar", cut); !errors.Is(err, errCut) {
		t.Fatalf("got %v", err)
	}
	if len(v.blobs) > 0 || len(v.put) != 2 {
		t.Fatalf("after a cut: %d blobs, %d blocks", len(v.blobs), len(v.put))
	}
	if err := s.Put(context.Background(), "a.tar", "a.tar", bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	if len(v.put) != 4 || !bytes.Equal(v.blobs["a.tar"], data) {
		t.Errorf("%d blocks were sent, want 4 in all", len(v.put))
	}
	// Blocks of other bytes at the same place are not taken for these.
	changed := bytes.Clone(data)
	changed[10]++
	v.staged["b.tar"] = map[string][]byte{}
	for i := range 4 {
		part := changed[i*blockSize : min(len(data), (i+1)*blockSize)]
		v.staged["b.tar"][blockID(i, part)] = part
	}
	if err := s.Put(context.Background(), "b.tar", "b.tar", bytes.NewReader(data)); err != nil || !bytes.Equal(v.blobs["b.tar"], data) || len(v.put) != 5 {
		t.Errorf("error %v, %d blocks", err, len(v.put))
	}
	for _, id := range v.put {
		if raw, err := base64.StdEncoding.DecodeString(id); err != nil || len(raw) != 36 {
			t.Errorf("block %q: all have one length, of at most 64 bytes", id)
		}
	}
}

var errCut = errors.New("cut")

type errReader struct{}

func (errReader) Read([]byte) (int, error) { return 0, errCut }

// Faults on the way, each kind at each request: what arrives is whole, or not there.
func TestStoreFaults(t *testing.T) {
	t.Parallel()
	data := content()
	for _, f := range []fault{{status: 503, code: "ServerBusy"}, {status: 500, code: "InternalError"}, {before: true}, {lost: true}} {
		for at := range 6 { // block list, four blocks, commit
			v := newVault(t)
			n := 0
			v.fault = func(string) fault {
				n++
				if n == at+1 {
					return f
				}
				return fault{}
			}
			err := v.store(Hold{}).Put(context.Background(), "a.tar", "a.tar", bytes.NewReader(data))
			lostCommit := f.lost && at == 5 // the try again finds its own blob: the caller looks
			if lostCommit && !errors.Is(err, fs.ErrExist) || !lostCommit && err != nil {
				t.Errorf("%+v at %d: got %v", f, at, err)
			}
			if n <= 6 || !bytes.Equal(v.blobs["a.tar"], data) {
				t.Errorf("%+v at %d: %d requests, %d bytes", f, at, n, len(v.blobs["a.tar"]))
			}
		}
	}
}

// A hold comes with the blob, in one request. What cannot be held is said before
// anything is written, or where that may not be asked, after.
func TestHold(t *testing.T) {
	v := newVault(t)
	hold := Hold{Retain: 90 * 24 * time.Hour, Locked: true, Legal: true}
	s := v.store(hold)
	s.now = func() time.Time { return time.Date(2090, 1, 1, 0, 0, 0, 0, time.UTC) }
	ctx := context.Background()
	if err := errors.Join(s.Check(ctx), s.Put(ctx, "a.tar", "a.tar", strings.NewReader("x"))); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, h := range []string{"x-ms-immutability-policy-until-date", "x-ms-immutability-policy-mode", "x-ms-legal-hold"} {
		got[h] = v.headers["a.tar"].Get(h)
	}
	want := map[string]string{"x-ms-immutability-policy-until-date": "Sat, 01 Apr 2090 00:00:00 GMT", "x-ms-immutability-policy-mode": "Locked", "x-ms-legal-hold": "true"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	v.supports = false
	var unheld *UnheldError
	if err := s.Check(ctx); !errors.As(err, &unheld) || !strings.Contains(unheld.Hint(), "--retain") {
		t.Errorf("unsupported: got %v", err)
	}
	v.fault = func(kind string) fault {
		if kind == "GET container" {
			return fault{status: 403, code: "AuthorizationPermissionMismatch"}
		}
		return fault{}
	}
	if err := s.Check(ctx); err != nil {
		t.Errorf("one that may not be asked: got %v", err)
	}
	v.knows = false
	if err := s.Put(ctx, "b.tar", "b.tar", strings.NewReader("x")); !errors.As(err, &unheld) {
		t.Errorf("passed over: got %v", err)
	}
	if err := v.store(Hold{}).Check(ctx); err != nil {
		t.Errorf("no hold: got %v", err)
	}
}

// Who may not write is told which rights that takes, and no secret is shown.
func TestStoreDenied(t *testing.T) {
	v := newVault(t)
	v.fault = func(kind string) fault {
		if kind == "PUT block" {
			return fault{status: 403, code: "AuthorizationPermissionMismatch"}
		}
		return fault{}
	}
	for _, tc := range []struct {
		hold Hold
		want string
	}{{Hold{}, "Storage Blob Data Contributor"}, {Hold{Legal: true}, "Storage Blob Data Owner"}} {
		s, err := NewStore(v.server.URL+"/devstoreaccount1/evidence/prod?sv=1&sig=SECRET", tc.hold, func(string) string { return "" })
		if err != nil {
			t.Fatal(err)
		}
		err = s.Put(context.Background(), "a.tar", "a.tar", strings.NewReader("x"))
		var e *Error
		if !errors.As(err, &e) || !e.Denied || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("got %v, want %s", err, tc.want)
		}
	}
	if _, err := NewStore("http://h/account", Hold{}, func(string) string { return "c2VjcmV0" }); err == nil {
		t.Error("an account without a container is no store")
	}
}
