package azblob

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/bloberror"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
)

// Store keeps blobs that are written once: those of a container, or below a prefix of
// it. It makes blobs that are not there, and never changes or deletes one. It is safe
// for concurrent use.
type Store struct {
	place  place
	client *container.Client
	hold   Hold
	now    func() time.Time
}

// Hold keeps blobs from being changed or deleted by anybody, from the moment that they
// are there. It needs a container with support for version-level immutability
// ("Configure immutability policies for blob versions", learn.microsoft.com).
type Hold struct {
	Retain time.Duration // from the upload on; 0 sets no policy
	Locked bool          // the policy can be made longer only, by nobody shorter
	Legal  bool          // until somebody clears it
}

func (h Hold) none() bool { return h.Retain == 0 && !h.Legal }

// NewStore returns the store for the URL of a container, with a prefix behind it or
// not, and the credentials that [New] takes. It sends nothing.
func NewStore(rawURL string, hold Hold, getenv func(string) string) (*Store, error) {
	p, query, err := parseURL(rawURL)
	if err != nil {
		return nil, err
	}
	if p.container == "" {
		return nil, fmt.Errorf("open %s: want the URL of a container", p)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.ResponseHeaderTimeout, transport.MaxIdleConnsPerHost = stallAfter, keptConnections
	c, err := newClient(p, query, getenv, policy.ClientOptions{Transport: &http.Client{Transport: transport},
		Retry: policy.RetryOptions{MaxRetries: 4, RetryDelay: 250 * time.Millisecond}})
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", p, err)
	}
	return &Store{place: p, client: c.NewContainerClient(p.container), hold: hold, now: time.Now}, nil
}

func (s *Store) String() string { return s.place.String() }

// Check asks the container whether it can hold blobs as it was told to. Where it may not
// be asked, as with a signature, the first Put finds out.
func (s *Store) Check(ctx context.Context) error {
	if s.hold.none() {
		return nil
	}
	p, err := s.client.GetProperties(ctx, nil)
	var denied *azcore.ResponseError
	if errors.As(err, &denied) && denied.StatusCode == http.StatusForbidden {
		return nil
	}
	if err != nil {
		return s.place.failed("look for immutability support", err)
	}
	if p.IsImmutableStorageWithVersioningEnabled == nil || !*p.IsImmutableStorageWithVersioningEnabled {
		return &UnheldError{s.place.String()}
	}
	return nil
}

// UnheldError says that a container has no support for version-level immutability.
type UnheldError struct{ Container string }

func (e *UnheldError) Error() string {
	return e.Container + " has no support for version-level immutability: blobs in it can be changed and deleted"
}

// Hint says what to do about it.
func (e *UnheldError) Hint() string {
	return "make a container with version-level immutability support, or leave out --retain and --legal-hold"
}

// Names lists the blobs below the prefix whose names end in suffix, without the prefix.
func (s *Store) Names(ctx context.Context, suffix string) ([]string, error) {
	prefix, names := s.place.prefixed(""), []string(nil)
	pages := s.client.NewListBlobsHierarchyPager("/", &container.ListBlobsHierarchyOptions{Prefix: &prefix})
	for pages.More() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, s.place.failed("list blobs", err)
		}
		for _, item := range page.Segment.BlobItems {
			if item.Name != nil && strings.HasSuffix(*item.Name, suffix) {
				names = append(names, strings.TrimPrefix(*item.Name, prefix))
			}
		}
	}
	return names, nil
}

// blockSize is how much of a blob is sent at a time, and sent again after a cut, in
// bytes. A blob has up to 50,000 blocks, so one of 400 GB fits.
const blockSize = 8 << 20

// Put makes a block blob of what r gives. It sends the blocks that the service does not
// have of an earlier try, and then a list of them on the condition that no blob is
// there, with the hold in the same request: so the blob appears whole and held, or not
// at all. Where one is there the error matches [fs.ErrExist].
func (s *Store) Put(ctx context.Context, name, download string, r io.Reader) error {
	client := s.client.NewBlockBlobClient(s.place.prefixed(name))
	err := s.put(ctx, client, download, r)
	switch {
	case bloberror.HasCode(err, bloberror.BlobAlreadyExists, bloberror.ConditionNotMet, bloberror.BlobImmutableDueToPolicy):
		return fmt.Errorf("write blob %q in %s: %w", name, s.place, fs.ErrExist)
	case err != nil:
		return s.failedPut(fmt.Sprintf("write blob %q", name), err)
	}
	return s.held(ctx, client, name)
}

func (s *Store) put(ctx context.Context, client *blockblob.Client, download string, r io.Reader) error {
	there, err := staged(ctx, client)
	if err != nil {
		return err
	}
	var ids []string
	buf := make([]byte, blockSize)
	for {
		n, err := io.ReadFull(r, buf)
		if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
			return err
		}
		if n == 0 {
			break
		}
		id := blockID(len(ids), buf[:n])
		ids = append(ids, id)
		if there[id] == int64(n) {
			continue
		}
		_, err = client.StageBlock(ctx, id, streaming.NopCloser(bytes.NewReader(buf[:n])), &blockblob.StageBlockOptions{TransactionalValidation: blob.TransferValidationTypeComputeCRC64()})
		if err != nil {
			return err
		}
	}
	_, err = client.CommitBlockList(ctx, ids, s.commitOptions(download))
	return err
}

// staged are the lengths of the blocks that were sent and are in no blob yet. The
// service keeps them for a week.
func staged(ctx context.Context, client *blockblob.Client) (map[string]int64, error) {
	list, err := client.GetBlockList(ctx, blockblob.BlockListTypeUncommitted, nil)
	if bloberror.HasCode(err, bloberror.BlobNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	out := make(map[string]int64)
	for _, b := range list.UncommittedBlocks {
		if b.Name != nil && b.Size != nil {
			out[*b.Name] = *b.Size
		}
	}
	return out, nil
}

// blockID names a block by its place and its SHA-256. All of a blob's have one length,
// as the service wants it.
func blockID(index int, data []byte) string {
	sum := sha256.Sum256(data)
	return base64.StdEncoding.EncodeToString(append(binary.BigEndian.AppendUint32(nil, uint32(index)), sum[:]...))
}

func (s *Store) commitOptions(download string) *blockblob.CommitBlockListOptions {
	none, kind, disposition := azcore.ETagAny, "application/x-tar", fmt.Sprintf("attachment; filename=%q", download)
	o := &blockblob.CommitBlockListOptions{
		AccessConditions: &blob.AccessConditions{ModifiedAccessConditions: &blob.ModifiedAccessConditions{IfNoneMatch: &none}},
		HTTPHeaders:      &blob.HTTPHeaders{BlobContentType: &kind, BlobContentDisposition: &disposition},
	}
	if s.hold.Legal {
		o.LegalHold = &s.hold.Legal
	}
	if s.hold.Retain > 0 {
		until, mode := s.now().Add(s.hold.Retain).UTC(), blob.ImmutabilityPolicySettingUnlocked
		if s.hold.Locked {
			mode = blob.ImmutabilityPolicySettingLocked
		}
		o.ImmutabilityPolicyExpiryTime, o.ImmutabilityPolicyMode = &until, &mode
	}
	return o
}

// held wants the blob that was written to be held: a service that does not know the
// headers passes over them.
func (s *Store) held(ctx context.Context, client *blockblob.Client, name string) error {
	if s.hold.none() {
		return nil
	}
	p, err := client.GetProperties(ctx, nil)
	if err != nil {
		return s.failedPut(fmt.Sprintf("look at the hold of blob %q", name), err)
	}
	retained := p.ImmutabilityPolicyExpiresOn != nil && p.ImmutabilityPolicyExpiresOn.After(s.now())
	if s.hold.Retain > 0 && !retained || s.hold.Legal && (p.LegalHold == nil || !*p.LegalHold) {
		return fmt.Errorf("write blob %q: it is there, but %w", name, &UnheldError{s.place.String()})
	}
	return nil
}

// failedPut is [place.failed] with what a writer needs to be allowed.
func (s *Store) failedPut(what string, err error) error {
	if errors.Is(err, fs.ErrExist) {
		return err
	}
	err = s.place.failed(what, err)
	var e *Error
	if errors.As(err, &e) {
		e.needs = "a signature with read, list and create or write, the account's key, or the role Storage Blob Data Contributor"
		if !s.hold.none() {
			e.needs = "a signature with read, list, write and set immutability policy, the account's key, or the role Storage Blob Data Owner"
		}
	}
	return err
}
