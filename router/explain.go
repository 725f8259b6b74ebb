package router

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/execlog/execlogd/inotify"
	"github.com/execlog/execlogd/router/internal/glob"
)

// A Explanation is what a route makes of a path.
type Explanation struct {
	Route string

	// Mask is the events that the route asks for.
	Mask inotify.Mask

	// Ignored is the pattern, in Ignore or Hidden, that keeps the path, or a
	// directory above it, out; empty when none does.
	Ignored string

	// Pattern is the pattern that lets the path in; empty when none does, or
	// when the route is for all paths.
	Pattern string

	// Wanted says that a change of the path, of a kind in Mask, triggers the
	// route.
	Wanted bool

	// Output is the pattern in Outputs that keeps the path, or a directory
	// above it, out; empty when none does.
	Output string

	// IgnoredBy is the ignore file and the line that Ignored is from, as in
	// /src/.gitignore:3; empty when it is one of the route's own patterns.
	IgnoredBy string
}

// Explain says what each route that is for a root, in their order, makes
// of a path, which is relative to it. It is for people who wonder, and not
// quick.
func (r *Router) Explain(root, path string) []Explanation {
	var verdicts []Explanation
	for _, c := range r.routes.Load().all {
		if c.rules.in(root) {
			verdicts = append(verdicts, c.explain(root, relative(path)))
		}
	}
	return verdicts
}

// Matcher returns what reports whether a route is for a path, which is relative to
// a root: a change of it, of a kind that the route asks for, would trigger it.
func (r *Router) Matcher(route string) (matches func(root, path string) bool, err error) {
	set := r.routes.Load()
	i := slices.IndexFunc(set.all, func(c *checkedRoute) bool { return c.route.Name == route })
	if i < 0 {
		return nil, noRoute(route, set)
	}
	return func(root, path string) bool { return set.all[i].rules.isFor(inotify.Event{Root: root, Path: path}) }, nil
}

func (c *checkedRoute) explain(root, path string) Explanation {
	below := func(g glob.Glob) bool { return g.Below().Match(path) }
	v := Explanation{
		Route:   c.route.Name,
		Mask:    c.rules.want,
		Ignored: first(c.route.Ignore, below),
		Output:  first(c.route.Outputs, below),
		Pattern: first(c.route.Patterns, func(g glob.Glob) bool { return g.Match(path) && g.Shows(path, c.rules.hidden) }),
		Wanted:  c.rules.names(path, 0) && !c.rules.isTooDeep(path) && !c.rules.ignores(path),
	}
	if v.Ignored == "" && !v.Wanted {
		v.Ignored = first(c.route.Hidden, below)
	}
	if v.Ignored == "" && v.Output == "" && c.rules.files != nil {
		info, err := os.Lstat(filepath.Join(root, path))
		by, ignored := c.rules.files(root).Ignored(path, err == nil && info.IsDir())
		if ignored {
			v.Ignored, v.IgnoredBy, v.Wanted = by.Text, fmt.Sprintf("%s:%d", by.File, by.Number), false
		}
	}
	return v
}

// first is the first pattern with a glob for which ok holds; New has checked
// that all compile.
func first(patterns []string, ok func(glob.Glob) bool) string {
	i := slices.IndexFunc(patterns, func(p string) bool {
		globs, err := glob.Compile(p)
		return err == nil && slices.ContainsFunc(globs, ok)
	})
	if i < 0 {
		return ""
	}
	return patterns[i]
}
