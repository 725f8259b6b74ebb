package router

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/execlog/execlogd/inotify"
)

func TestBatch(t *testing.T) {
	const (
		changes = Reload
		all     = inotify.Changes
		life    = inotify.Create | inotify.Delete
	)
	tests := []struct {
		name   string
		mask   inotify.Mask
		events string
		batch  string // as String of the events, separated by commas
	}{
		{"each path is there once, in order of appearance", changes, "b a b c a", "modify b, modify a, modify c"},
		{"masks are merged", all, "a:c a", "modify|close_write|create a"},
		{"only what was asked for is in the mask", changes, "a:cmw", "modify a"},
		{"directories are marked", all, "d/:c", "create|isdir d"},
		{"events nobody asked for are not in it", changes, "a:c b:a c:w d:d", ""},

		{"a removed path leaves", changes, "a b a:d", "modify b"},
		{"a removed path stays if Delete is asked for", changes | inotify.Delete, "a b a:d", "modify|delete a, modify b"},
		{"a path renamed away leaves", changes, "a b a:f", "modify b"},
		{"a path renamed away stays if MovedFrom is asked for", changes | inotify.MovedFrom, "a a:f", "modify|moved_from a"},
		{"Delete alone does not keep what was renamed away", changes | inotify.Delete, "a a:f", ""},
		{"MovedFrom alone does not keep what was removed", changes | inotify.MovedFrom, "a a:d", ""},
		{"a path made again is there", changes, "a a:d a:c a", "modify a"},
		{"a path made again is not gone", all, "a:d a:c", "create a"},
		{"a path made again is not gone for a route that asks only who goes", inotify.Delete, "a:d a:c b:d", "delete b"},
		{"a path made and gone is gone", life, "a:c a:d", "create|delete a"},
		{"a write to a removed file does not bring it back", inotify.Delete | inotify.Modify, "a:d a:M", "modify|delete a"},
		{"many lives end as the last", life, "a:c a:d a:c a:d a:c", "create a"},

		{"a rename puts the new path in", changes, "a>b", "moved_to b from a"},
		{"a rename takes the old path out", changes, "a a>b", "modify|moved_to b from a"},
		{"a rename shows both to who asks", changes | inotify.MovedFrom, "a>b", "moved_from a, moved_to b from a"},
		{"a rename keeps its From", changes, "a>b b", "modify|moved_to b from a"},
		{"the latest rename says From", changes, "a>c b>c", "moved_to c from b"},
		{"a path made anew has no From", all, "a>b b:d b:c", "moved_from a, moved_to|create b"},
		{"a rename and back is one path", changes, "a>b b>a", "moved_to a from b"},
		{"a rename passes the change on", inotify.Modify, "a a>b", "modify b"},
		{"a rename of an unchanged file is no change", inotify.Modify, "a>b", ""},
		{"a rename does not pass on that a file was made", inotify.Create, "tmp:c tmp>a", ""},
		{"a rename out of sight takes the change along", inotify.Modify, "a a>.a", ""},
		{"a rename passes on nothing of an earlier file", inotify.Modify, "a a:f a:c a>b", ""},
		{"a rename out of the root is the end", inotify.Modify, "a a:f b:t", ""},

		{"a directory's rename is one event", changes, "d/>e/", "moved_to|isdir e from d"},
		{"a directory's rename moves what waits below", changes, "d/a d/b/c x d/>e/", "modify x, moved_to|isdir e from d, modify e/a, modify e/b/c"},
		{
			"a directory's rename keeps the order below", inotify.Modify, "d/3 d/1 d/5 d/2 d/4 d/9 d/7 d/8 d/6 d/0 d/>e/",
			"modify e/3, modify e/1, modify e/5, modify e/2, modify e/4, modify e/9, modify e/7, modify e/8, modify e/6, modify e/0",
		},
		{"a directory's rename leaves what was removed below", inotify.Delete, "d/a:d d/>e/", "delete d/a"},
		{"a directory's rename does not touch its neighbours", changes, "d/a da d.a d/>e/", "modify da, modify d.a, moved_to|isdir e from d, modify e/a"},
		{"a directory's rename is passed on to who did not ask for it", inotify.Modify, "d/a d/>e/", "modify e/a"},
		{"a directory that leaves the root takes all below along", changes, "d/a x d/:f", "modify x"},
		{"a root that is gone is an event like others", inotify.DeleteSelf, "./:x", "delete_self|isdir ."},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBatch(t, Route{Mask: tt.mask})
			for _, e := range words(tt.events) {
				b.add(e, time.Unix(1e9, 0))
			}

			var got []string
			for _, e := range b.take() {
				got = append(got, e.String())
			}
			if got := strings.Join(got, ", "); got != tt.batch {
				t.Errorf("events %q\n got %q\nwant %q", tt.events, got, tt.batch)
			}
			if b := &b.shared.batch; !b.empty() || len(b.open) > 0 {
				t.Errorf("something is left after take: %+v", b)
			}
		})
	}
}

// With runs by file the batches together are the same.
func TestBatchByFile(t *testing.T) {
	for _, line := range []string{
		"b a b c a", "a b a:d", "a a:f a:c a>b", "a:d a:c b:d", "a:c a:d a:c", "a a>b", "a>c b>c", "a>b b>a", "a>b b:d b:c",
		"d/a d/b/c x d/>e/ e/a:d", "d/a da d.a d/>e/", "d/a x d/:f y:t", "./:x",
	} {
		for _, mask := range []inotify.Mask{Reload, inotify.Changes, inotify.Modify, inotify.Create | inotify.Delete} {
			together, single := newBatch(t, Route{Mask: mask}), newBatch(t, Route{Mask: mask, Per: PerFile})
			for _, e := range words(line) {
				together.add(e, time.Unix(1e9, 0))
				single.add(e, time.Unix(1e9, 0))
			}
			want, got := fmt.Sprint(sorted(together.take())), fmt.Sprint(sorted(single.take()))
			if got != want {
				t.Errorf("events %q for %v\n got %s\nwant %s", line, mask, got, want)
			}
		}
	}
}

func sorted(events []inotify.Event) []inotify.Event {
	slices.SortFunc(events, func(x, y inotify.Event) int { return strings.Compare(x.Path, y.Path) })
	return events
}

// Renames concern their own root, and the path that they name.
func TestRenamesOfOthers(t *testing.T) {
	elsewhere := func(e inotify.Event) inotify.Event { e.Root = "/home"; return e }
	tests := []struct {
		name   string
		events []inotify.Event
		batch  string
	}{
		{"a file of the same name", []inotify.Event{event("x", inotify.Modify), elsewhere(event("x", inotify.Modify))}, "x+x"},
		{"a directory of another root", []inotify.Event{event("d/a", inotify.Modify), elsewhere(event("d/", inotify.MovedFrom))}, "d/a"},
		{"a rename in another root", []inotify.Event{
			event("a", inotify.Modify), event("a", inotify.MovedFrom),
			elsewhere(inotify.Event{Path: "b", From: "a", Mask: inotify.MovedTo}),
		}, ""},
		{"a rename of a path that starts alike", []inotify.Event{
			event("ab", inotify.Modify), event("ab", inotify.MovedFrom),
			{Root: "/srv", Path: "x", From: "a", Mask: inotify.MovedTo},
		}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBatch(t, Route{Mask: inotify.Modify})
			for _, e := range tt.events {
				b.add(e, time.Unix(1e9, 0))
			}
			if got := paths(b.take()); got != tt.batch {
				t.Errorf("events %v\n got %q\nwant %q", tt.events, got, tt.batch)
			}
		})
	}
}

// FuzzBatch plays random histories of a few files, as the kernel would report them,
// and checks the batch against the files that are left.
func FuzzBatch(f *testing.F) {
	f.Add(uint32(Reload), []byte("\x00\x01\x02\x10\x11\x23\x34\x45"))
	f.Add(uint32(inotify.Changes), []byte("\x00\x08\x10\x18\x20\x28\x30\x38\x01\x12"))
	f.Fuzz(func(t *testing.T, bits uint32, steps []byte) {
		mask := inotify.Mask(bits) & inotify.Changes
		if mask == 0 {
			return
		}
		b := newBatch(t, Route{Mask: mask})
		files := []string{"a", "b", "c", ".d"}
		exists := make(map[string]bool)
		history := make(map[string]inotify.Mask) // of the present or last file of each name, and of its content
		open := make(map[string]bool)
		play := func(e inotify.Event) {
			b.add(e, time.Unix(1e9, 0))
		}
		for _, step := range steps {
			file, other := files[step&3], files[step>>2&3]
			switch op := step >> 4 & 3; {
			case !exists[file]:
				exists[file], open[file] = true, false
				history[file] = inotify.Create
				play(event(file, inotify.Create))
			case op == 0:
				open[file] = true
				history[file] |= inotify.Modify
				play(event(file, inotify.Modify))
			case op == 1:
				open[file] = false
				history[file] |= inotify.CloseWrite
				play(event(file, inotify.CloseWrite))
			case op == 2:
				exists[file], open[file] = false, false
				play(event(file, inotify.Delete))
			case file != other:
				exists[file], exists[other] = false, true
				open[other], open[file] = open[file], false
				history[other] = history[file]&content | inotify.MovedTo
				for _, e := range word(file + ">" + other) {
					play(e)
				}
			}
		}

		for _, e := range b.shared.batch.open {
			k := keyOf(e.event)
			if _, ok := b.shared.batch.entries[k]; !ok || !open[k.path] {
				t.Errorf("%s holds the batch: in it %v, open %v", k.path, ok, open[k.path])
			}
		}
		seen := make(map[string]bool)
		for _, e := range b.take() {
			if seen[e.Path] || e.Path == ".d" || e.Mask&mask == 0 || e.Mask&^mask != 0 {
				t.Errorf("%v in a batch of %v", e, mask)
			}
			seen[e.Path] = true
			if isGone := e.Mask&gone != 0; isGone == exists[e.Path] {
				t.Errorf("%v, but that it exists is %v", e, exists[e.Path])
			}
		}
		for _, file := range files[:3] {
			// A change seen under an ignored name is not known.
			if exists[file] && history[file]&mask&^content != 0 && !seen[file] {
				t.Errorf("%s with %v is not in the batch of %v", file, history[file], mask)
			}
		}
	})
}

// A gatherer is a route that only gathers.
type gatherer struct{ *routeState }

// newBatch returns a gatherer with an empty batch.
func newBatch(t testing.TB, route Route) gatherer {
	t.Helper()
	route.Name, route.Callback = "test", discard
	return gatherer{mustNew(t, Options{}, route).states[0]}
}

func (g gatherer) add(e inotify.Event, now time.Time) { g.routeState.add(e, now, nil) }

// take empties all batches and returns their events.
func (g gatherer) take() []inotify.Event {
	var events []inotify.Event
	for l := range g.allQueues() {
		events = append(events, eventsOf(l.batch.take())...)
	}
	return events
}

// A hundred thousand saves of fifty thousand files.
func BenchmarkBatch(b *testing.B) {
	const files, saves = 50_000, 100_000
	events := make([]inotify.Event, saves)
	for i := range events {
		events[i] = event(fmt.Sprintf("dir%d/sub%d/file%d.html", i%files/1000, i%files/100, i%files), inotify.Modify|inotify.CloseWrite)
	}
	now := time.Now()
	for b.Loop() {
		waiting := newBatch(b, Route{})
		for _, e := range events {
			waiting.add(e, now)
		}
		if n := len(waiting.take()); n != files {
			b.Fatalf("%d paths, want %d", n, files)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/saves, "ns/event")
}

// Only the latest of many logs are remembered.
func TestEndlessIsBounded(t *testing.T) {
	var b batch
	start := time.Unix(1e9, 0)
	at := func(i int) (key, time.Time) {
		return key{"/srv", fmt.Sprint(i)}, start.Add(time.Duration(i) * time.Millisecond)
	}
	const many = 3 * maxNeverClosed
	for i := range many {
		b.noteNeverClosed(at(i))
	}
	if len(b.neverClosed) != maxNeverClosed {
		t.Errorf("%d paths are remembered, want %d", len(b.neverClosed), maxNeverClosed)
	}
	for i := many - maxNeverClosed; i < many; i++ {
		if k, now := at(i); !b.isNeverClosed(k, now) {
			t.Errorf("path %s was forgotten before older ones", k.path)
		}
	}
}

// A file that was there before anybody watched counts as any other once something has
// happened to it, so that its events say whether it is open.
func TestAnExistingFileThatChanges(t *testing.T) {
	var b batch
	k := key{"/srv", "a"}
	b.merge(k, entry{event: event("a", inotify.Modify), existing: true})
	b.merge(k, entry{event: event("a", inotify.Modify)})
	if b.entries[k].existing {
		t.Error("it is taken for one that has not changed")
	}
}
