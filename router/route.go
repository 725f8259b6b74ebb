package router

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/execlog/execlogd/inotify"
)

// Reload is the mask of a route that refreshes pages: content that was written
// in place, and renames that replace it, so that an atomic save counts as a
// modification. It is the mask of a Route that has none.
const Reload = inotify.Modify | inotify.MovedTo

// What a Route gets for a field that is zero.
const (
	DefaultDelay    = 30 * time.Millisecond
	DefaultDebounce = 200 * time.Millisecond
	DefaultSettle   = 2 * time.Second
	DefaultHold     = 30 * time.Second
)

// gone, arrived and content are the events that a batch heeds for the paths
// it has, whatever the route asks for.
const (
	gone    = inotify.Delete | inotify.MovedFrom
	arrived = inotify.Create | inotify.MovedTo
	content = inotify.Modify | inotify.CloseWrite
)

// askable is every event that a mask may have.
const askable = inotify.Changes | inotify.Access | inotify.Open | inotify.CloseNoWrite

// DefaultIgnore returns what a Route ignores that does not say: hidden files
// and directories, and the temporary files of editors.
func DefaultIgnore() []string {
	return []string{".*", "*~", "*.tmp", "*.swp", "4913", ".#*", "#*#"}
}

// A Callback does what a route is for. The batch is its own, and never empty.
// The context ends when the route's Timeout has passed or when the router
// stops and its grace is over; Run waits until the callback returns. An error
// or a panic is logged and ends this run alone.
type Callback func(ctx context.Context, batch []inotify.Event) error

// A Route says which events are gathered, for how long, and what is called
// with them. The package documentation has the rules.
type Route struct {
	// Name is what logs and errors call the route. It is required and
	// there is one of it in a Router.
	Name string

	// Patterns are the paths that the route is for; none means all.
	Patterns []string

	// Ignore are the paths that it is not for, with all below them. nil is
	// DefaultIgnore, an empty slice ignores nothing.
	Ignore []string

	// Mask is the events that the route asks for; 0 is Reload, which is
	// changes of content. Add Create for empty files, links and new
	// directories, and Delete and MovedFrom for what goes away.
	Mask inotify.Mask

	// Delay is how long events are gathered from the first on;
	// 0 is DefaultDelay, negative is none. Without a delay, the
	// temporary file of an atomic save may be announced before its rename.
	Delay time.Duration

	// Debounce is the least time from the start of one run to the start of
	// the next; 0 is DefaultDebounce, negative is none.
	Debounce time.Duration

	// Settle is how long after the last write a file that is still open is
	// waited for; 0 is DefaultSettle, negative is not at all.
	Settle time.Duration

	// Hold is how long files that are still open keep back a batch that
	// could go otherwise; 0 is DefaultHold, negative is not at all. A file that
	// was written all that time holds back only itself until it is closed.
	Hold time.Duration

	// Timeout ends the context of a run that takes longer; 0 is never.
	Timeout time.Duration

	// Callback is called with each batch. It is required.
	Callback Callback
}

// withDefaults is the route with every duration and its mask as they apply.
func (r Route) withDefaults() Route {
	r.Mask = cmp.Or(r.Mask, Reload)
	r.Delay = max(0, cmp.Or(r.Delay, DefaultDelay))
	r.Debounce = max(0, cmp.Or(r.Debounce, DefaultDebounce))
	r.Settle = max(0, cmp.Or(r.Settle, DefaultSettle))
	r.Hold = max(0, cmp.Or(r.Hold, DefaultHold))
	if r.Ignore == nil {
		r.Ignore = DefaultIgnore()
	}
	return r
}

// rules are the part of a route that says which events it is for.
type rules struct {
	want     inotify.Mask
	patterns []glob
	ignore   []glob
}

// rules compiles the patterns of a route that has its defaults.
func (r Route) rules() (*rules, error) {
	switch {
	case r.Name == "":
		return nil, errors.New("a route has no name: give it one, for logs and errors to use")
	case r.Callback == nil:
		return nil, fmt.Errorf("route %q: no callback: set one", r.Name)
	case r.Mask&^askable != 0:
		return nil, fmt.Errorf("route %q: mask has %v, which cannot be asked for: take it out", r.Name, r.Mask&^askable)
	case r.Timeout < 0:
		return nil, fmt.Errorf("route %q: timeout %v is negative: use 0 for none", r.Name, r.Timeout)
	}
	rs := &rules{want: r.Mask}
	for _, p := range r.Patterns {
		globs, err := compile(p)
		if err != nil {
			return nil, fmt.Errorf("route %q: pattern %q: %w", r.Name, p, err)
		}
		rs.patterns = append(rs.patterns, globs...)
	}
	for _, p := range r.Ignore {
		globs, err := compile(p)
		if err != nil {
			return nil, fmt.Errorf("route %q: ignore pattern %q: %w", r.Name, p, err)
		}
		for _, g := range globs {
			// What is below is ignored too.
			rs.ignore = append(rs.ignore, append(g, segment{kind: anyDepth}))
		}
	}
	return rs, nil
}

// wants reports whether e alone would trigger the route.
func (r *rules) wants(e inotify.Event) bool {
	if e.Mask&r.want == 0 {
		return false
	}
	path := relative(e.Path)
	return r.names(path, e.Mask) && !r.ignores(path)
}

// names reports whether the patterns are for the path of an event.
func (r *rules) names(path string, mask inotify.Mask) bool {
	if len(r.patterns) == 0 || matchesAny(r.patterns, path) {
		return true
	}
	// Nobody reports what moved along with a directory.
	moved := mask&(inotify.MovedTo|inotify.MovedFrom) != 0
	return moved && mask&inotify.IsDir != 0 && reachesAny(r.patterns, path)
}

// ignores reports whether the path, or a directory above it, is ignored.
func (r *rules) ignores(path string) bool {
	return path != "" && matchesAny(r.ignore, path)
}

// skips reports whether the rules are for nothing below a directory.
func (r *rules) skips(dir string) bool {
	return r.ignores(dir) || len(r.patterns) > 0 && !reachesAny(r.patterns, dir)
}

// relative is the path of an event with the root as the empty path.
func relative(path string) string {
	if path == "." {
		return ""
	}
	return path
}

func matchesAny(globs []glob, path string) bool {
	return slices.ContainsFunc(globs, func(g glob) bool { return g.matches(path) })
}

func reachesAny(globs []glob, dir string) bool {
	return slices.ContainsFunc(globs, func(g glob) bool { return g.reaches(dir) })
}
