package livereload

import (
	"crypto/rand"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/execlog/execlogd/httpd/internal/ratelimit"
)

// Config says what is served.
type Config struct {
	Directory string // the root as an absolute path; "" when no files are served
	Enabled   bool   // pages are told of changes
	Sync      bool   // what readers do to a page is done to all that show it
	Logger    *slog.Logger

	// IsProxied reports whether the page at a URL path, decoded, is one of another server, which
	// says nothing of its files. Nil is none.
	IsProxied func(path string) bool

	// ErrorPages are the names of files that are shown in place of an error, by status.
	ErrorPages map[int]string

	// Position says how far this machine is in the changes of a root that several machines
	// share, without a dot or a comma; "" if that is not known. Since says when this machine
	// was told first of a change that a page need not have which was served by a machine at
	// a position. Both are nil for a root that is not shared.
	Position func() string
	Since    func(position string) (since time.Time, ok bool)
}

// A Hub knows the open pages and remembers the last changes. It is safe for concurrent
// use.
//
// Lock order: longMessages, refreshing, looking, mu. A goroutine that holds one of them
// takes only locks that come later, or the locks of connections, which come last.
type Hub struct {
	Timeouts Timeouts // must not change once a page is connected

	epoch  string // see Cursor
	look   func(path string) FileState
	config atomic.Pointer[Config]

	hasSources atomic.Bool // an error of setErrors has a Source; changes under mu

	longMessages sync.Mutex // held while a long message is handled
	refreshing   sync.Mutex // held from looking at files until pages are told, so that an older state does not come after a newer one
	looking      sync.Mutex // held while somebody looks at files for the first time
	mu           sync.Mutex // guards what follows, and all clients and resources

	clients      map[*client]struct{}
	syncLimit    ratelimit.Bucket       // of what is relayed
	left         time.Time              // when the last one did
	nonReporting []*client              // those whose pages do not report what they use
	resources    map[string]*resource   // by path
	broken       map[*resource]struct{} // those with an error
	linked       map[string][]*resource // by what their paths lead through; see FileState.Through
	generation   uint64                 // of walks over resources; see mark

	number    uint64   // of the last change; they count from 1
	time      int64    // of the last change, or of the start; ms since 1970
	began     int64    // when the Hub was made; ms since 1970
	history   []change // the last changes
	rootSince uint64   // the first change that pages of this root may have been told of

	setErrors []sourcedError // set by SetError, sorted by source
	served    servedFiles
	fetches   []failedFetch // the latest last

	queue   []*client // that have something to be sent; see enqueue
	senders int       // goroutines that send it
	scratch []*client // kept for broadcast

	lastKey  messageKey // of the last message with a cursor
	lastText []byte     // of it, up to the digest

	records []Change      // of the last changes, for Snapshot
	changed chan struct{} // nil, or closed when a snapshot would be another; see Changed
}

// How many changes are remembered, and of how many files each. A page that missed more
// loads again.
const (
	maxHistory = 256
	maxFiles   = 1024
)

// Timeouts is how long a client may take for what.
type Timeouts struct {
	Hello time.Duration // to say hello
	Ping  time.Duration // between two pings
	Pong  time.Duration // to answer one
	Write time.Duration // to take what it was sent
	Close time.Duration // to answer a close frame
}

// A laptop that sleeps and a network that is lost close no connection, so clients are
// pinged. A proxy drops a connection without traffic after a minute.
var defaultTimeouts = Timeouts{
	Hello: 10 * time.Second,
	Ping:  30 * time.Second,
	Pong:  15 * time.Second,
	Write: 10 * time.Second,
	Close: 2 * time.Second,
}

// What one page asks for holds Hub.mu for at most so many items at a time, so that no
// page delays the others.
const (
	namesAtOnce = 256  // names that a page adds or drops
	filesAtOnce = 1024 // files that are compared with those of a page
)

// New returns a Hub without pages. look returns what a request for a canonical path, or
// for what ListingOf returns, would be answered with now; it is called by many
// goroutines. New starts no goroutine.
func New(config Config, look func(path string) FileState) *Hub {
	began := time.Now().UnixMilli()
	h := &Hub{
		Timeouts: defaultTimeouts,
		epoch:    rand.Text()[:10],
		look:     look,
		time:     began,
		began:    began,

		clients:   make(map[*client]struct{}),
		resources: make(map[string]*resource),
		broken:    make(map[*resource]struct{}),
		linked:    make(map[string][]*resource),
	}
	h.config.Store(&config)
	return h
}

// Refresh tells pages that the content of files changed. The paths are relative to the
// root; one with a slash at its end is a directory with everything below it. Refresh
// waits for no page.
func (h *Hub) Refresh(paths []string) { h.tell(newChange(h.withLinks(paths))) }

// Recheck is Refresh for names that came or went, and files that can be read or not
// any more. Pages are told as far as that makes a difference to them.
func (h *Hub) Recheck(paths []string) { h.tell(newFileChange(h.withLinks(paths), true)) }

// tell tells pages of a change, after a look at the resources that it affects.
func (h *Hub) tell(c change) {
	h.refreshing.Lock()
	defer h.refreshing.Unlock()
	config := h.config.Load()
	if !config.Enabled || c.isEmpty() {
		return
	}
	told := h.broadcast(c, h.lookAt(h.affected(&c)))
	config.Logger.Debug("pages refreshed", "paths", len(c.files), "names", c.names, "browsers", told)
}

// Concerns reports whether a change of a file's content would affect an open page.
func (h *Hub) Concerns(path string) bool {
	c := newChange(h.withLinks([]string{path}))
	if !h.config.Load().Enabled || c.isEmpty() {
		return false
	}

	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.hits(&c, nil)) > 0 ||
		slices.ContainsFunc(h.nonReporting, func(cl *client) bool { return !c.updateFor(&cl.page).isEmpty() })
}

// Reconfigure calls replace, which puts other files in the place of those that are
// served, while nobody looks at files. It tells pages as far as the new Config asks for
// that. When replace fails, Reconfigure changes nothing and returns the error.
func (h *Hub) Reconfigure(replace func() (*Config, error)) error {
	h.refreshing.Lock() // what was seen in one root must not be told of another
	defer h.refreshing.Unlock()
	h.looking.Lock()
	defer h.looking.Unlock()

	before := h.config.Load()
	next, err := replace()
	if err != nil {
		return err
	}

	// From here on pages come from the new root. Those of the old one have a cursor
	// from before the next change, as a request takes its cursor before its files.
	moved := next.Directory != before.Directory
	if moved {
		h.forgetFiles()
	}
	h.config.Store(next)
	switch {
	case !next.Enabled:
	case !before.Enabled, moved && next.Directory != "":
		all := newChange([]string{"/"})
		all.lost = true // all files may be others
		told := h.broadcast(all, h.lookAt(h.affected(&all)))
		next.Logger.Debug("pages start over", "browsers", told)
	case moved:
		h.mu.Lock()
		h.errorsChanged()
		h.mu.Unlock()
	}
	return nil
}

// forgetFiles forgets what is known of files, when they are those of another root.
func (h *Hub) forgetFiles() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, r := range h.resources {
		*r = resource{path: r.path, subscribers: r.subscribers}
	}
	clear(h.broken)
	clear(h.linked)
	h.rootSince = h.number + 1

	h.served.forget(h.number)
	h.fetches = nil
	for c := range h.clients {
		c.fetches = nil
	}
	h.notifyChanged()
}

// broadcast leaves in the mailbox of every page what a change means to it: if it is lost,
// that the page loads again. What was seen at the resources that the change affects is in
// seen. It returns how many pages were told.
//
// It waits for none of them. It sends the first few of the updates itself, which is
// faster than to wake a goroutine that does.
func (h *Hub) broadcast(c change, seen map[*resource]FileState) (told int) {
	defer h.sendQueue(sendFirst)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.senders++ // sendQueue

	hits, errs := h.observeChange(&c, seen)
	h.remember(c)
	rec := h.record(&c)
	if c.lost {
		h.errorsChanged()
		for cl := range h.clients {
			if cl.deliver(update{reload: c.reloadAll}, &c, rec) {
				told++
			}
		}
		return told
	}

	m := newMatch(&c, hits, errs)
	defer m.end()
	affected := m.clients(h.scratch[:0])

	for _, cl := range affected {
		if (cl.mask.shows|cl.mask.uses)&errorBit != 0 {
			cl.errorsDue = true
			cl.notify()
		}
		if cl.page.reported || c.names {
			if cl.deliver(m.updateFor(cl.mask), &c, rec) {
				told++
			}
			cl.mask = mask{}
		}
	}
	clear(affected)
	h.scratch = affected
	if c.names {
		return told
	}

	for _, cl := range h.nonReporting {
		u := c.updateFor(&cl.page)
		// A page that shows a list of names has a mask as well. The mask is in memory that
		// nothing else here reads, so it is looked at only when a page is affected.
		if len(affected) > 0 && cl.mask != (mask{}) {
			u = u.merge(m.updateFor(cl.mask))
			cl.mask = mask{}
		}
		if cl.deliver(u, &c, rec) {
			told++
		}
	}
	return told
}

// remember numbers a change and adds it to the history. h.mu must be held.
func (h *Hub) remember(c change) {
	h.number++
	h.time = time.Now().UnixMilli()
	if len(c.files) > maxFiles {
		c = change{lost: true, names: c.names}
		if !c.names {
			c.reloadAll = &missed
		}
	}

	c.time = h.time
	if len(h.history) == maxHistory {
		h.history = slices.Delete(h.history, 0, 1)
	}
	h.history = append(h.history, c)
}

// since returns the changes after the one of a number. ok is false when they are not all
// remembered. h.mu must be held.
func (h *Hub) since(number uint64) (changes []change, ok bool) {
	n := h.number - number
	if number > h.number || n > uint64(len(h.history)) {
		return nil, false
	}
	return h.history[uint64(len(h.history))-n:], true
}

// Cursor returns the cursor after the last change.
func (h *Hub) Cursor() Cursor {
	position := ""
	if at := h.config.Load().Position; at != nil {
		position = at()
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return Cursor{h.epoch, h.number, h.time, position}
}

// translate returns the cursor of this Hub that stands for one of another machine which
// shares the root: after the last change that a page from there must have. A cursor for
// which that is not known, or of this Hub, stays as it is.
func (h *Hub) translate(at Cursor) Cursor {
	sinceOf := h.config.Load().Since
	if at.Epoch == h.epoch || at.Position == "" || sinceOf == nil {
		return at
	}
	since, ok := sinceOf(at.Position)
	if !ok || since.UnixMilli() < h.began {
		return at
	}

	h.mu.Lock()
	defer h.mu.Unlock()
	had := len(h.history)
	for had > 0 && h.history[had-1].time >= since.UnixMilli() {
		had--
	}
	if missed := uint64(len(h.history) - had); had > 0 || missed == h.number {
		return Cursor{h.epoch, h.number - missed, since.UnixMilli(), at.Position}
	}
	return at // it may have missed more than is remembered
}

// Conns returns how many pages are connected.
func (h *Hub) Conns() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.clients)
}
