package router

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/execlog/execlogd/inotify"
	"github.com/execlog/execlogd/router/internal/git"
	"github.com/execlog/execlogd/router/internal/glob"
)

// rules say which events a route is for. They are the compiled form of its patterns
// and its mask, and do not change.
type rules struct {
	want     inotify.Mask
	none     bool // for nothing at all
	flat     bool // for nothing below the directories in a root
	content  bool // for the content of files alone: each by itself
	roots    []string
	patterns []glob.Glob
	outputs  []glob.Glob
	ignore   []glob.Glob    // with outputs, and with the hidden names unless some are spelled out
	hidden   []glob.Segment // names that are ignored unless the matching pattern spells them out
	files    func(root string) *git.RootFiles
}

// rules checks a route that has its defaults and compiles its patterns. The error
// names the route and says what to do.
func (r Route) rules() (*rules, error) {
	switch {
	case r.Name == "":
		return nil, errors.New("a route has no name: give it one, for logs and errors to use")
	case r.Callback == nil:
		return nil, fmt.Errorf("route %q: no callback: set one", r.Name)
	case r.Mask&^askable != 0:
		return nil, fmt.Errorf("route %q: mask has %v, which cannot be asked for: take it out", r.Name, r.Mask&^askable)
	case r.Follow && len(r.After) == 0:
		return nil, fmt.Errorf("route %q: it follows nothing: name in After what it follows", r.Name)
	case r.OnFailure > Keep || r.Per > PerFile || r.OnBusy > Ignore:
		return nil, fmt.Errorf("route %q: OnFailure %d, Per %d or OnBusy %d is none of ours: use the constants", r.Name, r.OnFailure, r.Per, r.OnBusy)
	case r.Retries < 0:
		return nil, fmt.Errorf("route %q: %d retries are fewer than none: use 0 for none", r.Name, r.Retries)
	case r.Timeout < 0:
		return nil, fmt.Errorf("route %q: timeout %v is negative: use 0 for none", r.Name, r.Timeout)
	}

	rs := &rules{
		want:    r.Mask,
		none:    r.Follow && len(r.Patterns) == 0,
		flat:    r.NotRecursive,
		content: r.Per == PerFile && r.Mask&inotify.Create == 0,
		roots:   slices.Clone(r.Roots),
	}
	var err error
	if rs.patterns, err = r.compile("pattern", r.Patterns); err != nil {
		return nil, err
	}
	ignore, err := r.compile("ignore pattern", r.Ignore)
	if err != nil {
		return nil, err
	}
	outputs, err := r.compile("output pattern", r.Outputs)
	if err != nil {
		return nil, err
	}
	rs.outputs = withBelow(outputs)
	rs.ignore = append(withBelow(ignore), rs.outputs...)
	return rs, rs.hide(r)
}

// compile compiles patterns of a kind, which errors name.
func (r Route) compile(kind string, patterns []string) ([]glob.Glob, error) {
	var all []glob.Glob
	for _, p := range patterns {
		globs, err := glob.Compile(p)
		if err != nil {
			return nil, fmt.Errorf("route %q: %s %q: %w", r.Name, kind, p, err)
		}
		all = append(all, globs...)
	}
	return all, nil
}

// withBelow returns globs that also match everything below what these match.
func withBelow(globs []glob.Glob) []glob.Glob {
	var all []glob.Glob
	for _, g := range globs {
		all = append(all, g.Below())
	}
	return all
}

// hide compiles the patterns of Hidden. They are ignored like those of Ignore,
// unless a pattern of the route spells out a name that one of them matches.
func (r *rules) hide(route Route) error {
	globs, err := route.compile("hidden name", route.Hidden)
	if err != nil {
		return err
	}
	var names []glob.Segment
	for _, g := range globs {
		name, ok := g.Name()
		if !ok {
			return fmt.Errorf("route %q: hidden names %q: one is a path, not a name: put it into Ignore", route.Name, route.Hidden)
		}
		names = append(names, name)
	}

	if slices.ContainsFunc(r.patterns, func(g glob.Glob) bool { return g.SpellsOut(names) }) {
		r.hidden = names
	} else {
		r.ignore = append(r.ignore, withBelow(globs)...)
	}
	return nil
}

// wants reports whether e alone triggers the route.
func (r *rules) wants(e inotify.Event) bool {
	return e.Mask&r.want != 0 && r.isFor(e)
}

// isFor reports whether the route is for the path of e, whatever happened to it.
func (r *rules) isFor(e inotify.Event) bool {
	path := relative(e.Path)
	return r.in(e.Root) && r.names(path, e.Mask) && !r.isTooDeep(path) && !r.ignores(path) &&
		!r.fileIgnores(e.Root, path, e.Mask&inotify.IsDir != 0)
}

// isTooDeep reports whether the path is in a directory below a root, and the route
// is not recursive.
func (r *rules) isTooDeep(path string) bool { return r.flat && strings.Contains(path, "/") }

// in reports whether the route is for anything in a root.
func (r *rules) in(root string) bool {
	return !r.none && (len(r.roots) == 0 || slices.Contains(r.roots, root))
}

// names reports whether the patterns let in the path of an event.
func (r *rules) names(path string, mask inotify.Mask) bool {
	isRootFile := path == "" && mask != 0 && mask&inotify.IsDir == 0 // a root that is a file is named by itself
	switch {
	case mask&onlyItself != 0 && r.content:
		return false
	case len(r.patterns) == 0 || isRootFile || r.matches(path):
		return true
	}
	// A directory that was moved may stand for the files below it.
	standsForFiles := mask&moved != 0 && mask&(inotify.IsDir|onlyItself) == inotify.IsDir
	return standsForFiles && !r.flat && r.canMatchBelow(path)
}

// matches reports whether a pattern matches the path and spells out the hidden names
// in it.
func (r *rules) matches(path string) bool {
	return slices.ContainsFunc(r.patterns, func(g glob.Glob) bool { return g.Match(path) && g.Shows(path, r.hidden) })
}

// canMatchBelow reports whether a pattern can match something below a directory and
// spells out the hidden names of its path.
func (r *rules) canMatchBelow(dir string) bool {
	return slices.ContainsFunc(r.patterns, func(g glob.Glob) bool { return g.CanMatchBelow(dir) && g.Shows(dir, r.hidden) })
}

// ignores reports whether the path, or a directory above it, is ignored. The root
// never is.
func (r *rules) ignores(path string) bool {
	return path != "" && glob.MatchAny(r.ignore, path)
}

// isOutput reports whether Outputs names the path or a directory above it.
func (r *rules) isOutput(path string) bool {
	return len(r.outputs) > 0 && path != "" && glob.MatchAny(r.outputs, relative(path))
}

// fileIgnores reports whether an ignore file ignores the path.
func (r *rules) fileIgnores(root, path string, dir bool) bool {
	if r.files == nil || path == "" {
		return false
	}
	_, ignored := r.files(root).Ignored(path, dir)
	return ignored
}

// skips reports whether the route is for nothing below a directory.
func (r *rules) skips(root, dir string) bool {
	return r.flat || r.ignores(dir) || len(r.patterns) > 0 && !r.canMatchBelow(dir) || r.fileIgnores(root, dir, true)
}

// relative is the path of an event with the root as the empty path.
func relative(path string) string {
	if path == "." {
		return ""
	}
	return path
}

// CheckPattern returns what is wrong with a pattern of a route, and what to do
// about it.
func CheckPattern(pattern string) error {
	_, err := glob.Compile(pattern)
	return err
}

// A Conflict is a pattern of a Route that lets nothing in, because another pattern
// keeps all of it out.
type Conflict struct {
	Pattern string // in Patterns
	By      string // in Ignore or Outputs
}

// Conflicts returns the patterns of a route that let nothing in, as far as that can
// be told from the patterns and at little cost. Patterns that do not compile are
// left out.
func (r Route) Conflicts() []Conflict {
	const most = 1 << 16 // pairs that are compared
	keepOut := slices.Concat(r.Ignore, r.Outputs)
	if len(r.Patterns)*len(keepOut) > most {
		return nil
	}

	ignored := make([][]glob.Glob, len(keepOut))
	for i, p := range keepOut {
		ignored[i], _ = glob.Compile(p)
	}
	var conflicts []Conflict
	for _, p := range r.Patterns {
		letIn, err := glob.Compile(p)
		if err != nil {
			continue
		}
		if i := slices.IndexFunc(ignored, func(out []glob.Glob) bool { return glob.CoverAll(out, letIn) }); i >= 0 {
			conflicts = append(conflicts, Conflict{p, keepOut[i]})
		}
	}
	return conflicts
}

// An Explanation is what a route makes of a path.
type Explanation struct {
	Route string

	// Mask is the events that the route asks for.
	Mask inotify.Mask

	// Ignored is the pattern, in Ignore or Hidden, that keeps the path, or a directory
	// above it, out; empty when none does.
	Ignored string

	// Pattern is the pattern that lets the path in; empty when none does, or when the
	// route is for all paths.
	Pattern string

	// Wanted says that a change of the path, of a kind in Mask, triggers the route.
	Wanted bool

	// Output is the pattern in Outputs that keeps the path, or a directory above it, out;
	// empty when none does.
	Output string

	// IgnoredBy is the ignore file and the line that Ignored is from, as in
	// /src/.gitignore:3; empty when it is one of the route's own patterns.
	IgnoredBy string
}

// Explain returns what each route that is for a root makes of a path, which is relative to
// it. It is for people who wonder, and not quick.
func (r *Router) Explain(root, path string) []Explanation {
	var all []Explanation
	for _, c := range r.routes.Load().all {
		if c.rules.in(root) {
			all = append(all, c.explain(root, relative(path)))
		}
	}
	return all
}

// Matcher returns a function that reports whether a route is for a path, which is relative
// to a root: a change of it, of a kind that the route asks for, would trigger the route.
func (r *Router) Matcher(route string) (matches func(root, path string) bool, err error) {
	set := r.routes.Load()
	i := slices.IndexFunc(set.all, func(c *checkedRoute) bool { return c.route.Name == route })
	if i < 0 {
		return nil, noRoute(route, set)
	}
	return func(root, path string) bool { return set.all[i].rules.isFor(inotify.Event{Root: root, Path: path}) }, nil
}

func (c *checkedRoute) explain(root, path string) Explanation {
	matchesBelow := func(g glob.Glob) bool { return g.Below().Match(path) }
	letsIn := func(g glob.Glob) bool { return g.Match(path) && g.Shows(path, c.rules.hidden) }
	x := Explanation{
		Route:   c.route.Name,
		Mask:    c.rules.want,
		Ignored: firstPattern(c.route.Ignore, matchesBelow),
		Output:  firstPattern(c.route.Outputs, matchesBelow),
		Pattern: firstPattern(c.route.Patterns, letsIn),
		Wanted:  c.rules.names(path, 0) && !c.rules.isTooDeep(path) && !c.rules.ignores(path),
	}
	if x.Ignored == "" && !x.Wanted {
		x.Ignored = firstPattern(c.route.Hidden, matchesBelow)
	}

	if x.Ignored == "" && x.Output == "" && c.rules.files != nil {
		info, err := os.Lstat(filepath.Join(root, path))
		by, ignored := c.rules.files(root).Ignored(path, err == nil && info.IsDir())
		if ignored {
			x.Ignored, x.IgnoredBy, x.Wanted = by.Text, fmt.Sprintf("%s:%d", by.File, by.Number), false
		}
	}
	return x
}

// firstPattern returns the first pattern with a glob for which ok holds.
func firstPattern(patterns []string, ok func(glob.Glob) bool) string {
	i := slices.IndexFunc(patterns, func(p string) bool {
		globs, err := glob.Compile(p)
		return err == nil && slices.ContainsFunc(globs, ok)
	})
	if i < 0 {
		return ""
	}
	return patterns[i]
}
