package daemon

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"

	"github.com/execlog/execlogd/inotify"
	"github.com/execlog/execlogd/internal/config"
	"github.com/execlog/execlogd/internal/runnable"
	"github.com/execlog/execlogd/router"
)

// callback returns the callback of a route. A route with per = "file" that is to run at
// the start is triggered for its root: that run offers each file that exists to the route.
func (p *pipeline) callback(f runnable.Route) router.Callback {
	run := f.Runnable.OnlyChanged(f.Route, func(ctx context.Context, batch []inotify.Event) error {
		defer p.d.activity.begin(f.Name + " runs")()
		return f.Runnable.Run(ctx, batch)
	})
	return func(ctx context.Context, batch []inotify.Event) error {
		if isInitialScan(f.Route, batch) {
			return p.offerPresent(f.Route)
		}
		return run(ctx, batch)
	}
}

// isInitialScan reports whether a batch is the trigger of a route with per = "file" at the
// start. Events of the kernel have a mask.
func isInitialScan(c *config.Route, batch []inotify.Event) bool {
	return c.PerFile() && batch[0].Path == "." && batch[0].Mask == 0
}

// offerPresent offers a route the files that exist, as if they had just been made. The
// tree is watched already, so no file is missed. What cannot be read is skipped: the
// watcher has reported it.
func (p *pipeline) offerPresent(c *config.Route) (err error) {
	const came = inotify.Create | inotify.MovedTo | inotify.Modify | inotify.CloseWrite
	offer := func(path string) error {
		return p.router.Offer(c.Name, inotify.Event{Root: c.Root, Path: path, Mask: came})
	}

	if config.IsFile(c.Root) {
		err = offer(".")
	} else {
		// The slash follows a root that is a symbolic link.
		err = filepath.WalkDir(c.Root+"/", func(path string, d fs.DirEntry, err error) error {
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
	}
	if errors.Is(err, router.ErrStopped) {
		return nil
	}
	return err
}
