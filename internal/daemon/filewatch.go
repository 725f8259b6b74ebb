package daemon

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/execlog/execlogd/inotify"
	"github.com/execlog/execlogd/internal/config"
	"github.com/execlog/execlogd/router"
)

// A fileWatch notices a change of what is in a file, however that comes: the file is
// written, also where it is mounted from, as in containers; another is renamed to its
// path; or a symbolic link on the way to it is changed, as a ConfigMap of Kubernetes
// does it. It does not notice that the file is gone.
type fileWatch struct {
	path    string // absolute
	text    []byte // that was in the file when it was last read
	failure string // why it could not be read after that; empty if it could
	changed func()
	problem func(error) // called with what keeps changes from being noticed; may be nil
}

// watchAgain is how long after a directory could not be watched the directories are
// looked for again.
const watchAgain = 100 * time.Millisecond

// run calls changed, until ctx ends.
func (w *fileWatch) run(ctx context.Context) error {
	for ctx.Err() == nil {
		err := w.watchNames(ctx)
		switch {
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission):
			// In the next round this directory is not among those to watch.
			select {
			case <-time.After(watchAgain):
			case <-ctx.Done():
			}
		case err != nil:
			return err
		}
	}
	return nil
}

// watchNames is run until other names lead to the file.
func (w *fileWatch) watchNames(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	names := w.names()
	compare := func(context.Context, []inotify.Event) error {
		w.compare()
		if !slices.Equal(w.names(), names) {
			cancel()
		}
		return nil
	}

	var routes []router.Route
	for _, name := range names {
		routes = append(routes, router.Route{
			Name: name, Roots: []string{filepath.Dir(name)}, Patterns: []string{"/" + escapeGlob.Replace(filepath.Base(name))},
			Ignore: []string{}, Mask: router.Reload | inotify.Create, ReadOnly: true, Callback: compare,
		})
	}
	r, err := router.New(router.Options{Concurrency: 1}, routes...)
	if err != nil {
		return err
	}

	var listeners []router.Listener
	for _, name := range names {
		// The file may have changed before it was watched.
		if _, err := r.Trigger(name, inotify.Event{Path: "."}); err != nil {
			return err
		}
		dir := filepath.Dir(name)
		if !slices.ContainsFunc(listeners, func(l router.Listener) bool { return l.Root == dir }) {
			listeners = append(listeners, router.Listener{Root: dir, Router: r})
		}
	}
	group, err := router.NewGroup(inotify.Options{Problem: w.problem}, listeners...)
	if err != nil {
		return err
	}
	return errors.Join(group.Run(ctx), group.Close())
}

// compare calls changed if something else is in the file, or if it cannot be read for
// another reason than before, which the reader then reports.
func (w *fileWatch) compare() {
	text, err := config.ReadFile(w.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return
	case err != nil && err.Error() == w.failure, err == nil && w.failure == "" && bytes.Equal(text, w.text):
		return
	case err != nil:
		w.failure = err.Error()
	default:
		w.text, w.failure = text, ""
	}
	w.changed()
}

// names returns the paths that lead to the file, its own and those of links to it, in
// directories that exist and may be watched.
func (w *fileWatch) names() (names []string) {
	const maxLinks = 40 // as in path_resolution(7)
	path := filepath.Clean(w.path)
	for range maxLinks {
		dir := filepath.Dir(path)
		if config.CheckDir("directory", dir, "") == nil && !slices.Contains(names, path) {
			names = append(names, path)
		}

		target, err := os.Readlink(path)
		if err != nil {
			break
		}
		if !filepath.IsAbs(target) {
			target = filepath.Join(dir, target)
		}
		path = filepath.Clean(target)
	}
	return names
}

// escapeGlob makes a pattern of a name that matches that name alone.
var escapeGlob = strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `{`, `\{`)
