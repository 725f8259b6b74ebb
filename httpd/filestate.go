package httpd

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"path"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/execlog/execlogd/httpd/internal/livereload"
	"github.com/execlog/execlogd/httpd/internal/urlpath"
)

// look is look of the handler of the moment. After Close there is none.
func (s *Server) look(use string) livereload.FileState {
	now, ok := s.acquire()
	if !ok {
		return livereload.FileState{}
	}
	defer now.root.release()
	if now.root == nil {
		return livereload.FileState{}
	}
	return now.look(use)
}

// look sees what a use's path leads to now, by opening it as a request would.
// Where that cannot be told, for want of descriptors, the sight is none.
func (s *handler) look(use string) livereload.FileState {
	urlPath, listing := livereload.CutListing(use)
	decoded, err := url.PathUnescape(urlPath)
	name, slash, ok := urlpath.FileName(decoded)
	if err != nil || !ok {
		return s.absence(use, ".")
	}
	f, err := s.openRequested(name, slash)
	if err == nil && f.IsDir() && !listing {
		index, indexErr := s.openRegular(path.Join(name, urlpath.Index))
		if !errors.Is(indexErr, fs.ErrNotExist) {
			f.Close()
			f, err = index, indexErr
		}
	}
	switch {
	case err == nil:
		defer f.Close()
		return s.sightOf(use, f, listing)
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EIO):
		return livereload.FileState{Kind: livereload.Unreadable, Name: name, Sum: sum(use, "broken"), Err: err}
	case errors.Is(err, fs.ErrClosed), errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		return livereload.FileState{}
	}
	return s.absence(use, name)
}

func (s *handler) sightOf(use string, f *file, listing bool) livereload.FileState {
	stat, ok := f.Sys().(*syscall.Stat_t)
	if !ok {
		return livereload.FileState{}
	}
	seen := livereload.FileState{Kind: livereload.Regular, Name: f.name, Version: f.state(), Changed: stat.Ctim.Nano() / 1e6}
	switch {
	case f.IsDir() && !listing:
		seen.Kind, seen.Sum = livereload.Directory, sum(use, "directory")
		return seen
	case f.IsDir():
		entries, err := f.ReadDir(-1)
		if err != nil {
			return livereload.FileState{}
		}
		seen.Kind, seen.Sum = livereload.Directory, sumOfNames(entries)
		return seen
	}
	content, ok := s.digests.of(f)
	if ok {
		seen.Sum, seen.Exact = sum(use, f.name, content), true
	} else {
		seen.Sum = sum(use, f.name, stat.Ino, stat.Mtim.Nano(), stat.Size)
	}
	return seen
}

// absence is the sight of nothing. A name that is not there came or went with
// a change of the directory that it would be in.
func (s *handler) absence(use, name string) livereload.FileState {
	seen := livereload.FileState{Kind: livereload.Missing, Name: name, Sum: sum(use, "absent")}
	root := s.root.now()
	for dir := "."; ; {
		info, err := root.Stat(dir)
		if err != nil || !info.IsDir() {
			return seen
		}
		if stat, ok := info.Sys().(*syscall.Stat_t); ok {
			seen.Changed = stat.Ctim.Nano() / 1e6
		}
		next, rest, more := strings.Cut(name, "/")
		if !more {
			return seen
		}
		dir, name = path.Join(dir, next), rest
	}
}

// sum is 64 bits of a hash, the same in every process.
func sum(parts ...any) uint64 {
	h := sha256.Sum256(fmt.Appendf(nil, "%#v", parts))
	return binary.LittleEndian.Uint64(h[:])
}

// sumOfNames is the same for any order, and the same with other hidden names.
func sumOfNames(entries []fs.DirEntry) (all uint64) {
	for _, d := range entries {
		if !urlpath.IsHidden(d.Name()) {
			all += sum(d.Name(), d.IsDir())
		}
	}
	return all
}

func (f *file) state() livereload.FileVersion {
	stat, ok := f.Sys().(*syscall.Stat_t)
	if !ok {
		return livereload.FileVersion{}
	}
	return livereload.FileVersion{Device: stat.Dev, Inode: stat.Ino, Size: stat.Size, Ctime: stat.Ctim.Nano()}
}

// digestLimit is how large a file may be for its content to be compared. Of a
// larger one the size and the time of modification decide.
const digestLimit = 8 << 20

// maxDigests bounds how many digests are remembered.
const maxDigests = 16 << 10

// Digests are of the contents of files, each read once as long as it does not
// change. After very many they are read again.
type digests struct {
	mu    sync.Mutex
	known map[livereload.FileVersion]uint64
}

// of is the digest of a regular file, which is the same in every process. It is
// not ok where the file is too large, cannot be read, or changes meanwhile.
func (d *digests) of(f *file) (content uint64, ok bool) {
	state := f.state()
	if state.Size > digestLimit {
		return 0, false
	}
	d.mu.Lock()
	content, ok = d.known[state]
	d.mu.Unlock()
	if ok {
		return content, true
	}
	h := sha256.New()
	n, err := io.Copy(h, io.NewSectionReader(f.File, 0, digestLimit+1))
	if err != nil || n != state.Size || !f.isUnchanged() {
		return 0, false
	}
	content = binary.LittleEndian.Uint64(h.Sum(nil))
	// Where the clock has moved on, whatever comes later has another time.
	if time.Now().UnixMilli()-state.Ctime/1e6 > livereload.ClockTick {
		d.remember(state, content)
	}
	return content, true
}

func (d *digests) remember(state livereload.FileVersion, content uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.known == nil || len(d.known) == maxDigests {
		d.known = make(map[livereload.FileVersion]uint64)
	}
	d.known[state] = content
}

// noteServed notes that a request for a URL path is answered with a file.
func (s *handler) noteServed(urlPath string, f *file) {
	use, ok := urlpath.Parse(urlpath.Canonical(urlPath))
	if !ok || !s.live {
		return
	}
	state := f.state()
	if time.Now().UnixMilli()-state.Ctime/1e6 <= livereload.ClockTick {
		state = livereload.FileVersion{} // it may be another at the same time, of a clock that ticks
	}
	s.hub.NoteServed(use, state)
}
