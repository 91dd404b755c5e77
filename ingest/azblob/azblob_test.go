package azblob

import (
	"context"
	"crypto/sha256"
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sort"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/google/go-cmp/cmp"

	"github.com/whichpod/whichpod/ingest"
	"github.com/whichpod/whichpod/ingest/sourcetest"
)

// fake answers List Blobs, Get Blob and Get Blob Properties as the service documents
// them (learn.microsoft.com/rest/api/storageservices), two blobs a page. It fails
// the test on any other request: a source only reads.
type fake struct {
	t      *testing.T
	server *httptest.Server

	mu     sync.Mutex
	blobs  map[string][]byte
	puts   int
	etags  map[string]string
	deny   int           // answer everything with this status, where set
	code   string        // and this code
	break1 bool          // cut the next body short
	listed []string      // prefixes
	stuck  chan struct{} // where set, a body stops in its middle until it is closed
}

func newFake(t *testing.T) *fake {
	f := &fake{t: t, blobs: map[string][]byte{}, etags: map[string]string{}}
	f.server = httptest.NewServer(f)
	t.Cleanup(f.server.Close)
	return f
}

func (f *fake) Put(_ *testing.T, name string, content []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.puts++
	f.blobs[name], f.etags[name] = content, fmt.Sprintf("0x8DC%d%x", f.puts, sha256.Sum256(content))
}

func (f *fake) Remove(_ *testing.T, name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.blobs, name)
}

func (f *fake) Source(t *testing.T) ingest.Source {
	t.Helper()
	return f.open(t, "/devstoreaccount1/insights-logs-flowlogflowevent")
}

func (f *fake) open(t *testing.T, path string) *Source {
	t.Helper()
	s, err := New(f.server.URL+path, func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	const root = "/devstoreaccount1/insights-logs-flowlogflowevent"
	name, ok := strings.CutPrefix(r.URL.Path, root)
	if r.URL.Query().Get("comp") == "list" {
		f.listed = append(f.listed, r.URL.Query().Get("prefix"))
	}
	switch {
	case r.Method == http.MethodGet && r.URL.Path == "/devstoreaccount1/" && r.URL.Query().Get("comp") == "list":
		f.listContainers(w)
	case f.deny != 0:
		w.Header().Set("x-ms-error-code", f.code)
		w.WriteHeader(f.deny)
	case !ok:
		w.Header().Set("x-ms-error-code", "ContainerNotFound")
		w.WriteHeader(http.StatusNotFound)
	case r.Method == http.MethodGet && name == "" && r.URL.Query().Get("comp") == "list":
		f.list(w, r.URL.Query())
	case (r.Method == http.MethodGet || r.Method == http.MethodHead) && name != "" && r.URL.Query().Get("comp") == "":
		f.get(w, r, strings.TrimPrefix(name, "/"))
	default:
		f.t.Errorf("request %s %s: a source must not send it", r.Method, r.URL)
		w.WriteHeader(http.StatusMethodNotAllowed)
	}
}

type listedBlob struct {
	Name       string
	Properties struct {
		LastModified  string `xml:"Last-Modified"`
		Etag          string
		ContentLength int `xml:"Content-Length"`
		BlobType      string
	}
}

func (f *fake) list(w http.ResponseWriter, q url.Values) {
	var names []string
	for n := range f.blobs {
		if strings.HasPrefix(n, q.Get("prefix")) && n >= q.Get("marker") {
			names = append(names, n)
		}
	}
	sort.Strings(names)
	var page struct {
		XMLName    xml.Name                `xml:"EnumerationResults"`
		Blobs      []listedBlob            `xml:"Blobs>Blob"`
		Prefixes   []struct{ Name string } `xml:"Blobs>BlobPrefix"`
		NextMarker string
	}
	for i, n := range names {
		if below, _, deeper := strings.Cut(n[len(q.Get("prefix")):], "/"); deeper && q.Get("delimiter") == "/" {
			if p := q.Get("prefix") + below + "/"; len(page.Prefixes) == 0 || page.Prefixes[len(page.Prefixes)-1].Name != p {
				page.Prefixes = append(page.Prefixes, struct{ Name string }{p})
			}
			continue
		}
		if i == 2 && q.Get("delimiter") == "" {
			page.NextMarker = n
			break
		}
		b := listedBlob{Name: n}
		b.Properties.LastModified = time.Now().UTC().Format(http.TimeFormat)
		b.Properties.Etag, b.Properties.ContentLength, b.Properties.BlobType = f.etags[n], len(f.blobs[n]), "BlockBlob"
		page.Blobs = append(page.Blobs, b)
	}
	w.Header().Set("Content-Type", "application/xml")
	if err := xml.NewEncoder(w).Encode(page); err != nil {
		f.t.Error(err)
	}
}

// listContainers answers with the one container and others of its account.
func (f *fake) listContainers(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/xml")
	fmt.Fprint(w, `<EnumerationResults><Containers><Container><Name>insights-logs-flowlogflowevent</Name></Container>`+
		`<Container><Name>insights-logs-kube-audit</Name></Container></Containers></EnumerationResults>`)
}

func (f *fake) get(w http.ResponseWriter, r *http.Request, name string) {
	body, ok := f.blobs[name]
	etag := `"` + f.etags[name] + `"`
	switch match := r.Header.Get("If-Match"); {
	case match == "":
		f.t.Errorf("read of %q without If-Match", name)
	case !ok:
		w.Header().Set("x-ms-error-code", "BlobNotFound")
		w.WriteHeader(http.StatusNotFound)
		return
	case match != etag:
		w.Header().Set("x-ms-error-code", "ConditionNotMet")
		w.WriteHeader(http.StatusPreconditionFailed)
		return
	}
	lo, hi, status := 0, len(body), http.StatusOK
	for _, h := range []string{"x-ms-range", "Range"} {
		if v := r.Header.Get(h); v != "" {
			from, to, _ := strings.Cut(strings.TrimPrefix(v, "bytes="), "-")
			lo, _ = strconv.Atoi(from)
			if n, err := strconv.Atoi(to); err == nil {
				hi = min(hi, n+1)
			}
			status = http.StatusPartialContent
			break
		}
	}
	if lo > 0 && lo >= len(body) {
		w.Header().Set("x-ms-error-code", "InvalidRange")
		w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
		return
	}
	w.Header().Set("ETag", etag)
	w.Header().Set("Content-Length", strconv.Itoa(hi-lo))
	w.WriteHeader(status)
	if r.Method == http.MethodHead {
		return
	}
	if f.stuck != nil {
		w.Write(body[lo : lo+(hi-lo)/2])
		w.(http.Flusher).Flush()
		f.mu.Unlock()
		<-f.stuck
		f.mu.Lock()
		return
	}
	if f.break1 {
		f.break1 = false
		hi = lo + (hi-lo)/2 // the server closes the connection after this
	}
	if _, err := w.Write(body[lo:hi]); err != nil {
		f.t.Log(err)
	}
}

func TestConformance(t *testing.T) {
	sourcetest.Test(t, func(t *testing.T) sourcetest.Store { return newFake(t) })
}

// A connection that breaks is taken up again where it broke, under the same ETag.
func TestBrokenConnection(t *testing.T) {
	f := newFake(t)
	f.Put(t, sourcetest.Name(1), []byte(sourcetest.Blob(sourcetest.Record(0, 1000))))
	f.break1 = true
	sink := sourcetest.NewSink(t)
	if sum := sourcetest.Run(t, f.Source(t), sink); sum.Rows != 1000 || len(sum.Skipped) > 0 {
		t.Errorf("%+v", sum)
	}
}

// A connection that says nothing any more ends with an error.
func TestStalledConnection(t *testing.T) {
	f := newFake(t)
	f.Put(t, sourcetest.Name(1), []byte(sourcetest.Blob(sourcetest.Record(0, 1000))))
	f.stuck = make(chan struct{})
	defer close(f.stuck)
	p, query, err := parseURL(f.server.URL + "/devstoreaccount1/insights-logs-flowlogflowevent")
	if err != nil {
		t.Fatal(err)
	}
	src, err := open(p, query, func(string) string { return "" }, 100*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	sum, err := ingest.Run(context.Background(), src, sourcetest.NewSink(t), ingest.Options{})
	if err != nil || len(sum.Skipped) != 1 || !strings.HasSuffix(sum.Skipped[0].Reason, "no byte came within 100ms") {
		t.Errorf("%+v, error %v", sum, err)
	}
}

func TestPrefix(t *testing.T) {
	f := newFake(t)
	for i := range 3 {
		f.Put(t, sourcetest.Name(i), []byte("{}"))
	}
	name := sourcetest.Name(1)
	for prefix, want := range map[string][]string{
		"/":                        {sourcetest.Name(0), name, sourcetest.Name(2)},
		"/flowLogResourceID=":      {sourcetest.Name(0), name, sourcetest.Name(2)},
		"/" + name[:len(name)-10]:  {name}, // inside the blob's own path
		"/" + url.PathEscape(name): {name},
		"/resourceId=":             nil,
	} {
		var got []string
		err := f.open(t, "/devstoreaccount1/insights-logs-flowlogflowevent"+prefix).List(context.Background(), ingest.Hours{}, func(b ingest.Blob) error {
			got = append(got, b.Name)
			return nil
		})
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("prefix %q: error %v (-want +got):\n%s", prefix, err, diff)
		}
	}
}

// Of an account, the containers of flow logs are read, and blobs have the names that
// they have when their container is.
func TestAccount(t *testing.T) {
	f := newFake(t)
	f.Put(t, sourcetest.Name(1), []byte(sourcetest.Blob(sourcetest.Record(0, 10))))
	f.Put(t, "whichpod-nat/node/a.json", []byte("{}"))
	src, sink := f.open(t, "/devstoreaccount1"), sourcetest.NewSink(t)
	if sum := sourcetest.Run(t, src, sink); sum.Rows != 10 || sum.Listed != 1 || len(sink.Rows(sourcetest.Name(1))) != 10 {
		t.Errorf("%+v", sum)
	}
	want := map[Request]int64{{"list", "200"}: 2, {"read", "206"}: 1}
	if diff := cmp.Diff(want, src.Requests()); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}

// Where hours are asked for, no others are listed.
func TestHours(t *testing.T) {
	f := newFake(t)
	name := func(d, h, nic int) string {
		return fmt.Sprintf("flowLogResourceID=/A/B/y=2026/m=08/d=%02d/h=%02d/m=00/macAddress=000D3A1B2C%02d/PT1H.json", d, h, nic)
	}
	for d := range 3 {
		for h := range 24 {
			f.Put(t, name(20+d, h, 1), []byte("{}"))
			f.Put(t, name(20+d, h, 2), []byte("{}"))
		}
	}
	f.Put(t, "copy.json", []byte("{}"))
	f.Put(t, "whichpod-nat/node/1.json", []byte("{}"))
	src := f.open(t, "/devstoreaccount1/insights-logs-flowlogflowevent")
	var got []string
	at := time.Date(2026, 8, 21, 22, 0, 0, 0, time.UTC)
	err := src.List(context.Background(), ingest.Hours{First: at, Last: at.Add(2 * time.Hour)}, func(b ingest.Blob) error { got = append(got, b.Name); return nil })
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"copy.json", name(21, 22, 1), name(21, 22, 2), name(21, 23, 1), name(21, 23, 2), name(22, 0, 1), name(22, 0, 2)}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	const y = "flowLogResourceID=/A/B/y=2026/"
	prefixes := []string{"", "flowLogResourceID=/", "flowLogResourceID=/A/", "flowLogResourceID=/A/B/", y, y + "m=08/", y + "m=08/d=21/",
		y + "m=08/d=21/h=22/", y + "m=08/d=21/h=23/", y + "m=08/d=22/", y + "m=08/d=22/h=00/"}
	if diff := cmp.Diff(prefixes, f.listed); diff != "" {
		t.Errorf("listed prefixes (-want +got):\n%s", diff)
	}
}

func TestErrors(t *testing.T) {
	f := newFake(t)
	all := func(s *Source) error {
		return s.List(context.Background(), ingest.Hours{}, func(ingest.Blob) error { return nil })
	}
	for _, tc := range []struct {
		status int
		code   string
		denied bool
		want   string
	}{
		{403, "AuthorizationPermissionMismatch", true, `list blobs in container "insights-logs-flowlogflowevent" of account "devstoreaccount1": access denied (403 AuthorizationPermissionMismatch): want a signature with read and list, the account's key, or the role Storage Blob Data Reader`},
		{404, "ContainerNotFound", false, `list blobs in container "insights-logs-flowlogflowevent" of account "devstoreaccount1": there is no such container`},
		{409, "ContainerBeingDeleted", false, `list blobs in container "insights-logs-flowlogflowevent" of account "devstoreaccount1": the service answered 409 ContainerBeingDeleted`},
	} {
		f.deny, f.code = tc.status, tc.code
		err := all(f.open(t, "/devstoreaccount1/insights-logs-flowlogflowevent?sv=2024&sig=SECRET"))
		var e *Error
		if !errors.As(err, &e) || e.Status != tc.status || e.Code != tc.code || e.Denied != tc.denied || e.Account != "devstoreaccount1" || err.Error() != tc.want {
			t.Errorf("got %#v\n%v, want\n%s", e, err, tc.want)
		}
	}
}

// Neither the text of an error nor anything that it wraps shows a secret, even
// where there is no server and the transport's error has the URL.
func TestErrorsHideSecrets(t *testing.T) {
	p, query, err := parseURL("http://127.0.0.1:1/account/container?sv=2024&sig=SECRET")
	if err != nil {
		t.Fatal(err)
	}
	c, err := newClient(p, query, func(string) string { return "" }, policy.ClientOptions{Retry: policy.RetryOptions{MaxRetries: -1}})
	if err != nil {
		t.Fatal(err)
	}
	err = (&Source{place: p, client: c}).List(context.Background(), ingest.Hours{}, func(ingest.Blob) error { return nil })
	for e := err; e != nil; e = errors.Unwrap(e) {
		if strings.Contains(fmt.Sprintf("%v %+v %q", e, e, e), "SECRET") {
			t.Errorf("error shows the signature: %v", e)
		}
	}
	if err == nil || !strings.Contains(err.Error(), `container "container" of account "account"`) {
		t.Errorf("got error %v", err)
	}
}

func TestParseURL(t *testing.T) {
	for _, tc := range []struct{ in, account, container, prefix, want string }{
		{"https://logs1.blob.core.windows.net/insights-logs-flowlogflowevent", "logs1", "insights-logs-flowlogflowevent", "", ""},
		{"https://logs1.blob.core.windows.net/c/flowLogResourceID=/A/y=2026?sv=1&sig=SECRET", "logs1", "c", "flowLogResourceID=/A/y=2026", ""},
		{"https://logs1.privatelink.blob.core.usgovcloudapi.net/c/", "logs1", "c", "", ""},
		{"http://127.0.0.1:10000/devstoreaccount1/c/p", "devstoreaccount1", "c", "p", ""},
		{"http://azurite:10000/devstoreaccount1/c", "devstoreaccount1", "c", "", ""},
		{"https://logs1.blob.core.windows.net/?sig=SECRET", "logs1", "", "", ""},
		{"http://127.0.0.1:10000/devstoreaccount1?sig=SECRET", "devstoreaccount1", "", "", ""},
		{"http://127.0.0.1:10000/?sig=SECRET", "", "", "", "want https://ACCOUNT"},
		{"http://127.0.0.1:10000/devstoreaccount1//p?sig=SECRET", "", "", "", "want https://ACCOUNT"},
		{"ftp://logs1.blob.core.windows.net/c?sig=SECRET", "", "", "", "want http or https"},
		{"https://user:SECRET@logs1.blob.core.windows.net/c", "", "", "", "no user"},
		{"https://logs1.blob.core.windows.net/%zz?sig=SECRET", "", "", "", "not a URL"},
	} {
		p, _, err := parseURL(tc.in)
		if p.account != tc.account || p.container != tc.container || p.prefix != tc.prefix {
			t.Errorf("%s: got %+v", tc.in, p)
		}
		if (tc.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: got error %v, want %q", tc.in, err, tc.want)
		}
		if err != nil && strings.Contains(err.Error(), "SECRET") {
			t.Errorf("error shows the signature: %v", err)
		}
	}
}

// TestCredentials looks at what a request carries: a signature in its URL, a shared
// key, or nothing yet.
func TestCredentials(t *testing.T) {
	const key = "c2VjcmV0"
	for _, tc := range []struct {
		name, url string
		env       map[string]string
		want      string // in the client's URL or error
		fails     bool
	}{
		{"signature in the URL", "https://a.blob.core.windows.net/c?sv=1&sig=X", map[string]string{"AZURE_STORAGE_KEY": key}, "sig=X", false},
		{"connection string with a signature", "https://a.blob.core.windows.net/c", map[string]string{"AZURE_STORAGE_CONNECTION_STRING": "BlobEndpoint=https://a.blob.core.windows.net/;SharedAccessSignature=sv=1&sig=Y"}, "sig=Y", false},
		{"connection string with a key", "http://h/a/c", map[string]string{"AZURE_STORAGE_CONNECTION_STRING": "AccountName=a;AccountKey=" + key}, "http://h/a/", false},
		{"connection string of another account", "http://h/a/c", map[string]string{"AZURE_STORAGE_CONNECTION_STRING": "AccountName=b;AccountKey=" + key}, "no signature or key", true},
		{"key", "http://h/a/c", map[string]string{"AZURE_STORAGE_KEY": key}, "http://h/a/", false},
		{"key of another account", "http://h/a/c", map[string]string{"AZURE_STORAGE_KEY": key, "AZURE_STORAGE_ACCOUNT": "b"}, "no signature or key", true},
		{"bad key", "http://h/a/c", map[string]string{"AZURE_STORAGE_KEY": "SECRET*"}, "not base64", true},
		{"emulator", "http://h/devstoreaccount1/c", nil, "http://h/devstoreaccount1/", false},
		{"identity", "https://a.blob.core.windows.net/c", nil, "https://a.blob.core.windows.net/", false},
		{"identity without https", "http://a.blob.core.windows.net/c", nil, "identities need https", true},
	} {
		s, err := New(tc.url, func(k string) string { return tc.env[k] })
		if tc.fails {
			if err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "SECRET") {
				t.Errorf("%s: got error %v, want %q", tc.name, err, tc.want)
			}
			continue
		}
		if err != nil || !strings.Contains(s.client.URL(), tc.want) {
			t.Errorf("%s: error %v, want %q", tc.name, err, tc.want)
		}
	}
}
