package inotify

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// inotify says nothing of a file system that is mounted on a watched
// directory, and nothing more of what that covers. But the kernel's list of
// mounts can be waited for (proc(5), /proc/pid/mountinfo), so each mount point
// below a root is looked at when the list changes. So is each that was in the
// list before: the end of a bind mount, too, is said nowhere else.

// mountinfo is readable as ever; its change is an exceptional condition.
const mountinfo = "/proc/self/mountinfo"

// recheckMounts has every mount point below a root, and every root, looked at.
func (w *Watcher) recheckMounts() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.recheckMountsLocked()
	w.wakeLocked() // whoever calls: there is something to do
}

func (w *Watcher) recheckMountsLocked() {
	before := w.mounted
	w.mounted = mountPoints()
	points := slices.Concat(before, w.mounted) // what went has uncovered something
	w.files.dirty = true
	w.resolveLater(w.subs)
	for n, path := range w.rootPaths {
		real, err := filepath.EvalSymlinks(path)
		if err != nil {
			continue
		}
		for _, point := range points {
			w.recheckBelow(n, real, point)
		}
	}
}

// mountPoints are all there are; none if the list cannot be read.
func mountPoints() (points []string) {
	list, err := os.ReadFile(mountinfo)
	if err != nil {
		return nil
	}
	for line := range strings.Lines(string(list)) {
		if point, ok := mountPoint(line); ok {
			points = append(points, point)
		}
	}
	return points
}

// recheckBelow has the path point looked at if it lies below n, whose own path
// is top.
func (w *Watcher) recheckBelow(n id, top, point string) {
	if dir, name := w.lookupBelow(n, top, point); dir != 0 {
		w.verify(dir, name, 0)
	}
}

// lookupBelow finds the directory that the path point lies in, and its name
// there, if that directory is in the tree at or below n, whose own path is top;
// otherwise dir is 0.
func (w *Watcher) lookupBelow(n id, top, point string) (dir id, name []byte) {
	rel, err := filepath.Rel(top, point)
	if err != nil || rel == "." || !filepath.IsLocal(rel) {
		return 0, nil
	}
	above, base := filepath.Split(rel)
	for _, part := range names(above) {
		if n = w.tree.lookup(n, []byte(part)); n == 0 {
			return 0, nil
		}
	}
	return n, []byte(base)
}

// mountPoint is the fifth field of a line of mountinfo, where white space and
// backslashes are octal escapes.
func mountPoint(line string) (string, bool) {
	fields := strings.Fields(line)
	if len(fields) < 5 {
		return "", false
	}
	var point strings.Builder
	for rest := fields[4]; rest != ""; {
		if c, err := strconv.ParseUint(rest[min(1, len(rest)):min(4, len(rest))], 8, 8); rest[0] == '\\' && err == nil {
			point.WriteByte(byte(c))
			rest = rest[4:]
			continue
		}
		point.WriteByte(rest[0])
		rest = rest[1:]
	}
	return point.String(), true
}
