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

// A checkedRoute is a route with its defaults and its compiled patterns. It does not
// change.
type checkedRoute struct {
	route      *Route
	after      []*checkedRoute // the routes in After
	subscribed inotify.Mask    // what it asks for, and what says whether a file is complete or gone; 0 if it is for nothing

	content     bool // for the content of files alone: each by itself
	patterns    []glob.Glob
	outputGlobs []glob.Glob
	ignore      []glob.Glob    // with outputGlobs, and with the hidden names unless some are spelled out
	hidden      []glob.Segment // names that are ignored unless the matching pattern spells them out
	files       func(root string) *git.RootFiles
}

// check checks a route and compiles its patterns. The error names the route and says what to
// do.
func (r Route) check() (*checkedRoute, error) {
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

	r = r.withDefaults()
	r.Roots = slices.Clone(r.Roots)
	c := &checkedRoute{route: &r, content: r.Per == PerFile && r.Mask&inotify.Create == 0}
	if !r.Follow && !r.TriggerOnly || len(r.Patterns) > 0 {
		c.subscribed = r.Mask | gone | arrived | content
	}

	var ignore, outputs, hidden []glob.Glob
	for _, list := range []struct {
		kind     string
		patterns []string
		globs    *[]glob.Glob
	}{
		{"pattern", r.Patterns, &c.patterns},
		{"ignore pattern", r.Ignore, &ignore},
		{"output pattern", r.Outputs, &outputs},
		{"hidden name", r.Hidden, &hidden},
	} {
		for _, p := range list.patterns {
			globs, err := glob.Compile(p)
			if err != nil {
				return nil, fmt.Errorf("route %q: %s %q: %w", r.Name, list.kind, p, err)
			}
			*list.globs = append(*list.globs, globs...)
		}
	}
	c.outputGlobs = withBelow(outputs)
	c.ignore = append(withBelow(ignore), c.outputGlobs...)
	return c, c.hide(hidden)
}

// withBelow returns globs that also match everything below what these match.
func withBelow(globs []glob.Glob) []glob.Glob {
	var all []glob.Glob
	for _, g := range globs {
		all = append(all, g.Below())
	}
	return all
}

// hide has the globs of Hidden ignored like those of Ignore, unless a pattern of the route
// spells out a name that one of them matches.
func (c *checkedRoute) hide(globs []glob.Glob) error {
	var names []glob.Segment
	for _, g := range globs {
		name, ok := g.Name()
		if !ok {
			return fmt.Errorf("route %q: hidden names %q: one is a path, not a name: put it into Ignore", c.route.Name, c.route.Hidden)
		}
		names = append(names, name)
	}

	if slices.ContainsFunc(c.patterns, func(g glob.Glob) bool { return g.SpellsOut(names) }) {
		c.hidden = names
	} else {
		c.ignore = append(c.ignore, withBelow(globs)...)
	}
	return nil
}

// wants reports whether e alone triggers the route.
func (c *checkedRoute) wants(e inotify.Event) bool {
	return e.Mask&c.route.Mask != 0 && c.isFor(e)
}

// isFor reports whether the route is for the path of e, whatever happened to it.
func (c *checkedRoute) isFor(e inotify.Event) bool {
	path := relative(e.Path)
	return c.in(e.Root) && c.names(path, e.Mask) && !c.isTooDeep(path) && !c.ignores(path) &&
		!c.fileIgnores(e.Root, path, e.Mask&inotify.IsDir != 0)
}

// isTooDeep reports whether the path is in a directory below a root, and the route
// is not recursive.
func (c *checkedRoute) isTooDeep(path string) bool {
	return c.route.NotRecursive && strings.Contains(path, "/")
}

// in reports whether the route is for anything in a root.
func (c *checkedRoute) in(root string) bool {
	return c.subscribed != 0 && (len(c.route.Roots) == 0 || slices.Contains(c.route.Roots, root))
}

// names reports whether the patterns let in the path of an event.
func (c *checkedRoute) names(path string, mask inotify.Mask) bool {
	isRootFile := path == "" && mask != 0 && mask&inotify.IsDir == 0 // a root that is a file is named by itself
	switch {
	case mask&onlyItself != 0 && c.content:
		return false
	case len(c.patterns) == 0 || isRootFile || slices.ContainsFunc(c.patterns, func(g glob.Glob) bool { return c.letsIn(g, path) }):
		return true
	}
	// A directory that was moved may stand for the files below it.
	standsForFiles := mask&moved != 0 && mask&(inotify.IsDir|onlyItself) == inotify.IsDir
	return standsForFiles && !c.route.NotRecursive && c.canMatchBelow(path)
}

// letsIn reports whether a glob matches the path and spells out the hidden names in it.
func (c *checkedRoute) letsIn(g glob.Glob, path string) bool {
	return g.Match(path) && g.Shows(path, c.hidden)
}

// canMatchBelow reports whether a pattern can match something below a directory and
// spells out the hidden names of its path.
func (c *checkedRoute) canMatchBelow(dir string) bool {
	return slices.ContainsFunc(c.patterns, func(g glob.Glob) bool { return g.CanMatchBelow(dir) && g.Shows(dir, c.hidden) })
}

// ignores reports whether the path, or a directory above it, is ignored. The root
// never is.
func (c *checkedRoute) ignores(path string) bool {
	return path != "" && glob.MatchAny(c.ignore, path)
}

// isOutput reports whether Outputs names the path or a directory above it.
func (c *checkedRoute) isOutput(path string) bool {
	return len(c.outputGlobs) > 0 && path != "" && glob.MatchAny(c.outputGlobs, relative(path))
}

// fileIgnores reports whether an ignore file ignores the path.
func (c *checkedRoute) fileIgnores(root, path string, dir bool) bool {
	if c.files == nil || path == "" {
		return false
	}
	_, ignored := c.files(root).Ignored(path, dir)
	return ignored
}

// skips reports whether the route is for nothing below a directory.
func (c *checkedRoute) skips(root, dir string) bool {
	return c.route.NotRecursive || c.ignores(dir) || len(c.patterns) > 0 && !c.canMatchBelow(dir) || c.fileIgnores(root, dir, true)
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
		if c.in(root) {
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
	return func(root, path string) bool { return set.all[i].isFor(inotify.Event{Root: root, Path: path}) }, nil
}

func (c *checkedRoute) explain(root, path string) Explanation {
	matchesBelow := func(g glob.Glob) bool { return g.Below().Match(path) }
	x := Explanation{
		Route:   c.route.Name,
		Mask:    c.route.Mask,
		Ignored: firstPattern(c.route.Ignore, matchesBelow),
		Output:  firstPattern(c.route.Outputs, matchesBelow),
		Pattern: firstPattern(c.route.Patterns, func(g glob.Glob) bool { return c.letsIn(g, path) }),
		Wanted:  c.names(path, 0) && !c.isTooDeep(path) && !c.ignores(path),
	}
	if x.Ignored == "" && !x.Wanted {
		x.Ignored = firstPattern(c.route.Hidden, matchesBelow)
	}

	if x.Ignored == "" && x.Output == "" && c.files != nil {
		info, err := os.Lstat(filepath.Join(root, path))
		by, ignored := c.files(root).Ignored(path, err == nil && info.IsDir())
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
