package azblob

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/bloberror"
)

// Open reads a blob from its first byte, in ranges that become longer: who reads the
// begin of each of many blobs pays for that only.
func (s *Store) Open(ctx context.Context, name string) (io.ReadCloser, error) {
	r := &ranged{ctx: ctx, store: s, name: name, client: s.client.NewBlobClient(s.place.prefixed(name)), count: firstRange}
	return r, r.next()
}

// Lengths of the ranges that are read of a blob, in bytes.
const (
	firstRange   = 32 << 10 // a manifest and the digests of all hours of a day
	longestRange = 64 << 20
)

// ranged reads a blob range by range, all of one version.
type ranged struct {
	ctx          context.Context
	store        *Store
	name         string
	client       *blob.Client
	offset, size int64
	count        int64 // of the next range
	etag         *azcore.ETag
	body         io.ReadCloser // of the range that is being read, or nil
}

func (r *ranged) next() error {
	o := &blob.DownloadStreamOptions{Range: blob.HTTPRange{Offset: r.offset, Count: r.count}}
	if r.etag != nil {
		o.AccessConditions = &blob.AccessConditions{ModifiedAccessConditions: &blob.ModifiedAccessConditions{IfMatch: r.etag}}
	}
	ctx, cancel := context.WithCancel(r.ctx)
	resp, err := r.client.DownloadStream(ctx, o)
	if err != nil {
		cancel()
		if bloberror.HasCode(err, bloberror.InvalidRange) && r.etag == nil { // it has no bytes
			return nil
		}
		return r.store.place.failedBlob(r.name, err)
	}
	r.body = &body{ReadCloser: resp.NewRetryReader(ctx, nil), place: r.store.place, name: r.name, stall: stallAfter, cancel: cancel}
	size, err := sizeOf(resp.ContentRange, resp.ContentLength)
	if err != nil {
		return errors.Join(r.store.place.failedBlob(r.name, err), r.body.Close())
	}
	r.etag, r.size, r.count = resp.ETag, size, min(4*r.count, longestRange)
	return nil
}

// sizeOf is the length of a blob, of which a range was answered as "bytes 0-9/10".
func sizeOf(contentRange *string, length *int64) (size int64, err error) {
	if contentRange == nil {
		if length == nil {
			return 0, errors.New("the answer has no length")
		}
		return *length, nil
	}
	var from, to int64
	if _, err := fmt.Sscanf(*contentRange, "bytes %d-%d/%d", &from, &to, &size); err != nil {
		return 0, fmt.Errorf("its range is %q: %w", *contentRange, err)
	}
	return size, nil
}

func (r *ranged) Read(p []byte) (int, error) {
	for {
		if r.body == nil {
			if r.offset >= r.size {
				return 0, io.EOF
			}
			if err := r.next(); err != nil {
				return 0, err
			}
		}
		n, err := r.body.Read(p)
		r.offset += int64(n)
		if err == io.EOF {
			err = r.body.Close()
			r.body = nil
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}

func (r *ranged) Close() error {
	if r.body == nil {
		return nil
	}
	return r.body.Close()
}
