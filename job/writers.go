package job

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/execlog/execlogd/job/internal/supervisor"
)

// Writing reports, for each of the files, whether a process of a run or service
// of that route, or a descendant of one, has it open for writing at the moment.
// The names must be absolute. It reads /proc, which takes some milliseconds while
// anything of the route is running, and nothing otherwise. A file that is only mapped
// into memory, and one that a process of another user has open whom we may not
// look at (sudo, a set-user-ID program), is not reported.
func (r *Runner) Writing(route string, files ...string) []bool {
	writing := make([]bool, len(files))
	supervisors := r.supervisorsOf(route)
	if len(supervisors) == 0 {
		return writing
	}

	wanted := make(map[fileID][]int) // indexes of files
	for i, name := range files {
		if id, ok := regularFile(os.Lstat(name)); ok {
			wanted[id] = append(wanted[id], i)
		}
	}
	if len(wanted) == 0 {
		return writing
	}

	for _, p := range supervisor.Descendants(supervisors...) {
		for id := range openForWriting(p.PID, wanted) {
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
	for _, p := range supervisor.Processes() {
		if len(openForWriting(p.PID, wanted)) > 0 {
			// A program may change its name at any time.
			name, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(p.PID), "comm"))
			return Writer{p.PID, strings.TrimSuffix(string(name), "\n")}, err == nil
		}
	}
	return Writer{}, false
}

// supervisorsOf lists the process ids of the supervisor processes that run something
// of a route.
func (r *Runner) supervisorsOf(route string) []int {
	r.mu.Lock()
	defer r.mu.Unlock()

	var pids []int
	for x := range r.executions {
		if x.entry.run.Route != route {
			continue
		}

		x.mu.Lock()
		if x.supervisor != nil && !x.over {
			pids = append(pids, x.supervisor.PID())
		}
		x.mu.Unlock()
	}

	return pids
}

// A fileID identifies a file, whatever names it has.
type fileID struct{ device, inode uint64 }

// regularFile identifies the file of which stat or lstat has returned the result. It
// is not ok for anything but a regular file.
func regularFile(info os.FileInfo, err error) (id fileID, ok bool) {
	if err != nil || !info.Mode().IsRegular() {
		return fileID{}, false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fileID{}, false
	}
	return fileID{uint64(stat.Dev), stat.Ino}, true // 32 bits on some architectures
}

// openForWriting returns those of the wanted files that a process has open for
// writing.
func openForWriting(pid int, wanted map[fileID][]int) map[fileID]bool {
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	open, err := os.Open(filepath.Join(dir, "fd"))
	if err != nil {
		return nil // the process is gone, or another user's
	}
	defer open.Close()
	names, err := open.Readdirnames(-1)
	if err != nil {
		return nil
	}

	var found map[fileID]bool
	for _, fd := range names {
		id, ok := regularFile(os.Stat(filepath.Join(dir, "fd", fd)))
		if !ok || wanted[id] == nil || found[id] {
			continue
		}
		info, err := os.ReadFile(filepath.Join(dir, "fdinfo", fd))
		if err != nil || !isWritable(info) {
			continue
		}
		if found == nil {
			found = make(map[fileID]bool)
		}
		found[id] = true
	}
	return found
}

// isWritable reports whether a descriptor can be written to, by the flags in
// proc_pid_fdinfo(5), which are in octal.
func isWritable(fdinfo []byte) bool {
	_, rest, ok := bytes.Cut(fdinfo, []byte("flags:"))
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	flags, err := strconv.ParseUint(string(bytes.TrimSpace(line)), 8, 64)
	return ok && err == nil && flags&unix.O_ACCMODE != unix.O_RDONLY
}
