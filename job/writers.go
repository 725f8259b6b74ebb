package job

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
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

	ids := make([]fileID, len(files)) // zero for what is no regular file
	open := make(map[fileID]bool)
	for i, name := range files {
		if id, ok := regularFile(os.Lstat(name)); ok {
			ids[i], open[id] = id, false
		}
	}
	if len(open) == 0 {
		return writing
	}

	for _, p := range supervisor.Descendants(supervisors...) {
		findOpen(p.PID, open)
	}
	for i, id := range ids {
		writing[i] = open[id]
	}
	return writing
}

// WriterOf finds a process of this machine that has a file open for writing. It is
// not ok if there is none that we may look at: a daemon without privilege may look
// at those of its own user. It reads all of /proc.
func WriterOf(file string) (w Process, ok bool) {
	id, ok := regularFile(os.Lstat(file))
	if !ok {
		return Process{}, false
	}
	open := map[fileID]bool{id: false}
	for _, p := range supervisor.Processes() {
		if findOpen(p.PID, open); open[id] {
			return Process{p.PID, p.Name}, true
		}
	}
	return Process{}, false
}

// supervisorsOf lists the process ids of the supervisor processes that run something
// of a route.
func (r *Runner) supervisorsOf(route string) []int {
	r.mu.Lock()
	defer r.mu.Unlock()

	var pids []int
	for x := range r.executions {
		x.mu.Lock()
		if x.entry.run.Route == route && x.supervisor != nil && !x.over {
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
	stat := info.Sys().(*syscall.Stat_t)
	return fileID{uint64(stat.Dev), stat.Ino}, true // 32 bits on some architectures
}

// findOpen sets those of the files to true that a process has open for writing.
func findOpen(pid int, files map[fileID]bool) {
	process := filepath.Join("/proc", strconv.Itoa(pid))
	dir, err := os.Open(filepath.Join(process, "fd"))
	if err != nil {
		return // the process is gone, or another user's
	}
	defer dir.Close()

	names, _ := dir.Readdirnames(-1) // the process may end meanwhile
	for _, fd := range names {
		id, ok := openFile(filepath.Join(process, "fd", fd))
		if found, isWanted := files[id]; !ok || !isWanted || found {
			continue
		}
		info, err := os.ReadFile(filepath.Join(process, "fdinfo", fd))
		files[id] = err == nil && isWritable(info)
	}
}

// openFile identifies the file behind a link in /proc/pid/fd, by what the kernel knows of it
// already. It may be of a file system that does not answer any more, as one of a network does
// not that is away, and to ask that would hold up the thread for as long (statx(2)).
func openFile(link string) (id fileID, ok bool) {
	const mask = unix.STATX_TYPE | unix.STATX_INO
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, link, unix.AT_STATX_DONT_SYNC, mask, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return fileID{}, false
	}
	return fileID{unix.Mkdev(st.Dev_major, st.Dev_minor), st.Ino}, true
}

// isWritable reports whether a descriptor can be written to, by the flags in
// proc_pid_fdinfo(5), which are in octal.
func isWritable(fdinfo []byte) bool {
	_, rest, ok := bytes.Cut(fdinfo, []byte("flags:"))
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	flags, err := strconv.ParseUint(string(bytes.TrimSpace(line)), 8, 64)
	return ok && err == nil && flags&unix.O_ACCMODE != unix.O_RDONLY
}
