package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/execlog/execlogd/inotify"
	"github.com/execlog/execlogd/internal/config"
	"github.com/execlog/execlogd/internal/logging"
	"github.com/execlog/execlogd/router"
)

const watchUsage = `Usage: execlogd watch [flags] [path...]

Prints the events in directories, or of single files, as they happen; without a path
those in the current directory.
`

// A watchConfig is the command line of execlogd watch, checked.
type watchConfig struct {
	paths     []string // of directories and files
	recursive bool
	wait      bool
	events    inotify.Mask
	ignored   func(path string) bool
	json      bool
	nul       bool // -0
}

func parseWatch(args []string) (watchConfig, error) {
	cfg := watchConfig{recursive: true, events: inotify.Changes}
	var ignore []string
	flags := flag.NewFlagSet("execlogd watch", flag.ContinueOnError)
	flags.BoolVar(&cfg.recursive, "recursive", cfg.recursive, "watch all directories below as well")
	flags.Func("events", "print these `events` of inotify(7), as in modify,moved_to (default those of all changes)", func(s string) (err error) {
		cfg.events, err = inotify.ParseMask(s)
		return err
	})
	flags.Func("ignore", "neither watch nor print what matches this `pattern` (may be repeated)", func(s string) error {
		config.Patterns{List: &ignore}.Add(s)
		return nil
	})
	flags.BoolVar(&cfg.wait, "wait", false, "watch what does not exist yet as soon as it does")
	flags.BoolVar(&cfg.json, "json", false, "print a JSON object a line")
	flags.BoolVar(&cfg.nul, "0", false, "print the path of each event alone, as it is, with a NUL after it, as xargs -0 reads it")
	if err := config.ParseFlags(flags, watchUsage, args); err != nil {
		return cfg, err
	}
	if cfg.json && cfg.nul {
		return cfg, config.Usagef("-json and -0 are two ways to print an event: drop one of them")
	}
	if cfg.paths = flags.Args(); len(cfg.paths) == 0 {
		cfg.paths = []string{"."}
	}

	var roots []string
	for _, path := range cfg.paths {
		root, err := filepath.Abs(path)
		if err != nil {
			return cfg, err
		}
		roots = append(roots, root)
	}
	if err := config.CheckIgnore(ignore, roots...); err != nil {
		return cfg, err
	}

	// What is ignored is what a route ignores that hides nothing by itself.
	route := router.Route{Name: "watch", Ignore: ignore, Hidden: []string{}, Callback: noCallback}
	r, err := router.New(router.Options{}, route)
	if err != nil {
		return cfg, config.UsageError{Err: err}
	}
	cfg.ignored = func(path string) bool { return r.SkipDir("", path) }
	return cfg, nil
}

// watch prints events until ctx ends.
func watch(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	cfg, err := parseWatch(args)
	if err != nil {
		return err
	}

	// Two queues, since one of the streams may be read and the other not.
	out, errs := logging.NewQueue(nil), logging.NewQueue(nil)
	defer errs.Close()
	defer out.Close()
	stdout = out.WaitingWriter(ctx, stdout)
	say := func(text string) {
		errs.WriteLine(stderr, "execlogd: "+text+"\n")
	}

	stopped := func(int) error { return ctx.Err() }
	w, err := inotify.New(inotify.Options{Problem: func(err error) { say(err.Error()) }, Scanning: stopped})
	if err != nil {
		return err
	}
	defer w.Close()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	for _, path := range cfg.paths {
		if err := config.CheckRootOrFile("path", path, "name another, or add -wait", cfg.wait); err != nil {
			return err
		}
		_, err := w.Add(cfg.subscription(path, stdout, sayRoot(say, path), stop))
		if _, isLimit := errors.AsType[*inotify.LimitError](err); isLimit {
			say(err.Error()) // the rest is polled
		} else if err != nil && ctx.Err() == nil {
			return err
		}
	}
	say("watching " + logging.WatchedCount(w.Watches(), cfg.paths))
	sayMissing(say, cfg.paths)

	if err := w.Run(ctx); err != nil {
		return err
	}
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return fmt.Errorf("print events: %w", err)
	}
	return nil
}

// subscription returns one that prints the events of a path. It calls notice when the
// directory at the path is gone or there, and stop when nothing can be printed.
func (cfg watchConfig) subscription(path string, stdout io.Writer, notice func(there bool), stop context.CancelCauseFunc) inotify.Subscription {
	const gone = inotify.DeleteSelf | inotify.MoveSelf
	out := bufio.NewWriter(stdout)

	return inotify.Subscription{
		Root:    path,
		Wait:    cfg.wait,
		Mask:    cfg.events,
		SkipDir: func(path string) bool { return !cfg.recursive || cfg.ignored(path) },
		Deliver: func(events []inotify.Event) {
			for _, e := range events {
				if e.Path == "." || !cfg.ignored(e.Path) {
					cfg.print(out, e)
				}
				if e.Path == "." && e.Mask&inotify.IsDir != 0 && e.Mask&(gone|inotify.Create) != 0 {
					notice(e.Mask&gone == 0)
				}
			}
			if err := out.Flush(); err != nil {
				stop(err)
			}
		},
	}
}

// print prints an event.
func (cfg watchConfig) print(out *bufio.Writer, e inotify.Event) {
	switch {
	case cfg.nul:
		out.WriteString(e.Name())
		out.WriteByte(0)
	case cfg.json:
		line := eventLine{Time: time.Now(), Root: e.Root, Path: e.Path, From: e.From, Events: strings.Split(e.Mask.String(), "|")}
		if !utf8.ValidString(e.Path + e.From) {
			line.PathBytes, line.FromBytes = []byte(e.Path), []byte(e.From)
		}
		_ = json.NewEncoder(out).Encode(line) // Flush has the error
	default:
		fmt.Fprintf(out, "%-24s %s", e.Mask, inotify.Quote(e.Name()))
		if e.From != "" {
			fmt.Fprintf(out, " from %s", inotify.Quote(inotify.Event{Root: e.Root, Path: e.From}.Name()))
		}
		out.WriteByte('\n')
	}
}

// An eventLine is an event as -json prints it. A path that is not UTF-8 is there as
// bytes in base64 as well.
type eventLine struct {
	Time      time.Time `json:"time"`
	Root      string    `json:"root"`
	Path      string    `json:"path"`
	From      string    `json:"from,omitempty"`
	Events    []string  `json:"events"`
	PathBytes []byte    `json:"path_bytes,omitempty"`
	FromBytes []byte    `json:"from_bytes,omitempty"`
}
