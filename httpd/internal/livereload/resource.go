package livereload

import (
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"
	"syscall"
)

// A FileState is what a request for a path would have been answered with when somebody
// looked. The zero FileState is not known.
type FileState struct {
	Kind    FileKind
	Name    string      // of the file, relative to the root
	Version FileVersion // of a file or directory
	Changed int64       // time of the last change, or of the directory where the file would be; ms since 1970
	Sum     uint64      // of the path and of all that changes with the content; the same in every process
	Exact   bool        // Sum is of the whole content: where it is the same, nothing has changed
	Err     error       // why the file is unreadable, or why it is missing where a symbolic link leads out of the root

	// Through are the symbolic links that the path leads through, and the file or
	// directory in the end, relative to the root, or the file that is shown at the path
	// in place of its own; nil without either.
	Through []string
}

// A FileKind says what is at a path.
type FileKind int

const (
	Unknown    FileKind = iota
	Missing             // the answer is 404
	Directory           // the answer lists the names in it
	Regular             // the answer is the file
	Unreadable          // the answer is an error, as the file cannot be read
)

// A FileVersion differs from another when a file was written, replaced or touched, as
// far as the kernel's clock tells one moment from the next.
type FileVersion struct {
	Device, Inode uint64
	Size          int64
	Ctime         int64 // ns since 1970
}

// ClockTick is how far the kernel's time for files may lag behind its clock, in ms.
const ClockTick = 10

// isSame reports whether the same file is still there, or one with the same content;
// of a list of names, whether nothing came or went.
func (s FileState) isSame(now FileState) bool {
	if s.Kind != now.Kind || s.Name != now.Name {
		return false
	}
	return s.Sum == now.Sum || s.Kind == Regular && s.Version.Inode == now.Version.Inode && s.Version.Size == now.Version.Size
}

// listingPrefix begins the path of the resource that is a directory's list of names,
// as opposed to what is shown at the directory's path. No canonical path begins so.
const listingPrefix = "list:"

// ListingOf returns the path that New's look gets for the list of a directory.
func ListingOf(dir string) string { return listingPrefix + dir }

// CutListing returns the directory of a path that ListingOf has returned.
func CutListing(path string) (dir string, ok bool) { return strings.CutPrefix(path, listingPrefix) }

// A resource is a URL path that open pages show or use. All pages share one, which
// goes with the last of them. Hub.mu guards it.
type resource struct {
	path        string // canonical, or listingPrefix with a directory's
	subscribers []subscriber

	state    FileState  // when somebody looked last
	readable FileState  // when it could be read last
	err      *PageError // what pages show in its place

	// What pages have of it.
	announced bool        // a change of names has told pages of the state
	delivered uint64      // Sum of the content that every page has or was told to fetch; 0 if some may have another
	untold    FileVersion // the version that pages may have without having been told of it; see Hub.compareContent

	generation uint64 // of the last walk that passed it; see Hub.mark
	hits       uint64 // bits of the files that affect it, while a change is matched
}

// A subscriber is a page that shows or uses a resource. Subscribers are mostly in the
// order in which they came, so that a change visits clients in the order in which they
// are in memory.
type subscriber struct {
	client *client
	at     int32 // index in page.uses, or the complement of the index in page.shows
}

// subscribe adds a page to those of the resource at path. It returns the page's index
// among the subscribers. Hub.mu must be held.
func (h *Hub) subscribe(path string, s subscriber) (r *resource, index int32) {
	r = h.resources[path]
	if r == nil {
		r = &resource{path: path}
		h.resources[path] = r
	}
	r.subscribers = append(r.subscribers, s)
	return r, int32(len(r.subscribers) - 1)
}

// unsubscribe removes the subscriber with an index, which goes to the last one. Hub.mu
// must be held.
func (h *Hub) unsubscribe(r *resource, index int32) {
	last := int32(len(r.subscribers) - 1)

	// The last subscriber fills the gap, and its page has to know.
	if index != last {
		moved := r.subscribers[last]
		r.subscribers[index] = moved
		if p := &moved.client.page; moved.at < 0 {
			p.showsIndex[^moved.at] = index
		} else {
			p.usesIndex[moved.at] = index
		}
	}
	r.subscribers[last] = subscriber{}
	r.subscribers = r.subscribers[:last]

	if last == 0 {
		delete(h.resources, r.path)
		delete(h.broken, r)
		h.link(r, nil)
	}
}

// setShown makes a page show the resources at paths, and none that it showed before.
// Hub.mu must be held.
func (h *Hub) setShown(c *client, paths []string) {
	p := &c.page
	for i, r := range p.shows {
		h.unsubscribe(r, p.showsIndex[i])
	}
	p.shows, p.showsIndex = make([]*resource, len(paths)), make([]int32, len(paths))
	for i, path := range paths {
		p.shows[i], p.showsIndex[i] = h.subscribe(path, subscriber{c, ^int32(i)})
	}
}

// dropUses makes a page use nothing.
func (h *Hub) dropUses(p *page) {
	for len(p.uses) > 0 {
		h.mu.Lock()
		h.dropLastUses(p, namesAtOnce)
		h.mu.Unlock()
	}
}

// dropLastUses drops the last n of the resources that a page uses. Hub.mu must be held.
func (h *Hub) dropLastUses(p *page, n int) {
	rest := max(0, len(p.uses)-n)
	for i := len(p.uses) - 1; i >= rest; i-- {
		h.unsubscribe(p.uses[i], p.usesIndex[i])
	}
	clear(p.uses[rest:])
	p.uses, p.usesIndex = p.uses[:rest], p.usesIndex[:rest]
	if rest == 0 {
		p.uses, p.usesIndex = nil, nil
	}
}

// mark begins a walk over resources: it returns the function that says whether the walk
// has passed a resource before. One walk ends when the next begins. Hub.mu must be held.
func (h *Hub) mark(passed []*resource) (isNew func(*resource) bool) {
	h.generation++
	generation := h.generation
	for _, r := range passed {
		r.generation = generation
	}
	return func(r *resource) bool {
		isNew := r.generation != generation
		r.generation = generation
		return isNew
	}
}

// observe takes in the state that somebody has just seen. changed reports whether pages
// have to be told; errChanged whether the resource has another error.
//
// Pages are told when the content is not what they have. When only names may have
// changed (names), they are told when there is another file than before, with other
// content; an empty one has probably yet to be written. What is missing or unreadable is
// an error, of which pages are told when it is over. What a change of names has told is
// not told again when the change of the content follows. Hub.mu must be held.
func (h *Hub) observe(r *resource, now FileState, names bool) (changed, errChanged bool) {
	if now.Kind == Unknown {
		return !names, false
	}

	before, errBefore := r.state, r.err
	h.setError(r, r.errorFor(now))
	h.link(r, now.Through)
	r.state = now
	if r.err == nil && now.Kind != Missing {
		r.readable = now
	}

	switch {
	case r.err != nil, now.Kind == Missing:
	case names && now.Kind == Regular && now.Version.Size == 0:
		r.announced = false
	case names:
		changed = errBefore != nil || before.Kind != Unknown && !before.isSame(now) && !r.isDelivered(now)
		r.announced = changed
	case now.Exact:
		changed = errBefore != nil || !r.isDelivered(now) || now.Version == r.untold
		r.announced, r.untold = false, FileVersion{}
	default:
		changed = !r.announced || before.Sum != now.Sum || before.Changed != now.Changed
		r.announced = false
	}
	if changed {
		r.delivered = now.Sum
	}
	return changed, !errBefore.equal(r.err)
}

// isDelivered reports whether every page that uses the resource has the content of a
// state.
func (r *resource) isDelivered(s FileState) bool { return s.Exact && s.Sum == r.delivered }

// errorFor returns the error that a state means to the pages that use the resource; nil
// for none. A file that never was there is no error: pages try for what they can do
// without.
func (r *resource) errorFor(now FileState) *PageError {
	switch {
	case strings.HasPrefix(r.path, listingPrefix):
		return nil
	case now.Kind == Unreadable:
		reason := "The file cannot be read."
		if errno, ok := errors.AsType[syscall.Errno](now.Err); ok {
			reason = "The file cannot be read: " + errno.Error() + "."
		}
		if errors.Is(now.Err, fs.ErrPermission) {
			reason += " Give the user that runs the server permission to read it."
		}
		return &PageError{Title: "Cannot read " + validUTF8(path.Join("/", now.Name)), Text: reason}
	case now.Kind == Missing && now.Err != nil:
		return &PageError{
			Title: validUTF8(path.Join("/", now.Name)) + " is a link that leads out",
			Text:  "A symbolic link leads out of the directory that is served, or is absolute. What is behind it is not served. Make the link relative to a file in the directory, or copy the file there.",
		}
	case now.Kind == Missing && r.readable.Kind != Unknown, now.Kind == Directory && r.readable.Kind == Regular:
		return goneError(r.readable.Name)
	}
	return nil
}

// neverExisted reports whether there is nothing at the path and, as far as is known,
// never was.
func (r *resource) neverExisted() bool {
	return r.state.Kind == Missing && r.readable.Kind == Unknown
}

// setError sets the error of a resource, or takes it away if err is nil. Hub.mu must be
// held.
func (h *Hub) setError(r *resource, err *PageError) {
	r.err = err
	if err == nil {
		delete(h.broken, r)
	} else {
		h.broken[r] = struct{}{}
	}
}

// isBelow reports whether the path of a resource is that of a directory or below it. dir
// has a slash at its end.
func isBelow(path, dir string) bool {
	path = strings.TrimPrefix(path, listingPrefix)
	return strings.HasPrefix(path, dir) || path == dir[:len(dir)-1]
}

// sumOf adds up the states of resources.
func sumOf(resources []*resource) (sum uint64) {
	for _, r := range resources {
		sum += r.state.Sum
	}
	return sum
}

// firstLooksAtOnce is how many resources are looked at for the first time before another
// page has its turn.
const firstLooksAtOnce = 16

// lookFirst looks at those of a page's resources at which nobody has looked, and returns
// what it saw. When many pages come at once, as after a restart, one of them looks and the
// others wait. They take turns, so that a page with few files does not wait for one with
// many.
func (h *Hub) lookFirst(resources []*resource) map[*resource]FileState {
	seen := make(map[*resource]FileState)
	for some := range slices.Chunk(h.unknownIn(resources), firstLooksAtOnce) {
		h.looking.Lock()
		states := h.lookAt(h.unknownIn(some)) // others may have looked meanwhile

		h.mu.Lock()
		for r, now := range states {
			seen[r] = now
			if r.state.Kind == Unknown {
				h.observe(r, now, true)
			}
		}
		h.mu.Unlock()
		h.looking.Unlock()
	}
	return seen
}

// unknownIn returns the resources at which nobody has looked.
func (h *Hub) unknownIn(resources []*resource) []*resource {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(resources), func(r *resource) bool { return r.state.Kind != Unknown })
}

// lookAt looks at resources. Where no files are served there is nothing to see.
func (h *Hub) lookAt(resources []*resource) map[*resource]FileState {
	if len(resources) == 0 || h.config.Load().Directory == "" {
		return nil
	}
	states := make(map[*resource]FileState, len(resources))
	for _, r := range resources {
		states[r] = h.look(r.path)
	}
	return states
}
