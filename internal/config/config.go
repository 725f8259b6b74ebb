// Package config reads the flags of execlogd and its configuration file,
// execlogd.toml(5), into one checked value: a Config for the daemon, a Run for
// execlogd run. It opens no socket and starts nothing. It reads the configuration
// file, and looks at the directories and patterns that are named there.
//
// go-toml decodes the file. A key of the file is a row of a table in this package
// (Config.keys, Config.serverKeys, Config.siteKeys and Route.keys), with the function that decodes its
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
	Open      bool   // the site in a browser, at the start

	Serve          bool   // over HTTP
	Root           string // absolute
	Host           string
	Port           int
	AnyPort        bool // nobody has asked for Port: where it is taken, the next free one will do
	Static         bool
	LiveReload     bool
	Inject         bool
	Sync           bool
	Delay          time.Duration
	Debounce       time.Duration
	Hidden         []string // names that are ignored unless a pattern spells them out
	Ignore         []string
	AllowHosts     []string
	AllowOrigins   []string
	FollowSymlinks bool              // also out of the root
	CORS           []string          // origins whose scripts may read files; "*" is any
	Types          map[string]string // content types by extension
	CacheSize      int               // MiB of files that are kept in memory; 0 for none
	Compress       bool
	Precompressed  bool
	CacheFiles     int    // how many; 0 for none
	SPA            string // the file that is shown where there is none; "" for none
	CleanURLs      bool
	ErrorPages     map[int]string // files by status
	Redirects      []httpd.Redirect
	Headers        []httpd.HeaderRule
	RuleFiles      bool          // _redirects and _headers count
	Proxies        []httpd.Proxy // parts of the site that other servers answer for
	After          []string      // routes that pages wait for
	Editor         string        // in which places of errors are opened, as httpd.Options has it

	MaxConnections           int // at once; 0 for as many as descriptors allow
	MaxConnectionsPerAddress int // 0 for no limit

	TLS             bool
	TLSCert         []string // files, absolute, each with the key at its place in TLSKey
	TLSKey          []string
	TLSPort         int    // for TLS beside Port; 0 for TLS at Port
	AccessLog       string // where requests are logged: AccessToStdout, AccessToJournal or a file, absolute; empty for nowhere
	AccessLogFormat string // "combined", "vhost_combined" or "json"

	Metrics string // host and port of the server for Prometheus and health checks; empty for none

	Bus    Bus
	Shared string // the name by which other machines know Root; empty if it is not shared

	LogLevel  slog.Level
	LogFormat string
	Control   string        // the control socket, absolute; empty for the usual place
	State     string        // the directory of what the next start is to know, absolute; empty for $STATE_DIRECTORY
	Jobs      int           // that run at once; 0 for the router's default
	StopGrace time.Duration // for requests and commands at a stop; negative is none
	IdleExit  time.Duration // after which the daemon ends when it has nothing to do; 0 for never

	Routes []Route

	// Hosts are the names of a site, which has its own root and what belongs to it. Empty is
	// the site of [server], for all other names.
	Hosts []string
	Sites []Config // further sites; none of a site

	table      KeyPath  // of [server], or of the site
	siteTables []any    // as they are in the file
	flags      []string // that were given beside a file
	namesRoot  bool     // the file does, for its [server]
	namesTLS   bool     // TLS is not only a default
}

// Values of Config.AccessLog that are no file.
const (
	AccessToStdout  = "stdout"
	AccessToJournal = "journal"
)

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
		CacheSize:  httpd.DefaultCacheBytes >> 20,
		CacheFiles: httpd.DefaultCacheFiles,
		RuleFiles:  true,
		table:      KeyPath{}.Key("server"),
		Delay:      defaultDelay,
		Debounce:   router.DefaultDebounce,
		Hidden:     router.DefaultIgnore(),
		LogFormat:  "auto",
		StopGrace:  defaultStopGrace,

		AccessLogFormat: "combined",

		MaxConnections:           10_000,
		MaxConnectionsPerAddress: 500,
	}
}

var (
	logLevels        = choice[slog.Level]{"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError}
	accessLogFormats = choice[string]{"combined": "combined", "vhost_combined": "vhost_combined", "json": "json"}

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
		{"metrics", address(&cfg.Metrics), "none", "answer /metrics for Prometheus, /healthz and /readyz at this `address`, as 127.0.0.1:9100"},
		{"jobs", number(&cfg.Jobs, 1, 1<<16, 4), nil, ""},
		{"bus", func(t *tables, v value) {
			cfg.Bus.table = true
			t.table(v, cfg.Bus.keys())
		}, nil, ""},
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
		{"site", func(t *tables, v value) {
			tables, isArray := v.is.([]any)
			if !isArray {
				t.Add(v.at.key(), "site is %v: begin each site with [[site]]", v)
			}
			cfg.siteTables = tables
		}, nil, ""},
	}
}

// serverKeys are the keys of [server]: what is about HTTP. Those with a help are
// flags as well.
func (cfg *Config) serverKeys() []key {
	return []key{
		{"root", directory(&cfg.Root), "the current one", "serve and watch this `directory`"},
		{"shared", shared(&cfg.Shared), nil, "with -bus, tell other machines that share the root of changes, and hear of theirs"},
		{"host", host(&cfg.Host), cfg.Host, "listen on this `address`; 0.0.0.0 or :: is every address of the machine"},
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
		{"follow_symlinks", boolean(&cfg.FollowSymlinks), cfg.FollowSymlinks, "serve and watch what symbolic links lead to outside of the root as well: who can make a\nlink there can publish what this user can read"},
		{"types", contentTypes(&cfg.Types), nil, ""},
		{"cache_size", number(&cfg.CacheSize, 0, 1<<20, 64), nil, ""},
		{"cache_files", number(&cfg.CacheFiles, 0, 1<<24, 4096), nil, ""},
		{"compress", boolean(&cfg.Compress), cfg.Compress, "compress files for browsers on other machines: br, zstd or gzip"},
		{"precompressed", boolean(&cfg.Precompressed), cfg.Precompressed, "send a file with .br, .zst or .gz behind its name in place of the file, if it is not older"},
		{"spa", fallbackPage(&cfg.SPA), nil, "where a browser is led to what is not there, show index.html, or with -spa=FILE another\nfile: for an application with routes of its own"},
		{"clean_urls", boolean(&cfg.CleanURLs), cfg.CleanURLs, "lead browsers from /a.html to /a, and from /a/index.html to /a/"},
		{"error_pages", errorPages(&cfg.ErrorPages), nil, ""},
		{"redirects", redirects(&cfg.Redirects), nil, ""},
		{"headers", headers(&cfg.Headers), nil, ""},
		{"rule_files", boolean(&cfg.RuleFiles), cfg.RuleFiles, "read the redirects and headers in _redirects and _headers at the top of the root"},
		{"proxy", proxies(&cfg.Proxies), "none", "hand requests on to the application at this `address`, as 127.0.0.1:3000 or\nunix:app.sock, and put the script into its pages; with /PATH=ADDRESS those for a path\n(may be repeated)"},
		{"after", names(&cfg.After), nil, ""},
		{"access_log", accessLog(&cfg.AccessLog), "none", "log requests to this `file`, or to stdout or journal"},
		{"access_log_format", oneOf(&cfg.AccessLogFormat, accessLogFormats), cfg.AccessLogFormat, "log requests in this `format`: combined, vhost_combined, or json, which has more"},
		{"max_connections", number(&cfg.MaxConnections, 0, 1<<20, 10_000), cfg.MaxConnections, "refuse connections when there are this `many`; 0 is as many as there are descriptors for"},
		{"max_connections_per_address", number(&cfg.MaxConnectionsPerAddress, 0, 1<<20, 500), cfg.MaxConnectionsPerAddress, "refuse connections of another machine when it has this `many`; 0 is no limit"},
		{"tls", useTLS(cfg), cfg.TLS, "serve over TLS, with a certificate of a local authority that this user has for it"},
		{"tls_cert", paths(&cfg.TLSCert, certFiles), nil, "serve over TLS with the certificate in this `file`, which is loaded again when it\nchanges (may be repeated)"},
		{"tls_key", paths(&cfg.TLSKey, certFiles), nil, "the `file` with the key of the certificate (may be repeated)"},
		{"tls_port", number(&cfg.TLSPort, 1, 65535, 8443), "none, TLS at the port of -port", "serve over TLS at this `port`, and without TLS at that of -port"},
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
	cfg.decodeSites(&tables{new(Report), filepath.Dir(cfg.Path)}) // once more, as they inherit what flags say
	if wrong != nil {
		return cfg, flags.Args(), wrong
	}
	return cfg, flags.Args(), cfg.check()
}

// parseFlags sets what flags say. Paths in them are relative to dir.
func (cfg *Config) parseFlags(name, usage, dir string, args []string) (*flag.FlagSet, error) {
	t := &tables{new(Report), dir}
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	showVersion := cfg.defineFlags(flags, t)
	if err := ParseFlags(flags, usage, args); err != nil {
		return nil, err
	}
	if *showVersion {
		return nil, ErrVersion
	}
	return flags, t.usageError()
}

// defineFlags declares the flags. The result is set by -version.
func (cfg *Config) defineFlags(flags *flag.FlagSet, t *tables) (showVersion *bool) {
	flags.StringVar(&cfg.File, "config", cfg.File, "read this `file`, execlogd.toml(5); other flags override it")
	flags.BoolVar(&cfg.WatchFile, "watch-config", cfg.WatchFile, "read the file of -config again when it changes, as at SIGHUP")
	flags.BoolVar(&cfg.Open, "open", cfg.Open, "open the site in a browser: $BROWSER, or that of the desktop")
	showVersion = flags.Bool("version", false, "print the version, and the commit and date that it was built from")
	defineKeys(flags, t, []key{cfg.Bus.urlFlag()})
	defineKeys(flags, t, cfg.keys())
	defineKeys(flags, t, cfg.serverKeys())
	return showVersion
}

// check checks what flags and the file say together.
func (cfg *Config) check() error {
	switch {
	case cfg.WatchFile && cfg.File == "":
		return Usagef("-watch-config without -config: name a file, or drop it")
	case cfg.Control != "" && cfg.File == "":
		return Usagef("-control without -config: the socket is for the runs of routes; name a file that has some, or drop it")
	case !cfg.hasContent() && len(cfg.Routes) == 0:
		return Usagef("-static=false and -livereload=false leave nothing to do: drop one of them, or name a file with routes by -config")
	}
	if err := cfg.checkBus(); err != nil && !cfg.busFromFile() {
		return Usagef("-%v", err)
	}
	if key, err := cfg.checkTLS(); err != nil && !cfg.fromFile(flagName(key)) {
		return Usagef("-%s: %v", flagName(key), err)
	}
	cfg.Serve = cfg.Serve && cfg.hasContent()
	return checkFlags(cfg.ignorePatterns(), cfg.NewReport(), cfg.Root)
}
