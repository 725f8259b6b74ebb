package httpd

import (
	"fmt"
	"io/fs"
	"maps"
	"mime"
	"net/http"
	"strings"

	"github.com/execlog/execlogd/httpd/internal/filetype"
	"github.com/execlog/execlogd/httpd/internal/urlpath"
)

// CheckType says what is wrong with an entry of Options.Types, as New does.
func CheckType(extension, contentType string) error {
	if len(extension) < 2 || extension[0] != '.' || strings.ContainsAny(extension[1:], "./\x00") {
		return fmt.Errorf("extension %q: want one with its dot, as in .md", extension)
	}
	kind, _, err := mime.ParseMediaType(contentType)
	if err != nil || strings.Count(kind, "/") != 1 {
		return fmt.Errorf("type %q of %q: want one as in text/markdown; charset=utf-8", contentType, extension)
	}
	return nil
}

func parseTypes(entries map[string]string) (filetype.Types, error) {
	types := make(filetype.Types)
	for extension, contentType := range entries {
		if err := CheckType(extension, contentType); err != nil {
			return nil, err
		}
		types[strings.ToLower(extension)] = contentType
	}
	return types, nil
}

// CheckPage says what is wrong with the name of a page of the site: Options.SPA, or one of
// Options.ErrorPages.
func CheckPage(name string) error {
	if !fs.ValidPath(name) || name == "." || urlpath.IsHidden(name) {
		return fmt.Errorf("page %q: want the name of a file in the directory that is served, as in index.html", name)
	}
	return nil
}

// CheckErrorPage says what is wrong with an entry of Options.ErrorPages, as New does.
func CheckErrorPage(status int, name string) error {
	switch status {
	case http.StatusForbidden, http.StatusNotFound, http.StatusInternalServerError, http.StatusServiceUnavailable:
		return CheckPage(name)
	}
	return fmt.Errorf("status %d has no page: want 403, 404, 500 or 503", status)
}

// parseErrorPages returns the names of the files for each status.
func parseErrorPages(opts Options) (map[int]string, error) {
	pages := map[int]string{http.StatusNotFound: urlpath.NotFound}
	for status, name := range opts.ErrorPages {
		if err := CheckErrorPage(status, name); err != nil {
			return nil, err
		}
	}
	maps.Copy(pages, opts.ErrorPages)
	return pages, nil
}
