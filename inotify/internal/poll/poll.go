// Package poll finds what has changed in a directory tree by looking at it again
// and again. It is for trees that cannot be watched.
package poll

import (
	"cmp"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/execlog/execlogd/inotify/internal/dirfd"
)

// A Snapshot is the content of a directory tree: the entries of each directory,
// sorted by name. The key is the path below the top of the tree, which itself is "".
// A directory that was skipped has no key.
type Snapshot map[string][]Entry

// An Entry is what a Snapshot has of one name in a directory.
type Entry struct {
	Name  string
	Ino   uint64 // 0 for a directory, and where inode numbers are not stable
	Ctime int64  // ns since 1970; 0 for a directory, whose own times do not count
	Size  int64
	Kind  byte // DT_DIR, DT_REG...
}

// IsDir reports whether the entry is a directory.
func (e Entry) IsDir() bool { return e.Kind == unix.DT_DIR }

// Options say how a Snapshot is taken.
type Options struct {
	Skip       func(path string) bool // directories that are not looked into; nil is none
	StableInos bool                   // a file keeps its inode number; FUSE does not promise that
	Before     Snapshot               // the last one, for what cannot be read now
}

// Take returns a Snapshot of the tree below the directory open as fd. What cannot be
// read is taken over from opts.Before: a server that is away has deleted nothing.
func Take(fd int, opts Options) Snapshot {
	s := Snapshot{}
	s.read(fd, "", &opts)
	return s
}

// read enters the directory open as fd, whose path is dir, and all below it.
func (s Snapshot) read(fd int, dir string, opts *Options) {
	entries, err := readDir(fd, opts.StableInos)
	if err != nil {
		s.copyFrom(opts.Before, dir)
		return
	}
	s[dir] = entries

	for _, e := range entries {
		path := Join(dir, e.Name)
		if !e.IsDir() || opts.Skip != nil && opts.Skip(path) {
			continue
		}
		sub, err := unix.Openat(fd, e.Name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		switch {
		case err == nil:
			s.read(sub, path, opts)
			unix.Close(sub)
		case dirfd.IsGone(err):
			s[path] = nil // it was not skipped
		default:
			s.copyFrom(opts.Before, path)
		}
	}
}

// copyFrom enters what another snapshot has of a directory and all below it.
func (s Snapshot) copyFrom(before Snapshot, dir string) {
	s[dir] = before[dir]
	for _, e := range before[dir] {
		sub := Join(dir, e.Name)
		if _, ok := before[sub]; ok {
			s.copyFrom(before, sub)
		}
	}
}

// readDir returns the entries of the open directory.
func readDir(fd int, stableInos bool) ([]Entry, error) {
	var entries []Entry
	for found, err := range dirfd.Entries(fd, make([]byte, 32<<10)) {
		if err != nil {
			return nil, err
		}
		e := Entry{Name: string(found.Name), Kind: found.Kind}
		if !e.IsDir() {
			st, err := dirfd.Stat(fd, e.Name)
			switch {
			case dirfd.IsGone(err):
				continue
			case err != nil:
				return nil, err
			case st.Kind != unix.DT_DIR: // a directory is what its entries are
				e.Ctime, e.Size = st.Ctime, st.Size
				if stableInos {
					e.Ino = st.Ino
				}
			}
			e.Kind = st.Kind
		}
		entries = append(entries, e)
	}
	slices.SortFunc(entries, func(a, b Entry) int { return cmp.Compare(a.Name, b.Name) })
	return slices.Clip(entries), nil
}

// A Change is the difference between two snapshots in one path.
type Change struct {
	Path    string
	Dir     bool
	Removed bool // otherwise it is new, or a file that was changed or replaced
}

// Compare calls report with what is not the same in two snapshots of a tree. What
// is new comes after the directory that it is in; what was in a removed directory
// is not reported. Something that became a directory, or was one, is removed first.
// Nothing is reported of what is in a directory that one of the snapshots skips.
func Compare(before, now Snapshot, report func(Change)) { compare(before, now, "", report) }

// compare compares what is in a directory. The entries are sorted in both.
func compare(before, now Snapshot, dir string, report func(Change)) {
	old := before[dir]
	removed := func(e Entry) {
		report(Change{Path: Join(dir, e.Name), Dir: e.IsDir(), Removed: true})
	}

	for _, e := range now[dir] {
		for len(old) > 0 && old[0].Name < e.Name {
			removed(old[0])
			old = old[1:]
		}
		var was Entry
		if len(old) > 0 && old[0].Name == e.Name {
			was, old = old[0], old[1:]
		}
		if was.Name != "" && was.IsDir() != e.IsDir() {
			removed(was)
			was = Entry{}
		}

		path := Join(dir, e.Name)
		if e.IsDir() && was.Name == "" || !e.IsDir() && e != was {
			report(Change{Path: path, Dir: e.IsDir()})
		}
		_, wasRead := before[path]
		_, isRead := now[path]
		if e.IsDir() && (was.Name == "" || wasRead == isRead) {
			compare(before, now, path, report)
		}
	}
	for _, e := range old {
		removed(e)
	}
}

// Join returns the path of name in the directory dir. Either may be empty.
func Join(dir, name string) string {
	if dir == "" || name == "" {
		return dir + name
	}
	return dir + "/" + name
}
