package httpd

import (
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"unicode"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// A privateList is what Options.Private names: paths of files that are never served.
type privateList struct {
	paths []string
	known *privateFiles
}

// has reports whether a regular file beneath the root is private: it is one of the
// list, by whatever name or link it was reached, or a copy that an editor or a tool
// has put beside one.
func (l privateList) has(root *os.Root, real string, info fs.FileInfo) bool {
	for _, p := range l.paths {
		if now := l.known.note(p); now != nil && os.SameFile(now, info) {
			return true
		}
		if isCopyName(path.Base(real), filepath.Base(p)) && sameDir(root, path.Dir(real), filepath.Dir(p)) {
			return true
		}
	}
	return l.known.have(info)
}

// isCopyName reports whether tools give a copy of the file original such a name:
// site.toml~, site.toml.bak, site.toml.gz, #site.toml#.
func isCopyName(name, original string) bool {
	rest, ok := strings.CutPrefix(strings.TrimPrefix(name, "#"), original)
	next, _ := utf8.DecodeRuneInString(rest)
	return ok && rest != "" && !unicode.IsLetter(next) && !unicode.IsDigit(next)
}

// sameDir reports whether a directory beneath the root is the one at a path
// elsewhere.
func sameDir(root *os.Root, beneath, elsewhere string) bool {
	a, err := root.Stat(beneath)
	b, otherErr := os.Stat(elsewhere)
	return err == nil && otherErr == nil && os.SameFile(a, b)
}

// maxPrivate is how many files a privateFiles remembers. Each save by rename of a
// private file makes one.
const maxPrivate = 64

// privateFiles are the files that private paths have led to. One that was renamed or
// replaced holds the same secrets as before and stays private, as long as it is among
// the last. Each is held open with O_PATH, so that its inode number is not given to
// another file.
type privateFiles struct {
	mu     sync.Mutex
	files  []privateFile // the newest last
	closed bool
}

type privateFile struct {
	info fs.FileInfo
	held *os.File
}

// note remembers the file that a private path leads to now, and returns its info, or
// nil if the path leads nowhere.
func (p *privateFiles) note(path string) fs.FileInfo {
	info, err := os.Stat(path)
	if err != nil {
		return nil
	}
	if p.have(info) {
		return info
	}

	if held, err := os.OpenFile(path, unix.O_PATH, 0); err == nil {
		p.add(held)
	}
	return info
}

// add remembers a file, and forgets those that have no name any more.
func (p *privateFiles) add(held *os.File) {
	p.mu.Lock()
	defer p.mu.Unlock()
	info, err := held.Stat()
	if err != nil || p.closed {
		held.Close()
		return
	}

	p.files = slices.DeleteFunc(p.files, func(f privateFile) bool {
		info, err := f.held.Stat()
		gone := err == nil && info.Sys().(*syscall.Stat_t).Nlink == 0
		if gone {
			f.held.Close()
		}
		return gone
	})
	if len(p.files) == maxPrivate {
		p.files[0].held.Close()
		p.files = slices.Delete(p.files, 0, 1)
	}
	p.files = append(p.files, privateFile{info, held})
}

func (p *privateFiles) have(info fs.FileInfo) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.ContainsFunc(p.files, func(f privateFile) bool { return os.SameFile(f.info, info) })
}

// close closes the files that are held. No more are remembered.
func (p *privateFiles) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, f := range p.files {
		f.held.Close()
	}
	p.files, p.closed = nil, true
}
