package inotify

import (
	"errors"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestNamesOfAnyBytes(t *testing.T) {
	names := []string{"\n", "\xff\xfe", "...", "-rf", " ", "ä", "a\\b", "*", strings.Repeat("n", 255)}
	tr := newTrial(t, Subscription{Mask: Create | MovedTo})
	var want []Event
	for _, name := range names {
		tr.must(os.Mkdir(tr.at(name), 0o755))
		want = append(want, Event{Root: tr.root, Path: name, Mask: Create | IsDir})
	}
	checkEvents(t, tr.read(), want)
	want = nil
	for _, name := range names {
		inside := name + "/" + name
		tr.must(os.WriteFile(tr.root+"/"+inside, nil, 0o644))
		tr.must(unix.Rename(tr.root+"/"+inside, tr.root+"/"+inside[:len(inside)-1]+"~"))
		want = append(want,
			Event{Root: tr.root, Path: inside, Mask: Create},
			Event{Root: tr.root, Path: inside[:len(inside)-1] + "~", From: inside, Mask: MovedTo})
	}
	checkEvents(t, tr.read(), want)
	checkModel(t, tr.run())
}

func checkEvents(t *testing.T, got, want []Event) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("got %q, want %q", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("event %d is %q, want %q", i, got[i], want[i])
		}
	}
}

func TestDeeperThanAPathMayBe(t *testing.T) {
	tr := newTrial(t, Subscription{})
	name := strings.Repeat("d", 200)
	path := "top"
	fd, err := unix.Open(tr.root, unix.O_PATH|unix.O_CLOEXEC, 0)
	tr.must(err)
	mkdir := func(name string) {
		tr.must(unix.Mkdirat(fd, name, 0o755))
		next, err := unix.Openat(fd, name, unix.O_PATH|unix.O_CLOEXEC, 0)
		tr.must(err)
		unix.Close(fd)
		fd = next
	}
	mkdir(path)
	for len(path) < 3*unix.PathMax {
		mkdir(name)
		path += "/" + name
	}
	defer func() { unix.Close(fd) }()
	if got := tr.read(); len(got) == 0 || got[len(got)-1].Path != path {
		t.Errorf("the deepest directory was not reported")
	}
	touch := func(name string) {
		file, err := unix.Openat(fd, name, unix.O_CREAT|unix.O_WRONLY|unix.O_CLOEXEC, 0o644)
		tr.must(err)
		unix.Close(file)
	}
	touch("f")
	checkEvents(t, tr.read(), []Event{
		{Root: tr.root, Path: path + "/f", Mask: Create},
		{Root: tr.root, Path: path + "/f", Mask: CloseWrite},
	})
	tr.do(`mv top bottom`)
	mkdir("new")
	touch("g")
	path = "bottom" + strings.TrimPrefix(path, "top")
	checkEvents(t, tr.read(), []Event{
		{Root: tr.root, Path: "top", Mask: MovedFrom | IsDir},
		{Root: tr.root, Path: "bottom", From: "top", Mask: MovedTo | IsDir},
		{Root: tr.root, Path: path + "/new", Mask: Create | IsDir},
		{Root: tr.root, Path: path + "/new/g", Mask: found},
	})
}

func TestUnnamedFileGetsItsName(t *testing.T) {
	tr := newTrial(t, Subscription{Mask: Create})
	if err := writeUnnamed(tr.at("f"), "text", ""); errors.Is(err, unix.EOPNOTSUPP) {
		t.Skip("no unnamed files here")
	} else {
		tr.must(err)
	}
	if got, want := lines(tr.read()), "create f\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestBindMountIsNoSecondDirectory(t *testing.T) {
	if !apart(t, mountNamespace()) {
		return
	}
	tr := newTrial(t, Subscription{Mask: Create})
	tr.do(`
		mkdir a/sub
		mkdir alias
		mkdir loop`)
	tr.mount(tr.at("a"), tr.at("alias"))
	tr.mount(tr.root, tr.at("loop"))
	tr.w.recheckMounts()
	tr.read()
	if got := tr.watches(); got != 3 {
		t.Errorf("%d watches for the root, a and a/sub", got)
	}
	tr.do(`
		write alias/sub/f
		write loop/g`)
	if got, want := lines(tr.read()), "create a/sub/f\ncreate g\n"; got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// mount makes what is at source appear at target as well, until the test ends.
func (tr *trial) mount(source, target string) {
	tr.t.Helper()
	tr.must(unix.Mount(source, target, "", unix.MS_BIND, ""))
	tr.t.Cleanup(func() { tr.must(unix.Unmount(target, unix.MNT_DETACH)) })
}
