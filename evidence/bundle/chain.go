package bundle

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

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

// Chain lists the bundles of a folder, by name: the order in which they were written.
// A folder that is not there has none.
func Chain(out string) ([]Link, error) {
	entries, err := os.ReadDir(out)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list bundles: %w", err)
	}
	var list []Link
	for _, e := range entries {
		if !e.IsDir() || e.Name()[0] == '.' {
			continue
		}
		link, err := readLink(filepath.Join(out, e.Name()))
		if err != nil {
			return nil, fmt.Errorf("list bundles: %w", err)
		}
		list = append(list, *link)
	}
	return list, nil
}

// Last is the last bundle of a folder, or nil where there is none.
func Last(out string) (*Link, error) {
	list, err := Chain(out)
	if err != nil || len(list) == 0 {
		return nil, err
	}
	return &list[len(list)-1], nil
}

func readLink(dir string) (*Link, error) {
	data, err := readManifest(files(dir))
	if err != nil {
		return nil, err
	}
	var envelope dsse.Envelope
	if err := json.Unmarshal(data, &envelope); err != nil {
		return nil, fmt.Errorf("read manifest of %q: %w", dir, err)
	}
	body, err := base64.StdEncoding.DecodeString(envelope.Payload)
	if err != nil {
		return nil, fmt.Errorf("read manifest of %q: %w", dir, err)
	}
	s, err := parseStatement(body)
	if err != nil {
		return nil, fmt.Errorf("read manifest of %q: %w", dir, err)
	}
	p := &s.Predicate
	return &Link{Ref: Ref{p.Name, digestOf(data)}, Sequence: p.Sequence, Since: int64(p.Since), Until: int64(p.Until), Amends: p.Amends}, nil
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
