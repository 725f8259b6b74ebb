package runnable

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"

	"github.com/execlog/execlogd/internal/config"
	"github.com/execlog/execlogd/router"
)

// Unmatched returns those of the routes that match no file below the roots. In a tree of
// many files it gives up, and returns none.
func Unmatched(ctx context.Context, r *router.Router, roots, routes []string) []string {
	const mostFiles, mostMatches = 20_000, 2_000_000
	left := make(map[string]func(root, path string) bool)
	for _, route := range routes {
		if matches, err := r.Matcher(route); err == nil {
			left[route] = matches
		}
	}

	enough := errors.New("enough")
	files, tried := 0, 0
	isEnough := func() bool { return len(left) == 0 || ctx.Err() != nil || files > mostFiles || tried > mostMatches }
	for _, root := range roots {
		if config.IsFile(root) || !config.IsDir(root) {
			return nil // a file matches by itself; in a missing directory anything may come
		}
		// The watcher reports what cannot be read.
		err := filepath.WalkDir(root+"/", func(path string, d fs.DirEntry, err error) error {
			rel, _ := config.Below(root, path)
			files, tried = files+1, tried+len(left)
			switch {
			case isEnough():
				return enough
			case err != nil || rel == ".":
				return nil
			}
			maps.DeleteFunc(left, func(_ string, matches func(root, path string) bool) bool { return matches(root, rel) })
			if d.IsDir() && r.SkipDir(root, rel) {
				return fs.SkipDir
			}
			return nil
		})
		if err != nil {
			break
		}
	}
	if isEnough() {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(routes), func(route string) bool { return left[route] == nil })
}
