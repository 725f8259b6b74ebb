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

// A privateList is what Options.Private names: paths of files that are never
// served.
type privateList struct {
	paths []string
	seen  *privateFiles
}

// has reports whether a regular file beneath the root is one of them, by
// whatever name or link it was reached, or a copy that an editor or a tool has
// put beside one.
func (l privateList) has(root *os.Root, real string, info fs.FileInfo) bool {
	for _, p := range l.paths {
		if now := l.seen.note(p); now != nil && os.SameFile(now, info) {
			return true
		}
		if isCopyName(path.Base(real), filepath.Base(p)) && sameDir(root, path.Dir(real), filepath.Dir(p)) {
			return true
		}
	}
	return l.seen.have(info)
}

// isCopyName reports whether tools give such a name to a copy of the file that
// is called original: site.toml~, site.toml.bak, site.toml.gz, #site.toml#.
func isCopyName(name, original string) bool {
	rest, ok := strings.CutPrefix(strings.TrimPrefix(name, "#"), original)
	next, _ := utf8.DecodeRuneInString(rest)
	return ok && rest != "" && !unicode.IsLetter(next) && !unicode.IsDigit(next)
}

// sameDir reports whether a directory beneath the root is the one of a path
// elsewhere.
func sameDir(root *os.Root, beneath, elsewhere string) bool {
	a, err := root.Stat(beneath)
	b, otherErr := os.Stat(elsewhere)
	return err == nil && otherErr == nil && os.SameFile(a, b)
}

// maxPrivate is how many files a privateFiles remembers. There is one for each
// save by rename of a private file.
const maxPrivate = 64

// A privateFiles are the files that private paths have led to. One that was
// renamed or replaced has the same secrets in it as before, so that it stays
// private, as long as it is among the last. Each is held by a descriptor of
// O_PATH, so that its inode number goes to no other file.
type privateFiles struct {
	mu     sync.Mutex
	files  []privateFile // the newest last
	closed bool
}

type privateFile struct {
	info fs.FileInfo
	held *os.File
}

// note looks at what a private path leads to now; nil is nothing.
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

// close lets go of the files. No more are noted.
func (p *privateFiles) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, f := range p.files {
		f.held.Close()
	}
	p.files, p.closed = nil, true
}
