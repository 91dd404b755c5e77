package hygiene

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing/fstest"
)

const modulePath = "github.com/whichpod/whichpod"

// tree is a checkout, or a fixture that stands for one. Paths use slashes and are
// relative to its root.
type tree struct {
	exists  map[string]bool   // every file and folder
	files   map[string]string // the text files: what a check may look into
	sources []source          // the Go files among them, sorted by path
}

// source is a parsed Go file. Build tags are not looked at: a file for another
// system or for the end-to-end tests counts like any other.
type source struct {
	path, dir string
	test      bool
	file      *ast.File
}

// textEndings are the files whose words and links are checked. Recordings in
// testdata have other endings or are passed over by the checks.
var textEndings = []string{".go", ".md", ".yaml", ".yml", ".sh", ".txtar", ".html", ".js", ".css", ".sql"}

// readTree reads a checkout. Hidden folders are left out, but for those of the
// continuous integration; so are folders that hold a module of their own.
func readTree(fsys fs.FS) (*tree, error) {
	t := &tree{exists: make(map[string]bool), files: make(map[string]string)}
	err := fs.WalkDir(fsys, ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && p != "." && leftOut(fsys, p) {
			return fs.SkipDir
		}
		t.exists[p] = true
		if d.IsDir() {
			return nil
		}
		if !isText(p) {
			return nil
		}
		data, err := fs.ReadFile(fsys, p)
		if err != nil {
			return err
		}
		t.files[p] = string(data)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return t, t.parse()
}

func leftOut(fsys fs.FS, dir string) bool {
	base := path.Base(dir)
	if base == ".ci" || base == ".github" {
		return false
	}
	if strings.HasPrefix(base, ".") || base == "node_modules" {
		return true
	}
	_, err := fs.Stat(fsys, path.Join(dir, "go.mod"))
	return err == nil
}

func isText(p string) bool {
	switch {
	case p == "Makefile", p == "go.mod", p == "LICENSE", strings.HasPrefix(p, ".ci/"):
		return true
	}
	return slices.Contains(textEndings, path.Ext(p))
}

func (t *tree) parse() error {
	for _, p := range t.paths() {
		if path.Ext(p) != ".go" || slices.Contains(strings.Split(p, "/"), "testdata") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), p, t.files[p], parser.ImportsOnly|parser.ParseComments)
		if err != nil {
			return fmt.Errorf("parse %s: %w", p, err)
		}
		t.sources = append(t.sources, source{path: p, dir: path.Dir(p), test: strings.HasSuffix(p, "_test.go"), file: f})
	}
	return nil
}

// paths are the files in order.
func (t *tree) paths() []string {
	out := make([]string, 0, len(t.files))
	for p := range t.files {
		out = append(out, p)
	}
	slices.Sort(out)
	return out
}

// imports are the paths that the file imports.
func (s *source) imports() []string {
	var out []string
	for _, spec := range s.file.Imports {
		p, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			continue // the compiler's business
		}
		out = append(out, p)
	}
	return out
}

// within says whether p is the folder (or package, or module) or stands below it.
func within(p, folder string) bool { return p == folder || strings.HasPrefix(p, folder+"/") }

// fixture is a tree of the given files.
func fixture(files map[string]string) (*tree, error) {
	m := fstest.MapFS{}
	for p, data := range files {
		m[p] = &fstest.MapFile{Data: []byte(data)}
	}
	return readTree(m)
}
