package inotify

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// ErrClosed is what a Watcher's methods return after Close.
var ErrClosed = errors.New("inotify watcher is closed")

// Options are the choices for a Watcher. The zero value is right for most.
type Options struct {
	// Problem is called with each directory that cannot be watched although
	// everything else can: no permission (an *os.PathError, told once; it is
	// tried again when its mode changes), a limit that was reached after Add
	// (a *LimitError, told once until there was room for all), a remote file
	// system (a *RemoteError, told where it begins), or a mounted file that
	// is another where it comes from (a *MountedFileError). Calls come one at a
	// time, from Add's caller or from Run, and must not use the Watcher. Nil
	// ignores them.
	Problem func(error)

	// PollInterval is how often Run looks at the directories for which there
	// was no watch, or that are on a remote file system, with all below them.
	// What has changed is reported as a scan reports it: a file that is new
	// or another in one Create|Modify|CloseWrite, what is gone in a Delete;
	// renames are not recognised, nor is what was undone between two looks.
	// Those that had no watch get one as soon as there is room. While there
	// is no such directory no timer runs. 0 is 2 s; negative is never.
	PollInterval time.Duration
}

// A Subscription asks for what happens below one directory, or to one file.
type Subscription struct {
	// Root is the directory, or a regular file. A relative path is taken from
	// the working directory at the time of Add. A symbolic link is followed;
	// links below Root are not.
	Root string

	// Wait makes a Root that does not exist no error: it is watched from the
	// moment that it does, with its content reported.
	Wait bool

	// Mask is the events asked for; 0 means Changes. An event is delivered
	// when it has one of these bits. Overflow, and that the root is gone or
	// there again, are delivered to all.
	Mask Mask

	// SkipDir says which directories are left out: neither watched nor
	// looked into, while their own appearance is still an event of their
	// parent. It gets a path as in Event.Path, is asked when a directory is
	// met, and not again for what lies below a directory that is renamed, but for Rescan
	// and Handle.Update.
	// Several goroutines may call it at once. Nil leaves nothing out.
	SkipDir func(path string) bool

	// Deliver gets the events, in the order of the kernel's queue. It runs in
	// Run's goroutine, so nothing is read from the kernel until it returns.
	// The slice is reused after that; the strings in it may be kept. It must
	// not call Add, Flush or Close, nor Update of a Handle.
	Deliver func([]Event)
}

// A Watcher is one inotify instance with all the trees that it watches. Its
// methods may be called from any goroutine.
type Watcher struct {
	problem func(error)
	statfs  func(path string) (uint32, error) // fileSystem
	fd      int                               // inotify
	epoll   int
	wake    int // eventfd that ends a wait
	mounts  int // the list of mounts, or -1
	buf     []byte

	running     sync.Mutex // held by Run
	delivered   bool       // since yield; of who delivers
	mu          sync.Mutex // guards what follows, and fd against Close
	closed      bool
	handingOver bool               // a Handover is under way
	stopRunning context.CancelFunc // ends Run, when it is under way
	sentinel    int32              // the watch that a Handover left; 0 when its end was read, or nobody expects it
	mask        Mask               // of every watch
	subs        []*subscriber
	subscribed  map[id][]*subscriber
	rootPaths   map[id]string // absolute path of each top
	tree        *tree
	devs        []device
	mounted     []string // mount points, when they were looked at last
	files       mountedFiles
	skipChecks  []string                // roots; see Rescan
	rootFiles   map[int32][]*subscriber // whose root is a file, by its watch
	content     contentTimes

	components componentSet             // to the roots
	lostRoots  map[*subscriber]struct{} // whose root is to be looked for
	only       *subscriber              // who gets events; nil is everybody

	renames      renameLog
	detached     map[id]detachment
	dirty        map[dirEntry]verifyFlags // to be checked
	unscanned    map[id]struct{}          // to be scanned once their path is known
	unreported   map[id]struct{}          // to be reported anew, with all below
	unwanted     []int32                  // watches to remove
	unwatched    unwatchedDirs            // what has no watch
	generation   uint16                   // counts resyncs
	overflow     bool                     // a resync is due
	toldLimit    bool                     // something got no watch because there was no room, and that is told
	toldShortage bool                     // something could not be looked at, and that is told
	consistent   time.Time                // nothing was missing then
	consumed     uint64                   // bytes read from the kernel
	flushes      []flush
	idle         bool // Run waits, and for nothing but what the kernel queues
	woken        bool // Run is to look at something else

	paths    *pathBuilder
	oldPaths *pathBuilder // for the old place in a rename
}

// New opens an inotify instance. When the user has none left the error is a
// *LimitError.
func New(opts Options) (*Watcher, error) {
	w := newWatcher(opts)
	if err := w.open(); err != nil {
		w.release()
		return nil, err
	}
	return w, nil
}

func newWatcher(opts Options) *Watcher {
	w := &Watcher{
		problem:    opts.Problem,
		statfs:     fileSystem,
		unwatched:  newUnwatchedDirs(opts.PollInterval),
		fd:         -1,
		epoll:      -1,
		wake:       -1,
		mounts:     -1,
		buf:        make([]byte, 64<<10),
		mask:       internalMask,
		subscribed: map[id][]*subscriber{},
		rootPaths:  map[id]string{},
		tree:       newTree(),
		detached:   map[id]detachment{},
		dirty:      map[dirEntry]verifyFlags{},
		unscanned:  map[id]struct{}{},
		unreported: map[id]struct{}{},
		components: newComponentSet(),
		files:      newMountedFiles(),
		rootFiles:  map[int32][]*subscriber{},
		lostRoots:  map[*subscriber]struct{}{},
		consistent: time.Now(),
	}
	w.content.floor = w.consistent.Add(-timeStep).UnixNano()
	w.paths, w.oldPaths = newPathBuilder(w.tree, w.subscribed), newPathBuilder(w.tree, w.subscribed)
	if w.problem == nil {
		w.problem = func(error) {}
	}
	return w
}

// open acquires the descriptors; an inotify instance only if there is none.
func (w *Watcher) open() (err error) {
	if err := usable(); err != nil {
		return err
	}
	if w.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return os.NewSyscallError("epoll_create1", err)
	}
	if w.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return os.NewSyscallError("eventfd", err)
	}
	if w.fd < 0 {
		w.fd, err = unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	}
	if errors.Is(err, unix.EMFILE) && w.spareDescriptor() {
		return instanceLimit(err)
	}
	if err != nil {
		return os.NewSyscallError("inotify_init1", err)
	}
	if w.mounts, err = unix.Open(mountinfo, unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
		w.mounts = -1 // then what is mounted later is not seen
	}
	w.mounted = mountPoints()
	return errors.Join(w.await(w.fd, unix.EPOLLIN), w.await(w.wake, unix.EPOLLIN), w.await(w.mounts, unix.EPOLLPRI))
}

// spareDescriptor tells the two meanings of EMFILE apart: it is the user's
// limit of instances unless it is the process's of descriptors.
func (w *Watcher) spareDescriptor() bool {
	fd, err := unix.FcntlInt(uintptr(w.wake), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return false
	}
	unix.Close(fd)
	return true
}

// await adds fd, unless it is -1, to what wait waits for.
func (w *Watcher) await(fd int, events uint32) error {
	if fd < 0 {
		return nil
	}
	err := unix.EpollCtl(w.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: events, Fd: int32(fd)})
	return os.NewSyscallError("epoll_ctl", err)
}

// usable sees that the system has what scans take.
func usable() error {
	const proc = "/proc/self/fd"
	fd, err := unix.Open(proc, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: proc, Err: err}
	}
	return unix.Close(fd)
}

// Add watches a tree until the Handle, or the Watcher, is closed. What is in it already is not reported; what happens
// from the moment that its directory is met is. An unreadable or missing Root
// is an *os.PathError, and nothing is watched then. With a *LimitError the
// subscription holds: what could be watched is watched, and the rest is looked
// at every Options.PollInterval.
func (w *Watcher) Add(s Subscription) (*Handle, error) {
	root, err := filepath.Abs(s.Root)
	if err != nil {
		return nil, fmt.Errorf("watch %q: %w", s.Root, err)
	}
	defer w.wakeRun() // what the scan left in doubt is for Run
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || w.handingOver {
		return nil, ErrClosed
	}

	sub := newSubscriber(s, root)
	err = w.subscribe(sub)
	w.pollUnseen()
	if w.unwatched.hasTimer() {
		w.wakeLocked() // Run may wait without a timer
	}
	if !slices.Contains(w.subs, sub) {
		return nil, err
	}
	return &Handle{w, sub}, err
}

// Rescan has SkipDir asked anew for the directories below a root of a Subscription,
// for when it would answer otherwise. One that is not left out any more is watched
// from then on, without a report of what is in it; one that is left out now stays
// watched. Rescan returns at once, may be called by Deliver, and Run does it.
func (w *Watcher) Rescan(root string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !slices.Contains(w.skipChecks, root) {
		w.skipChecks = append(w.skipChecks, root)
	}
	w.wakeLocked()
}

// checkSkipped does what Rescan asks for.
func (w *Watcher) checkSkipped() {
	roots := w.skipChecks
	w.skipChecks = nil
	for _, s := range w.subs {
		if s.dir != 0 && slices.Contains(roots, s.Root) && w.tree.reachable(s.dir) {
			w.scan(workers, scanRequest{dir: s.dir, all: true, quiet: true})
		}
	}
}

// Watches counts the directories that are watched now.
func (w *Watcher) Watches() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.tree.count
}

// Run reads the kernel's events and hands them to the subscribers until ctx
// ends or the Watcher is handed over, which is no error, or reading fails. Only
// one Run may be under way.
// What the kernel has queued when ctx ends is for the next Run.
func (w *Watcher) Run(ctx context.Context) error {
	free := w.running.TryLock()
	if free {
		defer w.running.Unlock()
	}
	switch {
	case w.isHandingOver():
		return ErrClosed
	case !free:
		return errors.New("inotify watcher runs already")
	}
	ctx, halt := context.WithCancel(ctx)
	defer halt()
	w.setStop(halt)
	defer context.AfterFunc(ctx, w.wakeRun)()
	for {
		if err := w.drain(ctx); err != nil || ctx.Err() != nil {
			return err
		}
		if err := w.wait(); err != nil {
			return err
		}
	}
}

// Close ends Run and gives the instance back to the kernel with all watches.
// It waits until Run has returned. Further calls do nothing.
func (w *Watcher) Close() error {
	w.mu.Lock()
	first := !w.closed
	w.closed = true
	w.mu.Unlock()
	if !first {
		return nil
	}
	w.wakeRun()
	w.running.Lock()
	defer w.running.Unlock()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, f := range w.flushes {
		close(f.done)
	}
	w.flushes = nil
	return w.release()
}

// release closes the descriptors that are open.
func (w *Watcher) release() error {
	var errs []error
	for _, fd := range []*int{&w.fd, &w.wake, &w.mounts, &w.epoll} {
		if *fd >= 0 {
			errs = append(errs, os.NewSyscallError("close", unix.Close(*fd)))
			*fd = -1
		}
	}
	return errors.Join(errs...)
}

// Flush waits until everything that happened below the roots before the call
// was delivered, which takes a Run under way. It leaves no trace in any
// directory. It returns early with ctx's error or ErrClosed. It promises
// nothing of directories without a watch, nor of mounts, which are noticed in
// their own time.
func (w *Watcher) Flush(ctx context.Context) error {
	done, err := w.awaitQueued()
	if err != nil || done == nil {
		return err
	}
	w.wakeRun() // should Run be asleep
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-done:
	}
	if w.isClosed() {
		return ErrClosed
	}
	return nil
}

// A flush is over when so much has been read and nothing is left to repair.
type flush struct {
	at   uint64 // see Watcher.consumed
	done chan struct{}
}

// awaitQueued notes a flush of all that is in the kernel's queue. It returns
// nil if there is nothing to wait for.
func (w *Watcher) awaitQueued() (<-chan struct{}, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil, ErrClosed
	}
	queued, err := unix.IoctlGetInt(w.fd, unix.TIOCINQ) // alias FIONREAD
	if err != nil {
		return nil, os.NewSyscallError("ioctl FIONREAD", err)
	}
	if queued == 0 && w.idle {
		return nil, nil
	}
	done := make(chan struct{})
	w.flushes = append(w.flushes, flush{at: w.consumed + uint64(queued), done: done})
	return done, nil
}

// endFlushes ends the flushes that are over.
func (w *Watcher) endFlushes() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.flushes = slices.DeleteFunc(w.flushes, func(f flush) bool {
		over := f.at <= w.consumed
		if over {
			close(f.done)
		}
		return over
	})
}

func (w *Watcher) isClosed() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.closed
}

// wakeRun ends a wait; what it writes stays until the next wait reads it.
func (w *Watcher) wakeRun() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.wakeLocked()
}

// wakeLocked is interrupt for who has the lock.
func (w *Watcher) wakeLocked() {
	w.idle, w.woken = false, true
	if w.wake >= 0 {
		unix.Write(w.wake, []byte{0, 0, 0, 0, 0, 0, 0, 1}) // fails only when it is full of wake-ups
	}
}

// wait sleeps until there is something to do or interrupt was called.
func (w *Watcher) wait() error {
	var ready [3]unix.EpollEvent
	w.mu.Lock()
	timeout := w.unwatched.timeout()
	for _, s := range w.subs {
		s.shrink()
	}
	w.idle = timeout < 0 && !w.woken
	w.mu.Unlock()
	w.yieldProcessor()
	n, err := unix.EpollWait(w.epoll, ready[:], timeout)
	w.mu.Lock()
	w.idle, w.woken = false, false // before the wake-up is read: there may come another
	w.mu.Unlock()
	if err != nil && !errors.Is(err, unix.EINTR) {
		return os.NewSyscallError("epoll_wait", err)
	}
	for _, r := range ready[:max(n, 0)] {
		switch int(r.Fd) {
		case w.wake:
			unix.Read(w.wake, make([]byte, 8)) // resets it; EAGAIN means that it is reset
		case w.mounts:
			w.recheckMounts()
		}
	}
	return nil
}

// drain reads until the queue is empty and nothing is left to repair.
func (w *Watcher) drain(ctx context.Context) error {
	for ctx.Err() == nil {
		n, err := w.read()
		switch {
		case errors.Is(err, unix.EAGAIN):
			if again, err := w.repair(); !again {
				return err
			}
		case err != nil:
			return os.NewSyscallError("read inotify", err)
		default:
			if err := w.applyRecords(w.buf[:n]); err != nil {
				return err
			}
			if n < len(w.buf)/2 { // then there is hardly more to read
				w.yieldProcessor()
			}
		}
	}
	return nil
}

// read returns EAGAIN when the queue is empty.
func (w *Watcher) read() (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for {
		n, err := unix.Read(w.fd, w.buf)
		if !errors.Is(err, unix.EINTR) {
			w.consumed += uint64(max(n, 0))
			return n, err
		}
	}
}
