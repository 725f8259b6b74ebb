package httpd

import (
	"context"
	"errors"
	"io/fs"
	"net/http"
	"path"
	"sync"
	"sync/atomic"
	"time"

	"github.com/execlog/execlogd/httpd/internal/filetype"
	"github.com/execlog/execlogd/httpd/internal/livereload"
	"github.com/execlog/execlogd/httpd/internal/urlpath"
)

// A generator may remove its output and make it again. A request that comes meanwhile
// waits for its file instead of being answered with 404.
const (
	// maxRebuildWait is how long a request waits at most.
	maxRebuildWait = 5 * time.Second

	// rebuildPause is how long a file that was there is waited for after a name has come
	// or gone in its directory: a program of which nothing is known may make it again.
	rebuildPause = time.Second

	// rebuildInterval is how often a request that waits looks.
	rebuildInterval = 25 * time.Millisecond

	// maxRebuildWaiting is how many requests wait at once. Others are answered at once.
	maxRebuildWaiting = 100
)

// rebuildWaits are the requests that wait for files. The zero value is ready to use.
type rebuildWaits struct {
	waiting atomic.Int32

	mu   sync.Mutex
	seen map[string]fileSeen
}

// fileSeen is what is remembered of a file.
type fileSeen uint8

const (
	neverSeen fileSeen = iota
	wasThere
	wasAwaited // in vain, and it has not been there since
)

// Bounds of what is remembered.
const (
	maxSeen     = 10_000
	maxSeenName = 200 // bytes
)

func (w *rebuildWaits) note(name string, is fileSeen) {
	if len(name) > maxSeenName {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.seen == nil || w.seen[name] == neverSeen && len(w.seen) >= maxSeen {
		w.seen = make(map[string]fileSeen)
	}
	w.seen[name] = is
}

func (w *rebuildWaits) of(name string) fileSeen {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.seen[name]
}

// openComplete is openShown for a request. While the file may be about to be made, it
// waits for it: until it is there, until nothing is being made any more, or for
// maxRebuildWait. A file that was waited for in vain is not waited for again. It returns
// the request with the cursor from before the file was opened.
func (s *handler) openComplete(r *http.Request, name string, slash bool) (*file, *http.Request, error) {
	key := name
	if slash {
		key += "/"
	}
	if f := s.hot.open(key); f != nil {
		s.cacheHits.Add(1)
		s.rebuilds.note(key, wasThere)
		return f, r, nil
	}
	s.cacheMisses.Add(1)
	f, err := s.openShown(name, slash)
	if s.isComplete(f, err, slash) {
		if f != nil {
			f.key = key
		}
		s.rebuilds.note(key, wasThere)
		return f, r, err
	}
	seen := s.rebuilds.of(key)
	if seen == wasAwaited || !s.isBeingMade(name, f, seen) {
		return f, r, err
	}
	defer s.rebuilds.waiting.Add(-1)
	if s.rebuilds.waiting.Add(1) > maxRebuildWaiting {
		return f, r, err
	}

	late := time.After(maxRebuildWait)
	look := time.NewTicker(rebuildInterval)
	defer look.Stop()
	for isLate := false; !isLate && s.isBeingMade(name, f, seen); {
		select {
		case <-look.C:
		case <-late:
			isLate = true
		case <-s.replaced.Done():
			return f, r, err
		case <-r.Context().Done():
			return f, r, err
		}

		if f != nil {
			f.Close()
		}
		at := s.hub.Cursor()
		f, err = s.openShown(name, slash)
		if s.isComplete(f, err, slash) {
			s.rebuilds.note(key, wasThere)
			return f, withCursor(r, at), err
		}
	}
	s.rebuilds.note(key, wasAwaited)
	return f, r, err
}

// withCursor returns the request with a later cursor.
func withCursor(r *http.Request, at livereload.Cursor) *http.Request {
	a := accessOf(r)
	a.cursor = at
	return r.WithContext(context.WithValue(r.Context(), accessKey{}, a))
}

// isComplete reports whether the result of openShown is one to answer with, whatever is
// being made. A page without content is none, nor is a directory without the page that is
// shown for it.
func (s *handler) isComplete(f *file, err error, slash bool) bool {
	switch {
	case err != nil:
		return !errors.Is(err, fs.ErrNotExist)
	case f.IsDir():
		return !slash
	}
	return f.Size() > 0 || !s.isPageName(f.name)
}

// isPageName reports whether a file of a name is a page.
func (s *handler) isPageName(name string) bool {
	contentType := s.types.Of(name)
	return filetype.IsHTML(contentType) || filetype.IsXMLPage(contentType)
}

// isBeingMade reports whether a file that is not complete may be made just now: because
// Options.Rebuilding says that something is, or because it was there, and a name has come
// or gone a moment ago in its directory, or in the first one above that there is.
func (s *handler) isBeingMade(name string, f *file, seen fileSeen) bool {
	switch {
	case !s.live:
		return false
	case s.opts.Rebuilding != nil && s.opts.Rebuilding():
		return true
	case seen != wasThere:
		return false
	}

	var changed int64
	switch {
	case f == nil:
		changed = s.missingState("", name).Changed
	case f.IsDir():
		changed = s.missingState("", path.Join(name, urlpath.Index)).Changed
	default:
		changed = statOf(f.FileInfo).Ctim.Nano() / 1e6
	}
	return time.Since(time.UnixMilli(changed)) < rebuildPause
}
