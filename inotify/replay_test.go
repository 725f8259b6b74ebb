package inotify

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A replay is a reader of the events: it follows them over what was there at
// the start, by the rules of the package documentation and nothing else.
type replay struct {
	root string
	dirs map[string]bool            // what is there; true is a directory
	away map[string]map[string]bool // what a MovedFrom took along, by its path
	log  []string
}

func newReplay(root string) *replay {
	return &replay{root: root, dirs: listTree(root), away: map[string]map[string]bool{}}
}

func (r *replay) note(format string, args ...any) {
	r.log = append(r.log, "          # "+fmt.Sprintf(format, args...))
}

func (r *replay) apply(events []Event) {
	played.events.Add(int64(len(events)))
	for _, e := range events {
		r.log = append(r.log, e.String())
		r.applyOne(e)
	}
}

func (r *replay) applyOne(e Event) {
	dir := e.Mask&IsDir != 0
	switch {
	case dir && e.Mask&Modify != 0:
		r.lookFor(e.Path)
	case e.Path == ".":
	case e.Mask&MovedFrom != 0:
		r.away[e.Path] = r.remove(e.Path)
	case e.Mask&Delete != 0:
		r.remove(e.Path)
	case e.Mask&MovedTo != 0:
		r.remove(e.Path)
		r.dirs[e.Path] = dir
		if dir {
			for below, isDir := range r.away[e.From] {
				r.dirs[e.Path+below] = isDir
			}
		}
		delete(r.away, e.From)
	case e.Mask&Create != 0:
		if !dir {
			r.remove(e.Path)
		}
		r.dirs[e.Path] = dir
	}
}

// remove takes path and all below it away and returns what was below.
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

// lookFor forgets the files in dir that are not there any more.
func (r *replay) lookFor(dir string) {
	for p, isDir := range r.dirs {
		if isDir || filepath.Dir(p) != dir {
			continue
		}
		if _, err := os.Lstat(filepath.Join(r.root, p)); err != nil {
			delete(r.dirs, p)
		}
	}
}

// check compares with the disk.
func (r *replay) check(t testing.TB) {
	t.Helper()
	disk := listTree(r.root)
	for p, dir := range disk {
		switch believed, ok := r.dirs[p]; {
		case !ok:
			t.Errorf("%q is there and no event says so", p)
		case believed != dir:
			t.Errorf("%q is a directory: %v, the events say %v", p, dir, believed)
		}
	}
	for p := range r.dirs {
		if _, ok := disk[p]; !ok {
			t.Errorf("%q is not there and no event says so", p)
		}
	}
}

// listTree says what is below root; true is a directory.
func listTree(root string) map[string]bool {
	dirs := map[string]bool{}
	filepath.WalkDir(root, func(p string, d os.DirEntry, err error) error {
		if rel, _ := filepath.Rel(root, p); rel != "." && err == nil {
			dirs[rel] = d.IsDir()
		}
		return nil
	})
	return dirs
}

// checkHearsay sees that every file that changed after since was spoken of,
// under the path that it has by now.
func checkHearsay(t testing.TB, root string, events []Event, since time.Time) {
	t.Helper()
	said := map[string]bool{}
	for _, e := range events {
		said[e.Path] = true
		if e.From == "" || e.Mask&IsDir == 0 {
			continue
		}
		for p := range said {
			if below, ok := strings.CutPrefix(p, e.From+"/"); ok {
				said[e.Path+"/"+below] = true
			}
		}
	}
	for p, dir := range listTree(root) {
		if !dir && changed(filepath.Join(root, p)).After(since) && !said[p] {
			t.Errorf("%q changed and no event says so", p)
		}
	}
}
