package inotify

import (
	"cmp"
	"errors"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// A pollEntry is what a look at a directory remembers of one name in it.
type pollEntry struct {
	name  string
	ino   uint64 // 0 of a directory, and where a file does not keep its number
	ctime int64  // ns; 0 of a directory
	size  int64
	kind  byte // DT_DIR, DT_REG...
}

// pollSnapshot is what was seen of a tree: the names in each of its directories,
// sorted. The key is the directory's path below the top, which itself is "".
type pollSnapshot map[string][]pollEntry

// comparePolls tells what a scan would report of the tree now that is not as
// it was before, from the directory at on. What appeared comes after the
// directory it lies in; what lay in a directory that vanished is not told.
func comparePolls(before, now pollSnapshot, at string, tell func(path string, mask Mask)) {
	old := before[at]
	for _, s := range now[at] {
		for len(old) > 0 && old[0].name < s.name {
			tell(below(at, old[0].name), old[0].gone())
			old = old[1:]
		}
		var was pollEntry
		if len(old) > 0 && old[0].name == s.name {
			was, old = old[0], old[1:]
		}
		compareEntry(before, now, was, s, below(at, s.name), tell)
	}
	for _, s := range old {
		tell(below(at, s.name), s.gone())
	}
}

// compareEntry tells what became of one name.
func compareEntry(before, now pollSnapshot, was, is pollEntry, path string, tell func(string, Mask)) {
	if was.name != "" && was.dir() != is.dir() {
		tell(path, was.gone())
		was = pollEntry{}
	}
	switch {
	case is.dir():
		if was.name == "" {
			tell(path, Create|IsDir)
		}
		comparePolls(before, now, path, tell)
	case is != was:
		tell(path, scanMask)
	}
}

func (s pollEntry) dir() bool { return s.kind == unix.DT_DIR }

func (s pollEntry) gone() Mask {
	if s.dir() {
		return Delete | IsDir
	}
	return Delete
}

// below is name in the directory at, either of which may be the top: "".
func below(at, name string) string {
	if at == "" || name == "" {
		return at + name
	}
	return at + "/" + name
}

// A pollScan goes through a tree that has no watches.
type pollScan struct {
	skip     func(path string) bool // directories that are not looked into
	numbered bool                   // a file keeps its inode number
	before   pollSnapshot
	now      pollSnapshot
}

// dir looks at the open directory at, and at all below it. What cannot be
// read is taken to be as it was: a server that is away has deleted nothing.
func (l *pollScan) dir(fd int, at string) {
	seen, err := l.readDir(fd)
	if err != nil {
		l.keep(at)
		return
	}
	l.now[at] = seen
	for _, s := range seen {
		path := below(at, s.name)
		if s.dir() && (l.skip == nil || !l.skip(path)) {
			l.subdir(fd, s.name, path)
		}
	}
}

func (l *pollScan) subdir(fd int, name, path string) {
	sub, err := unix.Openat(fd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	switch {
	case err == nil:
		defer unix.Close(sub)
		l.dir(sub, path)
	case !vanished(err):
		l.keep(path)
	}
}

// keep has the directory at, with all below it, seen as before.
func (l *pollScan) keep(at string) {
	l.now[at] = l.before[at]
	for _, s := range l.before[at] {
		if _, ok := l.before[below(at, s.name)]; ok {
			l.keep(below(at, s.name))
		}
	}
}

// readDir looks at every name in the open directory.
func (l *pollScan) readDir(fd int) (seen []pollEntry, err error) {
	buf := make([]byte, 32<<10)
	for {
		n, err := unix.ReadDirent(fd, buf)
		if err != nil {
			return nil, os.NewSyscallError("getdents64", err)
		}
		if n <= 0 {
			break
		}
		for rest := buf[:n]; len(rest) > 0; {
			var e scanEntry
			e, rest = cutDirent(rest)
			s, err := l.stat(fd, e)
			if err != nil {
				return nil, err
			}
			if s.name != "" {
				seen = append(seen, s)
			}
		}
	}
	slices.SortFunc(seen, func(a, b pollEntry) int { return cmp.Compare(a.name, b.name) })
	return slices.Clip(seen), nil
}

// stat looks at one name, and returns none when there is nothing to
// remember. A directory is its names: its own times change with them.
func (l *pollScan) stat(fd int, e scanEntry) (pollEntry, error) {
	s := pollEntry{name: string(e.name), kind: e.kind}
	if s.name == "." || s.name == ".." {
		return pollEntry{}, nil
	}
	if s.dir() {
		return s, nil
	}
	var st unix.Statx_t
	const want = unix.STATX_TYPE | unix.STATX_INO | unix.STATX_CTIME | unix.STATX_SIZE
	switch err := unix.Statx(fd, s.name, unix.AT_SYMLINK_NOFOLLOW, want, &st); {
	case vanished(err):
		return pollEntry{}, nil
	case err != nil:
		return pollEntry{}, os.NewSyscallError("statx", err)
	}
	if s.kind = byte(st.Mode & unix.S_IFMT >> 12); s.dir() {
		return s, nil
	}
	s.ctime, s.size = st.Ctime.Sec*1e9+int64(st.Ctime.Nsec), int64(st.Size)
	if l.numbered {
		s.ino = st.Ino
	}
	return s, nil
}

// vanished says whether err means that a name is not there, or is not a
// directory any more.
func vanished(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP)
}

// under is a function that asks skip about paths below name.
func under(name string, skip func(string) bool) func(string) bool {
	if skip == nil {
		return nil
	}
	return func(path string) bool { return skip(below(name, path)) }
}
