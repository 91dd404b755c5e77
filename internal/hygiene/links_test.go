package hygiene

import (
	"fmt"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
)

var (
	inlineCode = regexp.MustCompile("`[^`]*`")
	link       = regexp.MustCompile(`\]\(([^()\s]*(?:\([^()\s]*\)[^()\s]*)*)\)`)
	namedDoc   = regexp.MustCompile(`\bdocs/[A-Za-z0-9/_.-]+\.md\b`)
)

// brokenLinks: a link between documents leads to a file or folder that exists, and
// to a heading that the file has; a document that a comment in Go code names exists.
// Links to other sites are not followed.
func brokenLinks(t *tree) []string {
	var problems []string
	for _, p := range t.paths() {
		switch path.Ext(p) {
		case ".md":
			for n, line := range prose(t.files[p]) {
				for _, m := range link.FindAllStringSubmatch(line, -1) {
					if why := t.follow(p, m[1]); why != "" {
						problems = append(problems, fmt.Sprintf("%s:%d links to %q: %s", p, n+1, m[1], why))
					}
				}
			}
		case ".go":
			if within(p, "internal/hygiene") {
				continue // its fixtures name documents that are not there
			}
			for _, name := range namedDoc.FindAllString(t.files[p], -1) {
				if !t.exists[name] {
					problems = append(problems, fmt.Sprintf("%s names %s, which does not exist", p, name))
				}
			}
		}
	}
	return problems
}

// follow says why a link leads nowhere, or "".
func (t *tree) follow(from, target string) string {
	if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
		return ""
	}
	file, fragment, _ := strings.Cut(target, "#")
	file, err := url.PathUnescape(file)
	if err != nil {
		return err.Error()
	}
	to := from
	if file != "" {
		to = path.Join(path.Dir(from), file)
	}
	switch {
	case !t.exists[to]:
		return to + " does not exist"
	case fragment != "" && path.Ext(to) == ".md" && !slices.Contains(anchors(t.files[to]), fragment):
		return fmt.Sprintf("%s has no heading #%s", to, fragment)
	}
	return ""
}

// prose is the text line by line, with code taken out.
func prose(text string) []string {
	lines := strings.Split(text, "\n")
	fenced := false
	for i, line := range lines {
		if strings.HasPrefix(strings.TrimSpace(line), "```") {
			fenced = !fenced
			lines[i] = ""
		} else if fenced {
			lines[i] = ""
		} else {
			lines[i] = inlineCode.ReplaceAllString(line, "")
		}
	}
	return lines
}

// anchors are the names that GitHub gives the headings of a text.
func anchors(text string) []string {
	var out []string
	fenced := false
	for line := range strings.Lines(text) {
		if strings.HasPrefix(strings.TrimSpace(line), "```") {
			fenced = !fenced
		}
		title := strings.TrimLeft(line, "#")
		if fenced || title == line || !strings.HasPrefix(title, " ") {
			continue
		}
		out = append(out, anchor(strings.TrimSpace(title)))
	}
	return out
}

func anchor(title string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.IsLetter(r), unicode.IsDigit(r), r == '-', r == '_':
			return unicode.ToLower(r)
		case r == ' ':
			return '-'
		default:
			return -1
		}
	}, title)
}

func TestBrokenLinks(t *testing.T) {
	good := map[string]string{
		"README.md":             "[docs](docs/) [a](docs/a.md#two-words-and-code) [site](https://example.org/x) [here](#top)\n# Top\n",
		"docs/a.md":             "[up](../README.md) [b](format/b.md)\n## Two words, and `code`\n```\n[no](link.md)\n```\n`[no](link.md)`\n",
		"docs/format/b.md":      "[code](../../flow/flow.go) [x](../a.md) ![picture](b.png)",
		"docs/format/b.png":     "",
		"flow/flow.go":          "package flow // see docs/a.md.\n",
		"internal/hygiene/x.go": "package hygiene // docs/missing.md\n",
	}
	wants(t, badTree(t, brokenLinks, good))
	wants(t, badTree(t, brokenLinks, map[string]string{
		"README.md":    "[gone](docs/gone.md)\n\n[head](docs/a.md#gone) [head](#gone)\n",
		"docs/a.md":    "# A\n[down](a/b.md)\n",
		"flow/flow.go": "package flow // see docs/format/gone.md\n",
	}),
		"README.md:1 links to \"docs/gone.md\": docs/gone.md does not exist",
		"README.md:3 links to \"docs/a.md#gone\": docs/a.md has no heading #gone",
		"README.md:3 links to \"#gone\": README.md has no heading #gone",
		"docs/a.md:2 links to \"a/b.md\": docs/a/b.md does not exist",
		"flow/flow.go names docs/format/gone.md",
	)
}
