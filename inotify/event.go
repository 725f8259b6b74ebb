package inotify

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// A Mask is a set of inotify event bits, with the values and meanings of
// inotify(7).
type Mask uint32

// The kernel's events.
const (
	Access       Mask = unix.IN_ACCESS        // a file was read
	Modify       Mask = unix.IN_MODIFY        // a file's content changed, or is newer by its mtime
	Attrib       Mask = unix.IN_ATTRIB        // mode, owner, times, links or extended attributes changed
	CloseWrite   Mask = unix.IN_CLOSE_WRITE   // a file that was open for writing was closed
	CloseNoWrite Mask = unix.IN_CLOSE_NOWRITE // a file that was open for reading was closed
	Open         Mask = unix.IN_OPEN          // a file was opened
	MovedFrom    Mask = unix.IN_MOVED_FROM    // the path is the old name in a rename
	MovedTo      Mask = unix.IN_MOVED_TO      // the path is the new name in a rename
	Create       Mask = unix.IN_CREATE        // a file, directory, link or node was made
	Delete       Mask = unix.IN_DELETE        // it was removed
	DeleteSelf   Mask = unix.IN_DELETE_SELF   // the root itself was removed
	MoveSelf     Mask = unix.IN_MOVE_SELF     // the root itself was renamed
)

// Bits that the kernel or the watcher sets together with the event. A Subscription need
// not ask for them.
const (
	Unmount  Mask = unix.IN_UNMOUNT    // the file system below was unmounted
	Overflow Mask = unix.IN_Q_OVERFLOW // the kernel's queue was full and events are missing
	Ignored  Mask = unix.IN_IGNORED    // the watch ended
	IsDir    Mask = unix.IN_ISDIR      // the path is a directory
)

// Changes is the set of events that say what a tree holds: content, names and
// existence. A Subscription without a Mask gets these.
const Changes = Modify | CloseWrite | Attrib | MovedFrom | MovedTo | Create | Delete | DeleteSelf | MoveSelf

// A maskName is the name of one bit.
type maskName struct {
	bit  Mask
	name string
}

// maskNames has the names in the order in which String writes them.
var maskNames = []maskName{
	{Access, "access"},
	{Modify, "modify"},
	{Attrib, "attrib"},
	{CloseWrite, "close_write"},
	{CloseNoWrite, "close_nowrite"},
	{Open, "open"},
	{MovedFrom, "moved_from"},
	{MovedTo, "moved_to"},
	{Create, "create"},
	{Delete, "delete"},
	{DeleteSelf, "delete_self"},
	{MoveSelf, "move_self"},
	{Unmount, "unmount"},
	{Overflow, "q_overflow"},
	{Ignored, "ignored"},
	{IsDir, "isdir"},
}

// String returns the names of inotify(7) without IN_, in lower case and joined
// by "|": "create|isdir". Unknown bits follow as one hexadecimal number.
func (m Mask) String() string {
	var names []string
	for _, n := range maskNames {
		if m&n.bit != 0 {
			names = append(names, n.name)
			m &^= n.bit
		}
	}

	if m != 0 || len(names) == 0 {
		names = append(names, fmt.Sprintf("%#x", uint32(m)))
	}
	return strings.Join(names, "|")
}

// ParseMask parses what String returns. Names may also be in upper case, have the
// prefix IN_, and be separated by commas.
func ParseMask(s string) (Mask, error) {
	var m Mask
	for word := range strings.FieldsFuncSeq(s, func(r rune) bool { return r == '|' || r == ',' }) {
		name := strings.TrimPrefix(strings.ToLower(strings.TrimSpace(word)), "in_")
		i := slices.IndexFunc(maskNames, func(n maskName) bool { return n.name == name })
		if i < 0 {
			return 0, fmt.Errorf("unknown event %q: want names of inotify(7) such as modify, moved_to, create or delete", word)
		}

		m |= maskNames[i].bit
	}

	if m == 0 {
		return 0, fmt.Errorf("no event in %q: want names of inotify(7) such as modify, moved_to, create or delete", s)
	}
	return m, nil
}

// An Event is one thing that happened to one path below a root.
type Event struct {
	// Root is the root as the Subscription names it.
	Root string

	// Path is relative to Root, with slashes, in the bytes that the file
	// system has (not always UTF-8); "." is the root itself.
	Path string

	// From is set only with MovedTo, when the file or directory was below the
	// same Root before: it is its old path, relative to Root. The MovedFrom
	// event of that path came before.
	From string

	// Mask says what happened; several bits may be set.
	Mask Mask
}

// Name returns the path with its root before it.
func (e Event) Name() string { return filepath.Join(e.Root, e.Path) }

// String returns the event for people and logs: "moved_to a/new from a/old".
func (e Event) String() string {
	s := e.Mask.String() + " " + Quote(e.Path)
	if e.From != "" {
		s += " from " + Quote(e.From)
	}
	return s
}

// Quote returns a path for people: a plain one as it is, and one with spaces or
// with bytes that do not print quoted as in Go.
func Quote(path string) string {
	if q := fmt.Sprintf("%q", path); q[1:len(q)-1] != path || strings.Contains(path, " ") {
		return q
	}
	return path
}
