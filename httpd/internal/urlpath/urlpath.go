// Package urlpath holds the rules by which URL paths and the names of files
// beneath the root mean each other.
package urlpath

import (
	"net/url"
	"path"
	"strings"
)

const (
	Index    = "index.html" // shown for its directory
	NotFound = "404.html"   // at the top of the root, shown for what is missing
)

// wellKnown is the directory at the top of the root that is served although its name
// begins with a dot (RFC 8615).
const wellKnown = ".well-known"

// FileName returns the name, relative to the root, of the file that a URL path
// without escapes means; "." is the root. slash says whether the path means a
// directory. ok is false where no file is ever served: for the names of hidden
// files, and for names that no file can have.
func FileName(urlPath string) (name string, slash, ok bool) {
	clean := path.Clean("/" + urlPath)
	if IsHidden(clean[1:]) || strings.ContainsRune(clean, 0) {
		return "", false, false
	}
	if clean == "/" {
		return ".", true, true
	}
	last := urlPath[strings.LastIndexByte(urlPath, '/')+1:]
	return clean[1:], last == "" || last == "." || last == "..", true
}

// IsHidden reports whether the file of a name relative to the root, or a directory that it
// is in, is hidden: its name begins with a dot, and is not .well-known at the top.
func IsHidden(name string) bool {
	if rest, ok := strings.CutPrefix(name, wellKnown); ok && (rest == "" || rest[0] == '/') {
		name = strings.TrimPrefix(rest, "/")
	}
	return strings.Contains("/"+name, "/.")
}

// IsListed reports whether a list of the names in a directory has a name.
func IsListed(name string) bool { return !strings.HasPrefix(name, ".") }

// PathsOf returns the URL paths, without escapes, at which a file is shown.
func PathsOf(name string) []string {
	urls := []string{"/" + name}
	if stem, ok := strings.CutSuffix(name, ".html"); ok {
		urls = append(urls, "/"+stem)
	}
	if dir, ok := strings.CutSuffix("/"+name, "/"+Index); ok {
		urls = append(urls, dir+"/")
		if dir != "" {
			urls = append(urls, dir)
		}
	}
	return urls
}

// FilesOf returns the names of the files that a URL path may show. The first of
// them that there is is shown.
func FilesOf(urlPath string) []string {
	clean := path.Clean("/" + urlPath)[1:]
	switch {
	case clean == "":
		return []string{Index}
	case strings.HasSuffix(urlPath, "/"):
		return []string{clean + "/" + Index}
	default:
		return []string{clean, clean + ".html", clean + "/" + Index}
	}
}

// Canonical escapes every byte of a path that is not a letter, a digit or one of
// /-._~ and so could have another meaning in a URL. Two paths mean the same bytes
// if and only if their canonical forms are equal.
func Canonical(path string) string {
	const hex = "0123456789ABCDEF"

	i := 0
	for i < len(path) && isUnescaped(path[i]) {
		i++
	}
	if i == len(path) {
		return path // the usual case costs no memory
	}

	b := make([]byte, 0, len(path)+16)
	for i := range len(path) {
		if c := path[i]; isUnescaped(c) {
			b = append(b, c)
		} else {
			b = append(b, '%', hex[c>>4], hex[c&15])
		}
	}
	return string(b)
}

func isUnescaped(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
		c == '/' || c == '-' || c == '.' || c == '_' || c == '~'
}

// maxLength is the length of the longest path that the kernel takes, PATH_MAX.
const maxLength = 4096

// Parse parses the path of a URL, with escapes or without, as a page reports
// it. It returns the path in its only canonical form, without dots and double
// slashes. ok is false where no file is ever served.
func Parse(text string) (path string, ok bool) {
	if !strings.HasPrefix(text, "/") {
		return "", false
	}
	decoded, err := url.PathUnescape(text)
	if err != nil || len(decoded) > maxLength {
		return "", false
	}
	name, slash, ok := FileName(decoded)
	switch {
	case !ok:
		return "", false
	case name == ".":
		return "/", true
	case slash:
		name += "/"
	}
	return Canonical("/" + name), true
}
