package livereload

import "slices"

// maxServed is how many paths a servedFiles knows, and maxServedPath how long each may be.
// With a fallback page there is a file at every path that a client makes up.
const (
	maxServed     = 16 << 10
	maxServedPath = 1 << 10 // bytes
)

// servedFiles knows which versions of files were served lately, and so what pages have
// that were loaded since. Hub.mu guards it.
type servedFiles struct {
	files map[string]servedFile // by path
	since uint64                // servedFile.since of paths that are not in files
}

// A servedFile is the version that was served at a path whenever it was asked for after
// the change with the number since.
type servedFile struct {
	version FileVersion
	since   uint64
	last    uint64 // number of the last change when it was served last
}

// note notes which version is served after a number of changes.
func (s *servedFiles) note(path string, version FileVersion, number uint64) {
	if len(path) > maxServedPath {
		return
	}
	was, known := s.files[path]
	if !known && len(s.files) == maxServed {
		s.forget(number)
	}
	if s.files == nil {
		s.files = make(map[string]servedFile)
	}

	since := was.since
	switch {
	case !known:
		since = s.since
	case was.version != version:
		since = was.last + 1 // the other version was served until then
	}
	s.files[path] = servedFile{version, since, number}
}

// forget forgets what was served until now.
func (s *servedFiles) forget(number uint64) {
	s.files, s.since = nil, number+1
}

// NoteServed notes that a request for a canonical path is answered with a version of a
// file. The zero FileVersion is one that cannot be told from others.
func (h *Hub) NoteServed(path string, version FileVersion) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.served.note(path, version, h.number)
	if r := h.resources[path]; r != nil && r.state.Version != version {
		r.delivered = 0 // the page that asked may have another content than others
	}
}

// compareContent compares what a page may have of resources that it has come to use with
// what was seen there. Where it is not certain that they are the same, the next change of
// the file is told whatever the content is.
//
// A page that does not say when it was served, as one that links the script itself, is
// taken to have what was seen. But if that has not been told yet it is: the file may
// have been saved between the loading of the page and the look.
func (h *Hub) compareContent(c *client, resources []*resource) {
	for some := range slices.Chunk(resources, filesAtOnce) {
		h.mu.Lock()
		if c.pending.reload == nil { // else it will come again with others
			h.compareSome(c, some)
		}
		h.mu.Unlock()
	}
}

// compareSome is compareContent for at most filesAtOnce resources. h.mu must be held.
func (h *Hub) compareSome(c *client, resources []*resource) {
	for _, r := range resources {
		file, known := h.served.files[r.path]
		certain := known && c.loadedAt >= file.since && r.state.Kind == Regular && r.state.Version == file.version
		if !c.loadKnown {
			r.untold = r.state.Version
		}

		switch {
		case c.loadKnown && !certain:
			r.delivered = 0
		case len(r.subscribers) <= 2 && !slices.ContainsFunc(r.subscribers, func(s subscriber) bool { return s.client != c }):
			r.delivered = r.state.Sum // no other page has it: this one shows it and uses it
		case r.delivered != r.state.Sum:
			r.delivered = 0
		}
	}
}
