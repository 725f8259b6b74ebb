package main

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/execlog/execlogd/httpd"
	"github.com/execlog/execlogd/inotify"
	"github.com/execlog/execlogd/router"
)

// A routeConfig is a [[route]] of a file, checked.
type routeConfig struct {
	at        place
	name      placed
	root      placed // absolute
	match     []placed
	hidden    []string // names that are ignored unless match spells them out
	ignore    []placed
	events    inotify.Mask // 0 is what mask says
	delay     time.Duration
	debounce  time.Duration
	quiet     time.Duration
	settle    time.Duration
	hold      time.Duration // as the router has it; 0 is by per, until the route is whole
	per       string
	after     []placed
	onFailure string
	onBusy    string
	timeout   time.Duration
	retries   int
	backoff   time.Duration
	grace     time.Duration
	leave     []placed
	stopBy    syscall.Signal
	signal    syscall.Signal // in place of a restart; 0 is none
	signalAt  place
	recursive bool
	onSuccess afterwards
	onFailRun afterwards
	notify    bool
	run       []placed
	shell     placed
	dir       placed // absolute
	env       []string
	stdin     string
	service   bool
	ready     string
	outputs   []placed
	reload    bool
	start     bool
	startSet  bool
	wait      bool // for a root that is not there yet
	gitignore bool

	changedOnly bool
}

// routeDefaults is a route that does not say. Its root and dir are those of the
// file.
var routeDefaults = routeConfig{
	hidden:    router.DefaultIgnore(),
	delay:     router.DefaultDelay,
	debounce:  router.DefaultDebounce,
	quiet:     router.DefaultQuiet,
	settle:    router.DefaultSettle,
	per:       "route",
	onFailure: "cancel",
	onBusy:    "queue",
	backoff:   router.DefaultBackoff,
	stopBy:    syscall.SIGTERM,
	recursive: true,
	grace:     5 * time.Second,
	stdin:     "none",
}

// mask is what a route asks for: a command for everything hears of what
// goes away too, and one for each file gets files that are there.
func (c *routeConfig) mask() inotify.Mask {
	switch {
	case c.events != 0:
		return c.events
	case c.per == "file":
		return router.Reload
	}
	return router.Reload | inotify.Create | inotify.Delete | inotify.MovedFrom
}

// placed is a string of a file that is looked at once more when all is read.
type placed struct {
	is string
	at place
}

// texted is the strings alone.
func texted(ps []placed) []string {
	var all []string
	for _, p := range ps {
		all = append(all, p.is)
	}
	return all
}

// readFile is the configuration in a file, as far as it can be judged without
// looking at anything else. The error is mistakes.
func readFile(file string) (config, error) {
	text, err := readConfiguration(file)
	if err != nil {
		return config{}, fmt.Errorf("config: %w", err)
	}
	path, err := filepath.Abs(file)
	if err != nil {
		return config{}, err
	}
	cfg, err := parseFile(file, filepath.Dir(path), bytes.TrimPrefix(text, []byte("\ufeff"))) // some editors begin with it
	cfg.filePath, cfg.text = path, text
	return cfg, err
}

// maxFile is how many bytes a configuration may have.
const maxFile = 1 << 20

// readConfiguration is what is in a file, which has to be a regular one, or a link
// to one: others may be without an end, and reading takes what is in them from
// those that they are meant for. It never waits.
func readConfiguration(file string) ([]byte, error) {
	if file == "-" || isDescriptor(file) {
		return nil, fmt.Errorf("%s has no place of its own, but paths in a configuration are relative to that, and SIGHUP reads it again: save it in a file and name that", file)
	}
	// A pipe would be opened for its writer as well, and that be told of its end.
	info, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	if err := checkRegular(file, info); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(file, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err = f.Stat(); err != nil {
		return nil, err
	}
	if err := checkRegular(file, info); err != nil {
		return nil, err // it is another by now
	}
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(text) > maxFile {
		err = fmt.Errorf("%s has more than the %d KiB that a configuration may have: name another file", file, maxFile>>10)
	}
	return text, err
}

// isDescriptor reports whether a path is a name for an open file, as shells have it
// for <(command).
func isDescriptor(file string) bool {
	path, err := filepath.Abs(file)
	return err == nil && (path == "/dev/stdin" || slices.Contains([]string{"/dev/fd", "/proc/self/fd"}, filepath.Dir(path)))
}

// checkRegular says what to do about a file that is no regular one.
func checkRegular(file string, info fs.FileInfo) error {
	switch mode := info.Mode(); {
	case mode.IsRegular():
		return nil
	case mode&fs.ModeNamedPipe != 0:
		return fmt.Errorf("%s is a pipe, which can be read but once: save what comes from it in a file and name that", file)
	case mode.IsDir():
		return fmt.Errorf("%s is a directory: name a file in it", file)
	}
	return fmt.Errorf("%s is %s: name a regular file", file, fileKind(info))
}

// parseFile is readFile of text. Paths in it are relative to dir, and so is
// where there is none.
func parseFile(file, dir string, text []byte) (config, error) {
	r := &reader{file: file, dir: dir}
	cfg := defaults
	cfg.file, cfg.root, cfg.serve = file, dir, false
	doc, ms := parseTOML(file, text)
	if ms != nil {
		return config{}, ms
	}
	r.table(doc, cfg.keys())
	r.checkNames(&cfg)
	switch idle := len(cfg.routes) == 0 && len(r.mistakes) == 0; {
	case idle && !cfg.serve:
		r.wrong(place{}, "there is nothing to do: add a [server] table, or a [[route]]")
	case idle && !cfg.static && !cfg.livereload:
		r.wrong(place{}, "static = false and livereload = false leave nothing to do: drop one of them, or add a [[route]]")
	}
	return cfg, r.mistakes.sorted()
}

// A reader reads the tables of a file and gathers what is wrong in them.
type reader struct {
	file     string
	dir      string
	mistakes mistakes
}

// maxMistakes is how many mistakes of a file are told: more need not be read to
// know that it is no configuration, and would take long to find.
const maxMistakes = 100

// full reports whether no more is told.
func (r *reader) full() bool { return len(r.mistakes) >= maxMistakes }

func (r *reader) wrong(at place, format string, args ...any) {
	if r.full() {
		return
	}
	r.mistakes = append(r.mistakes, mistake{r.file, at, fmt.Sprintf(format, args...)})
}

// mistaken says that a value is not what its key wants.
func (r *reader) mistaken(v value, want string) {
	r.wrong(v.at(), "%s is %s: want %s", v.label(), v.kind(), want)
}

// A key is one that a table may have.
type key struct {
	name string
	set  setter

	// flag is the help of the flag of execlogd run that sets the key. The word
	// in backquotes says what it takes, as keyFlag has it. A key without one is
	// for files alone.
	flag string
}

// keys are those at the top of a file.
func (cfg *config) keys() []key {
	return []key{
		{"log_level", oneOf(&cfg.logLevel, logLevels...), ""},
		{"log_format", oneOf(&cfg.logFormat, logFormats...), ""},
		{"control", path(func(p placed) { cfg.control, cfg.controlAt = p.is, p.at }, `a socket, as in "/run/site.sock"`), ""},
		{"jobs", number(&cfg.jobs, 1, 1<<16), ""},
		{"server", func(r *reader, v value) {
			cfg.serve = true
			r.table(v, cfg.serverKeys())
		}, ""},
		{"route", func(r *reader, v value) {
			routes, ok := v.elements()
			if !ok {
				r.wrong(v.key(), "route is %s: begin each route with [[route]]", v.kind())
			}
			for _, route := range routes {
				cfg.routes = append(cfg.routes, r.route(route))
			}
		}, ""},
	}
}

// serverKeys are the flags of the daemon that are about HTTP, with _ for each
// dash, and after.
func (cfg *config) serverKeys() []key {
	return []key{
		{"root", directory(func(p placed) { cfg.root, cfg.rootAt = p.is, p.at }), ""},
		{"host", text(into(&cfg.host), `an address, as in "127.0.0.1"`), ""},
		{"port", number(&cfg.port, 0, 65535), ""},
		{"static", boolean(&cfg.static), ""},
		{"livereload", boolean(&cfg.livereload), ""},
		{"inject", boolean(&cfg.inject), ""},
		{"delay", duration(&cfg.delay), ""},
		{"debounce", duration(&cfg.debounce), ""},
		{"ignore", globs(&patterns{&cfg.hidden, &cfg.ignore}), ""},
		{"allow_host", strangers(&cfg.allowHosts, `names, as in ["preview.example.com"]`, httpd.CheckHost), ""},
		{"allow_origin", strangers(&cfg.allowOrigins, `origins, as in ["https://example.com"]`, httpd.CheckOrigin), ""},
		{"after", texts(also(&cfg.after), `names of routes, as in ["build"]`), ""},
	}
}

func (c *routeConfig) keys() []key {
	return []key{
		{"name", routeName(&c.name), ""},
		{"root", path(keep(&c.root), `a directory or a file, as in "src"`), ""}, // -path
		{"wait", boolean(&c.wait), "listen to a -path that does not exist yet as soon as it does"},
		{"match", globs(&patterns{given: &c.match}), "run when a file that matches this `pattern` changes, by default any (may be repeated)"},
		{"ignore", globs(&patterns{&c.hidden, &c.ignore}), "do not listen to what matches this `pattern` (may be repeated; adds to hidden and\ntemporary files, which an empty pattern takes away)"},
		{"gitignore", boolean(&c.gitignore), ""}, // -ignore-files
		{"events", events(&c.events), "run on these `events` of inotify(7) (default changes of content and of names)"},
		{"delay", duration(&c.delay), "gather changes for this `duration` before each run" + byDefault(c.delay)},
		{"debounce", duration(&c.debounce), "start at most one run in this `duration`" + byDefault(c.debounce)},
		{"quiet", duration(&c.quiet), "wait until nothing came for this `duration` when many files change, as in a checkout" + byDefault(c.quiet)},
		{"settle", duration(&c.settle), "wait this `duration` after the last write to a file that is still open for writing" + byDefault(c.settle)},
		{"hold", holding(&c.hold), "wait at most this `duration` for files that are being written, or \"until closed\" for them\nto be closed (default " + router.DefaultHold.String() + ", or with -per file until closed)"},
		{"per", oneOf(&c.per, "route", "file"), "`what` one run is for: route, for all that has changed, or file, for each file,\nside by side" + byDefault(c.per)},
		{"after", texts(also(&c.after), `names of routes, as in ["build"]`), ""},
		{"on_failure", oneOf(&c.onFailure, "cancel", "continue", "stop"), ""},
		{"on_busy", oneOf(&c.onBusy, "queue", "restart", "ignore"), "`what` to do with changes during a run: queue makes one further run of them, restart\nends the command and starts it again, ignore drops them" + byDefault(c.onBusy)},
		{"timeout", duration(&c.timeout), "end a run that takes longer than this `duration`; 0 is never"},
		{"retries", number(&c.retries, 0, 1000), "run again so `number` of times when the command fails, unless something changes first"},
		{"backoff", duration(&c.backoff), "wait this `duration` before the first of these runs, and twice as long before each\nfurther one" + byDefault(c.backoff)},
		{"grace", duration(&c.grace), "kill a command that is to end after this `duration`" + byDefault(c.grace)},
		{"leave", leave(&c.leave), "let `processes` of this name go on that the command leaves behind; true is all (may be\nrepeated)"},
		{"stop_signal", signalName(func(s syscall.Signal, _ place) { c.stopBy = s }), "end the command with this `signal`, before it is killed (default SIGTERM)"},
		{"signal", signalName(func(s syscall.Signal, at place) { c.signal, c.signalAt = s, at }), "send a command that goes on this `signal` when something changes, and start it again\nonly when it has ended"},
		{"recursive", boolean(&c.recursive), "listen to all directories below as well (default true)"},
		{"on_success", following(&c.onSuccess), "run this `script` with /bin/sh after each run that succeeds"},
		{"on_failure_run", following(&c.onFailRun), "run this `script` with /bin/sh after each run that fails"},
		{"notify", boolean(&c.notify), "tell the desktop how each run ended"},
		{"run", argv(&c.run), ""}, // what follows the flags
		{"shell", text(keep(&c.shell), `a line for the shell, as in "make site && cp -r out www"`), "run this `script` with /bin/sh, in place of a command"},
		{"dir", directory(keep(&c.dir)), "run in this `directory`, by default the current one"},
		{"env", environment(&c.env), "set a variable, `KEY=VALUE`, in the environment of the command (may be repeated)"},
		{"stdin", oneOf(&c.stdin, "none", "json", "nul"), "`what` the command reads: none, json, for an object a line for each change, or nul,\nfor paths with a NUL after each; by default the terminal, or none without one"},
		{"service", boolean(&c.service), ""},
		{"ready", readiness(&c.ready), ""},
		{"outputs", globs(&patterns{given: &c.outputs}), "the command itself writes what matches this `pattern`, so do not run on it (may be\nrepeated)"},
		{"changed_only", boolean(&c.changedOnly), "leave out files that have in them what they had at the last run, and do not run for\nthese alone"},
		{"reload", boolean(&c.reload), ""},
		{"start", func(r *reader, v value) {
			c.startSet = true
			boolean(&c.start)(r, v)
		}, ""}, // -postpone
	}
}

// reserved are the names of the daemon's own routes.
var reserved = []string{reloadRoute, namesRoute}

// table reads a table by its keys, in their order.
func (r *reader) table(v value, keys []key) {
	members, ok := v.members()
	if !ok {
		r.wrong(v.key(), "%s is %s: write it as a table, [%[1]s]", v.name(), v.kind())
		return
	}
	for _, k := range keys {
		if m, there := v.is.(*table).members[k.name]; there {
			k.set(r, m)
		}
	}
	for _, m := range members {
		if r.full() {
			return
		}
		if !slices.ContainsFunc(keys, func(k key) bool { return k.name == m.name() }) {
			r.unknown(m, keys)
		}
	}
}

// unknown says what a key that nobody knows may have been meant to be, here or
// elsewhere.
func (r *reader) unknown(v value, keys []key) {
	known := keyNames(keys)
	if meant := nearest(v.name(), known); meant != "" {
		r.wrong(v.key(), "unknown key %q: is %s meant?", v.name(), meant)
		return
	}
	for _, t := range []struct {
		name string
		keys []key
	}{
		{"[server]", new(config).serverKeys()},
		{"a [[route]]", new(routeConfig).keys()},
		{"the top of the file", new(config).keys()},
	} {
		if meant := nearest(v.name(), keyNames(t.keys)); meant != "" {
			r.wrong(v.key(), "unknown key %q: %s belongs to %s; here is %s", v.name(), meant, t.name, strings.Join(known, ", "))
			return
		}
	}
	r.wrong(v.key(), "unknown key %q: want one of %s", v.name(), strings.Join(known, ", "))
}

func keyNames(keys []key) (names []string) {
	for _, k := range keys {
		names = append(names, k.name)
	}
	return names
}

// route reads a [[route]].
func (r *reader) route(v value) routeConfig {
	c := routeDefaults
	c.at = v.key()
	c.root.is, c.dir.is = r.dir, r.dir
	if _, ok := v.is.(*table); !ok {
		r.mistaken(v, "a table, as after [[route]]")
		return c
	}
	before := len(r.mistakes)
	r.table(v, c.keys())
	if len(r.mistakes) == before {
		r.checkRoute(&c)
	}
	c.start = c.start || c.service && !c.startSet
	c.setHold()
	return c
}

// setHold gives a route that does not say how long it waits for files what is best
// for it: one for each file works on what is complete.
func (c *routeConfig) setHold() {
	switch {
	case c.hold != 0:
	case c.per == "file":
		c.hold = router.UntilClosed
	default:
		c.hold = router.DefaultHold
	}
}

// checkRoute looks at what a route has as a whole.
func (r *reader) checkRoute(c *routeConfig) {
	commands := min(len(c.run), 1) + min(len(c.shell.is), 1)
	switch {
	case c.name.is == "":
		r.wrong(c.at, "the route has no name: give it one, as in name = \"build\"")
	case commands == 2:
		r.wrong(c.shell.at, "route %q has both run and shell: keep one of them", c.name.is)
	case commands == 0 && !c.reload:
		r.wrong(c.at, `route %q has nothing to run: give it run = ["make", "site"], or shell = "make site", or reload = true`, c.name.is)
	case c.ready != "" && !c.service:
		r.wrong(c.at, "route %q has ready, which is for a program that goes on running: add service = true", c.name.is)
	case c.signal != 0 && !c.service:
		r.wrong(c.signalAt, "route %q has signal, which is for a program that goes on running: add service = true", c.name.is)
	case c.onFailure == "stop" && !c.service:
		r.wrong(c.at, `route %q has on_failure = "stop", which is for a program that goes on running: add service = true, or want "cancel"`, c.name.is)
	case c.service && c.per == "file":
		r.wrong(c.at, `route %q has service = true and per = "file": a service is one program for all files`, c.name.is)
	case c.service && len(c.leave) > 0:
		r.wrong(c.leave[0].at, "route %q has leave, which is for commands that end: a service is started again with nothing left of it", c.name.is)
	case c.service && commands == 0:
		r.wrong(c.at, "route %q has service = true and nothing to run: add run or shell", c.name.is)
	}
}

// checkNames looks at what routes say of each other.
func (r *reader) checkNames(cfg *config) {
	first := make(map[string]place)
	for _, c := range cfg.routes {
		if at, twice := first[c.name.is]; twice && c.name.is != "" {
			r.wrong(c.name.at, "route %q: there is one of this name in line %d: rename one", c.name.is, at.line)
		} else {
			first[c.name.is] = c.name.at
		}
	}
	known := slices.Sorted(maps.Keys(first))
	for _, ref := range cfg.references() {
		if _, ok := first[ref.is]; ok || r.full() {
			continue
		}
		switch meant := nearest(ref.is, known); {
		case meant != "":
			r.wrong(ref.at, "after names a route %q that is not there: is %q meant?", ref.is, meant)
		case len(known) == 0:
			r.wrong(ref.at, "after names a route %q, and there is no [[route]]: write it, or take it out", ref.is)
		default:
			r.wrong(ref.at, "after names a route %q that is not there: want one of %s", ref.is, quoted(known))
		}
	}
	if chain := cfg.cycle(); chain != nil {
		r.wrong(chain[0].after[0].at, "after goes in a circle, %s: take one of them out", namesOf(chain))
	}
}

// references are the names in every after.
func (cfg *config) references() []placed {
	all := slices.Clone(cfg.after)
	for _, c := range cfg.routes {
		all = append(all, c.after...)
	}
	return all
}

// cycle is routes of which each is after the next, and the last after the first;
// nil if there are none.
func (cfg *config) cycle() []*routeConfig {
	byName := cfg.byName()
	done := make(map[*routeConfig]bool) // with all that it comes after
	var trail []*routeConfig            // of what is being looked at
	var walk func(c *routeConfig) []*routeConfig
	walk = func(c *routeConfig) []*routeConfig {
		done[c] = false
		trail = append(trail, c)
		for _, name := range c.after {
			next := byName[name.is]
			if next == nil {
				continue
			}
			if is, seen := done[next]; seen && !is {
				return trail[slices.Index(trail, next):]
			} else if !seen {
				if found := walk(next); found != nil {
					return found
				}
			}
		}
		done[c] = true
		trail = trail[:len(trail)-1]
		return nil
	}
	for i := range cfg.routes {
		c := &cfg.routes[i]
		if _, seen := done[c]; seen {
			continue
		}
		if found := walk(c); found != nil {
			return found
		}
	}
	return nil
}

// byName is the routes by their names: of those of one name the first.
func (cfg *config) byName() map[string]*routeConfig {
	byName := make(map[string]*routeConfig, len(cfg.routes))
	for i := range cfg.routes {
		c := &cfg.routes[i]
		if byName[c.name.is] == nil {
			byName[c.name.is] = c
		}
	}
	return byName
}

// namesOf is the names of a circle, with the first once more.
func namesOf(circle []*routeConfig) string {
	var names []string
	for _, c := range circle {
		names = append(names, c.name.is)
	}
	return strings.Join(append(names, names[0]), " after ")
}

// quoted is a list of words for an error, as far as anybody reads that.
func quoted(words []string) string {
	const most = 20
	if len(words) <= most {
		return fmt.Sprintf("%q", words)
	}
	return fmt.Sprintf("%q and %d more", words[:most], len(words)-most)
}
