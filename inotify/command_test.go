package inotify

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"golang.org/x/sys/unix"

	"github.com/execlog/execlogd/inotify/internal/dirfd"
)

// do runs a script of one command a line. Words with a space or with bytes that do not
// print are quoted as in Go. A line that begins with "# " is a comment. testdata/README.md
// has the commands.
func (tr *fixture) do(script string) {
	tr.t.Helper()
	for line := range strings.Lines(script) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "# ") {
			continue
		}
		if err := tr.doLine(line); err != nil {
			tr.t.Fatalf("%s: %v", line, err)
		}
	}
}

func (tr *fixture) doLine(line string) error {
	f, err := words(line)
	if err != nil {
		return err
	}
	return tr.command(f[0], f[1:])
}

// words splits a line at white space.
func words(line string) (list []string, err error) {
	for rest := strings.TrimSpace(line); rest != ""; rest = strings.TrimSpace(rest) {
		end := strings.IndexFunc(rest, unicode.IsSpace)
		if end < 0 {
			end = len(rest)
		}
		word := rest[:end]
		if rest[0] == '"' {
			quoted, err := strconv.QuotedPrefix(rest)
			if err != nil {
				return nil, err
			}
			end = len(quoted)
			if word, err = strconv.Unquote(quoted); err != nil {
				return nil, err
			}
		}
		list, rest = append(list, word), rest[end:]
	}
	return list, nil
}

// at returns a path below the root, or below the directory outside when it starts with
// "out:". What starts with "raw:" is not changed: it is the text of a symbolic link.
func (tr *fixture) at(path string) string {
	if rest, ok := strings.CutPrefix(path, "raw:"); ok {
		return rest
	}
	if rest, ok := strings.CutPrefix(path, "out:"); ok {
		return filepath.Join(tr.outside, rest)
	}
	return filepath.Join(tr.root, path)
}

// command runs a command that is one or a few system calls.
func (tr *fixture) command(name string, args []string) error {
	if len(args) == 0 {
		return errors.New("a command needs a path")
	}
	switch name {
	case "repeat":
		return tr.repeat(args)
	case "exec":
		return tr.exec(args)
	case "touch":
		return tr.touch(args)
	case "chmod":
		return chmod(tr.at(args[0]), args[1:])
	case "write":
		return os.WriteFile(tr.at(args[0]), []byte(strings.Join(append(args[1:], "text"), " ")), 0o644)
	case "deep":
		return makeDeep(tr.at(args[0]))
	case "open", "put", "close":
		return tr.openFile(name, args[0])
	}
	if name == "mv" && args[0] == "-n" {
		return unix.Renameat2(unix.AT_FDCWD, tr.at(args[1]), unix.AT_FDCWD, tr.at(args[2]), unix.RENAME_NOREPLACE)
	}
	path, other := tr.at(args[0]), ""
	if len(args) > 1 {
		other = tr.at(args[1])
	}
	if err := system(name, path, other); err != nil {
		return err
	}
	if point := map[string]string{"mount": path, "bind": other, "overlay": other}[name]; point != "" {
		tr.t.Cleanup(func() { unix.Unmount(point, unix.MNT_DETACH) }) // it may be gone already
	}
	return nil
}

// system does one thing to a path, or to two.
func system(name, path, other string) error {
	switch name {
	case "mkdir":
		return os.MkdirAll(path, 0o755)
	case "rm":
		return os.RemoveAll(path)
	case "rmdir":
		return unix.Rmdir(path)
	case "unlink":
		return unix.Unlink(path)
	case "mv":
		return unix.Rename(path, other)
	case "exchange":
		return unix.Renameat2(unix.AT_FDCWD, path, unix.AT_FDCWD, other, unix.RENAME_EXCHANGE)
	case "symlink":
		return os.Symlink(path, other)
	case "link":
		return os.Link(path, other)
	case "mkfifo":
		return unix.Mkfifo(path, 0o644)
	case "truncate":
		return os.Truncate(path, 1)
	case "append":
		return withFile(path, os.O_APPEND|os.O_WRONLY, func(f *os.File) error {
			_, err := f.WriteString("more")
			return err
		})
	case "mmap":
		return withFile(path, os.O_RDWR, writeMapped)
	case "tmpfile":
		return writeUnnamed(path)
	case "remake":
		return remake(path)
	case "mount":
		return privileged(unix.Mount("tmpfs", path, "tmpfs", 0, "size=1m"))
	case "bind":
		return privileged(unix.Mount(path, other, "", unix.MS_BIND, ""))
	case "overlay":
		return overlay(path, other)
	case "umount":
		return unmount(path)
	case "detach":
		return unix.Unmount(path, unix.MNT_DETACH)
	}
	return fmt.Errorf("unknown command %q", name)
}

// An unsupportedError says that a command is not possible here.
type unsupportedError struct{ error }

func (e unsupportedError) Unwrap() error { return e.error }

func privileged(err error) error {
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.ENODEV) {
		return unsupportedError{fmt.Errorf("mounting needs a privilege: %w", err)}
	}
	return err
}

// repeat runs a command N times, with the number for each "#" in its words.
func (tr *fixture) repeat(args []string) error {
	n, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	for i := range n {
		words := slices.Clone(args[1:])
		for j := range words {
			words[j] = strings.ReplaceAll(words[j], "#", strconv.Itoa(i))
		}
		if err := tr.command(words[0], words[1:]); err != nil {
			return err
		}
	}
	return nil
}

// exec runs a program in the root.
func (tr *fixture) exec(args []string) error {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = tr.root
	out, err := cmd.CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) {
		return unsupportedError{err}
	}
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// touch sets both times as touch(1) does; with -old to a time long ago, with -m only the
// mtime, which is another event.
func (tr *fixture) touch(args []string) error {
	if args[0] == "-old" {
		times := []unix.Timespec{{Sec: 1e9}, {Sec: 1e9}}
		return unix.UtimesNanoAt(unix.AT_FDCWD, tr.at(args[1]), times, 0)
	}
	if args[0] == "-m" {
		times := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, {Nsec: unix.UTIME_NOW}}
		return unix.UtimesNanoAt(unix.AT_FDCWD, tr.at(args[1]), times, 0)
	}
	return withFile(tr.at(args[0]), os.O_WRONLY|os.O_CREATE, func(f *os.File) error {
		return unix.UtimesNanoAt(unix.AT_FDCWD, f.Name(), nil, 0)
	})
}

// chmod sets the mode, which is 0700 by default.
func chmod(path string, mode []string) error {
	n, err := strconv.ParseUint(append(mode, "700")[0], 8, 12)
	if err != nil {
		return err
	}
	return unix.Chmod(path, uint32(n))
}

func withFile(path string, flags int, do func(*os.File) error) error {
	f, err := os.OpenFile(path, flags, 0o644)
	if err != nil {
		return err
	}
	return errors.Join(do(f), f.Close())
}

// writeMapped stores through a memory map.
func writeMapped(f *os.File) error {
	m, err := unix.Mmap(int(f.Fd()), 0, 1, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	m[0]++
	return errors.Join(unix.Msync(m, unix.MS_SYNC), unix.Munmap(m))
}

// writeUnnamed makes a file that gets its name when it is complete.
func writeUnnamed(path string) error {
	fd, err := unix.Open(filepath.Dir(path), unix.O_TMPFILE|unix.O_WRONLY|unix.O_CLOEXEC, 0o644)
	if errors.Is(err, unix.EOPNOTSUPP) {
		return unsupportedError{err}
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	_, err = unix.Write(fd, []byte("text"))
	return errors.Join(err, unix.Linkat(unix.AT_FDCWD, dirfd.Path(fd, ""), unix.AT_FDCWD, path, unix.AT_SYMLINK_FOLLOW))
}

// remake removes a directory or file and makes another one with the same inode number.
func remake(path string) error {
	var before, now unix.Stat_t
	if err := unix.Stat(path, &before); err != nil {
		return err
	}
	if err := os.RemoveAll(path); err != nil {
		return err
	}
	for range 100 {
		err := unix.Mknod(path, before.Mode, 0)
		if before.Mode&unix.S_IFMT == unix.S_IFDIR {
			err = unix.Mkdir(path, 0o755)
		}
		err = errors.Join(err, unix.Stat(path, &now))
		if err != nil || now.Ino == before.Ino {
			return err
		}
		if err := os.Remove(path); err != nil {
			return err
		}
	}
	return unsupportedError{errors.New("this file system does not use inode numbers again")}
}

// unmount waits until the threads of a scan, whose working directory may be
// there, have ended.
func unmount(path string) error {
	deadline := time.Now().Add(10 * time.Second)
	for {
		err := unix.Unmount(path, unix.UMOUNT_NOFOLLOW)
		if !errors.Is(err, unix.EBUSY) || time.Now().After(deadline) {
			return err
		}
		runtime.Gosched()
	}
}

// overlay mounts an overlay file system, whose lower layer is a directory.
func overlay(lower, at string) error {
	upper, work := lower+".upper", lower+".work"
	if err := errors.Join(os.Mkdir(upper, 0o755), os.Mkdir(work, 0o755)); err != nil {
		return err
	}
	return privileged(unix.Mount("overlay", at, "overlay", 0, "lowerdir="+lower+",upperdir="+upper+",workdir="+work))
}

// makeDeep makes directories below path until no system call takes the whole path, and a
// file in the last one.
func makeDeep(path string) error {
	dir, err := os.OpenRoot(path)
	for length := 0; err == nil && length < 2*unix.PathMax; length += 250 {
		name := string(bytes.Repeat([]byte{'d'}, 250))
		var next *os.Root
		if err = dir.Mkdir(name, 0o755); err == nil {
			next, err = dir.OpenRoot(name)
		}
		dir.Close()
		dir = next
	}
	if err != nil {
		return err
	}
	return errors.Join(dir.WriteFile("f", nil, 0o644), dir.Close())
}

// openFile opens a file or directory and keeps it open, writes to an open one, or closes
// it.
func (tr *fixture) openFile(name, path string) error {
	f := tr.openFiles[path]
	switch {
	case name == "open":
		f, err := os.OpenFile(tr.at(path), os.O_RDWR, 0)
		if errors.Is(err, unix.EISDIR) {
			f, err = os.Open(tr.at(path))
		}
		if tr.openFiles == nil {
			tr.openFiles = map[string]*os.File{}
		}
		tr.openFiles[path] = f
		return err
	case name == "put":
		_, err := f.WriteString("more")
		return err
	}
	delete(tr.openFiles, path)
	return f.Close()
}
