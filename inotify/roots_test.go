package inotify

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/execlog/execlogd/inotify/internal/dirtree"
)

// What is found while the root of one subscription is resolved in the tree of another may
// be new to that one as well: here a directory that was made after the outer one was
// scanned, and written to before it had a watch.
func TestRootFoundIsNewsForTheTreeAround(t *testing.T) {
	w, err := New(Options{})
	must(t, err)
	defer w.Close()
	dir := t.TempDir()
	inner := filepath.Join(dir, "a")
	must(t, os.Mkdir(inner, 0o755))
	got := make(map[string]map[string]Mask)
	for _, root := range []string{dir, inner} {
		got[root] = make(map[string]Mask)
		_, err := w.Add(Subscription{Root: root, Deliver: func(events []Event) {
			for _, e := range events {
				got[root][e.Path] |= e.Mask
			}
		}})
		must(t, err)
	}
	read := func() bool {
		n, err := w.read()
		if errors.Is(err, unix.EAGAIN) {
			return false
		}
		must(t, err)
		_, err = w.applyBuffer(w.kernel.buf[:n])
		must(t, err)
		return true
	}
	must(t, os.Remove(inner))
	must(t, w.drain(t.Context()))
	must(t, os.Mkdir(inner, 0o755))
	for read() { // the outer tree is scanned, and the inner root is to be resolved
	}
	must(t, os.Mkdir(filepath.Join(inner, "c"), 0o755))
	must(t, os.WriteFile(filepath.Join(inner, "c", "f"), []byte("x"), 0o644))
	_, err = w.repair() // the inner root is resolved before their records are read
	must(t, err)
	must(t, w.drain(t.Context()))
	for root, path := range map[string]string{dir: "a/c/f", inner: "c/f"} {
		if got[root][path]&scanMask != scanMask {
			t.Errorf("%s got %v, want %s with %v", root, got[root], path, scanMask)
		}
	}
}

func TestLocations(t *testing.T) {
	w, err := New(Options{})
	must(t, err)
	defer w.Close()
	dir := t.TempDir()
	inner, link, aside := filepath.Join(dir, "a", "b"), filepath.Join(dir, "link"), filepath.Join(dir, "aside")
	must(t, errors.Join(os.MkdirAll(inner, 0o755), os.Mkdir(aside, 0o755), os.Symlink(inner, link)))
	skipAside := func(path string) bool { return path == "aside" }
	for _, root := range []string{inner, aside, dir, link} {
		_, err = w.Add(Subscription{Root: root, SkipDir: skipAside})
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
	tr.watcher = openWatcher(t)
	tr.mustAdd(tr.watcher.Add(Subscription{Root: tr.root, Deliver: tr.deliver}))

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
