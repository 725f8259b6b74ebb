package filetype

import (
	"slices"
	"strings"
	"testing"
)

// Only archives and source maps are loaded by no page.
func TestPagesLoadEveryKnownType(t *testing.T) {
	exempt := []string{".7z", ".bz2", ".deb", ".gz", ".map", ".tar", ".tgz", ".xz", ".zip", ".zst"}
	for extension, known := range types {
		if known.Kind == NotLoaded && !slices.Contains(exempt, extension) {
			t.Errorf("a change of a %s file affects no page", extension)
		}
	}
}

// Where a type says its charset in a parameter, text is UTF-8.
func TestTextHasACharset(t *testing.T) {
	for extension, known := range types {
		isText := strings.HasPrefix(known.ContentType, "text/") && known.ContentType != "text/html"
		if isText != strings.HasSuffix(known.ContentType, "; charset=utf-8") {
			t.Errorf("%s is %s", extension, known.ContentType)
		}
		if known.ContentType == "" && extension != ".ts" {
			t.Errorf("%s has no type", extension)
		}
	}
}
