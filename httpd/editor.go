package httpd

import (
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// An editor is the pattern of a URL that opens a place in an editor; empty for no link.
type editor string

// editors are the patterns of editors that register a scheme of their own.
var editors = map[string]editor{
	"vscode": "vscode://file{file}:{line}:{column}",
	"idea":   "idea://open?file={file}&line={line}&column={column}",
	"zed":    "zed://file{file}:{line}:{column}",
}

// scriptSchemes are those of URLs that run as part of the page, or in its place with what
// they say.
var scriptSchemes = []string{"javascript", "data", "vbscript", "blob", "about", "view-source", "filesystem"}

var placeholders = regexp.MustCompile(`[{][^}]*[}]?|[}]`)

// Editors returns the names of editors that Options.Editor may have, sorted.
func Editors() []string { return slices.Sorted(maps.Keys(editors)) }

// CheckEditor says what is wrong with Options.Editor, as New does.
func CheckEditor(text string) error {
	_, err := parseEditor(text)
	return err
}

func parseEditor(text string) (editor, error) {
	if text == "" {
		return "", nil
	}
	if known, ok := editors[text]; ok {
		return known, nil
	}
	if !strings.Contains(text, ":") {
		return "", fmt.Errorf("editor %q: want one of %s, or a URL with {file}, as in %q",
			text, strings.Join(Editors(), ", "), editors["vscode"])
	}

	for _, name := range placeholders.FindAllString(text, -1) {
		if name != "{file}" && name != "{line}" && name != "{column}" {
			return "", fmt.Errorf("editor %q: %s is none of {file}, {line} and {column}", text, name)
		}
	}
	if !strings.Contains(text, "{file}") {
		return "", fmt.Errorf("editor %q: {file} is missing", text)
	}
	// Browsers drop some characters before they look at the scheme.
	u, err := url.Parse(editor(text).link("/file", 1, 1))
	if err != nil || u.Scheme == "" || strings.ContainsFunc(text, func(c rune) bool { return c <= ' ' || c >= 0x7f }) {
		return "", fmt.Errorf("editor %q: this is no URL, or has spaces", text)
	}
	if slices.Contains(scriptSchemes, u.Scheme) {
		return "", fmt.Errorf("editor %q: the scheme %s: may run as a part of the page; name one that an editor has registered", text, u.Scheme)
	}
	return editor(text), nil
}

// link returns the URL for a place in a file, by its absolute path. Line and column are 1
// where they are not known, since some editors take a path alone for a directory.
func (e editor) link(file string, line, column int) string {
	return strings.NewReplacer(
		"{file}", escapePath(file),
		"{line}", strconv.Itoa(max(line, 1)),
		"{column}", strconv.Itoa(max(column, 1)),
	).Replace(string(e))
}

// escapePath escapes a path for any part of a URL.
func escapePath(path string) string {
	parts := strings.Split(path, "/")
	for i, part := range parts {
		parts[i] = strings.ReplaceAll(url.QueryEscape(part), "+", "%20")
	}
	return strings.Join(parts, "/")
}
