package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/lmittmann/tint"

	"github.com/execlog/execlogd/inotify"
	"github.com/execlog/execlogd/job"
)

// A consoleHandler writes for people: what is about a route in columns of
// their own, and the rest as its Handler does.
type consoleHandler struct {
	slog.Handler
	attrs []slog.Attr
	*console
}

// A console is what the handlers of one terminal share.
type console struct {
	plain  bool // no colours
	layout string

	mu    sync.Mutex
	w     io.Writer
	width int // of the longest name of a route so far
}

func newConsoleHandler(w io.Writer, level slog.Level, plain bool, routes ...routeConfig) *consoleHandler {
	c := &console{w: w, plain: plain, layout: time.TimeOnly}
	for _, r := range routes {
		c.width = max(c.width, utf8.RuneCountInString(r.name.is))
	}
	return &consoleHandler{console: c, Handler: tint.NewTextHandler(c, &tint.Options{Level: level, TimeFormat: time.TimeOnly, NoColor: plain})}
}

// Write is for the handler of the rest, which writes a line at a time.
func (c *console) Write(line []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.w.Write(line)
}

func (h *consoleHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &consoleHandler{h.Handler.WithAttrs(attrs), append(h.attrs[:len(h.attrs):len(h.attrs)], attrs...), h.console}
}

func (h *consoleHandler) WithGroup(name string) slog.Handler {
	return &consoleHandler{h.Handler.WithGroup(name), h.attrs, h.console}
}

func (h *consoleHandler) Handle(ctx context.Context, r slog.Record) error {
	attrs := attrsOf(h.attrs, r)
	var line jobLine
	for _, a := range attrs {
		line.set(a)
	}
	if line.route == "" || r.Level < slog.LevelInfo {
		return h.Handler.Handle(ctx, r)
	}
	line.time, line.message, line.output = r.Time, r.Message, isOutput(attrs)
	if line.note != "" && line.err == nil {
		line.message += ":" // whose processes these are
	}
	line.open = line.err == nil && r.Message != "done"
	line.ended = slices.Contains([]string{restarted, stopped, down}, r.Message)
	return h.write(line)
}

// A jobLine is what a terminal shows of a route.
type jobLine struct {
	time    time.Time
	route   string
	message string
	output  bool // message is the job's
	paths   pathList
	more    int // paths
	took    time.Duration
	open    bool   // it is about no run that is over
	ended   bool   // from outside
	note    string // what else there is to say
	err     error
}

func (l *jobLine) set(a slog.Attr) {
	switch v := a.Value.Any().(type) {
	case pathList:
		l.paths = v
	case job.Processes:
		l.note = v.String()
	case time.Duration:
		if a.Key == againKey {
			l.note = againIn(v)
		} else {
			l.took = v
		}
	case error:
		l.err = v
	case string:
		if a.Key == "route" {
			l.route = v
		}
	}
}

// The colours of a terminal: ECMA-48's SGR.
const (
	faint = "\x1b[2m"
	green = "\x1b[32m"
	red   = "\x1b[91m"
	bold  = "\x1b[1;91m"
	reset = "\x1b[0m"
)

// againIn says when a run that has failed is followed by another.
func againIn(d time.Duration) string { return "again in " + d.String() }

// failedLines is how much of its output a failing job shows once more.
const failedLines = 20

func (c *console) write(l jobLine) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.width = max(c.width, 6, utf8.RuneCountInString(l.route))
	var b bytes.Buffer
	start := func(colour, mark string) {
		fmt.Fprintf(&b, "%s %-*s %s ", c.paint(faint, l.time.Format(c.layout)), c.width, l.route, c.paint(colour, mark))
	}
	switch {
	case l.output:
		start(faint, "│")
		b.WriteString(c.paint(faint, printable(drawn(l.message))))
	case l.ended:
		start(faint, "■")
		fmt.Fprintf(&b, "%s %s", l.summary(l.message), c.paint(faint, l.about()))
	case l.open:
		start(faint, "•")
		fmt.Fprintf(&b, "%s %s", l.summary(l.message), c.paint(faint, l.about()))
	case l.err == nil:
		start(green, "✓")
		fmt.Fprintf(&b, "%s %s", l.summary(l.message), c.paint(faint, l.about()))
	default:
		start(bold, "✗")
		what := l.err.Error()
		if l.message == hasDied {
			what = hasDied + ": " + what
		}
		fmt.Fprintf(&b, "%s %s", c.paint(bold, l.summary(what)), c.paint(faint, l.about()))
		for _, text := range outputOf(l.err) {
			b.WriteByte('\n')
			start(red, "┃")
			b.WriteString(printable(text))
		}
	}
	b.WriteByte('\n')
	_, err := c.w.Write(b.Bytes())
	return err
}

func (c *console) paint(colour, text string) string {
	if c.plain || text == "" {
		return text
	}
	return colour + text + reset
}

// summary is what happened, and how long it took.
func (l *jobLine) summary(what string) string {
	if l.took == 0 {
		return printable(what)
	}
	return fmt.Sprintf("%s after %v", printable(what), l.took.Round(time.Millisecond))
}

// about is the files that it was about, as short as they can be from here, and
// the note.
func (l *jobLine) about() string {
	if len(l.paths) == 0 {
		return printable(l.note)
	}
	if l.note != "" {
		without := *l
		without.note = ""
		return without.about() + "; " + printable(l.note)
	}
	path := l.paths[0]
	if here, err := os.Getwd(); err == nil {
		if rel, in := below(here, path); in && rel != "." {
			path = rel
		}
	}
	if more := l.more + len(l.paths) - 1; more > 0 {
		return fmt.Sprintf("%s and %d more", inotify.Quote(path), more)
	}
	return inotify.Quote(path)
}

// outputOf is the last lines that a job wrote which failed.
func outputOf(err error) []string {
	failed, ok := errors.AsType[*job.Error](err)
	if !ok || len(failed.Record.Output) == 0 {
		return nil
	}
	lines := strings.Split(strings.TrimSuffix(drawn(string(failed.Record.Output)), "\n"), "\n")
	return lines[max(0, len(lines)-failedLines):]
}

// colours are the sequences that set a colour, or clear to the end of a line.
var colours = regexp.MustCompile(`\x1b\[[0-9;:]*[mK]`)

// drawn is what a terminal shows in the end of what a job writes, without its
// colours: of a line that was drawn again and again, as a progress bar is, the
// last.
func drawn(s string) string {
	if !strings.ContainsAny(s, "\r\x1b") {
		return s
	}
	var b strings.Builder
	for line := range strings.Lines(colours.ReplaceAllLiteralString(s, "")) {
		text, ended := strings.CutSuffix(line, "\n")
		text = strings.TrimRight(text, "\r")
		b.WriteString(text[strings.LastIndexByte(text, '\r')+1:])
		if ended {
			b.WriteByte('\n')
		}
	}
	return b.String()
}

// printable is text that cannot tell a terminal what to do.
func printable(s string) string {
	odd := func(r rune) bool { return r != '\t' && !unicode.IsPrint(r) || r == utf8.RuneError }
	if !strings.ContainsFunc(s, odd) {
		return s
	}
	var b strings.Builder
	for i, r := range s {
		if odd(r) {
			_, size := utf8.DecodeRuneInString(s[i:])
			quoted := fmt.Sprintf("%q", s[i:i+size])
			b.WriteString(quoted[1 : len(quoted)-1])
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}
