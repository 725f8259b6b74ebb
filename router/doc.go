// Package router turns the events of watched trees into batches, and calls back
// with each batch when it is complete.
//
// A [Route] says which events matter, how long they are gathered and what is called.
// A [Router] holds the routes of one or more roots:
//
//	routes, err := router.New(router.Options{}, router.Route{
//		Name:     "build",
//		Patterns: []string{"*.md", "templates/**"},
//		Callback: func(ctx context.Context, batch []inotify.Event) error {
//			return exec.CommandContext(ctx, "make", "site").Run()
//		},
//	})
//	if err != nil {
//		return err
//	}
//	return router.Listen(ctx, router.Listener{Root: "/srv/www", Router: routes})
//
// # Patterns
//
// Paths are relative to the root and written with slashes. In a pattern, * stands
// for any part of one name, ? for one character, [a-z] for a class, {a,b} for
// alternatives and ** for any number of directories. \ takes the meaning from the
// character after it. Case matters.
//
//   - A pattern without a slash matches a name at any depth: *.go is **/*.go.
//   - A pattern with a slash matches the whole path: docs/*.html does not match
//     docs/a/b.html, and docs/**/*.html does. /*.html is the pages in the root.
//   - A slash at the end means a directory with everything below it.
//
// Ignore has the same patterns, and takes everything below what it matches. It is
// stronger than Patterns. Hidden has names that are ignored unless a pattern spells
// them out, as .env* and .github/** do. The root itself is never ignored. A directory
// that no route is for is not watched.
//
// A directory that is renamed stands for the files below it (up to 65,536), each of
// which comes as renamed. One that has left the root comes as MovedFrom to routes whose
// patterns could match something below it. A file that is in several roots has one path
// for a route: that below the outermost root in which the route is for it.
//
// # Batches
//
// A batch has each path once, in the order in which they first came. The Mask of an
// event is the union of what happened to the path and was asked for. Delete and
// MovedFrom are in it only if the path is gone, and a path that is gone stays only if
// the route asks for that; so temporary files vanish, and the name that they were
// renamed to remains. An empty batch does not run.
//
// The first event arms the route. Its batch is due when
//
//   - Delay has passed since that event (or, with NoDelayAfter, it came before a run of
//     a route in After was over),
//   - Debounce has passed since the route's last run began,
//   - the route's last run is over,
//   - no route in After, or before one, has anything waiting or running,
//   - no file of the batch is open for writing, and
//   - a burst of changes, such as a checkout, is over.
//
// An open file that has been quiet for Settle does not count, and after Hold the
// batch goes whatever is open. A file that was waited for in vain, such as a log,
// holds back only itself until it has not been written to for ten minutes. With Hold:
// UntilClosed, the default with PerFile, only the close counts.
//
// A burst is more than eight paths, or at least four of which one came in the second
// half of Delay. It is over when no new path has come for Quiet (for a fourth of the
// time that it has lasted, up to five times Quiet). A batch also waits while a git
// command is at work in the repository of its root. Either ends after ten seconds.
//
// A batch that is due runs at once, unless Options.Concurrency callbacks run already.
// Then it gathers on until it is the turn of its route. With PerFile each path has
// events, times and runs of its own, and different paths run side by side.
//
// # Chains
//
// A route waits for those in After, and for what those wait for, so that it runs once
// for a burst. That alone does not trigger it. With Follow each success of a route in
// After hands on its events, which are due as soon as all that it waits for is done:
//
//	router.Route{Name: "reload", After: []string{"build"}, Follow: true, ReadOnly: true, Callback: refresh}
//
// If the last run of a route in After has failed, OnFailure decides what becomes of
// the batch that waits: it is cancelled, it runs, or it is kept for the next success.
//
// # Runs
//
// A [Run] is one batch and what came of it; [OutcomeOf] judges its error. Post is
// told of each, before what waits for it goes on. A callback may return [ErrSkipped] if
// there was nothing to do, and [ErrKept] to have its events again with the next. With
// Retries a failed run is repeated until something new comes. With OnBusy: Restart a
// batch that is due ends the context of the run, with the cause [ErrRestarted], and
// the next run has the events of both.
//
// [Router.Submit], [Router.Trigger] and [Router.Offer] bring events that nobody
// watched. [Submission.Wait] waits until all runs that they led to are over.
// [Router.SetRoutes] and [Group.SetListeners] replace the configuration while it is in
// use.
//
// # Loops
//
// A route that writes what triggers it would run for ever, and so would two that
// trigger each other, or one with PerFile that makes a thumbnail of each thumbnail.
// Outputs names what a route writes, OwnOutput reports what its programs have open, and
// a route that changes nothing says so with ReadOnly.
//
// Everything else is noticed by time. An event that comes during a run may be caused
// by it, and has a generation one higher. From the third generation on, a batch waits
// for an event that no run can have caused, which shows that there is no loop: at
// first for a fourth of the time that a run takes (100 ms at least), and twice as long
// for each generation (a minute at most). With PerFile such batches go one at a time.
// The eighth generation is refused with a [*LoopError], which names the files and the
// routes. These files run with the next event, or with PerFile after the next file. The
// generation counts runs of the batch's own route, so a chain is no loop, and loops
// of up to eight routes are found.
//
// A program that keeps running (Background, or OnBusy: Restart) may cause whatever
// comes within a second of its start, and what comes later at an interval at which
// the path was written before. After a loop was reported, its files do not start the
// program again by themselves until they have been left alone for a minute.
//
// Changes during each of eight runs in a row, and in none of the waits, are taken for a
// loop. What a program writes at irregular times after its run is not recognised.
//
// # Restarts
//
// With Options.State, what a watcher has brought for a route with Durable is in a file as
// soon as [Router.Events] returns, until the run that had it is over for good: it waits,
// runs, is to be tried again, is kept, was refused as a loop, or came from a route that
// this one follows. That the run is over and that others follow it is written at once. The
// next process has all of this in its batches, with a new Delay; what is kept for a success
// is kept again. A run that the end of the router has ended, or after which it would have
// been tried again, is not over. What a route remembers of its runs (Debounce, retries,
// generations of loops, failures of routes that come first) begins anew.
//
// A record is written for each call of the Router that changes what waits, and for the end
// of each run, but none for a path that is in the batch already. The file is rewritten when
// most of it is of the past.
//
// # Guarantees
//
// Order: the batches of a route (of a path, with PerFile) are in the order of their
// events, and its runs in the order of their ends. Overlap: a route, or path, never
// runs twice at once, and whatever arrives while it runs makes one further run. Loss:
// once [Router.Events] or [Router.Submit] has returned, an event is in exactly one run
// (not counting those that were restarted or refused as a loop), unless its path went
// away again, OnBusy is Ignore, or the router was told to stop. What the kernel lost
// in an overflow comes again from the watcher's rescan. With Durable, it is in a run also
// if the process ends, and in a second one only if its run was under way then, or its end
// was not yet written.
//
// Not promised: that a path still is as its event says when the callback looks; that
// a file is complete that a program keeps open for longer than Settle or Hold; that a
// callback which does not heed its context ends; that a route has its turn while those
// before it are never done.
//
// # Cost
//
// A route at rest has no goroutine and no timer. There is one timer for all that
// waits, and one goroutine for each run under way. An event is matched without
// allocation in the goroutine that brings it. A path that waits costs a map entry, or
// with PerFile about a kilobyte.
package router
