package inotify

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A closed subscription gets nothing more, and directories that no other one asks for are
// watched no longer.
func TestCloseHandle(t *testing.T) {
	skipA := func(p string) bool { return p == "a" }
	tests := []struct {
		name string
		keep []Subscription // below the root of the fixture, like those that are closed
		drop []Subscription
	}{
		{"the only one", nil, []Subscription{{Root: "."}}},
		{"one next to it", []Subscription{{Root: "c"}}, []Subscription{{Root: "a"}}},
		{"one inside it stays", []Subscription{{Root: "a/b"}}, []Subscription{{Root: "."}}},
		{"one around it stays", []Subscription{{Root: "."}}, []Subscription{{Root: "a"}}},
		{"one around it that leaves it out", []Subscription{{Root: ".", SkipDir: skipA}}, []Subscription{{Root: "a"}}},
		{"one around it that leaves a part out", []Subscription{{Root: ".", SkipDir: func(p string) bool { return p == "a/b" }}}, []Subscription{{Root: "a"}}},
		{"one of the same root", []Subscription{{Root: ".", SkipDir: skipA}}, []Subscription{{Root: "."}}},
		{"the first of the same root", []Subscription{{Root: "."}}, []Subscription{{Root: ".", SkipDir: skipA}}},
		{"a file", []Subscription{{Root: "c"}}, []Subscription{{Root: "f"}}},
		{"one of the same file", []Subscription{{Root: "f"}}, []Subscription{{Root: "f"}}},
		{"a missing root", []Subscription{{Root: "c"}}, []Subscription{{Root: "new/er", Wait: true}}},
		{"all", nil, []Subscription{{Root: "."}, {Root: "a/b"}, {Root: "c"}, {Root: "f"}}},
	}
	for _, tt := range tests {
		for _, first := range []string{"kept", "closed"} {
			t.Run(tt.name+", "+first+" is first", func(t *testing.T) {
				tr := newEmptyFixture(t)
				tr.watcher = openWatcher(t)
				tr.do("mkdir a/b/d\nmkdir c\nwrite f")
				closed := tr.another(tr.root, tr.watcher)
				keep := func() {
					for _, sub := range tt.keep {
						sub.Root, sub.Deliver = tr.at(sub.Root), tr.deliver
						tr.mustAdd(tr.watcher.Add(sub))
						tr.moreRoots = append(tr.moreRoots, sub.Root)
					}
				}
				if first == "kept" {
					keep()
				}
				var handles []*Handle
				for _, sub := range tt.drop {
					sub.Root, sub.Deliver = tr.at(sub.Root), closed.deliver
					handles = append(handles, tr.mustAdd(tr.watcher.Add(sub)))
				}
				if first != "kept" {
					keep()
				}
				tr.run()
				tr.flush()
				for _, h := range handles {
					h.Close()
					h.Close()
					if err := h.Update(Changes, nil, ""); !errors.Is(err, ErrClosed) {
						t.Errorf("Update after Close: %v", err)
					}
				}
				tr.flush()

				closed.takeEvents()
				tr.do("write a/b/d/x\nwrite c/x\nwrite f\nmkdir new/er\nwrite new/er/x\nmv a away\nwrite away/y\nmv away a")
				tr.flush()
				if late := closed.takeEvents(); len(late) > 0 {
					t.Errorf("after Close: %v", late)
				}
				checkModel(t, tr)
				if len(tt.keep) == 0 {
					tr.watcher.mu.Lock()
					if n := len(tr.watcher.components) + len(tr.watcher.subscribed) + len(tr.watcher.rootPaths) + len(tr.watcher.files); n > 0 {
						t.Errorf("%d things are remembered of roots that are closed", n)
					}
					tr.watcher.mu.Unlock()
				}
			})
		}
	}
}

// Update changes a subscription: directories that are not left out any more are watched
// without a report, and those that are left out now are not watched.
func TestUpdateHandle(t *testing.T) {
	skip := func(pattern string) func(string) bool {
		return func(p string) bool {
			skip, _ := path.Match(pattern, path.Base(p))
			return skip
		}
	}
	tests := []struct {
		name string
		mask Mask
		skip func(string) bool
		want string
	}{
		{"nothing", CloseWrite, skip("x"), "close_write a/f\n"},
		{"another mask", Create, skip("x"), "create a/g\n"},
		{"less is left out", CloseWrite, nil, "close_write a/f\nclose_write x/b/f\n"},
		{"more is left out", CloseWrite, skip("?"), ""},
		{"something else is left out", CloseWrite, skip("a"), "close_write x/b/f\n"},
		{"and with another mask", Create, skip("a"), "create x/b/g\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tr := newEmptyFixture(t)
			tr.do("mkdir a/b\nmkdir x/b\nwrite a/f\nwrite x/b/f")
			h := tr.watch(Subscription{Mask: CloseWrite, SkipDir: skip("x")})
			tr.run()
			must(t, h.Update(tt.mask, tt.skip, ""))
			if events := tr.flush(); len(events) > 0 {
				t.Errorf("existing files are reported: %v", events)
			}
			tr.do("write a/f\nwrite x/b/f\nlink a/f a/g\nlink x/b/f x/b/g")
			if got := lines(tr.flush()); got != tt.want {
				t.Errorf("got\n%swant\n%s", got, tt.want)
			}
			checkModel(t, tr)
		})
	}
}

// Update on a tree that is polled reports nothing either, as TestUpdateHandle has it for one that
// is watched, and no file that is made after it is missed. So it is with Rescan.
func TestUpdateHandleWherePolled(t *testing.T) {
	for _, rescan := range []bool{false, true} {
		t.Run(map[bool]string{false: "Update", true: "Rescan"}[rescan], func(t *testing.T) {
			tr := newPollFixture(t)
			tr.watcher.statfs = func(string) (uint32, error) { return unix.NFS_SUPER_MAGIC, nil }
			tr.do("mkdir a/b\nmkdir x/b\nwrite a/f\nwrite x/b/f")
			var skipped atomic.Pointer[string]
			skip := func(p string) bool { return p == *skipped.Load() }
			skipped.Store(new("x"))
			h := tr.mustAdd(tr.watcher.Add(Subscription{Root: tr.root, SkipDir: skip, Deliver: tr.deliver}))
			tr.run()

			skipped.Store(new("a"))
			if rescan {
				tr.watcher.Rescan(tr.root)
			} else {
				tr.must(h.Update(Changes, skip, ""))
			}
			if events := tr.flush(); len(events) > 0 {
				t.Errorf("what was and is left out is reported: %v", events)
			}
			tr.expect("write a/g\nwrite x/b/g\nwrite x/g", "modify|close_write|create x/b/g\nmodify|close_write|create x/g")
		})
	}
}

// A change whose only trace is a newer time is reported, also if Update, or Add of another root,
// comes between the change and its record.
func TestNewerTimesAreKept(t *testing.T) {
	tests := []struct {
		name          string
		before, after Mask
		add           string
		want          string
	}{
		{"the same mask", Changes, Changes, "", "modify|attrib f\n"},
		{"another mask", Changes, Modify, "", "modify|attrib f\n"},
		{"content was not asked for", Attrib, Changes, "", "attrib f\n"},
		{"another directory is added", Changes, Changes, "out:.", "modify|attrib f\n"},
		{"the same directory is added", Changes, Changes, ".", "modify|attrib f\n"},
		{"a file is added", Changes, Changes, "f", "modify|attrib f\n"},
		{"content is asked for by another root", Attrib, Attrib, ".", "attrib f\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tr := newEmptyFixture(t)
			tr.do("write f")
			h := tr.watch(Subscription{Mask: tt.before})
			tr.watcher.content.floor -= int64(time.Hour) // as if it had been added an hour ago
			tr.watcher.subs[0].since -= int64(time.Hour)
			minuteAgo := time.Now().Add(-time.Minute)
			tr.must(os.Chtimes(tr.at("f"), minuteAgo, minuteAgo))
			tr.must(h.Update(tt.after, nil, ""))
			if tt.add != "" {
				tr.mustAdd(tr.watcher.Add(Subscription{Root: tr.at(tt.add)}))
			}
			tr.run()
			if got := lines(tr.flush()); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// A directory that is made while Rescan looks is reported with what is in it, although the scan is
// ahead of its record.
func TestRescanLosesNothing(t *testing.T) {
	tr := newEmptyFixture(t)
	tr.do("mkdir a/b")
	tr.watcher = openWatcher(t)
	var armed atomic.Bool
	tr.mustAdd(tr.watcher.Add(Subscription{Root: tr.root, Deliver: tr.deliver, SkipDir: func(p string) bool {
		if p == "a" && armed.CompareAndSwap(true, false) {
			tr.do("mkdir a/new/below\nwrite a/new/below/f")
		}
		return false
	}}))
	tr.read()
	armed.Store(true)
	tr.watcher.Rescan(tr.root)
	const want = "create|isdir a/new\ncreate|isdir a/new/below\nmodify|close_write|create a/new/below/f\n"
	if got := lines(tr.read()); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	checkModel(t, tr.run())
}

// While the rules change again and again, every file that is made in directories
// that no rule leaves out is reported.
func TestUpdateLosesNothing(t *testing.T) {
	const rounds = 150
	tr := newEmptyFixture(t)
	tr.do("mkdir odd\nmkdir even")
	tr.watcher = openWatcher(t)
	rule := func(name string) func(string) bool {
		return func(p string) bool { return path.Base(p) == name }
	}
	h := tr.mustAdd(tr.watcher.Add(Subscription{Root: tr.root, Mask: Create, SkipDir: rule("odd"), Deliver: tr.deliver}))
	tr.run()

	var wg sync.WaitGroup
	done := make(chan struct{})
	wg.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-done:
				return
			default:
			}
			mask, name := Create, "odd"
			if i%2 > 0 {
				mask, name = Create|CloseWrite, "even"
			}
			if err := h.Update(mask, rule(name), name); err != nil {
				t.Error(err)
			}
		}
	})
	var made []string
	for i := range rounds {
		dir := filepath.Join(tr.root, fmt.Sprint("d", i), "below")
		tr.must(os.MkdirAll(dir, 0o755))
		tr.must(os.WriteFile(filepath.Join(dir, "f"), nil, 0o644))
		made = append(made, fmt.Sprint("d", i, "/below/f"))
	}
	close(done)
	wg.Wait()

	seen := map[string]bool{}
	for _, e := range tr.flush() {
		seen[e.Path] = true
	}
	for _, p := range made {
		if !seen[p] {
			t.Errorf("%s was not reported", p)
		}
	}
	checkModel(t, tr)
}
