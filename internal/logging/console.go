package logging

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/lmittmann/tint"

	"github.com/execlog/execlogd/inotify"
	"github.com/execlog/execlogd/internal/ansi"
	"github.com/execlog/execlogd/job"
	"github.com/execlog/execlogd/router"
)

// newConsoleHandler returns a handler that writes for people at a terminal. Records about
// a route become lines in columns; tint writes the others. Each call of w.Write gets one
// record.
func newConsoleHandler(w io.Writer, o Options) slog.Handler {
	c := &Console{w: w, layout: time.TimeOnly, noColor: o.NoColor}
	for _, name := range o.Routes {
		c.routeWidth = max(c.routeWidth, utf8.RuneCountInString(name))
	}
	others := tint.NewTextHandler(w, &tint.Options{Level: o.Level, TimeFormat: c.layout, NoColor: c.noColor})
	return attrsHandler{Handler: others, handle: c.handle}
}

func (c *Console) handle(ctx context.Context, others slog.Handler, r slog.Record, attrs []slog.Attr) error {
	line := Line{Time: r.Time, Message: r.Message}
	for _, a := range attrs {
		line.setAttr(a)
	}
	if line.Route == "" || r.Level < slog.LevelInfo {
		return others.Handle(ctx, r)
	}

	switch {
	case isOutput(attrs):
		line.Kind = Output
	case slices.Contains([]string{router.Restarted.String(), router.Stopped.String(), Suspended}, r.Message):
		line.Kind = Ended
	case line.Err != nil:
		line.Kind = Failed
	case r.Message == Done:
		line.Kind = Succeeded
	default:
		line.Kind = Notice
		if line.Note != "" {
			line.Message += ":" // the note lists the processes
		}
	}
	return c.Write(line)
}

// A Line is what a terminal shows about a route.
type Line struct {
	Kind    Kind
	Time    time.Time
	Route   string
	Message string        // a failed run shows its error instead, after Died if it is that
	Took    time.Duration // 0 if it is not known
	Paths   Paths         // what the run was about; the first is shown
	More    int           // how many paths there are that Paths does not have
	Note    string        // shown after the paths
	Err     error         // of a failed run; if it is a *job.Error, the end of its output is shown
}

// A Kind says what a Line is about, and so which mark and colours it gets.
type Kind int

// The kinds of lines.
const (
	Notice    Kind = iota // a run that goes on, or something around it
	Output                // a line that the command wrote
	Succeeded             // a run is over
	Failed                // a run is over; Err says why
	Ended                 // a run was ended from outside
)

func (l *Line) setAttr(a slog.Attr) {
	switch v := a.Value.Any().(type) {
	case Paths:
		l.Paths = v
	case job.Processes:
		l.Note = v.String()
	case time.Duration:
		if a.Key == AgainKey {
			l.Note = AgainIn(v)
		} else {
			l.Took = v
		}
	case error:
		l.Err = v
	case string:
		if a.Key == RouteKey {
			l.Route = v
		}
	}
}

// AgainIn says in words when a failed run is repeated.
func AgainIn(d time.Duration) string { return "again in " + d.String() }

// summary returns what happened, and how long the run took.
func (l *Line) summary() string {
	text := l.Message
	if l.Kind == Failed {
		text = errorText(l.Err)
		if l.Message == Died {
			text = Died + ": " + text
		}
	}

	if l.Took == 0 {
		return Printable(text)
	}
	return fmt.Sprintf("%s after %v", Printable(text), l.Took.Round(time.Millisecond))
}

// About returns the paths and the note. A path in the working directory is
// relative to it.
func (l *Line) About() string {
	note := Printable(l.Note)
	if len(l.Paths) == 0 {
		return note
	}

	path := l.Paths[0]
	if wd, err := os.Getwd(); err == nil {
		if rel, err := filepath.Rel(wd, path); err == nil && rel != "." && filepath.IsLocal(rel) {
			path = rel
		}
	}
	about := inotify.Quote(path)
	if more := l.More + len(l.Paths) - 1; more > 0 {
		about = fmt.Sprintf("%s and %d more", about, more)
	}
	if note != "" {
		about += "; " + note
	}
	return about
}

// maxErrorLines is how many lines of its output a failed run shows once more.
const maxErrorLines = 20

// problem returns what is wrong and where, by the output of a failed command, with a colon
// behind it. It is empty if the output names no place: then its end says as much.
func problem(err error) string {
	failed, ok := errors.AsType[*job.Error](err)
	if !ok || failed.Run.Problem.File == "" {
		return ""
	}
	p := failed.Run.Problem
	return p.Place(failed.Run.Dir) + ": " + p.Message + ": "
}

// errorOutput returns the last lines that a failed command wrote.
func errorOutput(err error) []string {
	failed, ok := errors.AsType[*job.Error](err)
	if !ok || len(failed.Run.Output) == 0 {
		return nil
	}
	lines := strings.Split(strings.TrimSuffix(ansi.Strip(string(failed.Run.Output)), "\n"), "\n")
	return lines[max(0, len(lines)-maxErrorLines):]
}

// Sequences that set the colours of a terminal (SGR of ECMA-48).
const (
	faint   = "\x1b[2m"
	green   = "\x1b[32m"
	red     = "\x1b[91m"
	boldRed = "\x1b[1;91m"
	reset   = "\x1b[0m"
)

// marks are what is between the route and the message, and its colour.
var marks = map[Kind]struct{ colour, mark string }{
	Notice:    {faint, "•"},
	Output:    {faint, "│"},
	Succeeded: {green, "✓"},
	Failed:    {boldRed, "✗"},
	Ended:     {faint, "■"},
}

// Mark returns what is before a message of a kind.
func (k Kind) Mark(noColor bool) string {
	c := Console{noColor: noColor}
	return c.paint(marks[k].colour, marks[k].mark)
}

// Faint returns a text that matters less than what is beside it.
func Faint(text string, noColor bool) string {
	c := Console{noColor: noColor}
	return c.paint(faint, text)
}

// A Console writes lines about routes in columns: time, route, mark, message.
type Console struct {
	noColor bool
	layout  string // of the time

	mu         sync.Mutex // guards what follows, and keeps lines whole
	w          io.Writer
	routeWidth int      // of the longest name so far, in characters
	output     []string // the last lines of commands, each after its route, since any other line
}

// maxLinesAbove is how many lines above its end the output of a failed run is not shown
// once more: it is on the screen.
const maxLinesAbove = 2 * maxErrorLines

// minRouteWidth keeps the lines of short names aligned.
const minRouteWidth = 6

// NewConsole returns a Console that writes to w, with dates.
func NewConsole(w io.Writer, noColor bool) *Console {
	return &Console{w: w, layout: time.DateTime, noColor: noColor}
}

// Write writes a line. A failed run is followed by the end of its output, unless that is
// right above.
func (c *Console) Write(l Line) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.routeWidth = max(c.routeWidth, minRouteWidth, utf8.RuneCountInString(l.Route))

	var b bytes.Buffer
	columns := func(colour, mark string) {
		fmt.Fprintf(&b, "%s %-*s %s ", c.paint(faint, l.Time.Format(c.layout)), c.routeWidth, l.Route, c.paint(colour, mark))
	}

	mark := marks[l.Kind]
	columns(mark.colour, mark.mark)
	switch l.Kind {
	case Output:
		text := ansi.Strip(l.Message)
		b.WriteString(c.paint(faint, Printable(text)))
		c.output = append(c.output, outputLine(l.Route, text))
		c.output = c.output[max(0, len(c.output)-maxLinesAbove):]
	case Failed:
		fmt.Fprintf(&b, "%s %s", c.paint(boldRed, l.summary()), c.paint(faint, l.About()))
		lines := errorOutput(l.Err)
		if c.isAbove(l.Route, lines) {
			lines = nil
		}
		for _, text := range lines {
			b.WriteByte('\n')
			columns(red, "┃")
			b.WriteString(Printable(text))
		}
	default:
		fmt.Fprintf(&b, "%s %s", l.summary(), c.paint(faint, l.About()))
	}
	b.WriteByte('\n')
	if l.Kind != Output {
		c.output = nil
	}

	_, err := c.w.Write(b.Bytes())
	return err
}

// isAbove reports whether lines of a route are among the last ones on the screen, with
// nothing between them.
func (c *Console) isAbove(route string, lines []string) bool {
	for from := range c.output {
		if from+len(lines) > len(c.output) {
			return false
		}
		same := func(above, line string) bool { return above == outputLine(route, line) }
		if slices.EqualFunc(c.output[from:from+len(lines)], lines, same) {
			return true
		}
	}
	return false
}

func outputLine(route, text string) string { return route + "\x00" + text }

func (c *Console) paint(colour, text string) string {
	if c.noColor || text == "" {
		return text
	}
	return colour + text + reset
}
