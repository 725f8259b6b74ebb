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

// watchConfig is the command line of `execlogd watch`, checked.
type watchConfig struct {
	dirs      []string
	recursive bool
	wait      bool
	events    inotify.Mask
	ignored   func(path string) bool
	json      bool
	nul       bool // -0

	help string // to print in place of anything else
}

func parseWatch(args []string) (watchConfig, error) {
	cfg := watchConfig{recursive: true, events: inotify.Changes}
	var ignore []string
	flags := flag.NewFlagSet("execlogd watch", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.BoolVar(&cfg.recursive, "recursive", cfg.recursive, "watch all directories below as well")
	flags.Var((*maskFlag)(&cfg.events), "events", "print these `events` of inotify(7), as in modify,moved_to,create,delete")
	flags.Var(config.Patterns{List: &ignore}, "ignore", "neither watch nor print what matches this `pattern` (may be repeated)")
	flags.BoolVar(&cfg.wait, "wait", false, "watch what does not exist yet as soon as it does")
	flags.BoolVar(&cfg.json, "json", false, "print a JSON object a line")
	flags.BoolVar(&cfg.nul, "0", false, "print the path of each event alone, as it is, with a NUL after it, as xargs -0 reads it")
	err := flags.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		return watchConfig{help: config.Help(flags, "Usage: execlogd watch [flags] [path...]\n\nPrints what happens in directories, or to single files, as it happens; in the current\ndirectory if none is named.\n")}, nil
	}
	if err != nil {
		return cfg, config.UsageError{Err: err}
	}
	if cfg.dirs = flags.Args(); len(cfg.dirs) == 0 {
		cfg.dirs = []string{"."}
	}
	var roots []string
	for _, dir := range cfg.dirs {
		root, err := filepath.Abs(dir)
		if err != nil {
			return cfg, err
		}
		roots = append(roots, root)
	}
	if err := config.CheckIgnore(ignore, roots...); err != nil {
		return cfg, err
	}
	if cfg.json && cfg.nul {
		return cfg, config.Usagef("-json and -0 are two ways to print an event: drop one of them")
	}
	cfg.ignored, err = ignorer(ignore)
	return cfg, err
}

// ignorer is what a route makes of the patterns.
func ignorer(ignore []string) (func(path string) bool, error) {
	if len(ignore) == 0 {
		return func(string) bool { return false }, nil
	}
	route := router.Route{Name: "watch", Ignore: ignore, Callback: func(context.Context, []inotify.Event) error { return nil }}
	r, err := router.New(router.Options{}, route)
	if err != nil {
		return nil, config.UsageError{Err: err}
	}
	return func(path string) bool { return r.SkipDir("", path) }, nil
}

// watch prints events until ctx ends.
func watch(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	cfg, err := parseWatch(args)
	if err != nil {
		return err
	}
	if cfg.help != "" {
		_, err := io.WriteString(stdout, cfg.help)
		return err
	}
	out, errs := logging.NewQueue(nil), logging.NewQueue(nil) // two, as one may be read and the other not
	defer errs.Close()
	defer out.Close()
	stdout = out.WaitingWriter(ctx, stdout)
	say := func(text string) {
		errs.WriteLine(stderr, "execlogd: "+text+"\n")
	}
	w, err := inotify.New(inotify.Options{Problem: func(err error) { say(err.Error()) }})
	if err != nil {
		return err
	}
	defer w.Close()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	for _, dir := range cfg.dirs {
		if err := config.CheckRootOrFile("path", dir, "name another, or add -wait", cfg.wait); err != nil {
			return err
		}
		if _, err := w.Add(cfg.subscription(dir, stdout, sayRoot(say, dir), stop)); err != nil {
			return err
		}
	}
	say("watching " + watchedCount(w.Watches(), cfg.dirs))
	sayMissing(say, cfg.dirs)
	if err := w.Run(ctx); err != nil {
		return err
	}
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return fmt.Errorf("print events: %w", err)
	}
	return nil
}

// subscription prints what happens in dir, and tells notice when that is gone or
// there. An error of printing ends it all.
func (cfg watchConfig) subscription(dir string, stdout io.Writer, notice func(there bool), stop context.CancelCauseFunc) inotify.Subscription {
	const gone = inotify.DeleteSelf | inotify.MoveSelf
	out := bufio.NewWriter(stdout)
	return inotify.Subscription{
		Root:    dir,
		Wait:    cfg.wait,
		Mask:    cfg.events,
		SkipDir: func(path string) bool { return !cfg.recursive || cfg.ignored(path) },
		Deliver: func(events []inotify.Event) {
			for _, e := range events {
				if e.Path == "." || !cfg.ignored(e.Path) {
					cfg.write(out, e)
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

func (cfg watchConfig) write(out *bufio.Writer, e inotify.Event) {
	if cfg.nul {
		out.WriteString(e.Name())
		out.WriteByte(0)
		return
	}
	if !cfg.json {
		fmt.Fprintf(out, "%-24s %s", e.Mask, inotify.Quote(e.Name()))
		if e.From != "" {
			fmt.Fprintf(out, " from %s", inotify.Quote(inotify.Event{Root: e.Root, Path: e.From}.Name()))
		}
		out.WriteByte('\n')
		return
	}
	line := eventLine{Time: time.Now(), Root: e.Root, Path: e.Path, From: e.From, Events: strings.Split(e.Mask.String(), "|")}
	if !utf8.ValidString(e.Path + e.From) {
		line.PathBytes, line.FromBytes = []byte(e.Path), []byte(e.From)
	}
	text, err := json.Marshal(line)
	if err != nil {
		panic(err) // strings and a time
	}
	out.Write(append(text, '\n'))
}

// An eventLine is an event as -json prints it. Names that are not UTF-8 are
// given once more as their bytes, in base64.
type eventLine struct {
	Time      time.Time `json:"time"`
	Root      string    `json:"root"`
	Path      string    `json:"path"`
	From      string    `json:"from,omitempty"`
	Events    []string  `json:"events"`
	PathBytes []byte    `json:"path_bytes,omitempty"`
	FromBytes []byte    `json:"from_bytes,omitempty"`
}

// maskFlag is events as a flag.
type maskFlag inotify.Mask

func (m *maskFlag) String() string { return strings.ReplaceAll(inotify.Mask(*m).String(), "|", ",") }

func (m *maskFlag) Set(s string) error {
	mask, err := inotify.ParseMask(s)
	*m = maskFlag(mask)
	return err
}
