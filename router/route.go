package router

import (
	"cmp"
	"context"
	"math"
	"time"

	"github.com/execlog/execlogd/inotify"
)

// Reload is the mask of a route that refreshes pages: content that was written in
// place, also through a memory map, or that touch(1) has made newer (see package
// inotify), and renames that replace it, so that an atomic save counts as a
// modification. It is the mask of a Route that has none.
const Reload = inotify.Modify | inotify.MovedTo

// What a Route gets for a field that is zero.
const (
	DefaultDelay    = 30 * time.Millisecond
	DefaultDebounce = 200 * time.Millisecond
	DefaultSettle   = 2 * time.Second
	DefaultHold     = 30 * time.Second
	DefaultQuiet    = 200 * time.Millisecond
	DefaultBackoff  = time.Second
)

// UntilClosed is a Route's Hold without a bound: a file is waited for until nobody has
// it open for writing. Its last close says so, but not for a file that was there before
// anybody watched, nor for one that several programs write to, nor where events are
// missing. So before each run the kernel is asked who has the files of the batch open
// (inotify.Writers).
//
// Where the kernel does not say, events do; of a file that Offer brought, or that is on
// a network file system, what counts is that it was not written to for Settle. The
// question opens the file, so if a route asks for Open or CloseNoWrite it is not asked.
const UntilClosed = time.Duration(math.MaxInt64)

// maxBackoff is the longest time that Backoff is doubled to.
const maxBackoff = 5 * time.Minute

// What a batch must know of the paths that it has, whatever the route asks for.
const (
	gone    = inotify.Delete | inotify.MovedFrom
	arrived = inotify.Create | inotify.MovedTo
	content = inotify.Modify | inotify.CloseWrite
)

// askable are the events that a Mask may have.
const askable = inotify.Changes | inotify.Access | inotify.Open | inotify.CloseNoWrite

// DefaultIgnore returns what a Route ignores that does not say: hidden files and
// directories, and the temporary files of editors.
func DefaultIgnore() []string {
	return []string{".*", "*~", "*.tmp", "*.swp", "4913", ".#*", "#*#"}
}

// A Callback does what a route is for. The batch is its own, and never empty. The
// context ends when the route's Timeout has passed, or when the router stops and its
// grace is over; Run waits until the callback returns. An error or a panic is logged
// and ends this run alone.
type Callback func(ctx context.Context, batch []inotify.Event) error

// A Route says which events are gathered, for how long, and what is called with them.
// The package documentation has the rules.
type Route struct {
	// Name is what logs and errors call the route. It is required, and unique in a
	// Router.
	Name string

	// Roots are the roots whose events the route is for, spelled as in
	// Listener.Root; none means all.
	Roots []string

	// Patterns are the paths that the route is for; none means all, and for a route
	// with Follow or TriggerOnly it means none.
	Patterns []string

	// TriggerOnly says that without Patterns the route is for no paths: Trigger alone
	// has it run.
	TriggerOnly bool

	// Ignore are the paths that the route is not for, with everything below them. If
	// it is nil, and Hidden as well, Hidden is DefaultIgnore.
	Ignore []string

	// Hidden are patterns of names that the route is not for either, with everything
	// below them, unless a pattern in Patterns spells such a name out.
	Hidden []string

	// IgnoreFiles has the route ignore what git ignores as well: what .gitignore
	// files say, in the root, below it, and above it up to the top of a work tree of
	// git, and its info/exclude. Neither the user's settings nor git's index count.
	// Files called .ignore are like .gitignore, and stronger. The root itself is never
	// ignored; if it would be, the files outside it do not count. The files are read
	// again when they change, those outside the root within a second of the next
	// event. A directory that is not ignored any more is watched from then on, without
	// a report of what is in it.
	//
	// Beyond ASCII, ? and a class stand for one character where git takes a byte. A
	// class has no slash.
	IgnoreFiles bool

	// Outputs are the paths that the route's own runs write, with everything below
	// them. They never trigger this route; they may trigger others.
	//
	// A program may replace its output as a whole: it writes out.new, renames out to
	// out.old and out.new to out. Neither name triggers the route. What was made since
	// the last run began and is moved away again is no change, and what an output is
	// renamed to is an output until the end of the run (for a second, if the run has
	// no end).
	Outputs []string

	// NotRecursive restricts the route to what is directly in its roots. Directories
	// below are not watched for it.
	NotRecursive bool

	// OwnOutput reports for each of several events whether the programs that the
	// route has started have its file open for writing now. Such a file is an output
	// like those that Outputs names, until it is closed. OwnOutput is called by a
	// goroutine of the Router, at most every 25 ms or so, while the batch waits; it may
	// take some milliseconds. Nil is for routes that start no program.
	OwnOutput func([]inotify.Event) []bool

	// ReadOnly says that runs of this route change no file that is watched, nor make
	// others change one. Then nothing is taken for a loop, and the end of a run need
	// not wait for the watcher.
	ReadOnly bool

	// StopAtOnce ends the context of the callback at once when the router is told to stop,
	// without Options.Grace.
	StopAtOnce bool

	// Elsewhere says that runs only wait for what is done elsewhere, so that any number of
	// them is under way whatever Options.Concurrency says.
	Elsewhere bool

	// Background says that what a run starts goes on when the callback has returned,
	// as a server does. Then what happens soon after that may be caused by it as well.
	Background bool

	// Mask is the events that the route asks for; 0 is Reload, which is changes of
	// content. Add Create for new names of any kind, and Delete and MovedFrom for what
	// goes away.
	Mask inotify.Mask

	// Empty lets a new file to which nothing is written trigger the route as well,
	// when it is closed, whatever Mask says. Links, directories, and files that were
	// there before do not count: they need Create or CloseWrite in Mask.
	Empty bool

	// Delay is how long events are gathered from the first on; 0 is DefaultDelay,
	// negative is none. Without a delay, the temporary file of an atomic save may be
	// reported before its rename.
	Delay time.Duration

	// NoDelayAfter lets what has come before a run of the routes in After is over go as soon
	// as they are done, without the rest of Delay: what they make is complete then. What
	// comes later has a Delay, also if it came while they were held.
	NoDelayAfter bool

	// Debounce is the least time from the start of one run to the start of the next; 0
	// is DefaultDebounce, negative is none.
	Debounce time.Duration

	// Quiet is how long no further path may have come before the batch of a burst goes;
	// 0 is DefaultQuiet, negative is not at all. A few saved files do not wait for it,
	// nor does a route with PerFile.
	Quiet time.Duration

	// Settle is how long after the last write a file that is still open is waited for;
	// 0 is DefaultSettle, negative is not at all.
	Settle time.Duration

	// Hold is how long files that are still open hold back a batch that could go
	// otherwise; 0 is DefaultHold, or UntilClosed with PerFile, and negative is not at
	// all. A file that was waited for in vain holds back only itself from then on. With
	// UntilClosed, Settle counts where nobody can say whether a file is open.
	Hold time.Duration

	// WaitsFor reports whether a file that is open for writing, to which the event has
	// happened, is worth waiting for; if it is not, it holds back only itself. It is
	// called with the router's lock held, so it must be quick and must not call the
	// Router. Nil is every file.
	WaitsFor func(inotify.Event) bool

	// After are the names of the routes that come first: while one of them, or one
	// that comes before it, has something waiting or running, this route gathers.
	After []string

	// Follow lets each success of a route in After trigger this one too, with the
	// events that led to it.
	Follow bool

	// OnFailure is what becomes of a batch that waits for a route in After when that
	// fails.
	OnFailure OnFailure

	// Durable has what a watcher has brought for the route outlive the process, with
	// Options.State: events that wait, run, are kept, are to be tried again, or came from a
	// route that this one follows. Submissions do not outlive it.
	Durable bool

	// CatchUp lets what happened before the Group's watcher began trigger the route as well:
	// changes that it finds by a scan, since it has the State of an earlier one without its
	// Instance (see inotify.Options).
	CatchUp bool

	// Per is what has timing, batches and runs of its own: the whole route, or each
	// path.
	Per Per

	// OnBusy is what becomes of events that come during a run.
	OnBusy OnBusy

	// Timeout ends the context of a run that takes longer; 0 is never.
	Timeout time.Duration

	// Retries is how often a run that has failed is followed by another with the same
	// events, unless something new comes first; 0 is never. It counts anew after a
	// success, and with what is new. Routes behind this one, and whoever has submitted
	// the events, do not wait for a retry.
	Retries int

	// Backoff is how long after a failure the first retry begins. Each further one
	// waits twice as long as the one before, up to five minutes or Backoff, whichever
	// is more. 0 is DefaultBackoff, negative is not at all.
	Backoff time.Duration

	// Callback is called with each batch. It is required.
	Callback Callback

	// Post is told of each run that is over, in the order of the route's runs (of each
	// path's, with PerFile), and nothing that waits for the run goes on before Post
	// returns. It may call the Router. Nil is nobody.
	Post func(Run)
}

// OnFailure says what becomes of a batch that waits for a route that fails.
type OnFailure uint8

const (
	Cancel   OnFailure = iota // it is dropped; its Run has ErrCancelled
	Continue                  // it goes all the same
	Keep                      // it waits until they are done again and none has failed
)

// Per says what has timing, batches and runs of its own.
type Per uint8

const (
	PerRoute Per = iota // all paths of the route together

	// PerFile is each path by itself, side by side with the others. A file that is
	// renamed while it waits goes on under its new path, with a new Delay.
	PerFile
)

// OnBusy says what becomes of events that come during a run.
type OnBusy uint8

const (
	Queue   OnBusy = iota // they make one further run
	Restart               // when their batch is due the run's context ends with the cause ErrRestarted, and the next run has their events and its own
	Ignore                // they are dropped
)

// withDefaults returns the route with every duration and its mask as they apply.
func (r Route) withDefaults() Route {
	r.Mask = cmp.Or(r.Mask, Reload)
	r.Delay = max(0, cmp.Or(r.Delay, DefaultDelay))
	r.Debounce = max(0, cmp.Or(r.Debounce, DefaultDebounce))
	r.Quiet = max(0, cmp.Or(r.Quiet, DefaultQuiet))
	r.Settle = max(0, cmp.Or(r.Settle, DefaultSettle))
	if r.Hold == 0 && r.Per == PerFile {
		r.Hold = UntilClosed
	}
	r.Hold = max(0, cmp.Or(r.Hold, DefaultHold))
	r.Backoff = max(0, cmp.Or(r.Backoff, DefaultBackoff))
	if r.Ignore == nil && r.Hidden == nil {
		r.Hidden = DefaultIgnore()
	}
	return r
}

// keepsRunning reports whether what a run starts may change files long after its
// start.
func (r *Route) keepsRunning() bool {
	return !r.ReadOnly && (r.Background || r.OnBusy == Restart && !r.Elsewhere)
}
