package logging

import (
	"context"
	"fmt"
	"log/slog"
	"slices"

	"github.com/execlog/execlogd/inotify"
)

// Keys of attributes that handlers treat specially. A value of another type than
// the one named here is an ordinary attribute.
const (
	RouteKey = "route" // string: the route that a record is about
	AgainKey = "again" // time.Duration: how long until a failed run is repeated
	ErrKey   = "err"   // what is wrong
	NowKey   = "now"   // string: what the daemon does
	stackKey = "stack" // string: of a panic
)

// Messages about a run of a route that get a mark of their own on a terminal, as
// router.Restarted and router.Stopped do.
const (
	Done      = "done"
	Suspended = "stopped until the next success"
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

// An attrsHandler hands each record to a function with all of its attributes: those that
// the logger adds, followed by those of the record.
type attrsHandler struct {
	slog.Handler             // what writes a record as text, for handle
	attrs        []slog.Attr // added by WithAttrs
	handle       func(ctx context.Context, text slog.Handler, r slog.Record, attrs []slog.Attr) error
}

func (h attrsHandler) Handle(ctx context.Context, r slog.Record) error {
	all := slices.Clone(h.attrs)
	r.Attrs(func(a slog.Attr) bool {
		all = append(all, a)
		return true
	})
	return h.handle(ctx, h.Handler, r, all)
}

func (h attrsHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return attrsHandler{h.Handler.WithAttrs(attrs), slices.Concat(h.attrs, attrs), h.handle}
}

func (h attrsHandler) WithGroup(name string) slog.Handler {
	return attrsHandler{h.Handler.WithGroup(name), h.attrs, h.handle}
}

// withPlace has the error of a failed command begin with what is wrong and where, by its
// output. It is for slog.HandlerOptions.
func withPlace(groups []string, a slog.Attr) slog.Attr {
	if err, ok := a.Value.Any().(error); ok && len(groups) == 0 && a.Key == ErrKey {
		a.Value = slog.StringValue(errorText(err))
	}
	return a
}

// errorText returns the text of an error. That of a failed command begins with what is wrong
// and where, if its output names a place.
func errorText(err error) string { return problem(err) + err.Error() }

// isOutput reports whether a record with these attributes is a line that a command
// wrote: such a line has its route and nothing else.
func isOutput(attrs []slog.Attr) bool { return len(attrs) == 1 && attrs[0].Key == RouteKey }
