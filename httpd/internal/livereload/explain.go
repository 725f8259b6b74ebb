package livereload

import (
	"strings"

	"github.com/execlog/execlogd/httpd/internal/filetype"
	"github.com/execlog/execlogd/httpd/internal/urlpath"
)

// Explain says, for people, which pages the change of a file's content
// concerns and what it does to them, as far as the file's name decides it. The
// path is as in Server.Refresh.
func Explain(path string) string {
	name, isDir := cleanPath(path)
	if urlpath.IsHidden(name) {
		return hiddenNobody
	}
	const others = "every page that does not say what it uses"
	switch kind := kindOf(name, isDir); {
	case isDir:
		return "those that use or show something in it are loaded again, and so is " + others
	case kind == filetype.Document:
		return "those that show or use it are loaded again: " + strings.Join(urlpath.PathsOf(name), " ")
	case kind == filetype.NotLoaded:
		return "those that show or use it are loaded again"
	case kind == filetype.ModernImage:
		return "those that use it fetch it again in place, and " + others + " is loaded again"
	case kind == filetype.Resource:
		return "those that use it are loaded again, and so is " + others
	}
	return "those that use it fetch it again in place, and so does " + others
}

// ExplainNames is explain for a name that comes or goes, or a file that may be
// read or not. The path is as in Server.Recheck.
func ExplainNames(path string) string {
	name, _ := cleanPath(path)
	if urlpath.IsHidden(name) {
		return hiddenNobody
	}
	return "those that use or show it say when it is gone or cannot be read, and have it when it can; lists of its directory are loaded again"
}

const hiddenNobody = "none: hidden files are not served"
