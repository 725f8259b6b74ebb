package router

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/execlog/execlogd/inotify"
)

// overlapping are the ways in which two roots have files in common. Each makes
// them below a directory that has in/ in it, and names them in their order, with
// the path by which a route hears of in/f.
var overlapping = []struct {
	name  string
	roots func(t *testing.T, dir string) []string
	want  string
}{
	{"one inside the other", func(t *testing.T, dir string) []string { return []string{dir, dir + "/in"} }, "0:in/f"},
	{"one around the other", func(t *testing.T, dir string) []string { return []string{dir + "/in", dir} }, "1:in/f"},
	{"the same twice", func(t *testing.T, dir string) []string { return []string{dir + "/in", dir + "/in"} }, "0:f"},
	{"the same by two spellings", func(t *testing.T, dir string) []string { return []string{dir + "/./in", dir + "/in"} }, "0:f"},
	{"a link to the other", func(t *testing.T, dir string) []string {
		link := filepath.Join(t.TempDir(), "link")
		if err := os.Symlink(dir+"/in", link); err != nil {
			t.Fatal(err)
		}
		return []string{dir + "/in", link}
	}, "0:f"},
	{"a link into the other", func(t *testing.T, dir string) []string {
		link := filepath.Join(t.TempDir(), "link")
		if err := os.Symlink(dir+"/in", link); err != nil {
			t.Fatal(err)
		}
		return []string{link, dir}
	}, "1:in/f"},
	{"a bind mount of what is in the other", func(t *testing.T, dir string) []string {
		mount := t.TempDir()
		err := unix.Mount(dir+"/in", mount, "", unix.MS_BIND, "")
		if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
			t.Skip("mounting takes a privilege: ", err)
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = unix.Unmount(mount, unix.MNT_DETACH) })
		return []string{mount, dir}
	}, "1:in/f"},
	{"three", func(t *testing.T, dir string) []string { return []string{dir + "/in", filepath.Dir(dir), dir} }, "1:site/in/f"},
}

// spelling returns an event's path with the number of its root.
func spelling(roots []string, e inotify.Event) string {
	return string(rune('0'+slices.Index(roots, e.Root))) + ":" + e.Path
}

// moveIn puts a file in place by one rename, which is one event for each root.
func moveIn(t *testing.T, path string) {
	t.Helper()
	outside := filepath.Join(t.TempDir(), "f")
	write(t, outside, "content")
	rename(t, outside, path)
}

// Each save of a file is one run of a route by file, however many roots it is
// in, and no two runs of the file are there at once.
func TestOverlappingRootsByFile(t *testing.T) {
	for _, o := range overlapping {
		t.Run(o.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "site")
			write(t, dir+"/in/f", "old")
			roots := o.roots(t, dir)
			begun, goOn := make(chan string, 100), make(chan struct{})
			r := mustNew(t, Options{}, Route{
				Name: "test", Per: PerFile, Delay: -1, Debounce: -1, ReadOnly: true,
				Callback: func(_ context.Context, batch []inotify.Event) error {
					begun <- spelling(roots, batch[0])
					<-goOn
					return nil
				},
			})
			listen(t, listeners(r, roots...)...)
			defer close(goOn) // before the router is waited for

			for range 3 {
				moveIn(t, dir+"/in/f")
				if got := <-begun; got != o.want {
					t.Fatalf("a run of %s, want %s", got, o.want)
				}
				// What the file's run must not overlap, another file's may.
				moveIn(t, dir+"/in/other")
				if got, want := <-begun, strings.TrimSuffix(o.want, "f")+"other"; got != want {
					t.Fatalf("a run of %s while one of %s goes on, want %s", got, o.want, want)
				}
				goOn <- struct{}{}
				goOn <- struct{}{}
			}
		})
	}
}

// A batch has a file once.
func TestOverlappingRootsInOneBatch(t *testing.T) {
	for _, o := range overlapping {
		t.Run(o.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "site")
			write(t, dir+"/in/f", "old")
			roots := o.roots(t, dir)
			r, batches := reports(t)
			listen(t, listeners(r, roots...)...)

			write(t, dir+"/in/f", "new")
			_, want, _ := strings.Cut(o.want, ":")
			if got := <-batches; got != want {
				t.Errorf("batch %s, want %s", got, want)
			}
			// What is submitted is the same file as well.
			for i, root := range roots {
				at, err := filepath.Rel(resolve(t, root), resolve(t, dir)+"/in/f")
				if err != nil || strings.HasPrefix(at, "..") {
					continue // a mount
				}
				if err := r.Submit(inotify.Event{Root: root, Path: at, Mask: inotify.MovedTo}).Wait(t.Context()); err != nil {
					t.Fatal(err)
				}
				if got := <-batches; got != want {
					t.Errorf("root %d: batch %s, want %s", i, got, want)
				}
			}
		})
	}
}

func resolve(t *testing.T, path string) string {
	t.Helper()
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		t.Fatal(err)
	}
	return real
}

// Where the outer root's part of a route is not for a file, the inner one's is.
func TestOverlappingRootsOneIsFor(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "site")
	write(t, dir+"/.hidden/in/f", "old")
	roots := []string{dir, dir + "/.hidden/in"}
	r, batches := reports(t)
	listen(t, listeners(r, roots...)...)
	write(t, dir+"/.hidden/in/f", "new")
	if got := <-batches; got != "f" {
		t.Errorf("batch %s, want f", got)
	}
}

// When a root that is a link is changed to lead into another root, or out of it, overlaps
// are found anew.
func TestOverlappingRootsTurn(t *testing.T) {
	dir, apart := t.TempDir(), t.TempDir()
	write(t, dir+"/in/f", "old")
	write(t, apart+"/f", "old")
	link := filepath.Join(t.TempDir(), "link")
	turn := func(to string) {
		t.Helper()
		if err := os.Symlink(to, link+".new"); err != nil {
			t.Fatal(err)
		}
		rename(t, link+".new", link)
	}
	turn(apart)
	found := make(chan bool, 10)
	batches := make(chan string, 100)
	r := mustNew(t, Options{}, Route{
		Name: "test", Delay: 50 * time.Millisecond, Debounce: -1,
		Callback: to(batches),
	})
	listen(t, Listener{Root: dir, Router: r}, Listener{Root: link, Router: r, Notice: func(there bool) {
		if there {
			found <- true
		}
	}})
	for _, to := range []struct{ dir, want string }{{dir + "/in", "in/f"}, {apart, "f"}, {dir + "/in", "in/f"}} {
		turn(to.dir)
		<-found
		for { // the directory comes with what is in it
			write(t, to.dir+"/f", "new")
			got := <-batches
			if got == to.want {
				break
			}
			if got != "f" && got != "in/f" {
				t.Fatalf("batch %s, want %s", got, to.want)
			}
		}
		write(t, to.dir+"/f", "newer")
		if got := <-batches; got != to.want {
			t.Errorf("batch %s, want %s", got, to.want)
		}
	}
}
