package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"

	"github.com/execlog/execlogd/internal/config"
	"github.com/execlog/execlogd/router"
)

// logNotes logs what there is to say of the patterns of a configuration that was
// not said of the one before.
func (d *daemon) logNotes(cfg config.Config) {
	said := make(map[string]bool)
	for _, note := range cfg.Notes() {
		said[note.Text] = true
		if !d.noted[note.Text] {
			if note.Line > 0 {
				d.log.Warn(note.Error())
			} else {
				d.log.Warn(note.Text) // of a flag
			}
		}
	}
	d.noted = said
}

// noteUnmatched logs which of the routes that old does not have, with the same
// patterns, match no file that is there. It takes as long as looking for one does,
// until ctx ends.
func (p *pipeline) noteUnmatched(ctx context.Context, cfg *resolvedConfig, old []resolvedRoute) {
	known := make(map[string]bool)
	patternsOf := func(c *config.Route) string {
		return fmt.Sprintf("%q %q %q %q %q", c.Name, c.Root, c.Patterns, c.Ignore, c.Hidden)
	}
	for _, f := range old {
		known[patternsOf(f.Route)] = true
	}
	fresh := make(map[string][]string) // by their root
	match := make(map[string][]string)
	for _, f := range cfg.resolved {
		if len(f.Patterns) > 0 && !known[patternsOf(f.Route)] {
			fresh[f.Root] = append(fresh[f.Root], f.Name)
			match[f.Name] = f.Patterns
		}
	}
	for _, root := range cfg.Roots() {
		for _, route := range unmatched(ctx, p.router, []string{root}, fresh[root]) {
			p.d.log.Info("no file matches yet", "route", route, "match", match[route])
		}
	}
}

// unmatched returns those of the routes that match nothing that is below the roots.
// In a tree of many files it does not look to the end, and returns none.
func unmatched(ctx context.Context, r *router.Router, roots, routes []string) []string {
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
			return nil // a file is for whoever names it, and what comes nobody knows
		}
		// What cannot be read the watcher has complained of.
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
