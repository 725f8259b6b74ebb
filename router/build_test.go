package router

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/execlog/execlogd/inotify"
)

// runsOf returns a Post callback and a channel with the runs that it was called with:
// route:paths, the paths sorted, and a mark for an error.
func runsOf() (post func(Run), runs <-chan string) {
	told := make(chan string, 100)
	return func(f Run) {
		names := strings.Split(paths(f.Events), "+")
		slices.Sort(names)
		told <- f.Route + ":" + strings.Join(names, "+") + mark(f.Err)
	}, told
}

// A build writes files until its last instruction, in a tree whose pages are watched.
// Pages reload once for each build, with everything, and not when it fails. One reload
// too many would be read in the place of the next.
func TestBuildThenReload(t *testing.T) {
	root := t.TempDir()
	write(t, filepath.Join(root, "public", "index.html"), "old")
	post, runs := runsOf()
	build := func(_ context.Context, batch []inotify.Event) error {
		for i := range 50 {
			write(t, filepath.Join(root, "public", fmt.Sprintf("%d.html", i)), "new")
		}
		write(t, filepath.Join(root, "public", "index.html"), "new")
		if batch[0].Path == "wrong.md" {
			return errors.New("no template")
		}
		return nil
	}
	r := mustNew(t, Options{Post: post},
		Route{Name: "build", Patterns: []string{"*.md"}, Delay: 10 * ms, Debounce: -1, Callback: build},
		Route{Name: "reload", Patterns: []string{"index.html", "*.css"}, Delay: -1, Debounce: -1, After: []string{"build"}, Follow: true, Callback: discard})
	listen(t, Listener{Root: root, Router: r})

	for i := range 30 {
		name := fmt.Sprintf("%d.md", i)
		write(t, filepath.Join(root, name), "text")
		want := []string{"build:" + name, "reload:" + name + "+public/index.html"}
		if got := []string{<-runs, <-runs}; !slices.Equal(got, want) {
			t.Fatalf("runs %q, want %q", got, want)
		}
	}
	write(t, filepath.Join(root, "wrong.md"), "text")
	want := []string{"build:wrong.md!", "reload:public/index.html!cancelled"}
	if got := []string{<-runs, <-runs}; !slices.Equal(got, want) {
		t.Fatalf("runs %q, want %q", got, want)
	}
	write(t, filepath.Join(root, "new.css"), "a{}")
	if got := <-runs; got != "reload:new.css" {
		t.Errorf("run %q, want reload:new.css", got)
	}
}

// A callback that saves what triggers it as its last act is refused as a loop.
func TestLoopOfFiles(t *testing.T) {
	root := t.TempDir()
	post, runs := runsOf()
	r := mustNew(t, Options{Post: post}, Route{
		Name: "fmt", Patterns: []string{"*.go"}, Delay: 10 * ms, Debounce: -1,
		Callback: func(context.Context, []inotify.Event) error {
			write(t, filepath.Join(root, "a.go"), "package a")
			return nil
		},
	})
	listen(t, Listener{Root: root, Router: r})
	write(t, filepath.Join(root, "a.go"), "package  a")
	for range maxGeneration {
		if got := <-runs; got != "fmt:a.go" {
			t.Fatalf("run %q, want fmt:a.go", got)
		}
	}
	if got := <-runs; got != "fmt:a.go!loop" {
		t.Errorf("run %q, want it refused as a loop", got)
	}
}
