package router

import (
	"path/filepath"
	"testing"

	"github.com/execlog/execlogd/inotify"
)

// What is ignored triggers nothing and is not watched. When an ignore file changes, also
// one above the root, the next events are judged by the new one, also in a directory that
// was not watched so far.
func TestListenWithIgnoreFiles(t *testing.T) {
	root := t.TempDir()
	write(t, filepath.Join(root, ".gitignore"), "/out/\n*.log\n")
	write(t, filepath.Join(root, "out/deep/x"), "")
	write(t, filepath.Join(root, "src/x"), "")
	batches := make(chan string, 100)
	r := mustNew(t, Options{}, Route{
		Name: "test", Delay: -1, Debounce: -1, IgnoreFiles: true,
		Callback: to(batches),
	})
	g := listenGroup(t, Listener{Root: root, Router: r})
	if n := g.Watches(); n != 2 {
		t.Errorf("%d directories are watched, want 2", n)
	}
	next := func(want string) {
		t.Helper()
		if got := <-batches; got != want {
			t.Fatalf("batch %q, want %q", got, want)
		}
	}
	save := func(path string) { write(t, filepath.Join(root, path), "new") }
	save("out/deep/x")
	save("a.log")
	save("src/x")
	next("src/x")

	write(t, filepath.Join(root, ".gitignore"), "/src/\n")
	flush(t, g)
	save("src/x")
	save("a.log")
	next("a.log")
	save("out/deep/x")
	next("out/deep/x")
	if n := g.Watches(); n != 4 {
		t.Errorf("%d directories are watched, want 4: one that is ignored since stays", n)
	}

	remove(t, filepath.Join(root, ".gitignore"))
	flush(t, g)
	save("src/x")
	next("src/x")
}

// Ignore files that changed while nothing was watched are read again: those of a root that
// was removed, and those of a directory that no route was for.
func TestIgnoreFilesThatChangedUnwatched(t *testing.T) {
	root := t.TempDir()
	write(t, filepath.Join(root, "sub/.gitignore"), "old\n")
	batches := make(chan string, 100)
	route := Route{
		Name: "test", Delay: -1, Debounce: -1, IgnoreFiles: true, ReadOnly: true, Mask: inotify.CloseWrite,
		Callback: to(batches),
	}
	r := mustNew(t, Options{}, route)
	listener := Listener{Root: root, Router: r}
	g := listenGroup(t, listener)
	save := func(ignored, want string) {
		t.Helper()
		write(t, filepath.Join(root, "sub", ignored), "x")
		write(t, filepath.Join(root, "sub", want), "x")
		if got := <-batches; got != "sub/"+want {
			t.Fatalf("batch %q, want sub/%s", got, want)
		}
	}
	save("old", "a")

	saveUnwatched := func(rules string) {
		t.Helper()
		flush(t, g)
		write(t, filepath.Join(root, "sub/.gitignore"), rules)
	}
	if err := g.SetListeners(); err != nil {
		t.Fatal(err)
	}
	saveUnwatched("new\n")
	if err := g.SetListeners(listener); err != nil {
		t.Fatal(err)
	}
	save("new", "old")

	narrow := route
	narrow.Ignore = []string{"sub"}
	mustSet(t, r, narrow)
	saveUnwatched("newer\n")
	mustSet(t, r, route)
	save("newer", "new")
}
