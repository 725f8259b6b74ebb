package logging

import (
	"fmt"
	"log/slog"

	"github.com/execlog/execlogd/inotify"
)

// Keys of attributes that handlers treat specially. A value of another type than
// the one named here is an ordinary attribute.
const (
	RouteKey = "route" // string: the route that a record is about
	AgainKey = "again" // time.Duration: how long until a failed run is repeated
)

// Messages about a run of a route that get a mark of their own on a terminal, as
// router.Restarted and router.Stopped do.
const (
	Done      = "done"
	Suspended = "stopped until the next success"
	Died      = "service has died" // a service that ended by itself
)

// Paths are the paths that a record is about. As text it is the first one and the
// number of the others; the journal gets one field for each.
type Paths []string

// PathsOf returns the absolute paths of a batch.
func PathsOf(batch []inotify.Event) Paths {
	paths := make(Paths, len(batch))
	for i, e := range batch {
		paths[i] = e.Name()
	}
	return paths
}

// MarshalText implements [encoding.TextMarshaler].
func (p Paths) MarshalText() ([]byte, error) {
	switch len(p) {
	case 0:
		return nil, nil
	case 1:
		return []byte(p[0]), nil
	}
	return fmt.Appendf(nil, "%s and %d more", p[0], len(p)-1), nil
}

// allAttrs returns the attributes that a logger adds, followed by those of the
// record.
func allAttrs(added []slog.Attr, r slog.Record) []slog.Attr {
	all := added[:len(added):len(added)]
	r.Attrs(func(a slog.Attr) bool {
		all = append(all, a)
		return true
	})
	return all
}

// isOutput reports whether a record with these attributes is a line that a command
// wrote: such a line has its route and nothing else.
func isOutput(attrs []slog.Attr) bool { return len(attrs) == 1 && attrs[0].Key == RouteKey }
