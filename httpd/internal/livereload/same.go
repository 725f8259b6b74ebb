package livereload

import "slices"

// A FileVersion is another when a file was written, replaced or touched, as far as
// the kernel's clock tells one moment from the next.
type FileVersion struct {
	Device, Inode uint64
	Size          int64
	Ctime         int64 // ns since 1970
}

// maxServed bounds how many paths a servedFiles knows.
const maxServed = 16 << 10

// ServedFiles knows what was served lately at which path, and so what pages have
// that were loaded since. The hub's lock guards it.
type servedFiles struct {
	files map[string]servedFile
	since uint64 // of paths that are not in files
}

// A servedFile is what was served at a path whenever it was asked for after so
// many changes or more.
type servedFile struct {
	state FileVersion
	since uint64 // changes
	last  uint64 // changes when it was served last
}

// note notes what is served after so many changes.
func (s *servedFiles) note(path string, state FileVersion, changes uint64) {
	was, known := s.files[path]
	switch {
	case !known && len(s.files) == maxServed:
		s.forget(changes)
		was.since = s.since
	case !known:
		was.since = s.since
	case was.state != state:
		was.since = was.last + 1
	}
	if s.files == nil {
		s.files = make(map[string]servedFile)
	}
	s.files[path] = servedFile{state, was.since, changes}
}

// forget knows nothing of what was served until now.
func (s *servedFiles) forget(changes uint64) {
	s.files, s.since = nil, changes+1
}

// NoteServed notes what is served at a use's path. Pages that have the use may get
// another content than others have.
func (h *Hub) NoteServed(use string, state FileVersion) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.served.note(use, state, h.number)
	if u := h.resources[use]; u != nil && u.state.Version != state {
		u.delivered = 0
	}
}

// compare is called with the lock when a page has come to have uses. Where it is
// not certain that the page has what was seen there, the next change of the file
// is to be told whatever is in it.
//
// Of a page that does not say when it was served, as one that links the script
// itself, it is assumed, unless what was seen there has not been told yet: the
// file may have been saved between the loading of the page and the look.
func (h *Hub) compare(s *client, uses []*resource) {
	if s.pending.reload != nil {
		return // it will come again, with others of them
	}
	for _, u := range uses {
		file, known := h.served.files[u.path]
		certain := known && s.loadedAt >= file.since && u.state.Kind == Regular && u.state.Version == file.state
		if !s.loadKnown {
			u.untold = u.state.Version
		}
		switch {
		case s.loadKnown && !certain:
			u.delivered = 0
		case u.isOnlyOf(s):
			u.delivered = u.state.Sum
		case u.delivered != u.state.Sum:
			u.delivered = 0
		}
	}
}

// compareInSteps is compare without the lock.
func (h *Hub) compareInSteps(s *client, uses []*resource) {
	for part := range slices.Chunk(uses, filesAtOnce) {
		h.mu.Lock()
		h.compare(s, part)
		h.mu.Unlock()
	}
}

// turned is compare for what a page shows without having been loaded.
func (h *Hub) turned(s *client, own []*resource) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.compare(s, own)
}

// isOnlyOf reports whether no other page has the use. One has it twice at most:
// it shows it, and uses it.
func (u *resource) isOnlyOf(s *client) bool {
	if len(u.subscribers) > 2 {
		return false
	}
	for _, by := range u.subscribers {
		if by.client != s {
			return false
		}
	}
	return true
}
