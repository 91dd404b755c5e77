package bundle

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"
)

// Link is a bundle as its manifest names it. Whether the manifest is signed was not
// looked at.
type Link struct {
	Ref
	Sequence     int64
	Since, Until int64 // Unix milliseconds
	Amends       *Ref
}

func readLink(dir string) (*Link, error) {
	data, err := readManifest(files(dir))
	if err != nil {
		return nil, err
	}
	l, err := parseLink(data)
	if err != nil {
		return nil, fmt.Errorf("read manifest of %q: %w", dir, err)
	}
	return l, nil
}

func parseLink(manifest []byte) (*Link, error) {
	var envelope dsse.Envelope
	if err := json.Unmarshal(manifest, &envelope); err != nil {
		return nil, err
	}
	body, err := base64.StdEncoding.DecodeString(envelope.Payload)
	if err != nil {
		return nil, err
	}
	s, err := parseStatement(body)
	if err != nil {
		return nil, err
	}
	p := &s.Predicate
	return &Link{Ref: Ref{p.Name, digestOf(manifest)}, Sequence: p.Sequence, Since: int64(p.Since), Until: int64(p.Until), Amends: p.Amends}, nil
}

func readManifest(f files) ([]byte, error) {
	info, err := os.Stat(f.path(manifestFile))
	if err != nil {
		return nil, fmt.Errorf("read manifest: %w", err)
	}
	if info.Size() > maxManifest {
		return nil, fmt.Errorf("read manifest: it has %d bytes, want at most %d", info.Size(), maxManifest)
	}
	return f.read(manifestFile)
}
