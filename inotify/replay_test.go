package inotify

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A replay follows the events over what was there at the start, by the rules of the package
// documentation and nothing else.
type replay struct {
	root      string
	skip      func(string) bool
	dirs      map[string]bool            // what is there; true is a directory
	movedAway map[string]map[string]bool // what was below the path of a MovedFrom
	log       []string
}

func newReplay(root string, skip func(string) bool) *replay {
	return &replay{root: root, skip: skip, dirs: listTree(root, skip), movedAway: map[string]map[string]bool{}}
}

func (r *replay) note(format string, args ...any) {
	r.log = append(r.log, "          # "+fmt.Sprintf(format, args...))
}

func (r *replay) apply(events []Event) {
	totals.events.Add(int64(len(events)))
	for _, e := range events {
		r.log = append(r.log, e.String())
		r.applyOne(e)
	}
}

func (r *replay) applyOne(e Event) {
	dir := e.Mask&IsDir != 0
	switch {
	case dir && e.Mask&Modify != 0:
		r.forgetMissing(e.Path)
	case e.Path == "." && e.Mask&(DeleteSelf|MoveSelf) != 0:
		clear(r.dirs)
	case e.Path == ".":
	case e.Mask&MovedFrom != 0:
		r.movedAway[e.Path] = r.remove(e.Path)
	case e.Mask&Delete != 0:
		r.remove(e.Path)
	case e.Mask&MovedTo != 0:
		r.remove(e.Path)
		r.dirs[e.Path] = dir
		if dir {
			for below, isDir := range r.movedAway[e.From] {
				r.dirs[e.Path+below] = isDir
			}
		}
		delete(r.movedAway, e.From)
	case e.Mask&Create != 0:
		if !dir {
			r.remove(e.Path)
		}
		r.dirs[e.Path] = dir
	}
}

// remove removes path and all below it, and returns what was below.
func (r *replay) remove(path string) map[string]bool {
	below := map[string]bool{}
	for p, dir := range r.dirs {
		if strings.HasPrefix(p, path+"/") {
			below[p[len(path):]] = dir
			delete(r.dirs, p)
		}
	}
	delete(r.dirs, path)
	return below
}

// forgetMissing forgets the files in dir that are not there any more.
func (r *replay) forgetMissing(dir string) {
	for p, isDir := range r.dirs {
		if isDir || filepath.Dir(p) != dir {
			continue
		}
		if _, err := os.Lstat(filepath.Join(r.root, p)); err != nil {
			delete(r.dirs, p)
		}
	}
}

// check compares the replay with the disk.
func (r *replay) check(t testing.TB) {
	t.Helper()
	disk := listTree(r.root, r.skip)
	for p, dir := range disk {
		switch believed, ok := r.dirs[p]; {
		case !ok:
			t.Errorf("%q exists, and no event has reported it", p)
		case believed != dir:
			t.Errorf("%q is a directory: %v, the events say %v", p, dir, believed)
		}
	}
	for p := range r.dirs {
		if _, ok := disk[p]; !ok {
			t.Errorf("%q is gone, and no event has reported that", p)
		}
	}
}

// listTree returns what is below root and not in a directory that is skipped; true is a directory.
func listTree(root string, skip func(string) bool) map[string]bool {
	dirs := map[string]bool{}
	err := walkTree(root, skip, func(_ *os.Root, at string, names []os.DirEntry) error {
		for _, e := range names {
			dirs[path.Join(at, e.Name())] = e.IsDir()
		}
		return nil
	})
	if err != nil {
		panic(err) // nothing changes meanwhile
	}
	return dirs
}

// checkReported sees that every file that changed after since was spoken of,
// under the path that it has by now.
func checkReported(t testing.TB, root string, events []Event, since time.Time) {
	t.Helper()
	reported := map[string]bool{}
	for _, e := range events {
		reported[e.Path] = true
		if e.From == "" || e.Mask&IsDir == 0 {
			continue
		}
		for p := range reported {
			if below, ok := strings.CutPrefix(p, e.From+"/"); ok {
				reported[e.Path+"/"+below] = true
			}
		}
	}
	for p, dir := range listTree(root, nil) {
		if !dir && changed(filepath.Join(root, p)).After(since) && !reported[p] {
			t.Errorf("%q changed, and no event has reported that", p)
		}
	}
}
