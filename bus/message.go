package bus

import (
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/execlog/execlogd/inotify"
)

// What a message may have at most. A message that has more is junk.
const (
	maxMessageBytes = 256 << 10
	maxEvents       = 1024
	maxPath         = 4096

	// A message is full with so many bytes of paths, which take four thirds of that.
	fullMessage = 128 << 10
)

// format is the version of the messages that are written, and the only one that is read.
const format = 1

// A message is what one machine has to say of one root: changes in order, or that some
// were dropped.
type message struct {
	Format  int      `json:"v"`
	Machine string   `json:"m"`
	Number  uint64   `json:"n"`           // of the message, for this root; the first is 1
	Changes []change `json:"e,omitempty"` // in order
	Lost    int64    `json:"l,omitempty"` // changes since then were dropped before these; ms since 1970
}

// A change is an event with what the machine saw at its path when the message was made.
type change struct {
	Path    []byte       `json:"p"` // relative to the root, in the bytes of the file system
	From    []byte       `json:"f,omitempty"`
	Mask    inotify.Mask `json:"o"`
	Version version      `json:"s"`
}

// A version is what there is at a path. Times are in ns since 1970.
type version struct {
	Gone     bool  `json:"g,omitempty"` // nothing is there, and Modified is when that was seen
	Size     int64 `json:"b,omitempty"` // of a regular file
	Modified int64 `json:"t,omitempty"`
	Changed  int64 `json:"c,omitempty"` // ctime
}

// sentMask has the kinds of events that are sent to other machines.
const sentMask = inotify.Modify | inotify.Attrib | inotify.CloseWrite | inotify.MovedFrom | inotify.MovedTo |
	inotify.Create | inotify.Delete | inotify.IsDir

// isSent reports whether an event is of interest to other machines. What happens to the
// root itself is the business of each of them.
func isSent(e inotify.Event) bool {
	return e.Mask&sentMask&^inotify.IsDir != 0 && isPath(e.Path) && (e.From == "" || isPath(e.From))
}

// isPath reports whether a path is that of something below a root, in its shortest form.
func isPath(p string) bool {
	return p != "." && len(p) <= maxPath && filepath.IsLocal(p) && path.Clean(p) == p && !strings.ContainsRune(p, 0)
}

// parse decodes a message that was received from a machine, and refuses what none would
// send.
func parse(data []byte, machine string) (m message, err error) {
	if len(data) > maxMessageBytes {
		return m, fmt.Errorf("%d bytes", len(data))
	}
	if err := json.Unmarshal(data, &m); err != nil {
		return m, err
	}
	switch {
	case m.Format != format:
		return m, fmt.Errorf("format %d", m.Format)
	case m.Machine != machine:
		return m, errors.New("machine of another subject")
	case m.Number == 0:
		return m, errors.New("no number")
	case len(m.Changes) > maxEvents:
		return m, fmt.Errorf("%d events", len(m.Changes))
	case len(m.Changes) == 0 && m.Lost == 0:
		return m, errors.New("no event")
	}
	for _, c := range m.Changes {
		e := c.event("")
		if e.Mask&^sentMask != 0 || !isSent(e) || e.From != "" && e.Mask&inotify.MovedTo == 0 {
			return m, fmt.Errorf("event %v", e)
		}
	}
	return m, nil
}

// event returns the event that the change is for a root.
func (c *change) event(root string) inotify.Event {
	return inotify.Event{Root: root, Path: string(c.Path), From: string(c.From), Mask: c.Mask}
}

// lostSince returns since when changes were dropped.
func (m *message) lostSince() time.Time { return time.UnixMilli(m.Lost) }
