package job

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// Writing reports, for each of the files, whether a process of a run or service
// of that route, or a descendant of one, has it open for writing at the moment.
// The names must be absolute. It reads /proc, which takes some milliseconds while
// anything of the route runs, and nothing else does. A file that is only mapped
// into memory, and one that a process of another user has open whom we may not
// look at (sudo, a set-user-ID program), is not reported.
func (r *Runner) Writing(route string, files ...string) []bool {
	writing := make([]bool, len(files))
	keepers := r.keepersOf(route)
	if len(keepers) == 0 {
		return writing
	}
	wanted := make(map[fileID][]int)
	for i, name := range files {
		if id, ok := regularFile(os.Lstat(name)); ok {
			wanted[id] = append(wanted[id], i)
		}
	}
	if len(wanted) == 0 {
		return writing
	}
	for _, p := range descendants(keepers...) {
		for id := range written(p.id, wanted) {
			for _, i := range wanted[id] {
				writing[i] = true
			}
		}
	}
	return writing
}

// A Writer is a process that has a file open for writing.
type Writer struct {
	PID  int
	Name string // of its program, as ps(1) shows it, whatever bytes that has
}

// WriterOf finds a process of this machine that has a file open for writing. It is
// not ok if there is none that we may look at: a daemon without privilege may look
// at those of its own user. It reads all of /proc.
func WriterOf(file string) (w Writer, ok bool) {
	id, ok := regularFile(os.Lstat(file))
	if !ok {
		return Writer{}, false
	}
	wanted := map[fileID][]int{id: {0}}
	for _, p := range processes() {
		if len(written(p.id, wanted)) > 0 {
			name, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(p.id), "comm"))
			return Writer{p.id, strings.TrimSuffix(string(name), "\n")}, err == nil
		}
	}
	return Writer{}, false
}

// keepersOf lists the process ids of the keepers of a route's runs.
func (r *Runner) keepersOf(route string) []int {
	r.mu.Lock()
	defer r.mu.Unlock()
	var ids []int
	for x := range r.runs {
		if x.entry.route() != route {
			continue
		}
		x.mu.Lock()
		if x.starting != nil && !x.over {
			ids = append(ids, x.starting.process.Process.Pid)
		}
		x.mu.Unlock()
	}
	return ids
}

// A fileID is what a file is, whatever its names are.
type fileID struct{ device, inode uint64 }

// regularFile is of what stat or lstat returns. It is not ok for anything but a
// regular file.
func regularFile(info os.FileInfo, err error) (fileID, bool) {
	if err != nil || !info.Mode().IsRegular() {
		return fileID{}, false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fileID{}, false
	}
	return fileID{stat.Dev, stat.Ino}, true
}

// written lists those of the wanted files that a process has open for writing.
func written(process int, wanted map[fileID][]int) map[fileID]bool {
	dir := filepath.Join("/proc", strconv.Itoa(process))
	names, err := readNames(filepath.Join(dir, "fd"))
	if err != nil {
		return nil // it is gone, or another user's
	}
	var found map[fileID]bool
	for _, fd := range names {
		id, ok := regularFile(os.Stat(filepath.Join(dir, "fd", fd)))
		if !ok || wanted[id] == nil || found[id] {
			continue
		}
		info, err := os.ReadFile(filepath.Join(dir, "fdinfo", fd))
		if err != nil || !opensForWriting(info) {
			continue
		}
		if found == nil {
			found = make(map[fileID]bool)
		}
		found[id] = true
	}
	return found
}

func readNames(dir string) ([]string, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.Readdirnames(-1)
}

// opensForWriting reads the flags in proc_pid_fdinfo(5), which are in octal.
func opensForWriting(fdinfo []byte) bool {
	_, rest, ok := bytes.Cut(fdinfo, []byte("flags:"))
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	flags, err := strconv.ParseUint(string(bytes.TrimSpace(line)), 8, 64)
	return ok && err == nil && flags&syscall.O_ACCMODE != syscall.O_RDONLY
}
