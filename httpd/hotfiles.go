package httpd

import (
	"bytes"
	"io"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/execlog/execlogd/httpd/internal/urlpath"
)

// Defaults of Options.CacheBytes and Options.CacheFiles.
const (
	DefaultCacheBytes = 64 << 20
	DefaultCacheFiles = 4096
)

// fileCost is what a file in a hotFiles is taken to need beside its content; bytes.
const fileCost = 1 << 10

// hotFiles are the files of a root that were asked for lately, each with its content and
// what was found out about it. A file is in it only if one system call for each part of its
// path says that the path still leads to it, and that it has not changed. So what is
// served is never stale, whether changes are reported or not. It has no file that was
// changed within longestWrite (minAge), whose next change may not show in its times, none that is
// reached by a symbolic link, none that is not read whole, and none that is private.
//
// A program that writes through a shared mapping (mmap) changes the times of a file with
// its first write, and with others only after the kernel has written the pages back, which
// some file systems never do. Its last writes may not be seen.
type hotFiles struct {
	root     string // absolute
	maxBytes int64
	maxFiles int
	minAge   time.Duration // of the last change of a file that is kept
	known    *privateFiles // that private paths have led to

	mu      sync.RWMutex
	files   map[string]*hotFile // by key: the name that was asked for, and a slash if it means a directory
	answers map[string]*laneAnswer
	bytes   int64 // of both
	private []privatePath
}

// A hotFile is a file in a hotFiles.
type hotFile struct {
	file
	cost   int64
	checks []pathCheck // what must hold, so that the file is what would be served now
	noted  uint64      // how many private files were known when this was found to be none

	answers []string // keys of answers with the file; hotFiles.mu guards it
}

// A pathCheck is what was found at an absolute path, or that nothing was.
type pathCheck struct {
	path  []byte // ends with NUL
	found fileIdentity
}

// A privatePath is one of Options.Private and what it led to.
type privatePath struct {
	path []byte // absolute; ends with NUL
	led  inode
}

// An inode tells a file from others, whatever is in it.
type inode struct {
	major, minor uint32
	number       uint64
}

// A fileIdentity tells a file from others and its content from others that it had. Of a
// directory it says only that it is one. It is zero for what is not there.
type fileIdentity struct {
	inode
	size         uint64
	mtime, ctime int64 // ns since 1970
	kind         uint16
}

// statPath says what is at an absolute path that ends with NUL. It does not allocate.
// ok is false if that cannot be told.
func statPath(path []byte, flags int) (found fileIdentity, ok bool) {
	const mask = unix.STATX_TYPE | unix.STATX_INO | unix.STATX_SIZE | unix.STATX_MTIME | unix.STATX_CTIME
	var st unix.Statx_t
	dir := unix.AT_FDCWD
	_, _, err := unix.Syscall6(unix.SYS_STATX, uintptr(dir), uintptr(unsafe.Pointer(&path[0])), uintptr(flags), mask, uintptr(unsafe.Pointer(&st)), 0)
	switch {
	case err == unix.ENOENT:
		return fileIdentity{}, true
	case err != 0 || st.Mask&mask != mask:
		return fileIdentity{}, false
	case st.Mode&unix.S_IFMT == unix.S_IFDIR:
		return fileIdentity{kind: unix.S_IFDIR}, true
	}
	return fileIdentity{
		inode: inode{st.Dev_major, st.Dev_minor, st.Ino}, size: st.Size,
		mtime: st.Mtime.Sec*1e9 + int64(st.Mtime.Nsec), ctime: st.Ctime.Sec*1e9 + int64(st.Ctime.Nsec),
		kind: st.Mode & unix.S_IFMT,
	}, true
}

// identity is what statPath says of the file as its info has it.
func (f *file) identity() fileIdentity {
	st := statOf(f.FileInfo)
	dev := uint64(st.Dev)
	return fileIdentity{
		inode: inode{unix.Major(dev), unix.Minor(dev), st.Ino}, size: uint64(st.Size),
		mtime: st.Mtim.Nano(), ctime: st.Ctim.Nano(), kind: uint16(st.Mode & unix.S_IFMT),
	}
}

func (c *pathCheck) holds() bool {
	found, ok := statPath(c.path, unix.AT_SYMLINK_NOFOLLOW)
	return ok && found == c.found
}

// newHotFiles returns the table for a root; nil, which is empty and stays so, for none.
// Zero bounds are the default ones.
func newHotFiles(opts Options, root string, private []string, known *privateFiles) *hotFiles {
	if root == "" || opts.CacheBytes < 0 || opts.CacheFiles < 0 {
		return nil
	}
	h := &hotFiles{root: root, maxBytes: opts.CacheBytes, maxFiles: opts.CacheFiles, minAge: longestWrite, known: known, files: make(map[string]*hotFile), answers: make(map[string]*laneAnswer)}
	if h.maxBytes == 0 {
		h.maxBytes = DefaultCacheBytes
	}
	if h.maxFiles == 0 {
		h.maxFiles = DefaultCacheFiles
	}
	for _, name := range private {
		h.private = append(h.private, privatePath{path: []byte(name + "\x00")})
	}
	return h
}

// open returns the file that is shown for a key, or nil if it is not here or is not the
// same any more.
func (h *hotFiles) open(key string) *file {
	if h == nil {
		return nil
	}
	h.mu.RLock()
	hot := h.files[key]
	h.mu.RUnlock()
	if hot == nil {
		return nil
	}
	if !h.isValid(hot) {
		h.drop(key)
		return nil
	}
	f := hot.file
	f.hot = hot
	f.content = io.NewSectionReader(bytes.NewReader(f.text), 0, f.Size())
	return &f
}

// isValid reports whether a file is still what would be served for its key.
func (h *hotFiles) isValid(hot *hotFile) bool {
	if hot.noted != h.known.noted.Load() {
		return false
	}
	for i := range hot.checks {
		if !hot.checks[i].holds() {
			return false
		}
	}
	for i := range h.private {
		if found, ok := statPath(h.private[i].path, 0); !ok || found.inode != h.led(&h.private[i]) {
			return false
		}
	}
	return true
}

// notePrivate looks where the private paths lead. If one leads elsewhere than before the
// table is emptied, as its files were compared with the one before. It returns false if a
// file is one of them.
func (h *hotFiles) notePrivate(f inode) bool {
	for i := range h.private {
		p := &h.private[i]
		found, ok := statPath(p.path, 0)
		if !ok || found.inode == f {
			return false
		}
		if h.led(p) == found.inode {
			continue
		}
		h.known.note(string(p.path[:len(p.path)-1]))
		h.mu.Lock()
		p.led = found.inode
		clear(h.files)
		clear(h.answers)
		h.bytes = 0
		h.mu.Unlock()
	}
	return true
}

// led returns where a private path led when that was looked at last.
func (h *hotFiles) led(p *privatePath) inode {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return p.led
}

// add adds a file that was loaded for a key, if it may be kept.
func (h *hotFiles) add(key string, f *file) {
	if h == nil || key == "" || f.File == nil || !f.whole || f.Size() == 0 {
		return
	}
	// A clock that was set back makes a file one of the future. So does a file server's.
	now := time.Now()
	identity := f.identity()
	noted := h.known.noted.Load() // before the file is compared with them
	if now.UnixNano()-identity.ctime < int64(h.minAge) || now.Before(f.ModTime()) {
		return
	}
	for _, p := range h.private {
		if isCopyName(path.Base(f.real), filepath.Base(string(p.path[:len(p.path)-1]))) {
			return
		}
	}
	checks, ok := h.checksFor(key, f.name, identity)
	hot := &hotFile{file: *f, checks: checks, noted: noted, cost: f.Size() + fileCost}
	if !ok || hot.cost > h.maxBytes/8 || !h.notePrivate(identity.inode) || !h.isValid(hot) {
		return
	}
	hot.File, hot.content, hot.script, hot.rules = nil, nil, script{}, nil
	if hot.urlPath = "/" + key; key == keyOf("/") {
		hot.urlPath = "/"
	}
	hot.resource = urlpath.Canonical(hot.urlPath)

	h.mu.Lock()
	defer h.mu.Unlock()
	h.remove(key)
	h.makeRoom(hot.cost, 1)
	h.files[key] = hot
	h.bytes += hot.cost
}

// makeRoom removes files, whichever, until there is room for so many bytes and files.
// h.mu must be held.
func (h *hotFiles) makeRoom(bytes int64, files int) {
	for some := range h.files {
		if h.bytes+bytes <= h.maxBytes && len(h.files)+files <= h.maxFiles {
			return
		}
		h.remove(some)
	}
}

// maxAnswers is how many answers are kept for one file.
const maxAnswers = 32

// keepAnswer keeps an answer with a file that is here, by a key that says all that it
// depends on beside what is checked when it is given: see laneConn. Its cost is that of what
// neither the key nor the file has.
func (h *hotFiles) keepAnswer(key []byte, a *laneAnswer) {
	a.cost += int64(2*len(key)+len(a.head)+len(a.script.element)) + fileCost/4
	h.mu.Lock()
	defer h.mu.Unlock()
	if a.file != h.files[a.file.key] {
		return
	}
	if len(a.file.answers) == maxAnswers {
		h.removeAnswers(a.file)
	}
	if before := h.answers[string(key)]; before != nil {
		h.bytes -= before.cost
	} else {
		h.makeRoom(a.cost, 0)
		if a.file != h.files[a.file.key] {
			return
		}
		a.file.answers = append(a.file.answers, string(key))
	}
	h.answers[string(key)] = a
	h.bytes += a.cost
}

// answerTo returns the answer of a key whose file is still the same, or nil.
func (h *hotFiles) answerTo(key []byte) *laneAnswer {
	if h == nil {
		return nil
	}
	h.mu.RLock()
	a := h.answers[string(key)]
	h.mu.RUnlock()
	if a == nil {
		return nil
	}
	if !h.isValid(a.file) {
		h.drop(a.file.key)
		return nil
	}
	return a
}

// checksFor returns the checks that the file of a name is what is shown for a key: there
// is no link on the way to it, and nothing that would be shown before it. ok is false if
// it is shown for another reason than its name.
func (h *hotFiles) checksFor(key, name string, identity fileIdentity) (checks []pathCheck, ok bool) {
	at := func(name string) []byte { return []byte(filepath.Join(h.root, name) + "\x00") }
	switch name {
	case key, path.Join(key, urlpath.Index):
	case key + ".html":
		checks = append(checks, pathCheck{path: at(key)})
	default:
		return nil, false
	}
	for i, c := range name {
		if c == '/' {
			checks = append(checks, pathCheck{at(name[:i]), fileIdentity{kind: unix.S_IFDIR}})
		}
	}
	return append(checks, pathCheck{at(name), identity}), true
}

// keyOf returns the key of a file that is shown at a clean URL path.
func keyOf(urlPath string) string {
	if urlPath == "/" {
		return "./"
	}
	return urlPath[1:]
}

// drop forgets the file of a key.
func (h *hotFiles) drop(key string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.remove(key)
}

// remove is drop; h.mu must be held.
func (h *hotFiles) remove(key string) {
	if hot := h.files[key]; hot != nil {
		h.removeAnswers(hot)
		h.bytes -= hot.cost
		delete(h.files, key)
	}
}

// removeAnswers forgets the answers with a file. h.mu must be held.
func (h *hotFiles) removeAnswers(hot *hotFile) {
	for _, key := range hot.answers {
		h.bytes -= h.answers[key].cost
		delete(h.answers, key)
	}
	hot.answers = nil
}

// dropChanged forgets the files at paths, which are as in Server.Refresh.
func (h *hotFiles) dropChanged(paths []string) {
	if h == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, name := range paths {
		name = strings.TrimPrefix(name, "/")
		if dir, isDir := strings.CutSuffix(name, "/"); isDir {
			for key, hot := range h.files {
				if dir == "" || dir == "." || strings.HasPrefix(hot.name, name) {
					h.remove(key)
				}
			}
			continue
		}
		for _, p := range urlpath.PathsOf(name) {
			h.remove(keyOf(p))
		}
	}
}
