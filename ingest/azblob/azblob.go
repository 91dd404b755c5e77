// Package azblob is the source of flow logs in Azure Blob Storage, or in an emulator
// of it; the way in which what an agent recorded gets there ([Uploader]); and where
// evidence is kept that nobody changes ([Store]).
//
// In: a container's URL, and credentials from the URL or the environment. Out: an
// [ingest.Source]. It sends no requests but List Containers, List Blobs, Get Blob and
// Get Blob Properties, and counts them: a write to a blob during its hour breaks Azure's own appends ("Manage
// virtual network flow logs"), so a Source can not
// write; an Uploader and a Store only make blobs that are not there. Neither names nor errors
// hold a signature or a key. A Source is safe for concurrent use.
package azblob

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/service"

	"github.com/whichpod/whichpod/ingest"
)

// Source reads the flow logs of one container, those below a prefix, or those of an
// account.
type Source struct {
	place    place
	client   *service.Client
	requests requests
	stall    time.Duration
}

// stallAfter is how long an answer, or the next bytes of one, may take: a connection
// that is dead without a word must not keep a follower waiting for ever.
const stallAfter = time.Minute

var _ ingest.Source = (*Source)(nil)

// New returns the source for the URL of a container, with a prefix behind it or not,
// or of an account:
//
//	https://ACCOUNT.blob.core.windows.net[/CONTAINER[/PREFIX]][?SAS]
//	http://127.0.0.1:10000/ACCOUNT[/CONTAINER[/PREFIX]][?SAS]
//
// Of an account it reads the containers that [ingest.Containers] names.
//
// The host of the first form has "blob" as its second label or later; any other host
// is taken for the second. Credentials are the first of: a shared access signature in
// the URL; AZURE_STORAGE_CONNECTION_STRING, where it is for this account;
// AZURE_STORAGE_KEY, unless AZURE_STORAGE_ACCOUNT names another account; the
// published key of an emulator's account devstoreaccount1; whatever Azure's default
// credential finds (environment, workload or managed identity, az login).
//
// getenv is os.Getenv outside of tests. New sends nothing.
func New(rawURL string, getenv func(string) string) (*Source, error) {
	p, query, err := parseURL(rawURL)
	if err != nil {
		return nil, err
	}
	return open(p, query, getenv, stallAfter)
}

func open(p place, query string, getenv func(string) string, stall time.Duration) (_ *Source, err error) {
	s := &Source{place: p, stall: stall}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.ResponseHeaderTimeout, transport.MaxIdleConnsPerHost = stall, keptConnections
	o := policy.ClientOptions{
		PerRetryPolicies: []policy.Policy{&s.requests}, Transport: &http.Client{Transport: transport},
		Retry: policy.RetryOptions{MaxRetries: 4, RetryDelay: 250 * time.Millisecond}, // seven seconds in all, or as long as the service asks for
	}
	if s.client, err = newClient(p, query, getenv, o); err != nil {
		return nil, fmt.Errorf("open %s: %w", p, err)
	}
	return s, nil
}

// keptConnections are as many as a run may use at once, so that none is opened twice.
const keptConnections = 32

// List implements [ingest.Source]: container by container, level by level down to the
// hours and by name below. It takes the blobs whose name ends in .json, in any case.
//
// Where hours are left out, it lists the levels of the names above the hour one by
// one, so that the service lists no blob of another hour.
func (s *Source) List(ctx context.Context, hours ingest.Hours, fn func(ingest.Blob) error) error {
	if s.place.container != "" {
		return s.listContainer(ctx, s.place, hours, fn)
	}
	const shared = "insights-logs-" // by all that ingest.Containers names
	pages := s.client.NewListContainersPager(&service.ListContainersOptions{Prefix: to.Ptr(shared)})
	for pages.More() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return s.place.failed("list containers", err)
		}
		for _, item := range page.ContainerItems {
			if item.Name == nil || !slices.ContainsFunc(ingest.Containers(), func(begin string) bool { return strings.HasPrefix(*item.Name, begin) }) {
				continue
			}
			p := s.place
			p.container = *item.Name
			if err := s.listContainer(ctx, p, hours, fn); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *Source) listContainer(ctx context.Context, p place, hours ingest.Hours, fn func(ingest.Blob) error) error {
	l := lister{source: s, place: p, client: s.client.NewContainerClient(p.container), hours: hours, fn: fn}
	if hours.All() {
		return l.flat(ctx, p.prefix)
	}
	return l.level(ctx, p.prefix)
}

// lister lists one container.
type lister struct {
	source *Source
	place  place
	client *container.Client
	hours  ingest.Hours
	fn     func(ingest.Blob) error
}

// flat lists all blobs below a prefix.
func (l *lister) flat(ctx context.Context, prefix string) error {
	pages := l.client.NewListBlobsFlatPager(&container.ListBlobsFlatOptions{Prefix: &prefix})
	for pages.More() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return l.place.failed("list blobs", err)
		}
		if err := l.take(page.Segment.BlobItems); err != nil {
			return err
		}
	}
	return nil
}

// level lists the blobs of one level, and of those below that may be of the hours.
func (l *lister) level(ctx context.Context, prefix string) error {
	pages := l.client.NewListBlobsHierarchyPager("/", &container.ListBlobsHierarchyOptions{Prefix: &prefix})
	for pages.More() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return l.place.failed("list blobs", err)
		}
		if err := l.take(page.Segment.BlobItems); err != nil {
			return err
		}
		for _, below := range page.Segment.BlobPrefixes {
			if below.Name == nil || !l.hours.Cover(*below.Name) || ingest.IsEvidence(*below.Name) {
				continue
			}
			list := l.level
			if ingest.WithHour(*below.Name) {
				list = l.flat
			}
			if err := list(ctx, *below.Name); err != nil {
				return err
			}
		}
	}
	return nil
}

func (l *lister) take(items []*container.BlobItem) error {
	for _, item := range items {
		if item.Name == nil || item.Properties == nil || !ingest.IsFlowLog(*item.Name) {
			continue
		}
		if err := l.fn(l.blob(item)); err != nil {
			return err
		}
	}
	return nil
}

func (l *lister) blob(item *container.BlobItem) ingest.Blob {
	b := ingest.Blob{Name: ingest.Name(*item.Name), Path: *item.Name}
	if full := l.place.container + "/" + *item.Name; strings.HasPrefix(full, "insights-logs-az") {
		b.Name = ingest.Name(full)
	}
	if l.source.place.container == "" {
		b.Path = l.place.container + "/" + *item.Name
	}
	p := item.Properties
	if p.ETag != nil {
		b.ETag = strings.Trim(string(*p.ETag), `"`)
	}
	if p.ContentLength != nil {
		b.Length = *p.ContentLength
	}
	if p.LastModified != nil {
		b.Modified = p.LastModified.UTC()
	}
	return b
}

// Open implements [ingest.Source] with a range read on the condition that the ETag is
// the listed one, which holds for repeated reads after a broken connection as well.
func (s *Source) Open(ctx context.Context, b ingest.Blob, offset int64) (io.ReadCloser, error) {
	name, in := b.Path, s.place
	if in.container == "" {
		in.container, name, _ = strings.Cut(b.Path, "/")
	}
	client := s.client.NewContainerClient(in.container).NewBlobClient(name)
	etag := azcore.ETag(`"` + b.ETag + `"`)
	same := &blob.AccessConditions{ModifiedAccessConditions: &blob.ModifiedAccessConditions{IfMatch: &etag}}
	if offset == b.Length { // a range of no bytes is an error of the service
		if _, err := client.GetProperties(ctx, &blob.GetPropertiesOptions{AccessConditions: same}); err != nil {
			return nil, in.failedBlob(name, err)
		}
		return io.NopCloser(strings.NewReader("")), nil
	}
	ctx, cancel := context.WithCancel(ctx)
	resp, err := client.DownloadStream(ctx, &blob.DownloadStreamOptions{
		Range:            blob.HTTPRange{Offset: offset, Count: b.Length - offset},
		AccessConditions: same,
	})
	if err != nil {
		cancel()
		return nil, in.failedBlob(name, err)
	}
	return &body{ReadCloser: resp.NewRetryReader(ctx, nil), place: in, name: name, stall: s.stall, cancel: cancel}, nil
}

func (p place) failedBlob(name string, err error) error {
	return p.failed(fmt.Sprintf("read blob %q", name), err)
}

// body gives errors of a read the same form as those of Open, and ends a read that
// brings nothing.
type body struct {
	io.ReadCloser
	place  place
	name   string
	stall  time.Duration
	cancel func()
}

func (r *body) Read(p []byte) (int, error) {
	stalled := time.AfterFunc(r.stall, r.cancel)
	n, err := r.ReadCloser.Read(p)
	if !stalled.Stop() && err != nil && err != io.EOF {
		err = fmt.Errorf("no byte came within %s", r.stall)
	}
	if err != nil && err != io.EOF {
		err = r.place.failedBlob(r.name, err)
	}
	return n, err
}

func (r *body) Close() error {
	defer r.cancel()
	return r.ReadCloser.Close()
}
