// Package azblob is the source of flow logs in Azure Blob Storage, or in an emulator
// of it.
//
// In: a container's URL, and credentials from the URL or the environment. Out: an
// [ingest.Source]. It sends no requests but List Blobs, Get Blob and Get Blob
// Properties: a write to a blob during its hour breaks Azure's own appends ("Manage
// virtual network flow logs"), so nothing here can write. Neither names nor errors
// hold a signature or a key. A Source is safe for concurrent use.
package azblob

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"

	"github.com/whichpod/whichpod/ingest"
)

// Source reads the flow logs of one container, or those below a prefix.
type Source struct {
	place  place
	client *container.Client
}

var _ ingest.Source = (*Source)(nil)

// New returns the source for the URL of a container, with a prefix behind it or not:
//
//	https://ACCOUNT.blob.core.windows.net/CONTAINER[/PREFIX][?SAS]
//	http://127.0.0.1:10000/ACCOUNT/CONTAINER[/PREFIX][?SAS]
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
	c, err := newClient(p, query, getenv, nil)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", p, err)
	}
	return &Source{place: p, client: c}, nil
}

// List implements [ingest.Source], in the order of full names. It takes the blobs
// whose name ends in .json, in any case, page by page.
func (s *Source) List(ctx context.Context, fn func(ingest.Blob) error) error {
	pages := s.client.NewListBlobsFlatPager(&container.ListBlobsFlatOptions{Prefix: &s.place.prefix})
	for pages.More() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return s.place.failed("list blobs", err)
		}
		for _, item := range page.Segment.BlobItems {
			if item.Name == nil || item.Properties == nil || !ingest.IsFlowLog(*item.Name) {
				continue
			}
			if err := fn(listed(item)); err != nil {
				return err
			}
		}
	}
	return nil
}

func listed(item *container.BlobItem) ingest.Blob {
	b := ingest.Blob{Name: ingest.Name(*item.Name), Path: *item.Name}
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
	client := s.client.NewBlobClient(b.Path)
	etag := azcore.ETag(`"` + b.ETag + `"`)
	same := &blob.AccessConditions{ModifiedAccessConditions: &blob.ModifiedAccessConditions{IfMatch: &etag}}
	if offset == b.Length { // a range of no bytes is an error of the service
		if _, err := client.GetProperties(ctx, &blob.GetPropertiesOptions{AccessConditions: same}); err != nil {
			return nil, s.failed(b, err)
		}
		return io.NopCloser(strings.NewReader("")), nil
	}
	resp, err := client.DownloadStream(ctx, &blob.DownloadStreamOptions{
		Range:            blob.HTTPRange{Offset: offset, Count: b.Length - offset},
		AccessConditions: same,
	})
	if err != nil {
		return nil, s.failed(b, err)
	}
	return &body{ReadCloser: resp.NewRetryReader(ctx, nil), source: s, blob: b}, nil
}

func (s *Source) failed(b ingest.Blob, err error) error {
	return s.place.failed(fmt.Sprintf("read blob %q", b.Path), err)
}

// body gives errors of a read the same form as those of Open.
type body struct {
	io.ReadCloser
	source *Source
	blob   ingest.Blob
}

func (r *body) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	if err != nil && err != io.EOF {
		err = r.source.failed(r.blob, err)
	}
	return n, err
}
