package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/execlog/execlogd/httpd"
	"github.com/execlog/execlogd/inotify"
	"github.com/execlog/execlogd/internal/logging"
	"github.com/execlog/execlogd/router"
)

// config is the command line and the configuration file, checked. This file
// and routeDefaults are the only home of the daemon's defaults.
type config struct {
	file         string // the configuration's; empty is none
	filePath     string // absolute
	text         []byte // what is in it
	watchConfig  bool
	serve        bool   // over HTTP
	root         string // absolute
	rootAt       place  // in the file
	host         string
	port         int
	static       bool
	livereload   bool
	inject       bool
	delay        time.Duration
	debounce     time.Duration
	hidden       []string // names that are ignored unless they are spelled out
	ignore       []placed
	allowHosts   []string
	allowOrigins []string
	logLevel     string
	logFormat    string
	control      string   // the control socket, absolute; empty is a usual place
	controlAt    place    // in the file
	journal      string   // the socket of systemd-journald
	jobs         int      // that run at once; 0 is the router's default
	after        []placed // routes that pages wait for
	routes       []routeConfig

	print string // help or version: print it and be done
}

var defaults = config{
	serve:      true,
	root:       ".",
	host:       "127.0.0.1",
	port:       8000,
	static:     true,
	livereload: true,
	inject:     true,
	delay:      100 * time.Millisecond,
	debounce:   router.DefaultDebounce,
	hidden:     router.DefaultIgnore(),
	logLevel:   "info",
	logFormat:  "auto",
	journal:    "/run/systemd/journal/socket",
}

var (
	logLevels  = []string{"debug", "info", "warn", "error"}
	logFormats = []string{"auto", "text", "json"}
)

// A usageError is a command line that cannot be meant.
type usageError struct {
	error
	command string // whose flags are meant, with a space before it; empty is the daemon
}

func (e usageError) Error() string {
	return fmt.Sprintf("%v (execlogd%s -help lists the flags)", e.error, e.command)
}

func (e usageError) Unwrap() error { return e.error }

func usagef(format string, args ...any) error {
	return usageError{error: fmt.Errorf(format, args...)}
}

func parseConfig(args []string) (config, error) {
	cfg, rest, err := parseFlags("execlogd", usage, args)
	if err == nil && len(rest) > 0 {
		err = usagef("what is %q? It is no command (%s), and the directory to serve is -root %[1]s", rest[0], commandNames())
	}
	return cfg, err
}

// parseFlags reads the daemon's flags and the file that they name, and returns
// what follows them.
func parseFlags(name, usage string, args []string) (config, []string, error) {
	cfg := defaults
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	showVersion := cfg.define(flags)
	flags.SetOutput(new(bytes.Buffer)) // errors are printed once, by main
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return config{print: help(flags, usage)}, nil, nil
	case err != nil:
		return config{}, nil, usageError{error: err}
	case *showVersion:
		return config{print: "execlogd " + version + "\n"}, nil, nil
	case cfg.file != "":
		cfg, err := overFile(cfg.file, args)
		return cfg, flags.Args(), err
	}
	return cfg, flags.Args(), cfg.check()
}

// overFile is the configuration in a file with flags, which are known to be
// right, above it.
func overFile(file string, args []string) (config, error) {
	cfg, err := readFile(file)
	if err != nil {
		return config{}, err
	}
	flags := flag.NewFlagSet("", flag.ContinueOnError)
	cfg.define(flags)
	if err := flags.Parse(args); err != nil {
		return config{}, usageError{error: err}
	}
	flags.Visit(func(f *flag.Flag) {
		cfg.serve = cfg.serve || isServerKey(f.Name)
		switch f.Name {
		case "root":
			cfg.rootAt = place{}
		case "control":
			cfg.controlAt = place{}
		}
	})
	return cfg, cfg.check()
}

// isServerKey says whether a flag is about HTTP.
func isServerKey(name string) bool {
	name = strings.ReplaceAll(name, "-", "_")
	return slices.ContainsFunc(new(config).serverKeys(), func(k key) bool { return k.name == name })
}

// define declares the flags, with cfg's values as their defaults.
func (cfg *config) define(flags *flag.FlagSet) (showVersion *bool) {
	flags.StringVar(&cfg.file, "config", cfg.file, "read this `file`, execlogd.toml(5); the other flags win over it")
	flags.BoolVar(&cfg.watchConfig, "watch-config", cfg.watchConfig, "load the file of -config anew when it changes, as at SIGHUP")
	flags.StringVar(&cfg.root, "root", cfg.root, "serve and watch this `directory`")
	flags.StringVar(&cfg.host, "host", cfg.host, "listen on this `address`; 0.0.0.0 or :: is every address of the machine")
	flags.IntVar(&cfg.port, "port", cfg.port, "listen on this TCP `port`; 0 takes a free one")
	flags.BoolVar(&cfg.static, "static", cfg.static, "serve the files of the root; without it there is live reload alone,\nfor pages that another server or a file: address shows")
	flags.BoolVar(&cfg.livereload, "livereload", cfg.livereload, "watch the root and refresh the pages that are open")
	flags.BoolVar(&cfg.inject, "inject", cfg.inject, "put the script for live reload into pages; without it a page has to link\n/livereload.js itself")
	flags.Var((*timeFlag)(&cfg.delay), "delay", "gather changes for this `duration` before pages are told; 0 does not wait")
	flags.Var((*timeFlag)(&cfg.debounce), "debounce", "tell pages at most once in this `duration`; 0 is no limit")
	flags.Var(&patterns{&cfg.hidden, &cfg.ignore}, "ignore", "do not watch what matches this `pattern` (may be repeated; adds to the\ndefault, which an empty pattern takes away)")
	flags.Var((*words)(&cfg.allowHosts), "allow-host", "also answer to this host `name`, or to all below .example.com (may be repeated)")
	flags.Var((*words)(&cfg.allowOrigins), "allow-origin", "also send changes to pages of this `origin`, as in https://example.com (may be repeated)")
	flags.StringVar(&cfg.control, "control", cfg.control, "listen for execlogd log on this `socket`; with -config there is one in\n$RUNTIME_DIRECTORY, $XDG_RUNTIME_DIR/execlogd or /tmp/execlogd-UID anyway")
	flags.StringVar(&cfg.logLevel, "log-level", cfg.logLevel, "log from this `level` on: debug, info, warn or error")
	flags.StringVar(&cfg.logFormat, "log-format", cfg.logFormat, "log in this `format`: text, json, or auto, which is text with colours on a terminal")
	return flags.Bool("version", false, "print the version")
}

func (cfg *config) check() (err error) {
	switch {
	case cfg.watchConfig && cfg.file == "":
		return usagef("-watch-config without -config: name a file, or drop it")
	case cfg.root == "":
		return usagef("-root is empty: name a directory, as in -root .")
	case cfg.host == "":
		return usagef("-host is empty: name an address, or 0.0.0.0 for every address of the machine")
	case cfg.port < 0 || cfg.port > 65535:
		return usagef("-port %d: a port is from 0 to 65535", cfg.port)
	case cfg.delay < 0:
		return usagef("-delay %v: a delay is not negative", cfg.delay)
	case cfg.debounce < 0:
		return usagef("-debounce %v: a time is not negative", cfg.debounce)
	case !slices.Contains(logLevels, cfg.logLevel):
		return usagef("-log-level %q: want %s", cfg.logLevel, strings.Join(logLevels, ", "))
	case !slices.Contains(logFormats, cfg.logFormat):
		return usagef("-log-format %q: want %s", cfg.logFormat, strings.Join(logFormats, ", "))
	case !cfg.static && !cfg.livereload && len(cfg.routes) == 0:
		return usagef("-static=false and -livereload=false leave nothing to do: drop one of them, or name a file with routes by -config")
	}
	cfg.serve = cfg.serve && (cfg.static || cfg.livereload)
	if cfg.control != "" {
		// An absolute one is no abstract socket of unix(7), which has no file.
		if cfg.control, err = filepath.Abs(cfg.control); err != nil {
			return err
		}
	}
	if cfg.root, err = filepath.Abs(cfg.root); err != nil {
		return err
	}
	return wrongFlag(listed("ignore", cfg.ignore), cfg.root)
}

// server is the configuration as httpd takes it.
func (cfg *config) server(log *slog.Logger, watches func() []httpd.Watch) httpd.Options {
	o := httpd.Options{
		NoLiveReload: !cfg.livereload,
		NoInject:     !cfg.inject,
		Logger:       log,
		Watches:      watches,
		AllowHosts:   cfg.allowHosts,
		AllowOrigins: cfg.allowOrigins,
	}
	if cfg.static {
		o.Root, o.Private = cfg.root, cfg.private()
	}
	return o
}

// private are the files that visitors never get: the configuration, in which
// the environment of jobs may be, and where it is, if its path is a link.
func (cfg *config) private() []string {
	if cfg.file == "" {
		return nil
	}
	paths := []string{cfg.filePath}
	if real, err := filepath.EvalSymlinks(cfg.filePath); err == nil && real != cfg.filePath {
		paths = append(paths, real)
	}
	return paths
}

// The routes: one for content, and one for which files are there and may be
// read.
const (
	reloadRoute = "reload"
	namesRoute  = "names"

	names = inotify.Create | inotify.Delete | inotify.MovedFrom | inotify.MovedTo | inotify.Attrib
)

// pageRoutes are those that refresh pages: when content changes, and when names
// come and go. The latter comes last: what was created is about to be written,
// and what a build removes it makes again. Of files that are still being written
// they wait for those that concern a page.
func (cfg *config) pageRoutes(refresh, recheck router.Callback, concerns func(path string) bool) []router.Route {
	reload := cfg.pageRoute(reloadRoute, router.Reload, cfg.delay, refresh)
	names := cfg.pageRoute(namesRoute, names, max(cfg.delay, defaults.delay)+cfg.debounce, recheck)
	reload.WaitsFor = func(e inotify.Event) bool { return concerns(e.Path) }
	names.WaitsFor = reload.WaitsFor
	return []router.Route{reload, names}
}

func (cfg *config) pageRoute(name string, mask inotify.Mask, delay time.Duration, callback router.Callback) router.Route {
	return router.Route{
		Name:     name,
		Roots:    []string{cfg.root},
		Ignore:   texted(cfg.ignore),
		Hidden:   cfg.hidden,
		ReadOnly: true,
		Mask:     mask,
		Delay:    orNone(delay),
		Debounce: orNone(cfg.debounce),
		After:    cfg.pagesAfter(),

		// What was saved while a build failed is shown with the next that does not.
		OnFailure: router.Keep,
		Callback:  callback,
	}
}

// orNone is a duration as router takes it, where 0 would be the default.
func orNone(d time.Duration) time.Duration {
	if d == 0 {
		return -1
	}
	return d
}

const usage = `Usage: execlogd [flags]
       execlogd run [flags] command [argument...]
       execlogd check -config file
       execlogd log [flags]
       execlogd trigger [flags] route [path...]
       execlogd watch [flags] [directory...]
       execlogd why [flags] path [new-path]

Serves a directory and refreshes the pages of it that are open when it changes,
or runs the routes of a file, or both.
run runs one command on changes, check says what is wrong in a configuration
file (execlogd.toml(5)), log prints what a running daemon has run, trigger has it run a route, watch prints
what happens in directories, and why explains what a change of a path would do.
`

// help is the text of -help: a usage and the flags.
func help(flags *flag.FlagSet, usage string) string {
	var b strings.Builder
	b.WriteString(usage + "\nFlags:\n")
	flags.SetOutput(&b)
	flags.PrintDefaults()
	return b.String()
}

// checkRoot says what is wrong with a root before anything is opened.
func checkRoot(root string) error {
	return checkDir("root", root, "name another with -root")
}

// checkDir says what is wrong with a directory, which people know as what, and
// that they can do something instead.
func checkDir(what, dir, instead string) error {
	// The dot asks for the permission to reach what is in it, beside the one
	// to list that.
	opened, err := os.Open(dir + "/.")
	if err == nil {
		defer opened.Close()
		_, err = opened.Readdirnames(1)
	}
	info, statErr := os.Stat(dir)
	switch {
	case statErr == nil && !info.IsDir():
		return fmt.Errorf("%s %q is not a directory: %s", what, dir, instead)
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return fmt.Errorf("%s %q does not exist: create it, or %s", what, dir, instead)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%s %q cannot be read by user %d: give it permission, or %s", what, dir, os.Geteuid(), instead)
	}
	return statErr
}

// checkListen is checkDir for what is listened to: a directory, or a single file,
// or, with wait, what is not there yet.
func checkListen(what, path, instead string, wait bool) error {
	info, err := os.Stat(path)
	switch {
	case wait && (errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)):
		return nil
	case err == nil && info.Mode().IsRegular():
		file, err := os.Open(path)
		if err == nil {
			return file.Close()
		}
		return fmt.Errorf("%s %q cannot be read by user %d: give it permission, or %s", what, path, os.Geteuid(), instead)
	}
	return checkDir(what, path, instead)
}

// watchedCount says how much is watched: directories, and those of the roots that are
// files.
func watchedCount(directories int, roots []string) string {
	files := 0
	for _, root := range roots {
		if isFile(root) {
			files++
		}
	}
	switch {
	case files == 0:
		return count(directories, "directory", "directories")
	case directories == 0:
		return count(files, "file", "files")
	}
	return count(directories, "directory", "directories") + " and " + count(files, "file", "files")
}

// isFile reports whether a regular file is at a path, or where a link at it leads.
func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// words is a flag that may be repeated.
type words []string

func (w *words) String() string { return strings.Join(*w, " ") }

func (w *words) Set(s string) error {
	*w = append(*w, s)
	return nil
}

// timeFlag is a time as a flag.
type timeFlag time.Duration

func (t *timeFlag) String() string { return time.Duration(*t).String() }

func (t *timeFlag) Set(s string) error {
	is, err := time.ParseDuration(s)
	if err != nil {
		return errors.New("want " + aTime)
	}
	*t = timeFlag(is)
	return nil
}

// patterns is a list of patterns as a flag that may be repeated. An empty one drops
// those before it, and what is hidden by default.
type patterns struct {
	hidden *[]string // nil where nothing is hidden
	given  *[]placed
}

func (p *patterns) String() string {
	if p.given == nil {
		return ""
	}
	list := texted(*p.given)
	if p.hidden != nil {
		list = slices.Concat(*p.hidden, list)
	}
	return strings.Join(list, " ")
}

func (p *patterns) Set(s string) error {
	p.add(placed{is: s})
	return nil
}

func (p *patterns) add(pattern placed) {
	switch {
	case pattern.is != "":
		*p.given = append(*p.given, pattern)
		return
	case p.hidden != nil:
		*p.hidden = []string{} // nil would be the router's default
	}
	*p.given = nil
}

// logging returns how to log.
func (cfg *config) logging() logging.Options {
	o := logging.Options{
		Format: logging.Format(cfg.logFormat), NoColor: os.Getenv("NO_COLOR") != "",
		JournalStream: os.Getenv("JOURNAL_STREAM"), JournalSocket: cfg.journal,
	}
	if err := o.Level.UnmarshalText([]byte(cfg.logLevel)); err != nil {
		panic(err) // the configuration was checked
	}
	for _, r := range cfg.routes {
		o.Routes = append(o.Routes, r.name.is)
	}
	return o
}
