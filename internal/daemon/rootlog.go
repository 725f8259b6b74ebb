package daemon

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"slices"
	"sync"

	"github.com/execlog/execlogd/inotify"
	"github.com/execlog/execlogd/internal/logging"
	"github.com/execlog/execlogd/internal/runnable"
	"github.com/execlog/execlogd/job"
	"github.com/execlog/execlogd/router"
)

// remadeRoots are roots that have gone while a route ran that may make them again, as a
// generator does that removes its whole output before it writes it. That is no news unless
// they stay away. The zero value has none.
type remadeRoots struct {
	mu   sync.Mutex
	gone map[string]bool
}

func (r *remadeRoots) add(root string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.gone == nil {
		r.gone = make(map[string]bool)
	}
	r.gone[root] = true
}

// take takes those out that are what a function says.
func (r *remadeRoots) take(is func(root string) bool) (taken []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for root := range r.gone {
		if is(root) {
			delete(r.gone, root)
			taken = append(taken, root)
		}
	}
	return taken
}

// logRoot returns a function that logs that a root has gone or is there.
func (d *daemon) logRoot(root string) func(there bool) {
	was := false
	return func(there bool) {
		message, level := logging.RootThere, slog.LevelInfo
		switch {
		case !there && d.isRemaking(root):
			d.remade.add(root)
			message, level = logging.RootGone, slog.LevelDebug
		case !there:
			message, level = logging.RootGone, slog.LevelWarn
		case len(d.remade.take(func(gone string) bool { return gone == root })) > 0:
			message, level = logging.RootBack, slog.LevelDebug
		case was:
			message = logging.RootBack
		}
		was = was || !there
		d.log.Log(context.Background(), level, message, "root", root)
	}
}

// isRemaking reports whether a route is at work that may make a root again.
func (d *daemon) isRemaking(root string) bool {
	cfg := d.active.Load()
	for _, r := range cfg.resolved {
		if root == cfg.SiteOf(r.Name).Root && r.Service.Builds != nil && r.Service.Builds.Lines.None() && r.Runnable.Running() {
			_ = d.sourcesOf(r.Name).noteOutput(context.Background(), []inotify.Event{{Root: root, Path: "."}}) // it says nothing of builds
			return true
		}
	}
	if slices.ContainsFunc(cfg.sites, func(s servedSite) bool { return s.Root == root && d.isRebuilding(s.Config) }) {
		return true
	}
	return d.runner != nil && slices.ContainsFunc(d.runner.Log().Recent(math.MaxInt, 0), func(r job.Run) bool {
		return r.Outcome == router.Running && cfg.writes(r.Route, root)
	})
}

// writes reports whether a root is an output of a route that ends.
func (c *resolvedConfig) writes(route, root string) bool {
	return slices.ContainsFunc(c.resolved, func(r runnable.Route) bool {
		return r.Name == route && !r.IsService && r.Writes(root)
	})
}

// noteRoots is told of each run that is over. It logs which roots its route might have made
// again, and has not.
func (d *daemon) noteRoots(cfg *resolvedConfig, route string) {
	isOfPages := func(root string) bool {
		return slices.ContainsFunc(cfg.sites, func(s servedSite) bool { return s.Root == root && slices.Contains(s.BeforePages(), route) })
	}
	for _, root := range d.remade.take(func(root string) bool {
		_, err := os.Stat(root)
		return errors.Is(err, fs.ErrNotExist) && (isOfPages(root) || cfg.writes(route, root))
	}) {
		d.log.Warn(logging.RootGone, "root", root)
	}
}
