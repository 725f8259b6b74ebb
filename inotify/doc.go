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
// # What is guaranteed
//
// Recursion: every directory below a root is watched, but for those that all
// its subscribers skip. One that appears, made or renamed to its place, is
// watched, and what is in it already is reported; nothing that was there before
// its watch is lost.
//
// Names: an event has the path that its file had when it happened, also when
// a directory above was renamed before or since. A renamed directory takes what
// is below it along.
//
// Flush returns when all that happened before it was called is delivered. It
// asks the kernel how many bytes are queued (FIONREAD) and needs no watch and
// no file for that.
//
// At least once: each change of content, name or existence is reported after
// it happened. What a scan and the kernel both saw comes twice.
//
// Order: events of a subscription come in the order of the kernel's queue.
//
// Overflow: when the kernel drops events because its queue is full (IN_Q_OVERFLOW),
// each subscriber gets an event of its root with Overflow; then the trees are
// scanned, and whatever has changed since the queue was last known to be
// complete, by its ctime, is reported. A name that vanished meanwhile shows as a
// change of its directory: Modify|IsDir, which the kernel never sends.
//
// Roots: each step of the way to a root is watched too. A root that is deleted
// or moved away, or whose path leads elsewhere because it was replaced or a
// symbolic link was turned, is reported gone (DeleteSelf or MoveSelf of the path
// "."), and whatever is there next is picked up: Create of ".", and all in it.
// A root may also be one regular file: its events have the path "." without IsDir,
// a file that is renamed to its place, or that a link leads to by then, is MovedTo
// with Modify and CloseWrite, and Delete and Create say that there is none, and one
// again. The same goes for what is mounted on a directory, as soon as the list of
// mounts says so.
//
// Mounted files: a regular file on which a single file is mounted (as containers
// do with a configuration) has a watch of its own, because to the kernel it lies
// in the directory that it comes from. What happens to it, on either side, is an
// event of its path in the tree, and so is a mount that comes or goes. When the
// file is renamed, replaced or removed where it comes from, the mount goes on to
// show the old one, and nothing can be heard of the new: a MountedFileError says
// so.
//
// Shortage: what cannot be looked at because descriptors or memory have run out
// is told once and looked at later, every Options.PollInterval.
//
// Blindness: a directory that gets no watch, because max_user_watches is reached
// (a LimitError says so once), and a file system on which inotify does not see
// what other machines do (a RemoteError), are looked at every
// Options.PollInterval instead; the first is watched when there is room again. A
// directory without permission is told once and watched when its mode allows it.
//
// State: Handover and Resume carry a Watcher, with what the kernel has queued for
// it, into another process, and a state that does not fit is repaired by a scan.
//
// Content: what the kernel does not call a modification is one here as well. When
// a file is closed after writing or its attributes change, and it was modified
// (mtime) after all that was told of it, the event has Modify beside CloseWrite or
// Attrib: it was written through a memory map, or touch(1) gave it a newer time. A
// change of mode or owner, a file that was opened for writing and not written, and
// a time that is older than the watch or than what was told are no modification.
//
// # How to read the events
//
// A file that is written in place is Modify, as often as the kernel says, and
// CloseWrite. A rename within a root is MovedFrom of the old path and MovedTo
// of the new, with From; if it is a directory, what was known below it is now
// below the new path. A MovedTo without From came from outside, and what is in
// it follows. What a scan meets is one event: Create|Modify|CloseWrite for
// a file, Create|IsDir for a directory. An event without IsDir says that there
// is nothing below its path. Where the kernel's records do not say what became
// of a directory (an exchange, a scan that was faster than its record), it is
// told anew: Delete, Create, and everything below it.
//
// # What is not promised
//
// The kernel merges equal events that follow each other, so events cannot be
// counted. Between directories the order is that of the queue, which is not
// always that of the system calls of different processes. Writes through a
// memory map are told when the file is closed, and not if, since they were made,
// thousands of other files have changed; writes through a hard link outside the
// roots are told when the file is closed or its attributes change in the tree. Links below a root are not followed, and of two names of
// one directory (a bind mount) only the first is watched. A Subscription that
// skips directories by their path, rather than their name, is not asked again
// about what lies below a renamed one. A file
// system that hangs, as one does whose server is away, holds everything up
// while it is looked at.
//
// # Needs and cost
//
// Linux 4.11 (statx) and /proc; openat2, of 5.6, saves calls where it is
// allowed. A directory takes about 60 bytes beside its name, and in the kernel
// about a kilobyte (fs.inotify.max_user_watches bounds them). A rename of a
// directory costs the same whatever is below it. When nothing happens, nothing
// runs, unless something has to be polled. `go test -bench . ./inotify` shows
// the figures beside what the kernel alone takes.
package inotify
