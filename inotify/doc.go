// Package inotify watches trees of directories on Linux, with everything that
// appears in them later, by one instance of inotify(7).
//
//	w, err := inotify.New(inotify.Options{})
//	if err != nil {
//		return err
//	}
//	defer w.Close()
//	_, err = w.Add(inotify.Subscription{
//		Root:    "/srv/www",
//		Deliver: func(events []inotify.Event) { fmt.Println(events) },
//	})
//	if err != nil {
//		return err
//	}
//	return w.Run(ctx)
//
// # Guarantees
//
// Recursion: every directory below a root is watched, except those that all its
// subscribers skip. A directory that appears, made or renamed to its place, is
// watched, and what is in it already is reported.
//
// At least once: each change of content, name or existence is reported after it
// happened. What a scan and the kernel both report comes twice.
//
// Order: the events of a subscription come in the order of the kernel's queue.
//
// Paths: an event has the path that its file had when it happened, also when a
// directory above was renamed before or after that.
//
// Flush: it returns when everything that happened before the call is delivered.
//
// Overflow: when the kernel drops events because its queue is full, each subscriber
// gets an event of its root with Overflow. Then the trees are scanned, and what has
// changed since the queue was last known to be complete, by its ctime, is reported.
// A name that was removed meanwhile shows as a change of its directory: Modify|IsDir,
// which the kernel never sends. The directory may have been renamed since the scan, and
// is reported anew then.
//
// Roots: when a root is removed or moved, or its path leads elsewhere because it was
// replaced or a symbolic link in the path was changed, its end is reported (DeleteSelf
// or MoveSelf of the path "."). What is there next is watched, and reported as Create of
// "." and of everything in it. A root may also be a regular file. Its events have the
// path "." without IsDir. A file that is renamed to its place, or that a changed link
// leads to, is MovedTo|Modify|CloseWrite; Delete and Create say that there is no file,
// and that there is one again.
//
// Mounts: what is mounted below a root is watched as soon as the list of mounts has it.
// A single file that is mounted on a file of the tree has a watch of its own, which
// reports what is written on either side of the mount. See MountedFileError for what it
// cannot report.
//
// Content: Modify is also added to CloseWrite or Attrib when the file was modified
// (mtime) after everything that was reported of it: it was written through a memory map,
// or touch(1) gave it a newer time. A change of mode or owner, and a file that was opened
// for writing and not written, are no modification.
//
// Limits: a directory that gets no watch because max_user_watches is reached (a
// LimitError), or that is on a file system which other machines can change (a
// RemoteError) and that Options.Remote does not take, is polled every Options.PollInterval. What could not be looked at because
// descriptors or memory ran out is looked at again then. A directory without permission is
// reported as a problem, and watched when its mode allows it.
//
// Restarts: with Options.State and Options.Instance a Watcher goes on where that of another
// process ended, also after kill -9. What happened in between waits in the kernel's queue.
// Events that may not have been delivered before come again, in order; a directory that was
// renamed among them is reported anew. Both files are to be kept together, for example in the
// descriptor store of systemd (FDSTORE in sd_notify(3)).
//
// # How to read the events
//
// A file that is written in place is Modify, as often as the kernel reports it, and then
// CloseWrite. A rename within a root is MovedFrom of the old path and MovedTo of the new
// one, with From; what was known below a renamed directory is now below its new path. A
// MovedTo without From came from outside, and what is in it is reported next. A scan reports
// a file by one event, Create|Modify|CloseWrite, and a directory by Create|IsDir. An event
// without IsDir says that there is nothing below its path. Where the kernel's records do not
// say what became of a directory (an exchange, or a scan that was ahead of its record), it is
// reported anew: Delete, Create, and everything below it.
//
// # Not promised
//
// Events cannot be counted: the kernel merges equal ones that follow each other. Between
// directories the order is that of the queue, which is not always that of the system calls
// of different processes. A write through a memory map is reported when the file is closed,
// unless thousands of other files have changed since; a write through a hard link outside the
// roots is reported when the file is closed or its attributes change in the tree. Links below
// a root are not followed, and of two names of one directory (a bind mount) only the first is
// watched. SkipDir is not called again for what is below a renamed directory. A file system that
// hangs, because its server is away, holds everything up while it is looked at.
//
// # Requirements and cost
//
// Linux 4.11 (statx) and /proc are required, and 4.18 for Options.Instance; openat2 (5.6) saves
// system calls. A directory takes
// about 60 bytes and its name, and about a kilobyte in the kernel. A rename of a directory costs
// the same whatever is below it. Nothing runs while nothing happens, unless something has to be
// polled. `go test -bench . ./inotify` shows the figures, and those of the kernel alone.
package inotify
