package inotify

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"slices"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// A place is where a subscription has a directory or file.
type place struct{ root, path string }

// checkModel compares the tree and the watches of the kernel with the disk, and checks that
// a probe in every directory is reported to those subscriptions of tr that ask for it.
func checkModel(t testing.TB, tr *fixture) {
	t.Helper()
	tr.flush()
	tr.watcher.mu.Lock()
	if p := &tr.watcher.pending; !p.empty() {
		t.Errorf("work is left: %+v", p)
	}
	tr.watcher.mu.Unlock()
	dirs := tr.directories()
	if got := tr.watcher.Watches(); got != len(dirs) {
		t.Errorf("the tree has %d directories, the disk %d; detached: %+v", got, len(dirs), tr.watcher.pending.detached)
	}
	if got := tr.watches(); got != len(dirs) {
		t.Errorf("the kernel has %d watches for %d directories", got, len(dirs))
	}
	seen := tr.probe()
	for _, places := range dirs {
		if len(places) > 0 && !slices.ContainsFunc(places, func(p place) bool { return seen[p] }) {
			t.Errorf("no event of %s in %s", Quote(places[0].path), places[0].root)
		}
	}
}

// directories returns the directories below all roots of the watcher, by device and inode
// number, with the places where the subscriptions of tr may see a probe. A directory that
// is mounted twice is seen in one of them.
func (tr *fixture) directories() map[[2]uint64][]place {
	tr.t.Helper()
	dirs := map[[2]uint64][]place{}
	for _, s := range tr.watcher.subs {
		asks := s.Mask&(Create|Delete|CloseWrite) != 0 && (s.Root == tr.root || slices.Contains(tr.moreRoots, s.Root))
		tr.must(walkTree(s.root, s.SkipDir, func(dir *os.Root, at string, _ []os.DirEntry) error {
			st, err := dir.Stat(".")
			if err != nil {
				return err
			}
			sys := st.Sys().(*syscall.Stat_t)
			key := [2]uint64{uint64(sys.Dev), sys.Ino}
			places := dirs[key]
			if asks {
				places = append(places, place{s.Root, path.Join(at, "probe")})
			}
			dirs[key] = places
			return nil
		}))
	}
	return dirs
}

// probe makes a file in every directory, and returns where it was seen.
func (tr *fixture) probe() map[place]bool {
	tr.t.Helper()
	for _, s := range tr.watcher.subs {
		tr.must(walkTree(s.root, s.SkipDir, func(dir *os.Root, _ string, _ []os.DirEntry) error {
			return dir.WriteFile("probe", []byte("probe"), 0o644)
		}))
	}
	seen := map[place]bool{}
	for _, e := range tr.flush() {
		seen[place{e.Root, e.Path}] = true
	}
	for _, s := range tr.watcher.subs {
		tr.must(walkTree(s.root, s.SkipDir, func(dir *os.Root, _ string, _ []os.DirEntry) error {
			err := dir.Remove("probe")
			if errors.Is(err, fs.ErrNotExist) {
				return nil // another root has this directory too
			}
			return err
		}))
	}
	tr.flush()
	return seen
}

// walkTree visits a directory and all below it that is not skipped, however deep it is. A
// root that is missing or a file has nothing to visit, nor has a directory that may not be
// read.
func walkTree(root string, skip func(string) bool, visit func(dir *os.Root, at string, names []os.DirEntry) error) error {
	if info, err := os.Stat(root); err == nil && !info.IsDir() {
		return nil
	}
	dir, err := os.OpenRoot(root)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENOTDIR):
		return nil
	case err != nil:
		return err
	}
	return walkBelow(dir, "", skip, visit)
}

func walkBelow(dir *os.Root, at string, skip func(string) bool, visit func(dir *os.Root, at string, names []os.DirEntry) error) error {
	defer dir.Close()
	names, err := listRoot(dir)
	if err == nil {
		err = visit(dir, at, names)
	}
	for _, e := range names {
		p := path.Join(at, e.Name())
		if err != nil || !e.IsDir() || skip != nil && skip(p) {
			continue
		}
		sub, openErr := dir.OpenRoot(e.Name())
		if errors.Is(openErr, fs.ErrPermission) {
			continue
		}
		if err = openErr; err == nil {
			err = walkBelow(sub, p, skip, visit)
		}
	}
	return err
}

func listRoot(dir *os.Root) ([]os.DirEntry, error) {
	f, err := dir.Open(".")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.ReadDir(-1)
}
