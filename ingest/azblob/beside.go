package azblob

import (
	"context"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"

	"github.com/whichpod/whichpod/ingest"
)

// beside is the source for other blobs than flow logs.
type beside struct {
	*Source
	prefix, suffix string
}

// Below returns the source for the blobs below a folder of the container whose names
// end in suffix: what lies beside flow logs. Of an account there are none.
func (s *Source) Below(folder, suffix string) ingest.Source {
	return &beside{s, s.place.prefixed(folder) + "/", suffix}
}

// List implements [ingest.Source]. Hours leave nothing out.
func (b *beside) List(ctx context.Context, _ ingest.Hours, fn func(ingest.Blob) error) error {
	if b.place.container == "" {
		return nil
	}
	l := lister{source: b.Source, place: b.place}
	pages := b.client.NewContainerClient(b.place.container).NewListBlobsFlatPager(&container.ListBlobsFlatOptions{Prefix: &b.prefix})
	for pages.More() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return b.place.failed("list blobs", err)
		}
		for _, item := range page.Segment.BlobItems {
			if item.Name == nil || item.Properties == nil || !strings.HasSuffix(*item.Name, b.suffix) {
				continue
			}
			if err := fn(l.blob(item)); err != nil {
				return err
			}
		}
	}
	return nil
}
