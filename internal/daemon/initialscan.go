package daemon

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"slices"

	"github.com/execlog/execlogd/inotify"
	"github.com/execlog/execlogd/internal/config"
	"github.com/execlog/execlogd/internal/runnable"
	"github.com/execlog/execlogd/router"
)

// callback is what a route does with a batch. One by file that is to run at the
// start is due for its root first, and then for each file that is there.
func (p *pipeline) callback(f runnable.Route) router.Callback {
	run := f.Runnable.OnlyChanged(f.Route, f.Runnable.Run)
	return func(ctx context.Context, batch []inotify.Event) error {
		if isInitialScan(f.Route, batch) {
			return p.offerPresent(f.Route)
		}
		return run(ctx, batch)
	}
}

// isInitialScan reports whether a batch asks a route by file to look for the files that
// are there. The kernel's events have a mask.
func isInitialScan(c *config.Route, batch []inotify.Event) bool {
	return c.PerFile() && batch[0].Path == "." && batch[0].Mask == 0
}

func (c *resolvedConfig) isInitialScan(run router.Run) bool {
	return slices.ContainsFunc(c.Routes, func(c config.Route) bool { return c.Name == run.Route && isInitialScan(&c, run.Events) })
}

// offerPresent hands a route the files that are there, as if they had just come.
// The tree is watched, so that each is there or comes. What cannot be read the
// watcher has complained of.
func (p *pipeline) offerPresent(c *config.Route) error {
	const came = inotify.Create | inotify.MovedTo | inotify.Modify | inotify.CloseWrite
	offer := func(path string) error {
		return p.router.Offer(c.Name, inotify.Event{Root: c.Root, Path: path, Mask: came})
	}
	if config.IsFile(c.Root) {
		return unlessStopped(offer("."))
	}
	// The slash follows a root that is a symbolic link.
	err := filepath.WalkDir(c.Root+"/", func(path string, d fs.DirEntry, err error) error {
		rel, _ := config.Below(c.Root, path)
		switch {
		case err != nil:
			return nil
		case d.IsDir() && rel != "." && p.router.SkipDir(c.Root, rel):
			return fs.SkipDir
		case d.Type().IsRegular():
			return offer(rel)
		}
		return nil
	})
	return unlessStopped(err)
}

// unlessStopped is err, unless it is that the router is stopped.
func unlessStopped(err error) error {
	if errors.Is(err, router.ErrStopped) {
		return nil
	}
	return err
}
