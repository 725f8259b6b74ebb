package httpd

import (
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"unicode"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// maxPrivate is how many files a privateFiles remembers. Each save by rename of a
// private file makes one.
const maxPrivate = 64

// privateFiles are the files that private paths have led to. One that was renamed or
// replaced holds the same secrets as before and stays private, as long as it is among
// the last. Each is held open with O_PATH, so that its inode number is not given to
// another file.
type privateFiles struct {
	noted atomic.Uint64 // how many it has remembered in all

	mu    sync.Mutex
	files []privateFile // the newest last
}

type privateFile struct {
	info fs.FileInfo
	held *os.File
}

// isPrivate reports whether a regular file beneath the root is private: one of the paths
// leads to it, by whatever name or link it was reached, or did so before, or it is a copy
// that an editor or a tool has put beside one.
func (p *privateFiles) isPrivate(paths []string, root *os.Root, real string, info fs.FileInfo) bool {
	for _, private := range paths {
		if now := p.note(private); now != nil && os.SameFile(now, info) {
			return true
		}
		if isCopyName(path.Base(real), filepath.Base(private)) {
			stat := root.Stat
			if path.IsAbs(real) {
				stat = os.Stat
			}
			dir, err := stat(path.Dir(real))
			beside, besideErr := os.Stat(filepath.Dir(private))
			if err == nil && besideErr == nil && os.SameFile(dir, beside) {
				return true
			}
		}
	}
	return p.have(info)
}

// isCopyName reports whether tools give a copy of the file original such a name:
// site.toml~, site.toml.bak, site.toml.gz, #site.toml#.
func isCopyName(name, original string) bool {
	rest, ok := strings.CutPrefix(strings.TrimPrefix(name, "#"), original)
	next, _ := utf8.DecodeRuneInString(rest)
	return ok && rest != "" && !unicode.IsLetter(next) && !unicode.IsDigit(next)
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

	held, err := os.OpenFile(path, unix.O_PATH, 0)
	if err != nil {
		return info
	}

	p.mu.Lock()
	defer p.mu.Unlock()
	if opened, err := held.Stat(); err == nil {
		p.forget()
		p.files = append(p.files, privateFile{opened, held})
		p.noted.Add(1)
	} else {
		held.Close()
	}
	return info
}

// forget makes room for one file. It forgets those that have no name any more, else the
// oldest. p.mu must be held.
func (p *privateFiles) forget() {
	p.files = slices.DeleteFunc(p.files, func(f privateFile) bool {
		info, err := f.held.Stat()
		gone := err == nil && statOf(info).Nlink == 0
		if gone {
			f.held.Close()
		}
		return gone
	})
	if len(p.files) == maxPrivate {
		p.files[0].held.Close()
		p.files = slices.Delete(p.files, 0, 1)
	}
}

func (p *privateFiles) have(info fs.FileInfo) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.ContainsFunc(p.files, func(f privateFile) bool { return os.SameFile(f.info, info) })
}

// close closes the files that are held.
func (p *privateFiles) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, f := range p.files {
		f.held.Close()
	}
	p.files = nil
}
