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
// A directory that was renamed comes as one event, and its files are not
// reported singly. A route gets that event when its patterns match the
// directory or could match something below it.
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
// # Time
//
// The first wanted event arms the route. Its batch is due when
//
//   - Delay has passed since that event (what comes later does not postpone it),
//   - Debounce has passed since the route's last run began,
//   - the route's last run is over, and
//   - no file of the batch is open for writing: each that was modified has
//     been closed (IN_CLOSE_WRITE), removed or renamed away. A file that has
//     been quiet for Settle no longer counts, and after Hold the batch goes
//     whatever is open. A batch that such a file held back waits once more
//     for Delay when the last of them is closed, because what follows
//     the close of a temporary file is its rename.
//
// A callback begins within a fraction of a millisecond of that, on a machine
// that has a processor free; a batch that is due at once starts no timer.
//
// What comes meanwhile joins the batch, and nothing is dropped for coming too
// early. A file that is written without a pause of Settle, such as a log, thus
// delays the other paths of its route by up to Hold, once: from then on it
// holds back only itself until it is closed.
//
// # Guarantees
//
// Order: the batches of one route are in the order of their events, and those
// of one route only; routes do not wait for each other. Overlap: a route never
// runs twice at once, and whatever arrives while it runs makes one further run.
// Different routes run side by side. Loss: from the return of [Router.Events]
// an event is in exactly one batch, unless its path went away again or the
// router was told to stop.
//
// Not promised: that a path of a batch still is as its event says when the
// callback looks; that a file that a program keeps open is complete when
// Settle or Hold has passed; that a file open in two programs is complete when
// the first closes it; that a callback which does not heed its context ends.
// What the kernel lost in an overflow comes again from the watcher's rescan;
// the [inotify.Overflow] event itself is no one's.
//
// # Cost
//
// There is no goroutine and no timer for a route at rest. An event is matched
// in the goroutine that brings it, without allocation when no route wants it.
// A pending path costs one map entry, and the rename of a directory a look at
// all of them.
package router
