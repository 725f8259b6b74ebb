package inotify

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/execlog/execlogd/inotify/internal/dirfd"
	"github.com/execlog/execlogd/inotify/internal/dirtree"
)

// Options are the choices for a Watcher. The zero value is right for most.
type Options struct {
	// Problem is called with each directory that cannot be watched although
	// everything else can: no permission (an *os.PathError, reported once; it is
	// tried again when its mode changes), a limit that was reached after Add
	// (a *LimitError, reported once until there was room for all), a remote file
	// system (a *RemoteError, reported where it begins), or a mounted file that
	// was replaced where it comes from (a *MountedFileError). Calls come one at a
	// time, from the caller of Add or from Run, and must not use the Watcher. Nil
	// ignores problems.
	Problem func(error)

	// PollInterval is how often Run polls the directories that got no watch or
	// are on a remote file system, with all below them. What has changed is
	// reported as a scan reports it: a file that is new or another in one
	// Create|Modify|CloseWrite, what is gone in a Delete. Renames are not
	// recognised, nor is what was undone between two polls. A directory that got
	// no watch gets one as soon as there is room. While there is no such
	// directory no timer runs. 0 is 2 s; negative is never.
	PollInterval time.Duration

	// Remote, if not nil, is called with each remote file system that is found, and where it
	// begins, with links resolved. If it returns true, the directories there are watched and
	// not polled: what other machines change is not reported, and the caller hears of it
	// otherwise. It must not use the Watcher, and several goroutines may call it at once.
	Remote func(path, fs string) bool

	// Scanning, if not nil, is called some ten times a second while a scan takes its time, in
	// Add, Update of a Handle, New or Run, with the number of directories that were looked at
	// since New. With an error the scan ends, and that is the error of the method. It must not
	// use the Watcher.
	Scanning func(directories int) error

	// Counted, if not nil, is called by Run with the number of Watches before it waits, if that
	// is another than at the last call. It must not use the Watcher.
	Counted func(watches int)

	// State, if not nil, is a file that is open for reading and writing, and in which the
	// Watcher keeps what it knows, at every moment. A later process whose Watcher gets the same
	// file goes on where this one ended, however it ended. The file belongs to the Watcher until
	// Close, which leaves it open. What cannot be used, also of another boot or version, is
	// ignored. A file that others can write is not safe to use.
	//
	// What has happened in between is delivered by Run to the subscriptions that are added before,
	// if their Root was watched before. Add reports nothing of such a Root that has become
	// missing; its end is an event. Events of which it is not certain that they were delivered
	// are delivered, so some may come twice.
	State *os.File

	// Instance, if not nil, is the inotify instance of the Watcher that has written State, as
	// its method Instance returned it. Nothing must have read it since. It is left to the caller,
	// who may close it. With it, everything that has happened in between is in the kernel's
	// queue, and nothing is scanned. Without it, or when the queue was full, everything is
	// scanned after an Overflow event, and what was changed since State was last known to be
	// complete is reported.
	//
	// A root is in State from the first Flush on that returns after its Add.
	Instance *os.File
}

// internalMask is what the tree itself needs to know of every directory.
const internalMask = Create | Delete | MovedFrom | MovedTo | Attrib

// match is a place in the tree from which a subscription sees an event.
type match = dirtree.Match[[]*subscriber]

// A Watcher is one inotify instance with all the trees that it watches. Its
// methods may be called from any goroutine.
type Watcher struct {
	problem func(error)
	statfs  func(path string) (uint32, error) // dirfd.Filesystem, unless a test has another
	trusts  func(path, fs string) bool        // Options.Remote

	counted  func(watches int)
	scanning func(directories int) error
	looked   atomic.Int64 // directories that scans have looked at
	closing  atomic.Bool  // Close was called, which ends a scan

	running   sync.Mutex // held by Run; locked before mu
	delivered bool       // there were events since yield; for the goroutine that delivers

	mu      sync.Mutex // guards what follows, and the descriptors against Close
	kernel  instance
	closed  bool
	state   state
	idle    bool // Run waits, for the kernel's queue alone
	woken   bool // Run is to look at something else
	flushes []flush

	runCtx  context.Context // of Run, which ends its scans; nil without Run
	adding  bool            // a scan is for Add, Update or New, not for Run
	asked   time.Time       // when Options.Scanning was called last
	stopped error           // why scans have ended early, since this work began

	lastCount int // of watches, that Options.Counted was told

	mask       Mask // of every watch
	subs       []*subscriber
	subscribed map[dirtree.ID][]*subscriber // by the directory that is their root
	rootPaths  map[dirtree.ID]string        // absolute paths of the directories with the flag Root
	tree       *dirtree.Tree
	devices    []device
	paths      *dirtree.PathBuilder[[]*subscriber]
	oldPaths   *dirtree.PathBuilder[[]*subscriber] // for the old place in a rename
	target     *subscriber                         // alone gets events; nil is everybody

	components   map[int32]map[string][]*subscriber // of the paths of roots, by watch and name
	files        map[int32][]*watchedFile           // by watch; 0 has those that are polled
	mountPoints  []string                           // when the list was read last
	mounts       []dirEntry                         // those in the tree, when the mounted files were compared
	mountedFiles map[dirEntry]*watchedFile
	unwatched    unwatchedDirs
	renames      renameLog
	content      contentTimes

	pending          pending
	generation       uint16    // number of the last resync
	consistent       time.Time // when nothing was missing
	limitReported    bool      // that something got no watch, since there was room for all
	shortageReported bool      // that something could not be looked at, since everything could

	// renamedAnew says that a directory which is renamed is to be reported anew, because a subscriber
	// may not have what it would take along. It may have taken that along before, if the event comes for
	// the second time. Or it has looked for what is gone after a resync, when another directory, or
	// none, had the path. In both cases the record is queued already.
	renamedAnew bool
}

// New opens an inotify instance. When the user has none left the error is a
// *LimitError.
func New(opts Options) (*Watcher, error) {
	w := newWatcher(opts)
	var cold bool
	var err error
	if opts.State != nil {
		cold, err = w.openState(opts.State, opts.Instance)
	}
	if err == nil {
		err = w.kernel.open()
	}
	if err != nil {
		return nil, errors.Join(err, w.kernel.close(), w.state.close())
	}

	w.mountPoints = mountPoints()
	if cold {
		if err := w.rewatch(); err != nil {
			return nil, errors.Join(err, w.Close())
		}
	}
	w.takeUnreadable()
	return w, nil
}

// newWatcher returns a Watcher without descriptors.
func newWatcher(opts Options) *Watcher {
	w := &Watcher{
		problem:    opts.Problem,
		counted:    opts.Counted,
		scanning:   opts.Scanning,
		statfs:     dirfd.Filesystem,
		trusts:     opts.Remote,
		kernel:     instance{fd: -1, epoll: -1, wakeup: -1, mounts: -1, buf: make([]byte, 64<<10)},
		mask:       internalMask,
		subscribed: map[dirtree.ID][]*subscriber{},
		rootPaths:  map[dirtree.ID]string{},
		components: map[int32]map[string][]*subscriber{},
		files:      map[int32][]*watchedFile{},
		unwatched:  newUnwatchedDirs(opts.PollInterval),
		pending: pending{
			roots:      map[*subscriber]struct{}{},
			dirty:      map[dirEntry]verifyFlags{},
			unscanned:  map[dirtree.ID]struct{}{},
			unreported: map[dirtree.ID]struct{}{},
			detached:   map[dirtree.ID]detachment{},
		},
		consistent: time.Now(),
	}

	if w.problem == nil {
		w.problem = func(error) {}
	}

	w.mountedFiles = map[dirEntry]*watchedFile{}
	w.content.floor = w.consistent.Add(-clockStep).UnixNano()
	w.setTree(dirtree.New())
	return w
}

func (w *Watcher) setTree(t *dirtree.Tree) {
	w.tree = t
	w.paths = dirtree.NewPathBuilder(t, w.subscribed)
	w.oldPaths = dirtree.NewPathBuilder(t, w.subscribed)
}

// Add watches a tree until the Handle or the Watcher is closed. What is in it already is
// not reported. What happens in a directory from the moment that it is found is reported.
// An unreadable or missing Root is an *os.PathError, and nothing is watched then. With a
// *LimitError the subscription holds: what could be watched is watched, and the rest is
// polled every Options.PollInterval. A call of Close meanwhile ends Add with ErrClosed.
func (w *Watcher) Add(s Subscription) (*Handle, error) {
	root, err := filepath.Abs(s.Root)
	if err != nil {
		return nil, fmt.Errorf("watch %q: %w", s.Root, err)
	}

	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil, ErrClosed
	}
	defer w.wake() // Run does what the scan has left pending, and may have to start a timer
	defer w.beginAdding()()

	sub := newSubscriber(s, root)
	if w.takeSaved(sub) {
		return &Handle{w, sub}, nil
	}
	err = w.subscribe(sub)
	w.pollUnseen()
	if w.stopped != nil {
		w.unsubscribe(sub)
		return nil, w.stopped
	}
	if !slices.Contains(w.subs, sub) {
		return nil, err
	}
	return &Handle{w, sub}, err
}

// Watches counts the directories that are watched now.
func (w *Watcher) Watches() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.tree.Watches()
}

// Run reads the kernel's events and hands them to the subscribers. It returns nil when
// ctx ends, and an error when reading fails. Only one Run may be under way. What the kernel has queued when ctx ends is for the next Run.
func (w *Watcher) Run(ctx context.Context) error {
	if !w.running.TryLock() {
		if w.isClosed() {
			return ErrClosed
		}
		return errors.New("inotify watcher runs already")
	}
	defer w.running.Unlock()
	if w.isClosed() {
		return ErrClosed
	}
	w.dropSaved()
	w.setRunContext(ctx)
	defer w.setRunContext(context.Background())
	defer w.saveLast()
	defer context.AfterFunc(ctx, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.wake()
	})()

	for {
		if err := w.drain(ctx); err != nil || ctx.Err() != nil {
			return err
		}
		if err := w.wait(); err != nil {
			return err
		}
	}
}

func (w *Watcher) setRunContext(ctx context.Context) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.runCtx = ctx
}

func (w *Watcher) isClosed() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.closed
}

// saveLast is save at the end of Run.
func (w *Watcher) saveLast() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.save()
}

// Close ends Run, and a scan under way, and gives the inotify instance with all its watches back to the kernel, unless
// another process has a descriptor of it.
// It waits until Run has returned. Further calls do nothing.
func (w *Watcher) Close() error {
	w.closing.Store(true)
	w.mu.Lock()
	first := !w.closed
	w.closed = true
	w.wake()
	w.mu.Unlock()
	if !first {
		return nil
	}

	w.running.Lock()
	defer w.running.Unlock()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, f := range w.flushes {
		close(f.done)
	}
	w.flushes = nil
	return errors.Join(w.kernel.close(), w.state.close())
}

// A flush is a call of Flush that waits. It is over when so many bytes have been read from
// the kernel and nothing is pending.
type flush struct {
	at   uint64 // see instance.consumed
	done chan struct{}
}

// Flush waits until everything that happened below the roots before the call is delivered,
// which takes a Run under way. It leaves no trace in any directory. It returns early with the
// error of ctx or ErrClosed. It promises nothing for directories without a watch, nor for
// mounts, which are noticed in their own time.
func (w *Watcher) Flush(ctx context.Context) error {
	done, err := w.addFlush()
	if err != nil || done == nil {
		return err
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-done:
	}

	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return ErrClosed
	}
	return nil
}

// addFlush returns a channel that is closed when everything that is queued now is delivered;
// nil when that is so already.
func (w *Watcher) addFlush() (<-chan struct{}, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil, ErrClosed
	}

	queued, err := unix.IoctlGetInt(w.kernel.fd, unix.TIOCINQ) // alias FIONREAD
	if err != nil || queued == 0 && w.idle {
		return nil, os.NewSyscallError("ioctl FIONREAD", err)
	}

	f := flush{at: w.kernel.consumed + uint64(queued), done: make(chan struct{})}
	w.flushes = append(w.flushes, f)
	w.wake() // Run may sleep
	return f.done, nil
}

// endFlushes ends the flushes that are over.
func (w *Watcher) endFlushes() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.flushes = slices.DeleteFunc(w.flushes, func(f flush) bool {
		over := f.at <= w.kernel.consumed
		if over {
			close(f.done)
		}
		return over
	})
}

// wake ends the wait of Run, or the next one. mu must be held.
func (w *Watcher) wake() {
	w.idle, w.woken = false, true
	w.kernel.wake()
}

// wait sleeps until there is something to do or wake was called.
func (w *Watcher) wait() error {
	w.mu.Lock()
	timeout := w.unwatched.timeout()
	for _, s := range w.subs {
		s.shrink()
	}
	w.idle = timeout < 0 && !w.woken
	if n := w.tree.Watches(); w.counted != nil && n != w.lastCount {
		w.lastCount = n
		w.counted(n)
	}
	w.mu.Unlock()
	w.yield()
	mountsChanged, err := w.kernel.wait(timeout)

	w.mu.Lock()
	defer w.mu.Unlock()
	w.idle, w.woken = false, false
	if mountsChanged {
		w.mountsChanged()
		w.wake() // if a test has called wait while Run is under way
	}
	return err
}

// yield lets the goroutines run that Deliver has made ready. This thread may be about to sleep
// in the kernel with them in its run queue, and while other threads are busy some milliseconds
// would pass until the runtime noticed.
func (w *Watcher) yield() {
	if w.delivered {
		w.delivered = false
		runtime.Gosched()
	}
}

// drain reads until the queue is empty and nothing is pending.
func (w *Watcher) drain(ctx context.Context) error {
	for ctx.Err() == nil {
		buf, err := w.read()
		isEmpty, complete := errors.Is(err, unix.EAGAIN), false
		switch {
		case isEmpty:
			complete, err = w.repair()
		case err != nil:
			return os.NewSyscallError("read inotify", err)
		default:
			complete, err = w.applyBuffer(buf)
		}

		if err == nil {
			err = w.takeStopped(ctx)
		}
		w.deliver()
		if complete {
			w.endFlushes()
		}
		if err != nil || isEmpty && complete {
			return err
		}
		if !isEmpty && len(buf) < len(w.kernel.buf)/2 { // there is hardly more to read
			w.yield()
		}
	}
	return nil
}

// read reads records into the buffer of the instance. It returns EAGAIN when the queue is empty.
func (w *Watcher) read() ([]byte, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := &w.state
	if len(s.unfinished) > 0 {
		buf := s.unfinished[0]
		if s.unfinished = s.unfinished[1:]; len(s.unfinished) == 0 {
			s.unfinished = nil // which lets go of the content of the file
		}
		return buf, nil
	}

	w.save()
	n, err := unix.Read(w.kernel.fd, w.kernel.buf) // which does not wait, so that no signal ends it
	s.used = max(n, 0)
	w.kernel.consumed += uint64(s.used)
	return w.kernel.buf[:s.used], err
}
