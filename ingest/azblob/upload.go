package azblob

import (
	"context"
	"fmt"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/bloberror"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
)

// Uploader puts blobs into a container, or below a prefix of one. It never changes a
// blob that is there, so that it can do no harm to flow logs beside it. It sends no
// request but Put Blob. It is safe for concurrent use.
type Uploader struct {
	place  place
	client *container.Client
}

// NewUploader returns the uploader for a URL, with the credentials that [New] takes.
// It sends nothing.
func NewUploader(rawURL string, getenv func(string) string) (*Uploader, error) {
	p, query, err := parseURL(rawURL)
	if err != nil {
		return nil, err
	}
	if p.container == "" {
		return nil, fmt.Errorf("open %s: want the URL of a container", p)
	}
	c, err := newClient(p, query, getenv, policy.ClientOptions{})
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", p, err)
	}
	return &Uploader{place: p, client: c.NewContainerClient(p.container)}, nil
}

// Put makes a block blob. One of that name that is there stays as it is, and is no
// error.
func (u *Uploader) Put(ctx context.Context, name string, data []byte) error {
	none := azcore.ETagAny
	_, err := u.client.NewBlockBlobClient(u.place.prefixed(name)).UploadBuffer(ctx, data, &blockblob.UploadBufferOptions{
		BlockSize:        int64(max(len(data), 1)), // one request, so that it is there whole or not at all
		AccessConditions: &blob.AccessConditions{ModifiedAccessConditions: &blob.ModifiedAccessConditions{IfNoneMatch: &none}},
	})
	if bloberror.HasCode(err, bloberror.BlobAlreadyExists, bloberror.ConditionNotMet) {
		return nil
	}
	if err != nil {
		return u.place.failed(fmt.Sprintf("write blob %q", name), err)
	}
	return nil
}

// prefixed is a blob's full name.
func (p place) prefixed(name string) string {
	switch {
	case p.prefix == "":
		return name
	case p.prefix[len(p.prefix)-1] == '/':
		return p.prefix + name
	default:
		return p.prefix + "/" + name
	}
}
