package router

import (
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

// files returns n words of paths that come from start on, apart from each other by apart.
func files(prefix string, n int, start, apart time.Duration) string {
	var words []string
	for i := range n {
		words = append(words, fmt.Sprintf("%s%d@%d", prefix, i, (start+time.Duration(i)*apart).Milliseconds()))
	}
	return strings.Join(words, " ")
}

// Each row plays events and says how many paths each batch has, and when it is
// due.
func TestQuiet(t *testing.T) {
	plain := Route{Delay: 30 * ms, Debounce: -1}
	tests := []struct {
		name   string
		route  Route
		events string
		runs   string
	}{
		{"one save does not wait", plain, "a@0", "1@30"},
		{"a few at once do not", plain, files("f", maxSaved, 0, 0), "8@30"},
		{"a file that is written again and again does not", plain, "a@0 a@10 a@20 a@29 a@100", "1@30 1@130"},
		{"many wait for quiet", plain, files("f", 20, 0, ms), "20@219"},
		{"a few that come late in the delay do", plain, files("f", 10, 0, 9*ms), "10@281"},
		{"a long burst waits longer", plain, files("g", 9, 0, 0) + " " + files("f", 101, 0, 20*ms), "110@2500"},
		{"but not for ever", plain, files("g", 9, 0, 0) + " " + files("f", 100, 0, 100*ms), "109@10000"},
		{"what is written to again does not postpone it", plain, files("f", 20, 0, 0) + " f1@100 f1@190 f1@290", "20@200 1@320"},
		{"without a delay the first does not wait", plain.with(func(r *Route) { r.Delay = -1 }), files("f", 20, 0, 10*ms), "1@0 1@10 1@20 1@30 1@40 1@50 1@60 1@70 1@80 1@90 1@100 1@110 1@120 1@130 1@140 1@150 1@160 1@170 1@180 1@190"},
		{"what gathers during the debounce is a burst too", plain.with(func(r *Route) { r.Delay, r.Debounce = -1, 200*ms }), files("f", 20, 0, 10*ms), "1@0 19@390"},
		{"Quiet can be longer", plain.with(func(r *Route) { r.Quiet = time.Second }), files("f", 20, 0, ms), "20@1019"},
		{"or none", plain.with(func(r *Route) { r.Quiet = -1 }), files("f", 20, 0, 4*ms), "8@30 8@62 4@94"},
		{"each file by itself does not wait", plain.with(func(r *Route) { r.Per = PerFile }), files("f", 10, 0, 0), strings.TrimSpace(strings.Repeat("1@30 ", 10))},
	}
	for _, tt := range tests {
		inBubble(t, tt.name, func(t *testing.T) {
			tt.route.ReadOnly = true
			var got []string
			for run := range strings.FieldsSeq(timed(t, Options{Concurrency: -1}, tt.route, 0, tt.events, nil, nil)) {
				batch, at, _ := strings.Cut(run, "@")
				got = append(got, fmt.Sprintf("%d@%s", strings.Count(batch, "+")+1, at))
			}
			if runs := strings.Join(got, " "); runs != tt.runs {
				t.Errorf("events %q\n got runs %q\nwant runs %q", tt.events, runs, tt.runs)
			}
		})
	}
}

func (r Route) with(change func(*Route)) Route {
	change(&r)
	return r
}

// The pages that a build has made are no burst to wait for when the build is done.
func TestQuietIsOverWithWhatComesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		build := build.with(func(a *fakeRoute) {
			a.writes = strings.Join(strings.Fields(strings.ReplaceAll(files("p", 20, 0, 0), "@0", ".html")), " ")
		})
		got := runRoutes(t, Options{}, "a.md@0", build, reload)
		if _, at, _ := strings.Cut(got, "p19.html@"); at != "180" {
			t.Errorf("got %s, want the pages told at 180, after the delay", got)
		}
	})
}

// A batch waits while git has the index of its work tree locked, and no longer than
// longestBurst.
func TestIndexLock(t *testing.T) {
	tests := []struct {
		name string
		lock string // below the directory that has the root tree/site
		git  string // what is in tree/.git, if that is a file
		save string
		held bool
	}{
		{"of the tree that the root is in", "tree/.git", "", "a", true},
		{"of a linked work tree", "main/.git/worktrees/tree", "gitdir: DIR/main/.git/worktrees/tree\n", "a", true},
		{"of a submodule", "main/.git/modules/tree", "gitdir: ../main/.git/modules/tree\n", "a", true},
		{"of one inside the root, for one file", "tree/site/x/.git", "", "x/a", false},
		{"of one inside the root, for many", "tree/site/x/.git", "", files("x/f", 20, 0, 0), true},
		{"of another", "other/.git", "", "a", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			root := dir + "/tree/site"
			write(t, root+"/a", "")
			if tt.git != "" {
				write(t, dir+"/tree/.git", strings.ReplaceAll(tt.git, "DIR", dir))
			}
			lock := filepath.Join(dir, tt.lock, "index.lock")
			write(t, lock, "")
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				rec := &recorder{start: start}
				r := mustNew(t, Options{}, Route{Name: "test", Delay: -1, Callback: rec.run})
				r.schedule.Sleep = func(time.Duration) {} // or most of it is waiting
				r.findRepository(root)
				stop := background(t, r)
				synctest.Wait()
				save := func() {
					var events []inotify.Event
					for w := range strings.FieldsSeq(tt.save) {
						path, _, _ := strings.Cut(w, "@")
						events = append(events, inotify.Event{Root: root, Path: path, Mask: inotify.MovedTo})
					}
					r.Events(events)
				}
				save()
				time.Sleep(5 * time.Second)
				synctest.Wait()
				if ran := rec.String() != ""; ran == tt.held {
					t.Errorf("ran %q while the lock was there, held is %v", rec, tt.held)
				}
				time.Sleep(6 * time.Second)
				synctest.Wait()
				if rec.String() == "" {
					t.Error("not run after the bound")
				}
				save()
				time.Sleep(time.Second)
				remove(t, lock)
				time.Sleep(time.Second)
				stop()
				if got := len(rec.batches()); got != 2 {
					t.Errorf("%d runs when the lock was gone, want 2: %s", got, rec)
				}
			})
		})
	}
}

// A git command that changes hundreds of files makes one batch.
func TestCheckoutIsOneBatch(t *testing.T) {
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	git := func(args ...string) {
		t.Helper()
		cmd := exec.Command("git", append([]string{"-C", dir, "-c", "user.name=n", "-c", "user.email=e"}, args...)...)
		cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %q: %v\n%s", args, err, out)
		}
	}
	git("init", "-q", "-b", "main")
	for _, branch := range []string{"one", "two"} {
		git("checkout", "-q", "-b", branch)
		for i := range 400 {
			write(t, fmt.Sprintf("%s/d%d/f%d", dir, i/20, i), branch)
		}
		git("add", "-A")
		git("commit", "-q", "-m", branch)
	}
	r, batches := reports(t)
	listen(t, Listener{Root: dir, Router: r})
	check := func(what string, want int) {
		t.Helper()
		write(t, dir+"/end", what)
		paths := strings.Split(<-batches, "+")
		if !slices.Equal(paths, []string{"end"}) {
			if paths[len(paths)-1] == "end" {
				paths = paths[:len(paths)-1] // it joined
			} else {
				defer func() {
					if got := <-batches; got != "end" {
						t.Errorf("%s: a second batch: %s", what, got)
					}
				}()
			}
		}
		if len(paths) != want {
			t.Errorf("%s: the first batch has %d paths, want %d", what, len(paths), want)
		}
	}
	git("checkout", "-q", "one")
	check("checkout", 400)
	git("checkout", "-q", "two")
	check("and back", 400)
	for i := range 50 {
		write(t, fmt.Sprintf("%s/d%d/f%d", dir, i/20, i), "changed")
	}
	check("saves", 50)
	git("stash", "-q")
	check("stash", 50)
}
