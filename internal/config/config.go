// Package config reads what execlogd is to do: the flags of the command line and
// the configuration file of execlogd.toml(5), as one value that is checked. It opens
// no socket, starts nothing, and of the file system looks only at what is named.
//
// Each key of a file is a row of a table with its decoder; the rows of a [[route]]
// have the help of the flags of execlogd run as well. Mistakes are collected in a
// Report, so that all of a file are reported at once, and get their line and column
// when all is read.
package config

import (
	"errors"
	"flag"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/execlog/execlogd/httpd"
	"github.com/execlog/execlogd/router"
)

// A Config is the command line of the daemon with its configuration file, checked.
type Config struct {
	File      string // as -config names it; empty for none
	Path      string // of the file, absolute
	Text      []byte // that is in the file
	WatchFile bool   // load it again when it changes

	Serve        bool   // over HTTP
	Root         string // absolute
	Host         string
	Port         int
	Static       bool
	LiveReload   bool
	Inject       bool
	Delay        time.Duration
	Debounce     time.Duration
	Hidden       []string // names that are ignored unless a pattern spells them out
	Ignore       []string
	AllowHosts   []string
	AllowOrigins []string
	After        []string // routes that pages wait for

	LogLevel  string
	LogFormat string
	Control   string // the control socket, absolute; empty for the usual place
	Jobs      int    // that run at once; 0 for the router's default

	Routes []Route

	Help    string // to print in place of anything else
	Version bool   // print that instead

	flags map[string]bool // that were given
}

const defaultDelay = 100 * time.Millisecond

// Default returns what the daemon does without flags and without a file.
func Default() Config {
	return Config{
		Serve:      true,
		Root:       ".",
		Host:       "127.0.0.1",
		Port:       8000,
		Static:     true,
		LiveReload: true,
		Inject:     true,
		Delay:      defaultDelay,
		Debounce:   router.DefaultDebounce,
		Hidden:     router.DefaultIgnore(),
		LogLevel:   "info",
		LogFormat:  "auto",
	}
}

var (
	logLevels  = []string{"debug", "info", "warn", "error"}
	logFormats = []string{"auto", "text", "json"}
)

// keys are the keys at the top of a file.
func (cfg *Config) keys() []key {
	return []key{
		{"log_level", oneOf(&cfg.LogLevel, logLevels...), ""},
		{"log_format", oneOf(&cfg.LogFormat, logFormats...), ""},
		{"control", path(&cfg.Control, `a socket, as in "/run/site.sock"`), ""},
		{"jobs", number(&cfg.Jobs, 1, 1<<16), ""},
		{"server", func(t *tables, v value) {
			cfg.Serve = true
			t.table(v, cfg.serverKeys())
		}, ""},
		{"route", func(t *tables, v value) {
			routes, ok := v.is.([]any)
			if !ok {
				t.Add(v.at.key(), "route is %s: begin each route with [[route]]", v.kind())
			}
			for i, route := range routes {
				cfg.Routes = append(cfg.Routes, t.route(value{route, v.label, v.at.Element(i)}))
			}
		}, ""},
	}
}

// serverKeys are the keys of [server]: the flags of the daemon that are about HTTP,
// with _ for each dash, and after.
func (cfg *Config) serverKeys() []key {
	return []key{
		{"root", directory(&cfg.Root), ""},
		{"host", text(&cfg.Host, `an address, as in "127.0.0.1"`), ""},
		{"port", number(&cfg.Port, 0, 65535), ""},
		{"static", boolean(&cfg.Static), ""},
		{"livereload", boolean(&cfg.LiveReload), ""},
		{"inject", boolean(&cfg.Inject), ""},
		{"delay", duration(&cfg.Delay), ""},
		{"debounce", duration(&cfg.Debounce), ""},
		{"ignore", patterns(Patterns{&cfg.Hidden, &cfg.Ignore}), ""},
		{"allow_host", access(&cfg.AllowHosts, `names, as in ["preview.example.com"]`, httpd.CheckHost), ""},
		{"allow_origin", access(&cfg.AllowOrigins, `origins, as in ["https://example.com"]`, httpd.CheckOrigin), ""},
		{"after", names(&cfg.After), ""},
	}
}

// define declares the flags of the daemon, with cfg's values as their defaults.
func (cfg *Config) define(flags *flag.FlagSet) {
	flags.StringVar(&cfg.File, "config", cfg.File, "read this `file`, execlogd.toml(5); the other flags win over it")
	flags.BoolVar(&cfg.WatchFile, "watch-config", cfg.WatchFile, "load the file of -config anew when it changes, as at SIGHUP")
	flags.StringVar(&cfg.Root, "root", cfg.Root, "serve and watch this `directory`")
	flags.StringVar(&cfg.Host, "host", cfg.Host, "listen on this `address`; 0.0.0.0 or :: is every address of the machine")
	flags.IntVar(&cfg.Port, "port", cfg.Port, "listen on this TCP `port`; 0 takes a free one")
	flags.BoolVar(&cfg.Static, "static", cfg.Static, "serve the files of the root; without it there is live reload alone,\nfor pages that another server or a file: address shows")
	flags.BoolVar(&cfg.LiveReload, "livereload", cfg.LiveReload, "watch the root and refresh the pages that are open")
	flags.BoolVar(&cfg.Inject, "inject", cfg.Inject, "put the script for live reload into pages; without it a page has to link\n/livereload.js itself")
	flags.Var((*durationFlag)(&cfg.Delay), "delay", "gather changes for this `duration` before pages are told; 0 does not wait")
	flags.Var((*durationFlag)(&cfg.Debounce), "debounce", "tell pages at most once in this `duration`; 0 is no limit")
	flags.Var(Patterns{&cfg.Hidden, &cfg.Ignore}, "ignore", "do not watch what matches this `pattern` (may be repeated; adds to the\ndefault, which an empty pattern takes away)")
	flags.Var((*stringsFlag)(&cfg.AllowHosts), "allow-host", "also answer to this host `name`, or to all below .example.com (may be repeated)")
	flags.Var((*stringsFlag)(&cfg.AllowOrigins), "allow-origin", "also send changes to pages of this `origin`, as in https://example.com (may be repeated)")
	flags.StringVar(&cfg.Control, "control", cfg.Control, "with -config, listen for execlogd log and trigger on this `socket` (default one in\n$RUNTIME_DIRECTORY, $XDG_RUNTIME_DIR/execlogd or /tmp/execlogd-UID)")
	flags.StringVar(&cfg.LogLevel, "log-level", cfg.LogLevel, "log from this `level` on: debug, info, warn or error")
	flags.StringVar(&cfg.LogFormat, "log-format", cfg.LogFormat, "log in this `format`: text, json, or auto, which is text with colours on a terminal")
	flags.BoolVar(&cfg.Version, "version", false, "print the version")
}

// Parse reads the daemon's flags, and the file that they name. It returns the
// arguments that follow the flags. Name and usage are for the help.
func Parse(name, usage string, args []string) (Config, []string, error) {
	cfg := Default()
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	flags.SetOutput(io.Discard) // errors are printed once, by main
	cfg.define(flags)
	err := flags.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return Config{Help: Help(flags, usage)}, nil, nil
	case err != nil:
		return Config{}, nil, UsageError{Err: err}
	case cfg.Version:
		return cfg, nil, nil
	case cfg.File != "":
		if cfg, err = readBelow(cfg.File, args); err != nil {
			return Config{}, nil, err
		}
	}
	return cfg, flags.Args(), cfg.check()
}

// readBelow reads a file, and sets what the flags in args, which are valid, set over
// it.
func readBelow(file string, args []string) (Config, error) {
	cfg, err := Read(file)
	if err != nil {
		return Config{}, err
	}
	flags := flag.NewFlagSet("", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	cfg.define(flags)
	if err := flags.Parse(args); err != nil {
		return Config{}, UsageError{Err: err}
	}

	server := keyNames(cfg.serverKeys())
	cfg.flags = make(map[string]bool)
	flags.Visit(func(f *flag.Flag) {
		cfg.flags[f.Name] = true
		cfg.Serve = cfg.Serve || slices.Contains(server, strings.ReplaceAll(f.Name, "-", "_"))
	})
	return cfg, nil
}

// check checks the values of flags, and makes paths absolute.
func (cfg *Config) check() (err error) {
	switch {
	case cfg.WatchFile && cfg.File == "":
		return Usagef("-watch-config without -config: name a file, or drop it")
	case cfg.Control != "" && cfg.File == "":
		return Usagef("-control without -config: the socket is for the runs of routes; name a file that has some, or drop it")
	case cfg.Root == "":
		return Usagef("-root is empty: name a directory, as in -root .")
	case cfg.Host == "":
		return Usagef("-host is empty: name an address, or 0.0.0.0 for every address of the machine")
	case cfg.Port < 0 || cfg.Port > 65535:
		return Usagef("-port %d: a port is from 0 to 65535", cfg.Port)
	case cfg.Delay < 0:
		return Usagef("-delay %v: a delay is not negative", cfg.Delay)
	case cfg.Debounce < 0:
		return Usagef("-debounce %v: a time is not negative", cfg.Debounce)
	case !slices.Contains(logLevels, cfg.LogLevel):
		return Usagef("-log-level %q: want %s", cfg.LogLevel, strings.Join(logLevels, ", "))
	case !slices.Contains(logFormats, cfg.LogFormat):
		return Usagef("-log-format %q: want %s", cfg.LogFormat, strings.Join(logFormats, ", "))
	case !cfg.Static && !cfg.LiveReload && len(cfg.Routes) == 0:
		return Usagef("-static=false and -livereload=false leave nothing to do: drop one of them, or name a file with routes by -config")
	}
	cfg.Serve = cfg.Serve && (cfg.Static || cfg.LiveReload)

	if cfg.Control != "" {
		// An absolute path is never an abstract socket of unix(7), which has no file.
		if cfg.Control, err = filepath.Abs(cfg.Control); err != nil {
			return err
		}
	}
	if cfg.Root, err = filepath.Abs(cfg.Root); err != nil {
		return err
	}
	return checkFlags(cfg.serverPatterns(), cfg.NewReport(), cfg.Root)
}
