package router

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/execlog/execlogd/inotify"
	"github.com/execlog/execlogd/router/internal/glob"
)

// A Verdict is what a route makes of a path.
type Verdict struct {
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

// Explain says what each route that is for a root, in the order of New, makes
// of a path, which is relative to it. It is for people who wonder, and not
// quick.
func (r *Router) Explain(root, path string) []Verdict {
	var verdicts []Verdict
	for _, s := range r.stages {
		if s.rules.in(root) {
			verdicts = append(verdicts, s.explain(root, relative(path)))
		}
	}
	return verdicts
}

// Matcher returns what reports whether a route is for a path, which is relative to
// a root: a change of it, of a kind that the route asks for, would trigger it.
func (r *Router) Matcher(route string) (matches func(root, path string) bool, err error) {
	s, err := r.stage(route)
	if err != nil {
		return nil, err
	}
	return func(root, path string) bool { return s.rules.isFor(inotify.Event{Root: root, Path: path}) }, nil
}

func (s *stage) explain(root, path string) Verdict {
	below := func(g glob.Glob) bool { return g.Below().Match(path) }
	v := Verdict{
		Route:   s.route.Name,
		Mask:    s.rules.want,
		Ignored: first(s.route.Ignore, below),
		Output:  first(s.route.Outputs, below),
		Pattern: first(s.route.Patterns, func(g glob.Glob) bool { return g.Match(path) && g.Shows(path, s.rules.hidden) }),
		Wanted:  s.rules.names(path, 0) && !s.rules.isTooDeep(path) && !s.rules.ignores(path),
	}
	if v.Ignored == "" && !v.Wanted {
		v.Ignored = first(s.route.Hidden, below)
	}
	if v.Ignored == "" && v.Output == "" && s.rules.files != nil {
		info, err := os.Lstat(filepath.Join(root, path))
		by, ignored := s.rules.files(root).Ignored(path, err == nil && info.IsDir())
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
