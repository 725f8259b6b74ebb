package router

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/execlog/execlogd/inotify"
)

// reports returns a router and a channel with the paths of its batches. It has a Delay
// because without one a save would be several batches.
func reports(t *testing.T) (*Router, <-chan string) {
	batches := make(chan string, 100)
	return mustNew(t, Options{}, Route{
		Name: "test", Delay: 50 * ms, Debounce: -1,
		Callback: to(batches),
	}), batches
}

// listen runs the listeners until the test ends. When it returns they are watching.
func listen(t testing.TB, listeners ...Listener) {
	t.Helper()
	listenGroup(t, listeners...)
}

// listenGroup is listen, and returns the Group.
func listenGroup(t testing.TB, listeners ...Listener) *Group {
	t.Helper()
	g, err := NewGroup(inotify.Options{}, listeners...)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- g.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
		if err := g.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return g
}

// listeners returns listeners for roots with one Router.
func listeners(r *Router, roots ...string) (all []Listener) {
	for _, root := range roots {
		all = append(all, Listener{Root: root, Router: r})
	}
	return all
}

// Each save is one batch with the name of the file. A second batch would be read in the
// place of the next.
func TestListenSaves(t *testing.T) {
	root := t.TempDir()
	write(t, filepath.Join(root, "sub", "page.html"), "old")
	r, batches := reports(t)
	listen(t, Listener{Root: root, Router: r})

	saves := []struct {
		name string
		save func(t *testing.T)
		want string
	}{
		{"in place", func(t *testing.T) { write(t, filepath.Join(root, "sub", "page.html"), "new") }, "sub/page.html"},
		{"by a temporary file", func(t *testing.T) {
			write(t, filepath.Join(root, "sub", "sedABC"), "newer")
			rename(t, filepath.Join(root, "sub", "sedABC"), filepath.Join(root, "sub", "page.html"))
		}, "sub/page.html"},
		{"removed and written anew", func(t *testing.T) {
			remove(t, filepath.Join(root, "sub", "page.html"))
			write(t, filepath.Join(root, "sub", "page.html"), "newest")
		}, "sub/page.html"},
		{"in a directory that did not exist", func(t *testing.T) { write(t, filepath.Join(root, "a/b/c.html"), "c") }, "a/b/c.html"},
		{"by a renamed directory", func(t *testing.T) { rename(t, filepath.Join(root, "a"), filepath.Join(root, "z")) }, "z+z/b/c.html"},
		{"by touch", func(t *testing.T) { touch(t, filepath.Join(root, "z/b/c.html")) }, "z/b/c.html"},
		{"through a memory map", func(t *testing.T) { storeMapped(t, filepath.Join(root, "z/b/c.html")) }, "z/b/c.html"},
		{"with a mode and a time that are set after it", func(t *testing.T) {
			// The mode was no change, nor was that it was opened.
			if err := os.Chmod(filepath.Join(root, "sub", "page.html"), 0o600); err != nil {
				t.Fatal(err)
			}
			f, err := os.OpenFile(filepath.Join(root, "sub", "page.html"), os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			f.Close()
			write(t, filepath.Join(root, "last"), "text")
			if err := os.Chtimes(filepath.Join(root, "last"), time.Unix(1e9, 0), time.Unix(1e9, 0)); err != nil {
				t.Fatal(err)
			}
		}, "last"},
	}
	for _, s := range saves {
		t.Run(s.name, func(t *testing.T) {
			s.save(t)
			select {
			case got := <-batches:
				if got != s.want {
					t.Errorf("batch %q, want %q", got, s.want)
				}
			case <-time.After(time.Minute):
				t.Errorf("no batch within a minute, want %q", s.want)
			}
		})
	}
	if len(batches) > 0 {
		t.Errorf("one batch more: %q", <-batches)
	}
}

func touch(t *testing.T, path string) {
	t.Helper()
	if err := os.Chtimes(path, time.Now(), time.Now()); err != nil {
		t.Fatal(err)
	}
}

// storeMapped changes the first byte of a file through a memory map.
func storeMapped(t *testing.T, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	m, err := syscall.Mmap(int(f.Fd()), 0, 1, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	m[0]++
	if err := syscall.Munmap(m); err != nil {
		t.Fatal(err)
	}
}

func TestListenSlowly(t *testing.T) {
	root := t.TempDir()
	r, batches := reports(t)
	listen(t, Listener{Root: root, Router: r})

	file, err := os.Create(filepath.Join(root, "film.mp4"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.WriteString("half"); err != nil {
		t.Fatal(err)
	}
	// Another listener of the same root says when the delay is long over.
	other, clock := reports(t)
	listen(t, Listener{Root: root, Router: other})
	for range 3 {
		write(t, filepath.Join(root, "tick"), "")
		write(t, filepath.Join(root, "tick"), "tock")
		<-clock
	}
	if len(batches) > 0 {
		t.Errorf("batch %q while the file is open", <-batches)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	if got, want := <-batches, "film.mp4+tick"; got != want {
		t.Errorf("batch %q, want %q", got, want)
	}
}

// Two roots, two routers and one for both share one inotify instance.
func TestListenTogether(t *testing.T) {
	a, b := t.TempDir(), t.TempDir()
	ofA, batchesA := reports(t)
	ofBoth, batchesBoth := reports(t)
	listen(t, Listener{Root: a, Router: ofA}, Listener{Root: a, Router: ofBoth}, Listener{Root: b, Router: ofBoth})
	if n := instances(t); n != 1 {
		t.Errorf("%d inotify instances, want 1", n)
	}

	write(t, filepath.Join(b, "b"), "b")
	if got := <-batchesBoth; got != "b" {
		t.Errorf("batch %q, want b", got)
	}
	write(t, filepath.Join(a, "a"), "a")
	if got := <-batchesBoth; got != "a" {
		t.Errorf("batch %q, want a", got)
	}
	if got := <-batchesA; got != "a" {
		t.Errorf("batch %q, want a", got)
	}
}

// What happens between NewGroup and Run is not lost, what no route is for is
// not watched, and the end of the context ends everything without an error.
func TestListenFromNewGroupOn(t *testing.T) {
	root := t.TempDir()
	write(t, filepath.Join(root, ".git", "objects", "ab"), "")
	r, batches := reports(t)
	g, err := NewGroup(inotify.Options{}, Listener{Root: root, Router: r})
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(root, "early"), "early")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- g.Run(ctx) }()
	if got := <-batches; got != "early" {
		t.Errorf("batch %q, want early", got)
	}
	if n := g.Watches(); n != 1 {
		t.Errorf("%d directories are watched, want 1", n)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
	for range 2 {
		if err := g.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
}

// A listener that cannot start leaves nothing behind of those that could.
func TestListenErrors(t *testing.T) {
	root := t.TempDir()
	r, _ := reports(t)
	err := Listen(t.Context(), Listener{Root: root, Router: r}, Listener{Root: filepath.Join(root, "missing"), Router: r})
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "missing") {
		t.Errorf("a missing root: %v", err)
	}
	err = Listen(t.Context(), Listener{Root: "/srv"})
	if err == nil || err.Error() != `listener for "/srv": no router: set one` {
		t.Errorf("no router: %v", err)
	}

	// Of two listeners for one root and Router one may wait for it, and so both do.
	missing := Listener{Root: filepath.Join(root, "missing"), Router: r}
	waiting := missing
	waiting.Wait = true
	if g, err := NewGroup(inotify.Options{}, missing, waiting); err != nil {
		t.Errorf("a missing root that one of two waits for: %v", err)
	} else if err := g.Close(); err != nil {
		t.Error(err)
	}

	// The router ran before, so the group ends by itself.
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.Run(over); err != nil {
		t.Fatal(err)
	}
	if err := Listen(t.Context(), Listener{Root: root, Router: r}); err == nil || !strings.Contains(err.Error(), "Run was called before") {
		t.Errorf("a router that ran: %v", err)
	}
	if n := instances(t); n != 0 {
		t.Errorf("%d inotify instances are left", n)
	}
}

// instances counts this process's inotify instances.
func instances(t *testing.T) int {
	t.Helper()
	fds, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, fd := range fds {
		if to, err := os.Readlink(fd); err == nil && to == "anon_inode:inotify" {
			n++
		}
	}
	return n
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func rename(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

func mkdir(t *testing.T, path string) {
	t.Helper()
	if err := os.MkdirAll(path, 0o755); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

// flush waits until everything that has happened was delivered.
func flush(t *testing.T, g *Group) {
	t.Helper()
	if err := g.watcher.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
}

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
	t.Parallel()
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
	flush(t, g) // and for the scan that the change has led to
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

func TestListenerIsToldOfLostEvents(t *testing.T) {
	r, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	lost := 0
	listeners, err := mergeListeners([]Listener{{Root: "/r", Router: r}, {Root: "/r", Router: r, Lost: func() { lost++ }}})
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range listeners {
		l.deliver([]inotify.Event{{Root: "/r", Path: "a", Mask: inotify.Modify}, {Root: "/r", Path: ".", Mask: inotify.Overflow | inotify.IsDir}})
	}
	if lost != 1 {
		t.Errorf("told %d times", lost)
	}
}

// What a link leads to comes by the path of the link in another root, filtered by the patterns
// that hold there.
func TestListenerAs(t *testing.T) {
	dir, out := t.TempDir(), t.TempDir()
	write(t, out+"/one/skipped/f", "")
	mkdir(t, out+"/two")
	if err := os.Symlink(out+"/one", dir+"/link"); err != nil {
		t.Fatal(err)
	}
	batches := make(chan []inotify.Event, 100)
	r := mustNew(t, Options{}, Route{
		Name: "test", Roots: []string{dir}, Mask: inotify.Changes, Delay: 50 * ms, Debounce: -1, Ignore: []string{"/link/skipped/"},
		Callback: func(_ context.Context, batch []inotify.Event) error {
			batches <- slices.Clone(batch)
			return nil
		},
	})
	listen(t, Listener{Root: dir, Router: r}, Listener{Root: dir + "/link", As: inotify.Location{Root: dir, Path: "link"}, Router: r})
	await := func(want ...string) {
		t.Helper()
		for seen := make(map[string]bool); ; {
			if slices.ContainsFunc(want, func(path string) bool { return !seen[path] }) {
				for _, e := range <-batches {
					if e.Root != dir || strings.Contains(e.Path, "skipped/") {
						t.Fatalf("event %v of %s", e, e.Root)
					}
					seen[e.Path] = true
					if e.From != "" {
						seen[e.From+">"+e.Path] = true
					}
				}
				continue
			}
			return
		}
	}
	write(t, out+"/one/skipped/f", "new")
	write(t, out+"/one/f", "")
	await("link/f")
	rename(t, out+"/one/f", out+"/one/g")
	await("link/f>link/g")

	// The link leads elsewhere.
	write(t, out+"/two/h", "")
	if err := os.Symlink(out+"/two", dir+"/next"); err != nil {
		t.Fatal(err)
	}
	rename(t, dir+"/next", dir+"/link")
	await("link", "link/h")
	write(t, out+"/two/sub/i", "")
	await("link/sub/i")
}

// Events that are delivered from elsewhere reach the listeners of all directories that they
// are in, and each route once.
func TestGroupDeliver(t *testing.T) {
	root := t.TempDir()
	sub := filepath.Join(root, "sub")
	if err := os.Mkdir(sub, 0o755); err != nil {
		t.Fatal(err)
	}
	batches := make(chan string, 100)
	route := func(name string, roots ...string) Route {
		return Route{Name: name, Roots: roots, Delay: 50 * ms, Debounce: -1, Callback: to(batches)}
	}
	r := mustNew(t, Options{}, route("outer", root), route("inner", sub))
	lost := make(chan string, 100)
	all := listeners(r, root, sub)
	for i := range all {
		all[i].Lost = func() { lost <- all[i].Root }
	}
	g := listenGroup(t, all...)

	tests := []struct {
		name   string
		event  inotify.Event
		wanted []string
	}{
		{"in both", inotify.Event{Root: root, Path: "sub/f", Mask: inotify.CloseWrite | inotify.Modify}, []string{"f", "sub/f"}},
		{"in one", inotify.Event{Root: root, Path: "g", Mask: inotify.CloseWrite | inotify.Modify}, []string{"g"}},
		{"by the inner one", inotify.Event{Root: sub, Path: "h", Mask: inotify.CloseWrite | inotify.Modify}, []string{"h", "sub/h"}},
		{"of a directory above both", inotify.Event{Root: filepath.Dir(root), Path: filepath.Base(root) + "/i", Mask: inotify.CloseWrite | inotify.Modify}, []string{"i"}},
		{"into one from the other", inotify.Event{Root: root, Path: "sub/k", From: "j", Mask: inotify.MovedTo}, []string{"k", "sub/k"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g.Deliver([]inotify.Event{tt.event})
			var got []string
			for range tt.wanted {
				got = append(got, <-batches)
			}
			slices.Sort(got)
			if !slices.Equal(got, tt.wanted) {
				t.Errorf("batches %q, want %q", got, tt.wanted)
			}
		})
	}

	g.Deliver([]inotify.Event{{Root: root, Path: ".", Mask: inotify.Overflow | inotify.IsDir}})
	if got := []string{<-lost, <-lost}; !slices.Equal(got, []string{root, sub}) {
		t.Errorf("lost below %q, want both", got)
	}
	g.Deliver([]inotify.Event{{Root: "/elsewhere", Path: "f", Mask: inotify.Modify}})
	select {
	case batch := <-batches:
		t.Errorf("a batch of %q", batch)
	case <-time.After(100 * ms):
	}
}

// A root may be a file in the directory of an event.
func TestGroupDeliverOfFile(t *testing.T) {
	dir := t.TempDir()
	file, other := filepath.Join(dir, "f"), filepath.Join(dir, "d")
	write(t, file, "text")
	if err := os.Mkdir(other, 0o755); err != nil {
		t.Fatal(err)
	}
	batches := make(chan string, 100)
	r := mustNew(t, Options{}, Route{Name: "r", Roots: []string{file, other}, Delay: 50 * ms, Debounce: -1, Callback: to(batches)})
	g := listenGroup(t, listeners(r, file, other)...)
	for _, path := range []string{"f", "g", "d"} {
		mask := inotify.Mask(inotify.MovedTo | inotify.Modify)
		if path == "d" {
			mask |= inotify.IsDir
		}
		g.Deliver([]inotify.Event{{Root: dir, Path: path, From: "x", Mask: mask}})
	}
	select {
	case got := <-batches:
		if got != "." {
			t.Errorf("a batch of %q, want the file", got)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("no batch of the file")
	}
	select {
	case batch := <-batches:
		t.Errorf("a further batch of %q", batch)
	case <-time.After(100 * ms):
	}
}

// Watch is for events beside those of the routers.
func TestGroupWatch(t *testing.T) {
	root := t.TempDir()
	r, _ := reports(t)
	g := listenGroup(t, listeners(r, root)...)
	paths := make(chan string, 100)
	h, err := g.Watch(inotify.Subscription{Root: root, Mask: inotify.CloseWrite, Deliver: func(events []inotify.Event) {
		for _, e := range events {
			paths <- e.Path
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	write(t, filepath.Join(root, "f"), "text")
	if got := <-paths; got != "f" {
		t.Errorf("an event of %q, want f", got)
	}
}
