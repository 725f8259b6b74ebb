// Package router turns the events of a watched tree into batches, and calls
// back with each batch when it is complete.
//
// A [Route] says which events matter (patterns, ignored names, a mask), how
// long to gather them and what to call. A [Router] holds the routes of one or
// more roots:
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
// Paths are relative to the root and written with slashes. In a pattern, *
// stands for any part of one name, ? for one character, [a-z] for a class,
// {a,b} for alternatives and ** for any number of directories, also none, as
// in github.com/bmatcuk/doublestar. \ takes the meaning from the character
// after it. Case matters. A name may hold any bytes: * takes them all, ? takes
// one byte of what is not UTF-8. A class never matches a slash.
//
//   - A pattern without a slash matches a name at any depth, as in .gitignore:
//     *.go is **/*.go. A name alone, docs, is a file or directory called so
//     and not what is in it.
//   - A pattern with a slash matches the whole path: docs/*.html does not match
//     docs/a/b.html, and docs/**/*.html does. A slash in front does only that:
//     /*.html is the pages in the root itself.
//   - A slash at the end means a directory with all below it: docs/ is docs at
//     any depth, /docs/ the one in the root.
//
// Ignore has the same patterns, and what is below an ignored directory is
// ignored too. So .* ignores .git/config, build ignores every build directory
// and build/*.map the maps in the one in the root. Ignore is stronger than
// Patterns. The root itself is never ignored.
//
// Hidden has patterns of names, by default those of hidden and temporary files,
// which are ignored too, but for a name that a pattern spells out, so that it would
// match nothing otherwise: .env, .env*, .github/** and *.tmp are for what they say,
// and what else is hidden, such as .git/.env and .github/.cache, stays so.
//
// With IgnoreFiles a route is not for what git ignores either, by the files of a
// work tree that say so (gitignore(5)); neither the user's settings nor the index of
// git count. Beyond ASCII, ? and a class stand for one character where git takes a
// byte, and a class has no slash. A directory that all routes for it leave out is
// not watched. When such a file changes it is read anew, before the events that come
// with it are matched, and what is not ignored any more is watched from then on,
// without a report of what is in it.
//
// A directory that is renamed, for which the kernel has one event, stands for the
// files below it, which are looked for at once (up to 65,536 of them): each comes as
// renamed by itself, MovedFrom by its old path and MovedTo by its new one. The
// directory itself comes to a route whose patterns match its own path, and with
// PerFile only if that asks for Create. One that was moved out of the root, of
// which nobody knows any more what was in it, comes as MovedFrom to a route whose
// patterns could match something below it.
//
// Routes of one Router may be for different roots (Route.Roots), so that one for
// the pages in public can come after one for their sources. Roots may overlap:
// one may lie inside another, or be the same directory by another name, a link
// or a bind mount. A file that is in several roots is one file all the same: a
// route hears of it once, by the outermost of those roots in which it is for
// the file (of several names of one directory, by the first listener's).
//
// What a run makes and moves away again before the next, such as the directory
// out.new that becomes out, is no change by its first name. Nor is what an output is
// renamed to, such as out.old, while the run goes on (for a second, if it goes on for
// ever or there is none).
//
// # Batches
//
// A batch has each path once, in the order in which the paths first appeared.
// The Mask of an event in it is the union of what happened to the path, of the
// kinds that the route asks for (and IsDir); From is that of the last rename
// to the path. Delete or MovedFrom is in the mask only if it was the last
// word: a path that was removed and made again is there, and a path that is
// gone stays in the batch only for a route that asks for the kind of event
// that took it. So the temporary files of editors, sed -i and rsync vanish and
// the name that they were renamed to remains. A change of a file that is then
// renamed, or whose directory is, in the same batch is reported under the new
// path. A batch that ends up empty is not dispatched.
//
// A file that is made and stays empty is no change of content: it has Create, and
// CloseWrite when it is closed, which every file has that was open for writing.
// With Empty a route heeds it at its close, so that a file which is
// written makes no batch more than otherwise. Of each path that was made and not
// closed, such as a link, such a route remembers the name.
//
// # Time
//
// The first wanted event arms the route. Its batch is due when
//
//   - Delay has passed since that event (what comes later does not postpone it),
//   - Debounce has passed since the route's last run began,
//   - the route's last run is over,
//   - no route that comes first has anything waiting or running, and
//   - no file of the batch is open for writing: each that was modified has
//     been closed (IN_CLOSE_WRITE), removed or renamed away. A file that has
//     been quiet for Settle no longer counts, and after Hold the batch goes
//     whatever is open. A batch that such a file held back waits once more
//     for Delay when the last of them is closed, because what follows
//     the close of a temporary file is its rename.
//
// A burst of changes, such as a checkout, an unpacked archive or an install, is
// one batch: when more than eight paths came, or at least four and one of them in
// the second half of Delay, the batch also waits until no further path came for
// Quiet, or if it lasts for long, for a fourth of that (at most five times Quiet);
// ten seconds after its first event it goes whatever comes. Paths that came
// before the routes of After were done are not waited for again. One save, or a
// few, wait for nothing of this. And nothing goes while a git command is at work in
// the repository that the root, or of several files one, is in: while its
// index.lock is there, and until Quiet has passed since something was made in or
// removed from its .git directory; that too for ten seconds at most. Quiet means
// nothing with PerFile.
//
// With Hold: UntilClosed, which is so by default with PerFile, nothing but the close
// of a file counts, however long that takes. Since a close may not be seen, and
// others may have the file open too, the kernel is asked before each run
// (inotify.Writers), and every two seconds for what is open; a batch is due Delay
// after each close then, for half a minute at most, and when nobody has its files
// open. Where the kernel does not say, events do; of a file that Offer brought, or
// that is on a network file system, what counts is that it was not written to for
// Settle. (That question opens the file, so if a route asks for Open or CloseNoWrite,
// nobody is asked.)
//
// A callback begins within a fraction of a millisecond of that, on a machine
// that has a processor free; a batch that is due at once starts no timer.
//
// What comes meanwhile joins the batch, and nothing is dropped for coming too
// early. A file that was waited for in vain, such as a log that a program keeps
// open, thus delays the other paths of its route by up to Hold, once: from then on
// it holds back only itself, also after it was closed, renamed or made anew, until
// nothing has been written to it for ten minutes. (The latest 256 of such paths are
// remembered.) So does a file that Route.WaitsFor does not wait for.
//
// A batch that is due runs at once, unless Options.Concurrency callbacks do
// already. Then it gathers on until it is its turn, which goes to the route of
// which the fewest run, and to the one that waits longest among those.
//
// With Per: PerFile all this is so for each path by itself: its events, delay,
// debounce, run and further run are its own, and different paths run side by
// side. A file that is renamed while it waits goes on under its new path, with
// a new Delay.
//
// With OnBusy: Restart a batch need not wait for the end of the run: when it is
// due otherwise, the context of the run ends with the cause [ErrRestarted]. As
// soon as the callback returns, the next run begins with the events of both;
// so a run that succeeds has covered everything since the last that did. With
// OnBusy: Ignore what comes while the callback runs is dropped.
//
// # Chains
//
// After names the routes that come first. While one of them, or one that they
// are after in turn, has a batch waiting or a run going on, this route
// gathers; so what it does happens once for a burst, when the last run of it
// is over, and not during one. To come first is not to trigger: for that the
// route has patterns of its own, or follows. With Follow each success of a
// route in After hands its events on, and those are due as soon as all routes
// that come first are done, without a Delay, and stay in the batch whatever
// becomes of their files. A page reload that comes after a build is
//
//	router.Route{Name: "reload", After: []string{"build"}, Follow: true, ReadOnly: true, Callback: refresh}
//
// and with Patterns, such as *.css, it is triggered by those too.
//
// A burst has failed for a route if the last run of a route in After (of one of
// its paths, with PerFile) failed, and it did not make up for that with a later
// run before everything that comes first was done. Then what waits is dropped,
// and its frame has [ErrCancelled]; or it goes all the same, with OnFailure:
// Continue; or, with Keep, it waits until they are all done again and none has
// failed, while what comes later and does not have to wait goes on. A route that
// does not go on so fails the ones behind it in turn. A
// failure before the burst counts for nothing, and being restarted is none.
//
// # Retries
//
// With Retries, a run that has failed is followed by another with its events after
// Backoff, and by further ones after twice as long each. Something new for the
// route (for the path, with PerFile) ends the wait: then all of it runs as it
// would without the failure, and the retries count anew. A path that went away is
// not worked on again. The failure is one at once, for the routes behind and for
// who submitted the events; these do not wait for the retry, and follow its
// success. A callback that could not even begin with its events returns [ErrKept],
// and has them again with what is new.
//
// # Frames
//
// A [Frame] is one batch and what came of it, of which [Outcome] is the short form:
// success, the callback's error, its panic, its timeout, or why there was no run. A callback that finds that it has
// nothing to do returns [ErrSkipped], which is a success. Post is told of each, and what
// waits for the frame goes on when Post has returned. [Router.Submit] takes
// events that nobody watched, of files or of anything else that has a name,
// [Router.Trigger] those for one route, and the [Ticket] that they return waits
// until all frames that those events led to are over. [Router.Offer] takes files
// that were there before anybody watched.
//
// # Other routes
//
// [Router.SetRoutes] replaces the routes, and [Group.SetListeners] the roots, while
// the Router works, as when a configuration has changed. Either changes all or, with
// an error, nothing. No event is lost or comes twice, and a route that was there
// before, by its name, goes on with what waits and what runs.
//
// Roots that are new must be listened to before routes are set that are for them,
// and roots that go are best dropped after that: then SetListeners is called twice,
// and the second call cannot fail.
//
// # Loops
//
// A route that writes what triggers it would run for ever, and so would two that
// trigger each other, or one with PerFile that makes a thumbnail of each
// thumbnail. Outputs names what a route writes, and Ignore what it is not for.
// A file that the programs of a route have open for writing, such as a log, is
// told from what others write by Route.OwnOutput: it neither triggers the route nor
// holds it back, until it is closed. (A program that opens, writes and closes a
// file at once is gone before anybody can ask.)
//
// Everything else is noticed by time. An event that comes while a run is under way
// may be caused by that run, and its generation is one higher than the run's. So is
// the generation of a batch all of whose events may be caused by runs. From the
// third generation on a batch waits for an event that no run can have caused, at
// first for a fourth of the time that a run takes and then twice as long for each
// generation (100 ms at least, a minute at most). If such an event comes, there is
// no loop. The eighth generation is not run: its [Frame] has a [*LoopError], which
// names the files and the routes, and the route goes on with the next event, whose
// batch has these files too. The generation of a batch counts the runs of its own
// route, so a loop of up to eight routes is found, and a chain of routes is none.
//
// With PerFile, batches of the third generation and later go one at a time, when no
// run is under way, and all others go when nothing comes of that. The eighth
// generation is refused with all that wait, in one Frame. Such files run after the
// next file, again one at a time.
//
// A program that keeps running, because the route has Background or OnBusy:
// Restart, may have caused what comes within a second of its start (of the
// callback's return, with Background). What comes later may be caused by it if it
// comes at an interval, after the start or after the write before, at which the
// same path was written before. After a loop was reported, the files that the
// error names do not start the program again by themselves until they have been left
// alone for a minute. They are in its next batch.
//
// Whoever changes a file in answer to a run, while it goes on, is part of such a
// loop as well. A route that changes nothing says so with ReadOnly, and none of its
// batches waits or is refused.
//
// A watcher that belongs to a [Group] has delivered all that happened during a
// callback before the run counts as over. For events that are brought otherwise,
// what comes after the callback's return is not recognised. Nor is what programs do
// that the callback leaves behind, without Background, nor what a program writes at
// other times after each start. Somebody who saves during each of eight runs in a
// row, and in none of the waits, would be taken for a loop; in simulations of
// millions of saves and uploads this has not happened.
//
// # Guarantees
//
// Order: the batches of one route (of one path, with PerFile) are in the order
// of their events, and its frames in the order of their ends; routes do not
// wait for each other but for those in After and for Options.Concurrency.
// Overlap: a route, or path, never runs twice at once, and whatever arrives
// while it runs makes one further run. Different routes run side by side. Loss:
// from the return of [Router.Events] or [Router.Submit] an event is in exactly
// one frame (not counting those that were restarted or refused as a loop),
// unless its path went away again, OnBusy is Ignore, or the router was told to
// stop.
//
// Not promised: that a path of a batch still is as its event says when the
// callback looks; that a file that a program keeps open is complete when
// Settle or Hold has passed; that a file open in two programs is complete when
// the first closes it; that a callback which does not heed its context ends;
// that a route has its turn while those that come first are never done, or
// while as many callbacks as may run never return.
// What the kernel lost in an overflow comes again from the watcher's rescan;
// the [inotify.Overflow] event itself is no one's.
//
// # Cost
//
// There is no goroutine and no timer for a route at rest, one timer for all
// that wait, and one goroutine for each frame under way. An event is matched
// in the goroutine that brings it, without allocation when no route wants it.
// A pending path costs one map entry, or with PerFile about a kilobyte until
// its Debounce is over, and the rename of a directory a look at all of them.
package router
