package router

import (
	"context"
	"testing"

	"github.com/execlog/execlogd/inotify"
)

// A route that is not recursive is for what is directly in its roots, and has no
// directory below watched.
func TestNotRecursive(t *testing.T) {
	callback := func(context.Context, []inotify.Event) error { return nil }
	flat := Route{Name: "flat", NotRecursive: true, Patterns: []string{"*.md"}, Roots: []string{"a"}, Callback: callback}
	r, err := New(Options{}, flat)
	if err != nil {
		t.Fatal(err)
	}
	matches, err := r.Matcher("flat")
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]bool{"x.md": true, "d/x.md": false, "d/e/x.md": false, "x.txt": false} {
		if got := matches("a", path); got != want {
			t.Errorf("it is for %s: %v, want %v", path, got, want)
		}
		if got := r.Explain("a", path)[0].Wanted; got != want {
			t.Errorf("Explain says of %s that it is wanted: %v, want %v", path, got, want)
		}
	}
	if !r.SkipDir("a", "d") {
		t.Error("a directory is watched")
	}
	// A directory that comes stands for nothing below it.
	if s, err := r.state("flat"); err != nil || s.wants(inotify.Event{Root: "a", Path: "d", Mask: inotify.MovedTo | inotify.IsDir}) {
		t.Errorf("a directory that is moved there is wanted (%v)", err)
	}
	// Another route that is recursive has it watched for itself.
	deep := flat
	deep.Name, deep.NotRecursive = "deep", false
	if r, err = New(Options{}, flat, deep); err != nil {
		t.Fatal(err)
	}
	if r.SkipDir("a", "d") {
		t.Error("a directory is not watched for the route that is recursive")
	}
}
