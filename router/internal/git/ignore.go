package git

import (
	"io"
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

	f := a.roots[root]
	if f == nil {
		if a.roots == nil {
			a.roots = make(map[string]*RootFiles)
		}
		f = newRootFiles(root)
		a.roots[root] = f
	}
	return f
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
	inside  map[string][]*ignoreFile // by directory below the root, "" for the root; in the order of fileNames, nil for one that is not there
	outside []*ignoreFile            // of the directories above the root, from the deepest on, each in the order of fileNames; info/exclude is last
	rootOut bool                     // the root itself is ignored, so those outside do not count
	looked  time.Time                // when those outside were looked at last
	changed bool                     // one of them has changed since the last update
	decided map[string]decision      // for directories below the root, while nothing changes
}

// A Line is a line of an ignore file.
type Line struct {
	File   string // absolute
	Number int    // from 1 on
	Text   string
}

type decision struct {
	by      Line
	ignored bool
}

type ignoreFile struct {
	path  string // absolute
	rules []rule
	stamp stamp
}

func (f *ignoreFile) line(r rule) Line { return Line{File: f.path, Number: r.line, Text: r.text} }

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

// read reads an ignore file; nil if there is no regular file that can be read.
func read(path string) *ignoreFile {
	// Without O_NONBLOCK a FIFO of that name would block.
	file, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return nil
	}
	text, err := io.ReadAll(io.LimitReader(file, maxIgnoreFile))
	if err != nil {
		return nil
	}
	return &ignoreFile{path: path, rules: parse(text)}
}

func newRootFiles(root string) *RootFiles {
	f := &RootFiles{root: root}
	f.reset()
	return f
}

// reset finds the work tree and forgets everything that was read. f.mu must be held,
// or f be new.
func (f *RootFiles) reset() {
	f.inside, f.decided = make(map[string][]*ignoreFile), make(map[string]decision)
	f.outside, f.looked = nil, time.Time{}

	real := f.root
	if resolved, err := filepath.EvalSymlinks(f.root); err == nil {
		real = resolved
	}
	f.top, f.prefix = workTree(real), ""
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
		first := f.outside == nil
		if f.readOutside() && !first {
			f.changed = true
			clear(f.decided)
		}
	}

	for i := 0; i < len(path); i++ {
		if path[i] == '/' {
			if d := f.directory(path[:i]); d.ignored {
				return d.by, true
			}
		}
	}
	return f.decide(path, dir)
}

// directory is decide for a directory, from memory if possible. f.mu must be held.
func (f *RootFiles) directory(path string) decision {
	d, known := f.decided[path]
	if !known {
		if len(f.decided) >= maxDecided {
			clear(f.decided)
		}
		d.by, d.ignored = f.decide(path, true)
		f.decided[path] = d
	}
	return d
}

// decide is Ignored for the path alone, without the directories above it: the last
// matching line of the strongest file decides. f.mu must be held.
func (f *RootFiles) decide(at string, dir bool) (by Line, ignored bool) {
	full := f.prefix + at
	for kind := range fileNames {
		for in := path.Dir(at); ; in = path.Dir(in) {
			rel := at
			if in == "." {
				in = ""
			} else {
				rel = at[len(in)+1:]
			}

			if files := f.in(in); files != nil && files[kind] != nil {
				if r, ok := lastMatch(files[kind].rules, rel, dir); ok {
					return files[kind].line(r), !r.negated
				}
			}
			if in == "" {
				break
			}
		}

		if by, r, ok := f.matchAbove(full, dir, kind); ok {
			return by, !r.negated
		}
	}

	by, r, ok := f.matchExclude(full, dir)
	return by, ok && !r.negated
}

// in returns the files of a directory below the root, in the order of fileNames. f.mu
// must be held.
func (f *RootFiles) in(dir string) []*ignoreFile {
	files, known := f.inside[dir]
	if known {
		return files
	}

	for i, name := range fileNames {
		if file := read(filepath.Join(f.root, dir, name)); file != nil {
			if files == nil {
				files = make([]*ignoreFile, len(fileNames))
			}
			files[i] = file
		}
	}

	f.inside[dir] = files
	return files
}

// matchAbove finds the rule that the files of a kind above the root have for a path,
// which is relative to the top of the work tree. f.mu must be held.
func (f *RootFiles) matchAbove(full string, dir bool, kind int) (by Line, r rule, ok bool) {
	above := strings.TrimSuffix(f.prefix, "/")
	for i := kind; i < len(f.outside)-1 && !f.rootOut; i += len(fileNames) {
		above = path.Dir(above)
		rel := full
		if above != "." {
			if rel, ok = strings.CutPrefix(full, above+"/"); !ok {
				continue
			}
		}

		if r, ok := lastMatch(f.outside[i].rules, rel, dir); ok {
			return f.outside[i].line(r), r, true
		}
	}
	return by, r, false
}

// matchExclude is matchAbove for info/exclude. f.mu must be held.
func (f *RootFiles) matchExclude(full string, dir bool) (by Line, r rule, ok bool) {
	if f.rootOut {
		return by, r, false
	}
	file := f.outside[len(f.outside)-1]
	r, ok = lastMatch(file.rules, full, dir)
	return file.line(r), r, ok
}

// outsidePaths returns the paths of the files that outside has, in its order.
func (f *RootFiles) outsidePaths() (paths []string) {
	for dir := path.Dir(strings.TrimSuffix(f.prefix, "/")); f.prefix != ""; dir = path.Dir(dir) {
		for _, name := range fileNames {
			paths = append(paths, filepath.Join(f.top, dir, name))
		}
		if dir == "." {
			break
		}
	}
	return append(paths, excludeFile(f.top))
}

// readOutside reads the files outside the root that have changed since the last
// call, and reports whether one has. f.mu must be held.
func (f *RootFiles) readOutside() (changed bool) {
	f.looked = time.Now()
	old := f.outside
	f.outside = nil
	for i, path := range f.outsidePaths() {
		now := stampOf(path)
		file := &ignoreFile{path: path}
		switch {
		case i < len(old) && old[i].path == path && old[i].stamp == now:
			file = old[i]
		case now != stamp{}:
			changed = true
			if new := read(path); new != nil {
				file = new
			}
		default:
			changed = changed || i < len(old)
		}
		file.stamp = now
		f.outside = append(f.outside, file)
	}

	f.rootOut = false
	f.rootOut = f.isRootIgnored()
	return changed
}

// isRootIgnored reports whether a file outside ignores the root or a directory above
// it. f.mu must be held.
func (f *RootFiles) isRootIgnored() bool {
	for i := range len(f.prefix) {
		if f.prefix[i] != '/' {
			continue
		}

		r, ok := rule{}, false
		for kind := 0; kind < len(fileNames) && !ok; kind++ {
			_, r, ok = f.matchAbove(f.prefix[:i], true, kind)
		}
		if !ok {
			_, r, ok = f.matchExclude(f.prefix[:i], true)
		}
		if ok && !r.negated {
			return true
		}
	}
	return false
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

		dir := path.Dir(e.Path)
		if dir == "." {
			dir = ""
		}
		switch base := path.Base(e.Path); {
		case e.Mask&inotify.IsDir == 0 && slices.Contains(fileNames, base):
			if e.Mask&(content|gone|arrived) != 0 {
				delete(f.inside, dir)
				clear(f.decided)
				changed = true
			}
		case e.Mask&inotify.IsDir != 0 && e.Mask&(gone|arrived) != 0:
			f.forget(e.Path, e.Mask&inotify.MovedFrom != 0)
		}
	}
	return changed
}

// forget drops what is known of a directory, and if it was moved of those below it.
// One that was removed had none any more. f.mu must be held.
func (f *RootFiles) forget(dir string, moved bool) {
	if _, known := f.inside[dir]; !known {
		return
	}
	delete(f.inside, dir)
	delete(f.decided, dir)
	if !moved {
		return
	}

	clear(f.decided)
	for other := range f.inside {
		if strings.HasPrefix(other, dir+"/") {
			delete(f.inside, other)
		}
	}
}
