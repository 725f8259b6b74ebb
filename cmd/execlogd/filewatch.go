package main

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/execlog/execlogd/inotify"
	"github.com/execlog/execlogd/router"
)

// A fileWatch notices when there is something else in a file, however that
// came: written, renamed to its place, or by a link at its place that was
// turned, as a ConfigMap of Kubernetes does it. That it is gone is not noticed.
type fileWatch struct {
	path    string // absolute
	text    []byte // that was in it when last looked at
	changed func()
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

// listen is run until another directory has to do with the file.
func (w *fileWatch) listen(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	const name = "config"
	dirs := w.dirs()
	r, err := router.New(router.Options{}, router.Route{
		Name: name, Patterns: []string{"/*"}, Ignore: []string{}, Mask: router.Reload | inotify.Create, ReadOnly: true,
		Callback: func(context.Context, []inotify.Event) error {
			w.look()
			if !slices.Equal(w.dirs(), dirs) {
				cancel()
			}
			return nil
		},
	})
	if err != nil {
		return err
	}
	// Something may have changed before anything was listened to.
	if _, err := r.Trigger(name, inotify.Event{Path: "."}); err != nil {
		return err
	}
	var listeners []router.Listener
	for _, dir := range dirs {
		listeners = append(listeners, router.Listener{Root: dir, Router: r})
	}
	return router.Listen(ctx, listeners...)
}

func (w *fileWatch) look() {
	text, err := os.ReadFile(w.path)
	if err != nil || bytes.Equal(text, w.text) {
		return
	}
	w.text = text
	w.changed()
}

// dirs are the directories that the file, or a link on the way to it, is in, as
// far as they are there and may be watched.
func (w *fileWatch) dirs() (dirs []string) {
	const most = 40 // as path_resolution(7) has it
	path := w.path
	for range most {
		dir := filepath.Dir(path)
		if checkDir("directory", dir, "") == nil && !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
		to, err := os.Readlink(path)
		if err != nil {
			break
		}
		if !filepath.IsAbs(to) {
			to = filepath.Join(dir, to)
		}
		path = to
	}
	return dirs
}
