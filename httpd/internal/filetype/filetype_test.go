package filetype

import (
	"slices"
	"testing"
)

// Only archives and source maps are loaded by no page.
func TestPagesLoadEveryKnownType(t *testing.T) {
	exempt := []string{".gz", ".map", ".tar", ".zip"}
	for extension, known := range types {
		if known.Kind == NotLoaded && !slices.Contains(exempt, extension) {
			t.Errorf("a change of a %s file affects no page", extension)
		}
	}
}
