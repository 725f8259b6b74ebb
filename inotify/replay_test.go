package inotify

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A replay is a reader of the events: it follows them over what was there at
// the start, by the rules of the package documentation and nothing else.
type replay struct {
	root string
	dirs map[string]bool            // what is there: true is a directory
	away map[string]map[string]bool // what a MovedFrom took along, by its path
	log  []string
}

func newReplay(root string) *replay {
	return &replay{root: root, dirs: listTree(root), away: map[string]map[string]bool{}}
}

func (r *replay) apply(events []Event) {
	for _, e := range events {
		r.log = append(r.log, e.String())
		if e.Path != "." {
			r.applyOne(e)
		}
	}
}

func (r *replay) applyOne(e Event) {
	dir := e.Mask&IsDir != 0
	switch {
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

// check compares with the disk.
func (r *replay) check(t *testing.T) {
	t.Helper()
	disk := listTree(r.root)
	for p, dir := range disk {
		switch believed, ok := r.dirs[p]; {
		case !ok:
			t.Errorf("%q is there and no event says so", p)
		case believed != dir:
			t.Errorf("%q is a directory: %v, the events say %v", p, dir, believed)
		default:
			continue
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
