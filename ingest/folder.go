package ingest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Folder is a [Source] over the files below a folder, or over one file.
//
// It takes regular files whose name ends in .json, in any case, and follows no
// symbolic link but the root itself. A root that is a file is always taken. A blob
// is named by the absolute path of its file with forward slashes, shortened as
// [Name] says: so two files without a flow log's path never share a name.
type Folder struct {
	root   string // absolute, links resolved
	suffix string // of the files it takes instead of flow logs; empty: flow logs
}

// Below returns the source for the files below a folder of the root whose names end in
// suffix: what lies beside flow logs. The folder need not exist.
func (f *Folder) Below(folder, suffix string) Source {
	return &Folder{root: filepath.Join(f.root, folder), suffix: suffix}
}

// wanted says whether a file is one of the source's.
func (f *Folder) wanted(path string) bool {
	if f.suffix != "" {
		return strings.HasSuffix(path, f.suffix)
	}
	return path == f.root || IsFlowLog(filepath.ToSlash(path[len(f.root):]))
}

var _ Source = (*Folder)(nil)

// OpenFolder returns the source for path, which MUST exist.
func OpenFolder(path string) (*Folder, error) {
	root, err := filepath.Abs(path)
	if err == nil {
		root, err = filepath.EvalSymlinks(root)
	}
	if err != nil {
		return nil, fmt.Errorf("open flow logs %q: %w", path, err)
	}
	info, err := os.Stat(root)
	if err != nil {
		return nil, fmt.Errorf("open flow logs %q: %w", path, err)
	}
	if !info.IsDir() && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("open flow logs %q: it is neither a folder nor a regular file", path)
	}
	return &Folder{root: root}, nil
}

// List implements [Source]: folder by folder, by name. A file or folder that
// disappears meanwhile is left out.
func (f *Folder) List(ctx context.Context, hours Hours, fn func(Blob) error) error {
	var stop error // of fn or ctx
	err := filepath.WalkDir(f.root, func(path string, e fs.DirEntry, err error) error {
		if stop = ctx.Err(); stop != nil {
			return stop
		}
		if (os.IsNotExist(err) || errors.Is(err, syscall.ENOTDIR)) && (path != f.root || f.suffix != "") {
			return nil // gone since, or nothing is below a source: it may be a single file
		}
		if err != nil {
			return err
		}
		if e.IsDir() && f.suffix == "" && !hours.Cover(filepath.ToSlash(path[len(f.root):])) {
			return filepath.SkipDir
		}
		if !e.Type().IsRegular() || !f.wanted(path) {
			return nil
		}
		info, err := e.Info()
		if os.IsNotExist(err) {
			return nil
		}
		if err != nil {
			return err
		}
		stop = fn(Blob{Name: Name(filepath.ToSlash(path)), ETag: fileETag + strconv.FormatInt(info.ModTime().UnixNano(), 36), Length: info.Size(), Modified: info.ModTime().UTC(), Path: path})
		return stop
	})
	if err == nil || stop != nil {
		return stop
	}
	return fmt.Errorf("list flow logs %q: %w", f.root, err)
}

// fileETag begins what stands for a file's ETag: when it was modified.
const fileETag = "file:"

// Open implements [Source]. A file has changed when its size or its time of
// modification has: that is compared before the first and after the last byte.
func (f *Folder) Open(_ context.Context, b Blob, offset int64) (io.ReadCloser, error) {
	file, err := os.Open(b.Path)
	if os.IsNotExist(err) {
		return nil, fmt.Errorf("open file %q: %w: it is gone", b.Path, ErrChanged)
	}
	if err != nil {
		return nil, fmt.Errorf("open file %q: %w", b.Path, err)
	}
	r := &fileReader{file: file, blob: b, left: b.Length - offset}
	if err := r.unchanged(); err != nil {
		file.Close()
		return nil, err
	}
	if _, err := file.Seek(offset, io.SeekStart); err != nil {
		file.Close()
		return nil, fmt.Errorf("open file %q at %d: %w", b.Path, offset, err)
	}
	return r, nil
}

// fileReader reads the listed length of a file.
type fileReader struct {
	file *os.File
	blob Blob
	left int64
}

func (r *fileReader) Read(p []byte) (int, error) {
	if r.left <= 0 {
		if err := r.unchanged(); err != nil {
			return 0, err
		}
		return 0, io.EOF
	}
	if int64(len(p)) > r.left {
		p = p[:r.left]
	}
	n, err := r.file.Read(p)
	r.left -= int64(n)
	if err == io.EOF {
		return n, fmt.Errorf("read file %q: %w: it became shorter", r.blob.Path, ErrChanged)
	}
	return n, err
}

func (r *fileReader) Close() error { return r.file.Close() }

func (r *fileReader) unchanged() error {
	info, err := r.file.Stat()
	if err != nil {
		return fmt.Errorf("read file %q: %w", r.blob.Path, err)
	}
	if info.Size() != r.blob.Length || !info.ModTime().Equal(r.blob.Modified) {
		return fmt.Errorf("read file %q: %w: got %d bytes of %s, listed %d bytes of %s", r.blob.Path, ErrChanged,
			info.Size(), info.ModTime().UTC().Format(time.RFC3339Nano), r.blob.Length, r.blob.Modified.Format(time.RFC3339Nano))
	}
	return nil
}
