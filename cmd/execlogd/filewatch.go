package main

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

// A fileWatch notices when there is something else in a file, however that
// came: written, also where it is mounted from, as containers have it, renamed to
// its place, or by a link at its place that was turned, as a ConfigMap of
// Kubernetes does it. That it is gone is not noticed.
type fileWatch struct {
	path    string // absolute
	text    []byte // that was in it when last read
	failure string // why it could not be read after that; empty if it could
	changed func()
	problem func(error) // what keeps changes from being noticed; nil ignores it
}

// again is how long after a directory could not be watched they are looked for
// once more.
const again = 100 * time.Millisecond

// run calls changed, until ctx ends.
func (w *fileWatch) run(ctx context.Context) error {
	for ctx.Err() == nil {
		err := w.listen(ctx)
		switch {
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission):
			// What cannot be watched any more is none of them in the next round.
			select {
			case <-time.After(again):
			case <-ctx.Done():
			}
		case err != nil:
			return err
		}
	}
	return nil
}

// listen is run until there are other steps to the file.
func (w *fileWatch) listen(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	steps := w.steps()
	look := func(context.Context, []inotify.Event) error {
		w.look()
		if !slices.Equal(w.steps(), steps) {
			cancel()
		}
		return nil
	}
	var routes []router.Route
	for _, st := range steps {
		routes = append(routes, router.Route{
			Name: st.name(), Roots: []string{st.dir}, Patterns: []string{"/" + literally(st.base)},
			Ignore: []string{}, Mask: router.Reload | inotify.Create, ReadOnly: true, Callback: look,
		})
	}
	r, err := router.New(router.Options{Concurrency: 1}, routes...)
	if err != nil {
		return err
	}
	var listeners []router.Listener
	for _, st := range steps {
		// Something may have changed before anything was listened to.
		if _, err := r.Trigger(st.name(), inotify.Event{Path: "."}); err != nil {
			return err
		}
		if !slices.ContainsFunc(listeners, func(l router.Listener) bool { return l.Root == st.dir }) {
			listeners = append(listeners, router.Listener{Root: st.dir, Router: r})
		}
	}
	group, err := router.NewGroup(inotify.Options{Problem: w.problem}, listeners...)
	if err != nil {
		return err
	}
	return errors.Join(group.Run(ctx), group.Close())
}

// look calls changed if something else is in the file, or if it cannot be read for
// another reason than before; who reads it then says what that is.
func (w *fileWatch) look() {
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

// A fileStep is a name that leads to the file: its own, or that of a link.
type fileStep struct{ dir, base string }

func (st fileStep) name() string { return filepath.Join(st.dir, st.base) }

// steps are those whose directories are there and may be watched.
func (w *fileWatch) steps() (steps []fileStep) {
	const most = 40 // as path_resolution(7) has it
	path := w.path
	for range most {
		st := fileStep{filepath.Dir(path), filepath.Base(path)}
		if config.CheckDir("directory", st.dir, "") == nil && !slices.Contains(steps, st) {
			steps = append(steps, st)
		}
		to, err := os.Readlink(path)
		if err != nil {
			break
		}
		if !filepath.IsAbs(to) {
			to = filepath.Join(st.dir, to)
		}
		path = to
	}
	return steps
}

// literally is a pattern for one name.
func literally(name string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `{`, `\{`).Replace(name)
}
