// Package config reads the flags of execlogd and its configuration file,
// execlogd.toml(5), into one checked value: a Config for the daemon, a Run for
// execlogd run. It opens no socket and starts nothing. It reads the configuration
// file, and looks at the directories and patterns that are named there.
//
// go-toml decodes the file. A key of the file is a row of a table in this package
// (Config.keys, Config.serverKeys and Route.keys), with the function that decodes its
// value, and with the default and the help of the flag that sets the same value. So
// the flags and the file have the same keys, values and error messages.
//
// Mistakes are collected in a Report, so that all mistakes in a file are reported at
// once. Their lines and columns are looked up when there are any.
package config

import (
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
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
	Open      bool   // the site in a browser, at the start

	Serve        bool   // over HTTP
	Root         string // absolute
	Host         string
	Port         int
	AnyPort      bool // nobody has asked for Port: where it is taken, the next free one will do
	Static       bool
	LiveReload   bool
	Inject       bool
	Sync         bool
	Delay        time.Duration
	Debounce     time.Duration
	Hidden       []string // names that are ignored unless a pattern spells them out
	Ignore       []string
	AllowHosts   []string
	AllowOrigins []string
	CORS         []string // origins whose scripts may read files; "*" is any
	After        []string // routes that pages wait for
	Editor       string   // in which places of errors are opened, as httpd.Options has it

	LogLevel  slog.Level
	LogFormat string
	Control   string        // the control socket, absolute; empty for the usual place
	State     string        // the directory of what the next start is to know, absolute; empty for $STATE_DIRECTORY
	Jobs      int           // that run at once; 0 for the router's default
	StopGrace time.Duration // for requests and commands at a stop; negative is none
	IdleExit  time.Duration // after which the daemon ends when it has nothing to do; 0 for never

	Routes []Route

	flags     []string // that were given beside a file
	namesRoot bool     // the file does, for its [server]
}

// defaultDelay is the default of delay in [server].
const defaultDelay = 100 * time.Millisecond

// defaultStopGrace is the default of stop_grace.
const defaultStopGrace = 5 * time.Second

// defaultConfig returns what the daemon does without flags and without a file. Its
// root is dir.
func defaultConfig(dir string) Config {
	return Config{
		Serve:      true,
		Root:       dir,
		Host:       "127.0.0.1",
		Port:       8000,
		AnyPort:    true,
		Static:     true,
		LiveReload: true,
		Inject:     true,
		Delay:      defaultDelay,
		Debounce:   router.DefaultDebounce,
		Hidden:     router.DefaultIgnore(),
		LogFormat:  "auto",
		StopGrace:  defaultStopGrace,
	}
}

var (
	logLevels  = choice[slog.Level]{"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError}
	logFormats = choice[string]{"auto": "auto", "text": "text", "json": "json"}
)

// keys are the keys at the top of a file. Those with a help are flags as well.
func (cfg *Config) keys() []key {
	return []key{
		{"log_level", oneOf(&cfg.LogLevel, logLevels), "info", "log from this `level` on: debug, info, warn or error"},
		{"log_format", oneOf(&cfg.LogFormat, logFormats), "auto", "log in this `format`: text, json, or auto, which is text with colours on a terminal"},
		{"control", path(&cfg.Control, `a socket, as in "/run/site.sock"`), "one in\n$RUNTIME_DIRECTORY, $XDG_RUNTIME_DIR/execlogd or /tmp/execlogd-UID", "with -config, listen for execlogd log, reload and trigger on this `socket`"},
		{"idle_exit", duration(&cfg.IdleExit, 0), "0s, never", "end when no page was open and no request came for this `duration`, for a service\nthat its socket starts again; never while there are routes"},
		{"stop_grace", duration(&cfg.StopGrace, none), cfg.StopGrace, "at a stop, let requests and commands go on for this `duration`"},
		{"state", directory(&cfg.State), "$STATE_DIRECTORY, or none", "keep in this `directory` what the next start has to know: what is watched, and which\nchanges have not been dealt with"},
		{"jobs", number(&cfg.Jobs, 1, 1<<16, 4), nil, ""},
		{"server", func(t *tables, v value) {
			cfg.Serve = true
			t.table(v, cfg.serverKeys())
		}, nil, ""},
		{"route", func(t *tables, v value) {
			routes, isArray := v.elements()
			if !isArray {
				t.Add(v.at.key(), "route is %v: begin each route with [[route]]", v)
			}
			for _, route := range routes {
				cfg.Routes = append(cfg.Routes, t.route(route))
			}
		}, nil, ""},
	}
}

// serverKeys are the keys of [server]: what is about HTTP. Those with a help are
// flags as well.
func (cfg *Config) serverKeys() []key {
	return []key{
		{"root", directory(&cfg.Root), "the current one", "serve and watch this `directory`"},
		{"host", text(&cfg.Host, `an address, as in "127.0.0.1"`), cfg.Host, "listen on this `address`; 0.0.0.0 or :: is every address of the machine"},
		{"port", port(cfg), fmt.Sprintf("%d, or the next one that is free", cfg.Port), "listen on this TCP `port`; 0 takes a free one"},
		{"static", boolean(&cfg.Static), cfg.Static, "serve the files of the root; without it there is only live reload, for\npages of another server or of file: URLs"},
		{"livereload", boolean(&cfg.LiveReload), cfg.LiveReload, "watch the root and refresh the pages that are open"},
		{"inject", boolean(&cfg.Inject), cfg.Inject, "put the script for live reload into pages; without it a page has to link\n/livereload.js itself"},
		{"sync", boolean(&cfg.Sync), cfg.Sync, "do the clicks, scrolling and typing of one browser in all that show the page; for\ndevices of your own, as each visitor does it for all"},
		{"delay", duration(&cfg.Delay, none), cfg.Delay, "gather changes for this `duration` before pages are refreshed; 0s does not wait"},
		{"debounce", duration(&cfg.Debounce, none), cfg.Debounce, "wait at least this `duration` between two refreshes; 0s is no limit"},
		{"ignore", patterns(Patterns{&cfg.Hidden, &cfg.Ignore}), nil, "ignore files that match this `pattern` (may be repeated; in addition to hidden and\ntemporary files, which an empty pattern removes from the list)"},
		{"allow_host", checked(&cfg.AllowHosts, `names, as in ["preview.example.com"]`, httpd.CheckHost), nil, "also accept requests for this host `name`, or for all below .example.com (may be\nrepeated)"},
		{"allow_origin", checked(&cfg.AllowOrigins, `origins, as in ["https://example.com"]`, httpd.CheckOrigin), nil, "also let pages of this `origin`, as in https://example.com, connect for live reload\n(may be repeated)"},
		{"cors", crossOrigin(&cfg.CORS), nil, "let scripts of other sites read the files: of all sites, or with -cors=ORIGIN of one\n(may be repeated)"},
		{"after", names(&cfg.After), nil, ""},
		{"editor", editor(&cfg.Editor), "none", "open places of errors in this `editor`: vscode, idea, zed, or the pattern of a URL with\n{file}, {line} and {column}"},
	}
}

// Parse reads the daemon's flags, and the file that they name. It returns the
// arguments that follow the flags. Name and usage are for the help. The error is
// ErrVersion if the flag -version is given. What is wrong in the file is an error of type
// Mistakes, beside which the rest is returned.
func Parse(name, usage string, args []string) (Config, []string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return Config{}, nil, err
	}
	cfg := defaultConfig(dir)
	flags, err := cfg.parseFlags(name, usage, dir, args)
	var wrong Mistakes
	if err == nil && cfg.File != "" {
		// The flags are right, and are set once more, over what the file says.
		cfg, err = Read(cfg.File)
		var isMistakes bool
		if wrong, isMistakes = errors.AsType[Mistakes](err); err == nil || isMistakes {
			flags, err = cfg.parseFlags(name, usage, dir, args)
		}
	}
	if err != nil {
		return Config{}, nil, err
	}

	if cfg.File != "" {
		flags.Visit(func(f *flag.Flag) {
			cfg.flags = append(cfg.flags, f.Name)
			cfg.Serve = cfg.Serve || slices.Contains(keyNames(cfg.serverKeys()), strings.ReplaceAll(f.Name, "-", "_"))
		})
	}
	if wrong != nil {
		return cfg, flags.Args(), wrong
	}
	return cfg, flags.Args(), cfg.check()
}

// parseFlags sets what flags say. Paths in them are relative to dir.
func (cfg *Config) parseFlags(name, usage, dir string, args []string) (*flag.FlagSet, error) {
	t := &tables{new(Report), dir}
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	flags.StringVar(&cfg.File, "config", cfg.File, "read this `file`, execlogd.toml(5); other flags override it")
	flags.BoolVar(&cfg.WatchFile, "watch-config", cfg.WatchFile, "read the file of -config again when it changes, as at SIGHUP")
	flags.BoolVar(&cfg.Open, "open", cfg.Open, "open the site in a browser: $BROWSER, or that of the desktop")
	showVersion := flags.Bool("version", false, "print the version, and the commit and date that it was built from")
	defineKeys(flags, t, cfg.keys())
	defineKeys(flags, t, cfg.serverKeys())

	if err := ParseFlags(flags, usage, args); err != nil {
		return nil, err
	}
	if *showVersion {
		return nil, ErrVersion
	}
	return flags, t.usageError()
}

// check checks what flags and the file say together.
func (cfg *Config) check() error {
	switch {
	case cfg.WatchFile && cfg.File == "":
		return Usagef("-watch-config without -config: name a file, or drop it")
	case cfg.Control != "" && cfg.File == "":
		return Usagef("-control without -config: the socket is for the runs of routes; name a file that has some, or drop it")
	case !cfg.Static && !cfg.LiveReload && len(cfg.Routes) == 0:
		return Usagef("-static=false and -livereload=false leave nothing to do: drop one of them, or name a file with routes by -config")
	}
	cfg.Serve = cfg.Serve && (cfg.Static || cfg.LiveReload)
	return checkFlags(ignorePatterns(cfg.Ignore), cfg.NewReport(), cfg.Root)
}
