package bundle

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// pack writes a bundle as a tar file: one folder of that name, first the manifest, which
// the next run reads, and last the time stamp, which differs each time: an upload that is
// done again then finds all before it. The same files give the same bytes.
func pack(w io.Writer, f files, name string) error {
	names, err := f.list()
	if err != nil {
		return err
	}
	slices.SortStableFunc(names, func(a, b string) int { return order(a) - order(b) })
	out := tar.NewWriter(w)
	for _, n := range names {
		if err := packFile(out, f, name, n); err != nil {
			return fmt.Errorf("pack %q: %w", n, err)
		}
	}
	return out.Close()
}

func order(name string) int {
	switch name {
	case manifestFile:
		return 0
	case stampFile:
		return 2
	default:
		return 1
	}
}

func packFile(out *tar.Writer, f files, folder, name string) error {
	in, err := os.Open(f.path(name))
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	// No time and no owner: they say nothing of the evidence, and differ each time.
	if err := out.WriteHeader(&tar.Header{Name: folder + "/" + name, Mode: 0o644, Size: info.Size(), Typeflag: tar.TypeReg}); err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return err
}

// tarFile reads one file of a tar file of at most limit bytes, and no further.
func tarFile(r io.Reader, name string, limit int64) ([]byte, error) {
	in := tar.NewReader(r)
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return nil, fs.ErrNotExist
		}
		if err != nil {
			return nil, err
		}
		if _, inside, _ := strings.Cut(h.Name, "/"); inside != name {
			continue
		}
		if h.Size > limit {
			return nil, fmt.Errorf("it has %d bytes, want at most %d", h.Size, limit)
		}
		return io.ReadAll(in)
	}
}

// unpack writes the one folder of a tar file into a folder, and returns its path. It
// writes no more bytes than it reads.
func unpack(r io.Reader, into string) (string, error) {
	in, folder := tar.NewReader(r), ""
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) && folder != "" {
			return filepath.Join(into, folder), nil
		}
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return "", err
		}
		top, inside, _ := strings.Cut(h.Name, "/")
		if folder == "" {
			folder = top
		}
		if h.Typeflag != tar.TypeReg || sparse(h) || top != folder || strings.HasPrefix(top, ".") || !filepath.IsLocal(filepath.FromSlash(h.Name)) || !fs.ValidPath(inside) || inside == "." {
			return "", fmt.Errorf("%q is no file of a bundle", h.Name)
		}
		if err := unpackFile(in, filepath.Join(into, filepath.FromSlash(h.Name))); err != nil {
			return "", err
		}
	}
}

// sparse says whether a file is longer than what is read of it.
func sparse(h *tar.Header) bool {
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse") {
			return true
		}
	}
	return false
}

func unpackFile(in io.Reader, path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	out, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// verifyTar checks a bundle in a tar file. An error means that it could not be done.
func verifyTar(ctx context.Context, path string, key *PublicKey, opt Options) (r Report, err error) {
	name := filepath.Base(path)
	in, err := os.Open(path)
	if err != nil {
		return r, fmt.Errorf("verify: %w", err)
	}
	defer in.Close()
	tmp, err := os.MkdirTemp("", "whichpod-verify-")
	if err != nil {
		return r, fmt.Errorf("verify: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
	dir, bad := unpack(in, tmp)
	if bad != nil {
		r = newReport(name)
		r.problem("%s is no whole bundle: %v", name, bad)
		return r, nil
	}
	r = verifyOne(ctx, dir, key, opt)
	if r.statement != nil && name != tarName(r.Sequence) && name != r.Name+tarSuffix {
		r.problem("the file is %s, but what is in it was written as %s", name, tarName(r.Sequence))
	}
	same, err := packedAs(in, files(dir))
	if err == nil && !same {
		r.problem("%s has other bytes between or after its files than were written", name)
	}
	return r, err
}

// packedAs says whether a tar file is what [pack] makes of a folder.
func packedAs(in io.ReadSeeker, f files) (bool, error) {
	if _, err := in.Seek(0, io.SeekStart); err != nil {
		return false, err
	}
	got, want := sha256.New(), sha256.New()
	_, err := io.Copy(got, in)
	err = errors.Join(err, pack(want, f, filepath.Base(string(f))))
	return string(got.Sum(nil)) == string(want.Sum(nil)), err
}
