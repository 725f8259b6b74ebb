package router

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/execlog/execlogd/inotify"
)

const anyChange = Reload | inotify.Create | inotify.Delete | inotify.MovedFrom

// A renamed directory stands for the files in it for which the route is.
func TestMovedDirectories(t *testing.T) {
	t.Parallel()
	// in/d has a.png, b.txt and sub/c.png, in/txt has only b.txt.
	png := Route{Patterns: []string{"*.png"}}
	all := func(r Route) Route { return r.with(func(r *Route) { r.Mask = anyChange }) }
	tests := []struct {
		name     string
		route    Route
		from, to string
		want     string // the paths of all batches, sorted
	}{
		{"files that match, by their new names", png, "in/d", "in/e", "in/e/a.png in/e/sub/c.png"},
		{"and by their old ones, for who asks", all(png), "in/d", "in/e", "in/d/a.png in/d/sub/c.png in/e/a.png in/e/sub/c.png"},
		{"each by itself", png.with(func(r *Route) { r.Per = PerFile }), "in/d", "in/e", "in/e/a.png in/e/sub/c.png"},
		{"none, if none matches", all(png), "in/txt", "in/e", ""},
		{"the whole path matters", Route{Patterns: []string{"/in/e/*.png"}}, "in/d", "in/e", "in/e/a.png"},
		{"what is ignored is left out", all(png.with(func(r *Route) { r.Ignore = []string{"sub"} })), "in/d", "in/e", "in/d/a.png in/e/a.png"},
		{"also by its old name", all(png.with(func(r *Route) { r.Ignore = []string{"d"} })), "in/d", "in/e", "in/e/a.png in/e/sub/c.png"},
		{"or by its new one", all(png.with(func(r *Route) { r.Ignore = []string{"e"} })), "in/d", "in/e", "in/d/a.png in/d/sub/c.png"},
		{"a directory that matches comes as well", Route{Patterns: []string{"e/"}}, "in/txt", "in/e", "in/e in/e/b.txt"},
		{"as for who wants everything", Route{}, "in/txt", "in/e", "in/e in/e/b.txt"},
		{"but not where each file is by itself", Route{Per: PerFile}, "in/txt", "in/e", "in/e/b.txt"},
		{"one from outside brings its files", all(png), "../out", "in/e", "in/e/o.png"},
		{"one that leaves stands for what was in it", all(png), "in/d", "../gone", "in/d"},
		{"but not where each file is by itself, or nobody asks", png, "in/d", "../gone", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			base := t.TempDir()
			root := base + "/root"
			for _, file := range []string{"root/in/d/a.png", "root/in/d/b.txt", "root/in/d/sub/c.png", "root/in/txt/b.txt", "out/o.png", "out/o.txt"} {
				write(t, filepath.Join(base, file), "x")
			}
			batches := make(chan string, 100)
			end := make(chan bool, 1)
			collect := func(_ context.Context, batch []inotify.Event) error {
				for _, e := range batch {
					if e.Mask&onlyItself != 0 {
						t.Errorf("%v has a bit of ours", e)
					}
				}
				batches <- paths(batch)
				return nil
			}
			tt.route.Name, tt.route.Callback, tt.route.ReadOnly = "test", collect, true
			tt.route.Delay, tt.route.Debounce = 20*ms, -1
			last := Route{Name: "end", Patterns: []string{"end"}, Delay: 100 * ms, After: []string{"test"}, Callback: func(context.Context, []inotify.Event) error {
				end <- true
				return nil
			}}
			listen(t, Listener{Root: root, Router: mustNew(t, Options{}, tt.route, last)})
			rename(t, filepath.Join(root, tt.from), filepath.Join(root, tt.to))
			write(t, root+"/end", "x")
			select {
			case <-end:
			case <-time.After(30 * time.Second):
				t.Fatal("no end")
			}
			var got []string
			for len(batches) > 0 {
				got = append(got, strings.Split(<-batches, "+")...)
			}
			got = slices.DeleteFunc(got, func(path string) bool { return path == "end" })
			slices.Sort(got)
			if joined := strings.Join(got, " "); joined != tt.want {
				t.Errorf("paths %s, want %s", joined, tt.want)
			}
		})
	}
}

// A program that makes its outputs beside their place and moves them there, and
// removes the old ones, does not trigger itself, whatever the route asks for.
func TestOutputsThatAreMoved(t *testing.T) {
	t.Parallel()
	for name, build := range map[string]string{
		"the directory is swapped": "mkdir -p out.new/sub; echo x >out.new/a.html; echo x >out.new/sub/b.html; echo x >out.new/c.md; mv out out.old; mv out.new out; rm -rf out.old",
		"the old one is kept":      "mkdir tmp.out; echo x >tmp.out/a.md; rm -rf previous; mv out previous; mv tmp.out out",
		"a file is":                "mkdir -p out; echo x >page.md; mv page.md out",
	} {
		for kind, patterns := range map[string][]string{"all": nil, "md": {"*.md"}} {
			t.Run(name+"/"+kind, func(t *testing.T) {
				root := t.TempDir()
				write(t, root+"/src/a.md", "x")
				runs := make(chan Run, 100)
				r := mustNew(t, Options{Post: func(f Run) { runs <- f }}, Route{
					Name: "build", Patterns: patterns, Outputs: []string{"/out/"}, Mask: anyChange, Delay: 20 * ms, Debounce: -1,
					Callback: func(ctx context.Context, _ []inotify.Event) error {
						return exec.CommandContext(ctx, "sh", "-c", "cd "+root+" && "+build).Run()
					},
				})
				listen(t, Listener{Root: root, Router: r})
				for range 10 {
					write(t, root+"/src/a.md", "y")
					f := <-runs
					if got := paths(f.Events); got != "src/a.md" || f.Err != nil {
						t.Fatalf("a run on %s, %v; want src/a.md", got, f.Err)
					}
				}
			})
		}
	}
}

// A scan of the watcher may meet an output under its new name before the kernel
// tells of the rename.
func TestOutputThatIsFoundBeforeItsRename(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runs := 0
		r := mustNew(t, Options{}, Route{
			Name: "build", Patterns: []string{"*.md"}, Outputs: []string{"/out/"}, Mask: anyChange, Delay: 20 * ms, Debounce: -1,
			Callback: func(context.Context, []inotify.Event) error {
				runs++
				time.Sleep(100 * ms)
				return nil
			},
		})
		stop := background(t, r)
		r.Events([]inotify.Event{{Path: "src/a.md", Mask: inotify.Modify | inotify.CloseWrite}})
		time.Sleep(50 * ms)
		found := inotify.Create | inotify.Modify | inotify.CloseWrite
		r.Events([]inotify.Event{
			{Path: "previous", Mask: inotify.Create | inotify.IsDir},
			{Path: "previous/a.md", Mask: found},
			{Path: "out", Mask: inotify.MovedFrom | inotify.IsDir},
			{Path: "previous", From: "out", Mask: inotify.MovedTo | inotify.IsDir},
			{Path: "previous/a.md", Mask: found},
		})
		time.Sleep(time.Minute)
		stop()
		if runs != 1 {
			t.Errorf("%d runs, want one: what a run has moved away from its outputs triggered it", runs)
		}
	})
}

// A source that is moved to the outputs triggers a build without it.
func TestSourceThatBecomesAnOutput(t *testing.T) {
	root := t.TempDir()
	write(t, root+"/a.md", "x")
	write(t, root+"/out/x", "x")
	batches := make(chan string, 100)
	r := mustNew(t, Options{}, Route{Name: "build", Outputs: []string{"/out/"}, Mask: anyChange, Callback: to(batches)})
	listen(t, Listener{Root: root, Router: r})
	rename(t, root+"/a.md", root+"/out/a.md")
	if got := <-batches; got != "a.md" {
		t.Errorf("batch %s, want a.md", got)
	}
}

// A directory with too many files stands for them itself.
func TestMovedDirectoryWithTooManyFiles(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("makes as many files as are listed of one directory")
	}
	root := t.TempDir()
	write(t, root+"/new/0", "")
	for i := range maxListed {
		if err := os.WriteFile(fmt.Sprintf("%s/new/x%d", root, i), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	r := mustNew(t, Options{}, Route{Name: "r", Callback: discard})
	batch := []inotify.Event{
		{Root: root, Path: "old", Mask: inotify.MovedFrom | inotify.IsDir},
		{Root: root, Path: "new", Mask: inotify.MovedTo | inotify.IsDir, From: "old"},
	}
	if got := r.withMovedFiles(batch); !slices.Equal(got, batch) {
		t.Errorf("%d events for a directory with %d files, want its own two", len(got), maxListed+1)
	}

	remove(t, root+"/new/0")
	if got, want := len(r.withMovedFiles(batch)), 2+2*maxListed; got != want {
		t.Errorf("%d events for a directory with %d files, want %d", got, maxListed, want)
	}
}
