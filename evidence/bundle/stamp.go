package bundle

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/whichpod/whichpod/evidence/stamp"
)

// Stamper gets a time stamp (RFC 3161) over some bytes: a [stamp.Authority].
type Stamper interface {
	// Stamp returns the authority's answer, which [stamp.Check] reads.
	Stamp(ctx context.Context, message []byte) ([]byte, error)
}

// ErrUnstamped says that no time stamp was to be had, and so no bundle was written.
var ErrUnstamped = errors.New("without the time stamp that was asked for")

// putStamp keeps the stamp of the manifest beside it. It is no subject of the manifest,
// which it is about.
func putStamp(ctx context.Context, f files, from Stamper) (*stamp.Stamp, error) {
	if from == nil {
		return nil, nil
	}
	manifest, err := readManifest(f)
	if err != nil {
		return nil, err
	}
	answer, err := from.Stamp(ctx, manifest)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnstamped, err)
	}
	s, err := stamp.Check(answer, manifest, nil)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnstamped, err)
	}
	return s, f.writeBytes(stampFile, answer)
}

// stamp checks the time stamp of a manifest. trusted are the certificates of the
// authorities that count; where there are none, a stamp is only compared with the manifest.
func (r *Report) stamp(f files, manifest []byte, trusted []*x509.Certificate) {
	answer, err := readStamp(f)
	switch {
	case errors.Is(err, fs.ErrNotExist) && len(trusted) == 0:
		return
	case errors.Is(err, fs.ErrNotExist):
		r.problem("%s is missing: nobody says when this bundle was there", stampFile)
		return
	case err != nil:
		r.problem("%s: %v", stampFile, err)
		return
	}
	if r.Stamp, err = stamp.Check(answer, manifest, trusted); err != nil {
		r.problem("%s is no time stamp of this manifest that counts: %v", stampFile, err)
	}
}

func readStamp(f files) ([]byte, error) {
	info, err := os.Lstat(f.path(stampFile))
	if err != nil {
		return nil, err
	}
	if info.Size() > stamp.MaxAnswer {
		return nil, fmt.Errorf("it has %d bytes, want at most %d", info.Size(), stamp.MaxAnswer)
	}
	return f.read(stampFile)
}
