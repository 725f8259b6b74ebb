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

// fileState returns what the path of a resource leads to now. It is the zero state
// after Close, and if no files are served.
func (s *Server) fileState(resource string) livereload.FileState {
	now, ok := s.acquire()
	if !ok || now.root == nil {
		return livereload.FileState{}
	}
	defer now.root.release()
	return now.fileState(resource)
}

// fileState opens what the path of a resource leads to, as a request for it as a page
// would. If that cannot be told, for want of descriptors, the state is the zero one.
func (s *handler) fileState(resource string) livereload.FileState {
	urlPath, listing := livereload.CutListing(resource)
	decoded, err := url.PathUnescape(urlPath)
	name, slash, ok := urlpath.FileName(decoded)
	if err != nil || !ok {
		return s.missingState(resource, ".")
	}

	all := s.rulesNow().Rules
	if target := s.targetOf(all, decoded, false); target != "" && !listing {
		if state, ok := s.targetState(resource, name, slash, target); ok {
			return state
		}
	}
	state := s.stateOf(resource, name, slash, listing)
	target := ""
	switch {
	case listing:
	case state.Kind == livereload.Missing && state.Err == nil:
		target = s.targetOf(all, decoded, true)
	case state.Kind == livereload.Directory: // whose list a rule comes before, but not the fallback page
		a, _ := all.Redirect(decoded, "", true)
		target = a.Path
	}
	if target != "" {
		if instead, ok := s.targetState(resource, name, slash, target); ok {
			return instead
		}
	}
	return state
}

// stateOf opens the file that a name means, for the path of a resource.
func (s *handler) stateOf(resource, name string, slash, listing bool) livereload.FileState {
	f, err := s.openRequested(name, slash)
	if err == nil && f.IsDir() && !listing {
		index, indexErr := s.openRegular(path.Join(name, urlpath.Index))
		if !errors.Is(indexErr, fs.ErrNotExist) {
			f.Close()
			f, err = index, indexErr
		}
	}

	var state livereload.FileState
	switch {
	case err == nil:
		defer f.Close()
		if state = s.openState(resource, f, listing); f.real == f.name {
			return state
		}
		name = f.name
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EIO):
		return livereload.FileState{Kind: livereload.Unreadable, Name: name, Sum: sum(resource, "broken"), Err: err}
	case errors.Is(err, fs.ErrClosed), errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		return livereload.FileState{}
	default:
		state = s.missingState(resource, name)
	}

	through, changed, err := linksOf(s.root.now(), name, s.opts.FollowSymlinks)
	state.Through, state.Changed = through, max(state.Changed, changed)
	if out, ok := errors.AsType[*leadsOutError](err); ok && state.Kind == livereload.Missing {
		state.Err = out
	}
	return state
}

// openState is the state of a file that could be opened. listing says that a
// directory's list of names is meant and not what is shown at its path.
func (s *handler) openState(resource string, f *file, listing bool) livereload.FileState {
	stat := statOf(f.FileInfo)
	state := livereload.FileState{Kind: livereload.Regular, Name: f.name, Version: f.version(), Changed: stat.Ctim.Nano() / 1e6}

	if f.IsDir() {
		state.Kind, state.Sum = livereload.Directory, sum(resource, "directory")
		if listing {
			entries, err := f.ReadDir(-1)
			if err != nil {
				return livereload.FileState{}
			}
			state.Sum = sumOfNames(entries)
		}
		return state
	}

	if content, ok := s.digests.of(f); ok {
		state.Sum, state.Exact = sum(resource, f.name, content), true
	} else {
		state.Sum = sum(resource, f.name, stat.Ino, stat.Mtim.Nano(), stat.Size)
	}
	return state
}

// missingState is the state of what is not there. It came or went with a change of the
// directory that it would be in, or of the first one above that there is.
func (s *handler) missingState(resource, name string) livereload.FileState {
	state := livereload.FileState{Kind: livereload.Missing, Name: name, Sum: sum(resource, "absent")}
	root := s.root.now()
	for dir := "."; ; {
		info, err := root.Stat(dir)
		if err != nil || !info.IsDir() {
			return state
		}
		state.Changed = statOf(info).Ctim.Nano() / 1e6

		next, rest, more := strings.Cut(name, "/")
		if !more {
			return state
		}
		dir, name = path.Join(dir, next), rest
	}
}

// sum is 64 bits of a hash. It is the same in every process, as pages keep it over a
// restart.
func sum(parts ...any) uint64 {
	h := sha256.Sum256(fmt.Appendf(nil, "%#v", parts))
	return binary.LittleEndian.Uint64(h[:])
}

// sumOfNames is the same for any order of the entries. Hidden names do not count.
func sumOfNames(entries []fs.DirEntry) (all uint64) {
	for _, d := range entries {
		if urlpath.IsListed(d.Name()) {
			all += sum(d.Name(), d.IsDir())
		}
	}
	return all
}

func (f *file) version() livereload.FileVersion {
	stat := statOf(f.FileInfo)
	dev := uint64(stat.Dev) // 32 bits on MIPS
	return livereload.FileVersion{Device: dev, Inode: stat.Ino, Size: stat.Size, Ctime: stat.Ctim.Nano()}
}

// isDistinct reports whether the next write to a file will give it another version.
// Within a tick of the kernel's clock it may have the same time.
func isDistinct(v livereload.FileVersion) bool {
	return time.Now().UnixMilli()-v.Ctime/1e6 > livereload.ClockTick
}

const (
	digestLimit = 8 << 20  // bytes; of a larger file the size and the time of modification are compared
	maxDigests  = 16 << 10 // that are remembered
)

// digests remembers the digests of files' contents, so that a file that does not
// change is read once. When it is full it forgets them all.
type digests struct {
	mu    sync.Mutex
	known map[livereload.FileVersion]uint64
}

// of returns the digest of a regular file's content, which is the same in every
// process. ok is false if the file is too large, cannot be read, or changes meanwhile.
func (d *digests) of(f *file) (content uint64, ok bool) {
	version := f.version()
	if version.Size > digestLimit {
		return 0, false
	}
	d.mu.Lock()
	content, ok = d.known[version]
	d.mu.Unlock()
	if ok {
		return content, true
	}

	h := sha256.New()
	n, err := io.Copy(h, io.NewSectionReader(f.File, 0, digestLimit+1))
	if err != nil || n != version.Size || !f.isUnchanged() {
		return 0, false
	}
	content = binary.LittleEndian.Uint64(h.Sum(nil))

	if isDistinct(version) {
		d.mu.Lock()
		if d.known == nil || len(d.known) == maxDigests {
			d.known = make(map[livereload.FileVersion]uint64)
		}
		d.known[version] = content
		d.mu.Unlock()
	}
	return content, true
}

// noteServed tells the hub that a request for a URL path is answered with a file.
func (s *handler) noteServed(urlPath string, f *file) {
	if !s.live {
		return
	}
	resource := f.resource
	if resource == "" || urlPath != f.urlPath {
		var ok bool
		if resource, ok = urlpath.Parse(urlpath.Canonical(urlPath)); !ok {
			return
		}
	}

	version := f.version()
	if !isDistinct(version) {
		version = livereload.FileVersion{}
	}
	s.hub.NoteServed(resource, version)
}
