package inotify

import (
	"errors"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/execlog/execlogd/inotify/internal/dirtree"
)

// What is found while the root of one subscription is resolved in the tree of another may
// be new to that one as well: here a directory that was made after the outer one was
// scanned, and written to before it had a watch.
func TestRootFoundIsNewsForTheTreeAround(t *testing.T) {
	tr := newFixture(t, Subscription{})
	tr.do("mkdir a")
	tr.read()
	w := tr.watcher
	inner := tr.another(tr.at("a"), w)
	inner.add()

	tr.do("rmdir a")
	tr.must(w.drain(t.Context()))
	tr.do("mkdir a")
	for { // the outer tree is scanned, and the inner root is to be resolved
		buf, err := w.read()
		if errors.Is(err, unix.EAGAIN) {
			break
		}
		tr.must(err)
		_, err = w.applyBuffer(buf)
		tr.must(err)
	}
	tr.do("mkdir a/c\nwrite a/c/f")
	_, err := w.repair() // the inner root is resolved before their records are read
	tr.must(err)
	tr.must(w.drain(t.Context()))
	tr.wantEvent(tr.takeEvents(), "a/c/f", scanMask)
	inner.wantEvent(inner.takeEvents(), "c/f", scanMask)
}

func TestLocations(t *testing.T) {
	tr := newEmptyFixture(t)
	tr.do("mkdir a/b\nmkdir aside\nsymlink a/b link")
	w, dir, inner, link, aside := openWatcher(t), tr.root, tr.at("a/b"), tr.at("link"), tr.at("aside")
	skipAside := func(path string) bool { return path == "aside" }
	for _, root := range []string{inner, aside, dir, link} {
		_, err := w.Add(Subscription{Root: root, SkipDir: skipAside})
		must(t, err)
	}
	both := []Location{{dir, "a/b"}, {inner, "."}, {link, "."}}
	for root, want := range map[string][]Location{
		dir:           {{dir, "."}},
		inner:         both,
		link:          both,
		aside:         {{aside, "."}},
		dir + "/none": nil,
	} {
		if got := w.Locations(root); !slices.Equal(got, want) {
			t.Errorf("%s is %v, want %v", root, got, want)
		}
	}
}

// The From of an event is the path that was reported as the old one, or empty: here the
// directory that a file leaves is renamed between the two records of the file.
func TestFromIsWhatWasReported(t *testing.T) {
	tr := newEmptyFixture(t)
	tr.do("mkdir a\nmkdir b")
	tr.watch(Subscription{})

	tree := tr.watcher.tree
	root := tr.watcher.subs[0].dir
	wd := func(n dirtree.ID) int32 { return tree.Node(n).WD }
	a, b := wd(tree.Lookup(root, []byte("a"))), wd(tree.Lookup(root, []byte("b")))
	var buf []byte
	for _, rec := range []record{
		{wd: a, mask: MovedFrom, cookie: 7, name: []byte("f")},
		{wd: wd(root), mask: MovedFrom | IsDir, cookie: 8, name: []byte("a")},
		{wd: wd(root), mask: MovedTo | IsDir, cookie: 8, name: []byte("c")},
		{wd: b, mask: MovedTo, cookie: 7, name: []byte("f")},
	} {
		buf = appendRecord(buf, rec, 16)
	}
	_, err := tr.watcher.applyBuffer(buf)
	tr.must(err)
	tr.watcher.deliver()
	const want = "moved_from a/f\nmoved_from|isdir a\nmoved_to|isdir c from a\nmoved_to b/f\n"
	if got := lines(tr.takeEvents()); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}
