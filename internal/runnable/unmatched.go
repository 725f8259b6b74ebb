package runnable

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"slices"

	"github.com/execlog/execlogd/internal/config"
	"github.com/execlog/execlogd/router"
)

// Unmatched returns those of the routes that match no file below the roots. In a tree of
// many files it gives up, and returns none.
func Unmatched(ctx context.Context, r *router.Router, roots, routes []string) []string {
	const mostFiles, mostMatches = 20_000, 2_000_000
	type unmatchedRoute struct {
		route   string
		matches func(root, path string) bool
	}
	var left []unmatchedRoute
	for _, route := range routes {
		if matches, err := r.Matcher(route); err == nil {
			left = append(left, unmatchedRoute{route, matches})
		}
	}

	enough := errors.New("enough")
	files, tried := 0, 0
	for _, root := range roots {
		if config.IsFile(root) || !config.IsDir(root) {
			return nil // a file matches by itself; in a missing directory anything may come
		}
		// The watcher reports what cannot be read.
		err := filepath.WalkDir(root+"/", func(path string, d fs.DirEntry, err error) error {
			rel, _ := config.Below(root, path)
			files, tried = files+1, tried+len(left)
			switch {
			case len(left) == 0 || ctx.Err() != nil || files > mostFiles || tried > mostMatches:
				return enough
			case err != nil || rel == ".":
				return nil
			}
			left = slices.DeleteFunc(left, func(c unmatchedRoute) bool { return c.matches(root, rel) })
			if d.IsDir() && r.SkipDir(root, rel) {
				return fs.SkipDir
			}
			return nil
		})
		if err != nil {
			break
		}
	}
	if len(left) == 0 || ctx.Err() != nil || files > mostFiles || tried > mostMatches {
		return nil
	}

	var none []string
	for _, c := range left {
		none = append(none, c.route)
	}
	return none
}
