package git

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/execlog/execlogd/inotify"
)

// fileNames are the ignore files that any directory may have, the strongest first.
// Other programs than git read .ignore, in the syntax of .gitignore.
var fileNames = []string{".ignore", ".gitignore"}

const (
	// maxIgnoreFile is the most that is read of one file.
	maxIgnoreFile = 1 << 20

	// outsideInterval is how long after a look at the files outside a root is the
	// next: no event tells of their changes.
	outsideInterval = time.Second

	// maxDecided is how many directories are remembered.
	maxDecided = 1 << 16
)

const (
	gone    = inotify.Delete | inotify.MovedFrom
	arrived = inotify.Create | inotify.MovedTo
	content = inotify.Modify | inotify.CloseWrite
)

// IgnoreFiles are the ignore files of any number of roots. The zero value is ready.
// It may be used by several goroutines at once.
type IgnoreFiles struct {
	mu    sync.Mutex
	roots map[string]*RootFiles
}

// For returns the ignore files for a root.
func (a *IgnoreFiles) For(root string) *RootFiles {
	a.mu.Lock()
	defer a.mu.Unlock()

	if a.roots == nil {
		a.roots = make(map[string]*RootFiles)
	}
	if a.roots[root] == nil {
		a.roots[root] = newRootFiles(root)
	}
	return a.roots[root]
}

// Forget has the ignore files of a root read again. It must be called before directories
// are watched that were not, as their files may have changed meanwhile.
func (a *IgnoreFiles) Forget(root string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.roots, root)
}

// Update is RootFiles.update for a root. It does nothing if nobody has asked for
// the files of the root.
func (a *IgnoreFiles) Update(root string, events []inotify.Event) (changed bool) {
	a.mu.Lock()
	f := a.roots[root]
	a.mu.Unlock()
	return f != nil && f.update(events)
}

// RootFiles are the ignore files for one root: those in it and below, and if it lies
// in a work tree of git those in the directories above, up to the top of the work
// tree, and its info/exclude. If those outside the root ignore the root itself they
// do not count: whoever names such a root wants what is in it. It may be used by
// several goroutines at once.
type RootFiles struct {
	root string // absolute

	mu      sync.Mutex
	top     string                   // of the work tree
	prefix  string                   // of the root below top, with a slash after it, or empty
	files   map[string][]*ignoreFile // by directory below top, "" for top; in the order of fileNames
	exclude *ignoreFile              // info/exclude; nil before the first look outside the root
	rootOut bool                     // the root itself is ignored, so those outside do not count
	looked  time.Time                // when those outside were looked at last
	changed bool                     // one of them has changed since the last update
	decided map[string]*rule         // by directory below top, while nothing changes; nil if no rule is for it
}

// An ignoreFile is one of which the rules are known. It has none if there is no regular file
// that can be read.
type ignoreFile struct {
	path  string // absolute
	rules []rule
	stamp stamp
}

// A stamp differs between two states of a file. It is zero for one that is not there.
type stamp struct {
	ino   uint64
	ctime unix.Timespec
	size  int64
}

func stampOf(path string) stamp {
	var st unix.Stat_t
	if unix.Stat(path, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return stamp{}
	}
	return stamp{st.Ino, st.Ctim, st.Size}
}

func read(path string) *ignoreFile {
	f := &ignoreFile{path: path, stamp: stampOf(path)}
	if f.stamp == (stamp{}) {
		return f
	}

	// It may be a FIFO by now, which would block without O_NONBLOCK.
	file, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return f
	}
	defer file.Close()
	if text, err := io.ReadAll(io.LimitReader(file, maxIgnoreFile)); err == nil {
		f.rules = parse(path, text)
	}
	return f
}

func newRootFiles(root string) *RootFiles {
	f := &RootFiles{root: root}
	f.reset()
	return f
}

// reset finds the work tree and forgets everything that was read. f.mu must be held,
// or f be new.
func (f *RootFiles) reset() {
	f.files, f.decided = make(map[string][]*ignoreFile), make(map[string]*rule)
	f.exclude, f.looked = nil, time.Time{}

	real := f.root
	if resolved, err := filepath.EvalSymlinks(f.root); err == nil {
		real = resolved
	}
	top, _ := FindDir(real)
	f.top, f.prefix = cmp.Or(top, real), ""
	if rel, err := filepath.Rel(f.top, real); err == nil && rel != "." {
		f.prefix = rel + "/"
	}
}

// Ignored reports whether a path, or a directory above it, is ignored, and by which
// line. The path is relative to the root and must not be the root, which is never
// ignored. dir says whether it is a directory.
func (f *RootFiles) Ignored(path string, dir bool) (by Line, ignored bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if time.Since(f.looked) > outsideInterval {
		first := f.exclude == nil
		if f.readOutside() && !first {
			f.changed = true
			clear(f.decided)
		}
	}

	full := f.prefix + path
	for i := len(f.prefix); i < len(full); i++ {
		if full[i] != '/' {
			continue
		}
		r, known := f.decided[full[:i]]
		if !known {
			if len(f.decided) >= maxDecided {
				clear(f.decided)
			}
			r = f.decide(full[:i], true)
			f.decided[full[:i]] = r
		}
		if r.ignores() {
			return r.Line, true
		}
	}

	if r := f.decide(full, dir); r.ignores() {
		return r.Line, true
	}
	return Line{}, false
}

// decide returns the rule for a path alone, without the directories above it: the last
// matching line of the strongest file; nil if there is none. The path is relative to the top
// of the work tree. f.mu must be held.
func (f *RootFiles) decide(at string, dir bool) *rule {
	for kind := range fileNames {
		for in := parent(at); !f.rootOut || !f.isOutside(in); in = parent(in) {
			if files := f.in(in); files != nil && files[kind] != nil {
				if r := lastMatch(files[kind].rules, strings.TrimPrefix(at[len(in):], "/"), dir); r != nil {
					return r
				}
			}
			if in == "" {
				break
			}
		}
	}

	if f.rootOut {
		return nil
	}
	return lastMatch(f.exclude.rules, at, dir)
}

// parent returns the directory of a path; empty for the top.
func parent(at string) string { return at[:max(0, strings.LastIndexByte(at, '/'))] }

// isOutside reports whether a directory, which is above a path in the root or is one above
// the root, is outside the root.
func (f *RootFiles) isOutside(dir string) bool { return len(dir) < len(f.prefix)-1 }

// in returns the files of a directory, in the order of fileNames, with nil for those without
// rules; nil if there are none. readOutside has read those outside the root. f.mu must be held.
func (f *RootFiles) in(dir string) []*ignoreFile {
	files, known := f.files[dir]
	if known {
		return files
	}

	for i, name := range fileNames {
		if file := read(filepath.Join(f.top, dir, name)); file.rules != nil {
			if files == nil {
				files = make([]*ignoreFile, len(fileNames))
			}
			files[i] = file
		}
	}

	f.files[dir] = files
	return files
}

// readOutside reads the files outside the root that have changed since the last
// call, and reports whether one has. f.mu must be held.
func (f *RootFiles) readOutside() (changed bool) {
	f.looked = time.Now()
	reread := func(old *ignoreFile, path string) *ignoreFile {
		if old != nil && old.path == path && old.stamp == stampOf(path) {
			return old
		}
		changed = true
		return read(path)
	}

	for dir := strings.TrimSuffix(f.prefix, "/"); dir != ""; {
		dir = parent(dir)
		if f.files[dir] == nil {
			f.files[dir] = make([]*ignoreFile, len(fileNames))
		}
		for i, name := range fileNames {
			f.files[dir][i] = reread(f.files[dir][i], filepath.Join(f.top, dir, name))
		}
	}
	f.exclude = reread(f.exclude, excludeFile(f.top))

	// The root is ignored with any directory above it.
	f.rootOut = false
	for i := range f.prefix {
		if f.prefix[i] == '/' && f.decide(f.prefix[:i], true).ignores() {
			f.rootOut = true
			break
		}
	}
	return changed
}

// Outside returns a text that is another when a file outside the root has changed.
func (f *RootFiles) Outside() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.readOutside()
	stamps := []stamp{f.exclude.stamp}
	for dir := strings.TrimSuffix(f.prefix, "/"); dir != ""; {
		dir = parent(dir)
		for _, file := range f.files[dir] {
			stamps = append(stamps, file.stamp)
		}
	}
	return fmt.Sprint(f.top, stamps)
}

// update forgets what may not be true any more after events below the root, and
// reports whether a file has changed.
func (f *RootFiles) update(events []inotify.Event) (changed bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	changed, f.changed = f.changed, false
	for _, e := range events {
		if e.Mask&inotify.Overflow != 0 || e.Path == "." && e.Mask&inotify.IsDir != 0 && e.Mask&arrived != 0 {
			f.reset()
			changed = true
			continue
		}

		at := f.prefix + e.Path
		switch _, known := f.files[at]; {
		case e.Mask&inotify.IsDir == 0 && slices.Contains(fileNames, path.Base(at)):
			if e.Mask&(content|gone|arrived) != 0 {
				delete(f.files, parent(at))
				clear(f.decided)
				changed = true
			}
		case known && e.Mask&inotify.IsDir != 0 && e.Mask&(gone|arrived) != 0:
			delete(f.files, at)
			delete(f.decided, at)
			if e.Mask&inotify.MovedFrom != 0 { // one that was removed had nothing below it any more
				clear(f.decided)
				maps.DeleteFunc(f.files, func(other string, _ []*ignoreFile) bool { return strings.HasPrefix(other, at+"/") })
			}
		}
	}
	return changed
}
