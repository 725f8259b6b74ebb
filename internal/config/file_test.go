package config

import (
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/execlog/execlogd/inotify"
	"github.com/execlog/execlogd/internal/builders"
	"github.com/execlog/execlogd/job"
	"github.com/execlog/execlogd/router"
)

// mustParse parses text as a file /dir/x.toml without mistakes.
func mustParse(t *testing.T, text string) Config {
	t.Helper()
	cfg, wrong := parse("x.toml", "/dir", []byte(text))
	if wrong != nil {
		t.Fatalf("%s\n%v", text, wrong)
	}
	return cfg
}

func TestFileHasRoutes(t *testing.T) {
	cfg := mustParse(t, `
jobs = 2
[[route]]
name = "build"
root = "src"
match = ["*.md", "templates/**"]
ignore = "drafts"
events = ["modify", "IN_CREATE"]
delay = "1s"
debounce = "2s"
settle = "3s"
per = "file"
on_failure = "continue"
on_busy = "restart"
timeout = "4s"
grace = "5s"
run = ["make", "", "site"]
env.B = "2"
env.A = ""
stdin = "json"
outputs = "public/"
reload = true
retries = 6
backoff = "7s"
leave = ["java"]
stop_signal = "int"
recursive = false
on_success = ["a", ""]
on_failure_run = "b"
notify = true

[[route]]
name = "serve"
signal = "SIGHUP"
after = "build"
shell = "exec ./app | tee log"
dir = "app"
service = true
ready = ":8080"
timeout = "1m"
[route.env]
PORT = "8080"
`)
	build, serve := cfg.Routes[0], cfg.Routes[1]
	want := Route{
		Route: router.Route{
			StopAtOnce: true,
			Name:       "build", Roots: []string{"/dir/src"}, Patterns: []string{"*.md", "templates/**"}, Hidden: router.DefaultIgnore(), Ignore: []string{"drafts"}, Outputs: []string{"public/"},
			NotRecursive: true, Mask: inotify.Modify | inotify.Create, Delay: time.Second, Debounce: 2 * time.Second, Quiet: router.DefaultQuiet, Settle: 3 * time.Second,
			Per: router.PerFile, OnFailure: router.Continue, OnBusy: router.Restart, Timeout: 4 * time.Second, Retries: 6, Backoff: 7 * time.Second,
		},
		Service: job.Service{Command: job.Command{
			Name: "build", Argv: []string{"make", "", "site"}, Dir: "/dir", Env: []string{"A=", "B=2"}, Input: job.JSONLines,
			Grace: 5 * time.Second, StopSignal: syscall.SIGINT, Leave: []string{"java"},
		}},
		Root: "/dir/src", Notify: true, Reload: true, table: KeyPath{}.Key("route").Element(0),
		OnSuccess:    job.Command{Name: "build", Argv: []string{"a", ""}, BuiltLater: true, Dir: "/dir", Env: []string{"A=", "B=2"}, Grace: 5 * time.Second},
		OnFailureRun: job.Command{Name: "build", Shell: "b", BuiltLater: true, Dir: "/dir", Env: []string{"A=", "B=2"}, Grace: 5 * time.Second},
	}
	if !reflect.DeepEqual(build, want) {
		t.Errorf(" got %+v\nwant %+v", build, want)
	}

	want = defaultRoute("/dir")
	want.Name, want.After, want.Background, want.IsService, want.Start = "serve", []string{"build"}, true, true, true
	want.Roots, want.Mask, want.table = []string{"/dir"}, router.Reload|inotify.Create|inotify.Delete|inotify.MovedFrom, KeyPath{}.Key("route").Element(1)
	want.Service = job.Service{
		Command: job.Command{Name: "serve", Shell: "exec ./app | tee log", BuiltLater: true, Dir: "/dir/app", Env: []string{"PORT=8080"}, Grace: job.DefaultGrace, StopSignal: syscall.SIGTERM},
		Address: ":8080", Startup: time.Minute, ReloadSignal: syscall.SIGHUP,
	}
	if !reflect.DeepEqual(serve, want) {
		t.Errorf(" got %+v\nwant %+v", serve, want)
	}
	if cfg.Serve || cfg.Jobs != 2 {
		t.Errorf("routes alone are served over HTTP: %v; %d jobs, want 2", cfg.Serve, cfg.Jobs)
	}
}

func TestBuilders(t *testing.T) {
	cfg := mustParse(t, `
[[route]]
builder = "hugo"

[[route]]
name = "own"
builder = "hugo"
run = ["hugo", "-w", "-d", "out"]
dir = "site"
match = "/hugo.toml"
outputs = "/out/"
begins = "^Go"

[[route]]
name = "other"
builder = true
shell = "npm run watch"

[[route]]
builder = "sphinx"

[[route]]
builder = "npm"
succeeds = "^ready"
`)
	hugo, own, other, sphinx, script := cfg.Routes[0], cfg.Routes[1], cfg.Routes[2], cfg.Routes[3], cfg.Routes[4]
	known, _ := builders.Find("hugo")
	if !hugo.IsBuilder || !hugo.IsService || !hugo.Start || hugo.Name != "hugo" || hugo.TriggerOnly ||
		!slices.Equal(hugo.Service.Argv, known.Run) || !slices.Equal(hugo.Patterns, known.Match) || !slices.Equal(hugo.Outputs, []string{"/public/"}) ||
		!slices.Equal(hugo.Service.Builds.Lines.Fails, known.Fails) {
		t.Errorf("by its name alone: %+v", hugo)
	}
	if own.Name != "own" || own.Root != "/dir/site" || !slices.Equal(own.Service.Argv, []string{"hugo", "-w", "-d", "out"}) || !slices.Equal(own.Patterns, []string{"/hugo.toml"}) ||
		!slices.Equal(own.Outputs, []string{"/out/"}) || !reflect.DeepEqual(own.Service.Builds.Lines, job.BuildLines{Begins: []string{"^Go"}, Succeeds: known.Succeeds, Fails: known.Fails}) {
		t.Errorf("with keys of its own: %+v", own)
	}
	if lines := script.Service.Builds.Lines; !reflect.DeepEqual(lines, job.BuildLines{Succeeds: []string{"^ready"}}) {
		t.Errorf("a script with lines of its own: %+v", lines)
	}
	if !other.TriggerOnly || !other.Service.Builds.Lines.None() || other.Name != "other" || !other.Start {
		t.Errorf("one that is not known: %+v", other)
	}
	if sphinx.IsService || sphinx.TriggerOnly || len(sphinx.Patterns) > 0 || !slices.Equal(sphinx.Outputs, []string{"/_build/html/", "/_build"}) {
		t.Errorf("one that ends after each build: %+v", sphinx)
	}
	if after := cfg.PagesAfter(); !slices.Equal(after, []string{"hugo", "own", "other", "sphinx", "npm"}) {
		t.Errorf("pages come after %q", after)
	}
}

// For package router 0 is the default, and less than 0 is none. In a file 0s is none.
func TestDurationsOfARoute(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"":                                    0, // by per
		"hold = '40s'":                        40 * time.Second,
		"hold = '0s'":                         none,
		"hold = 'until closed'":               router.UntilClosed,
		"per = 'file'":                        0,
		"per = 'file'\nhold = '1h'":           time.Hour,
		"per = 'file'\nhold = 'until closed'": router.UntilClosed,
	} {
		if got := mustParse(t, wrongRoute(text)).Routes[0].Hold; got != want {
			t.Errorf("%s: got %v, want %v", text, got, want)
		}
	}

	c := mustParse(t, wrongRoute("delay = '0s'\ndebounce = '0s'\nquiet = '0s'\nsettle = '0s'\nbackoff = '0s'\ngrace = '0s'\ntimeout = '0s'")).Routes[0]
	if got := []time.Duration{c.Delay, c.Debounce, c.Quiet, c.Settle, c.Backoff, c.Service.Grace, c.Timeout}; !slices.Equal(got, []time.Duration{none, none, none, none, none, none, 0}) {
		t.Errorf("delays are %v, want none, and for timeout no limit", got)
	}

	// Without a timeout a service and a builder have a default.
	for text, want := range map[string]time.Duration{"": 0, "timeout = '0s'": none, "timeout = '2s'": 2 * time.Second} {
		service, builder := mustParse(t, wrongRoute("service = true\n"+text)).Routes[0], mustParse(t, wrongRoute("builder = true\n"+text)).Routes[0]
		if service.Service.Startup != want || builder.Service.Builds.Timeout != want || service.Timeout != 0 || builder.Timeout != 0 {
			t.Errorf("%s: the time to start is %v, that of a build %v, want %v", text, service.Service.Startup, builder.Service.Builds.Timeout, want)
		}
	}
}

func TestDefaultEvents(t *testing.T) {
	for text, want := range map[string]string{
		"":                  "modify|moved_from|moved_to|create|delete",
		"per = 'file'":      "modify|moved_to",
		"events = 'attrib'": "attrib",
	} {
		if got := mustParse(t, wrongRoute(text)).Routes[0].Mask.String(); got != want {
			t.Errorf("%s: got %s, want %s", text, got, want)
		}
	}
}

// wrongRoute is a [[route]] with text, which has the mistake if there is one.
func wrongRoute(text string) string { return "[[route]]\nname='x'\nrun=['x']\n" + text }

func TestMistakes(t *testing.T) {
	tests := []struct{ text, want string }{
		{"", "x.toml: there is nothing to do: add a [[route]], or a [server] table with static or livereload"},
		{"[server]\nstatic = false\nlivereload = false", "x.toml: there is nothing to do: add a [[route]], or"},

		// What is no TOML.
		{"[server]\nport = ", "x.toml:2:7: expected value"},
		{"[server]\nport = 1\nport = 2", `x.toml:3:1: key port is already defined: keep one of them`},
		{"[server]\nhost = 'a", "x.toml:2:"},
		{"a = \"\xff\"", "x.toml:1:6: invalid UTF-8"},

		// Keys.
		{"[server]\nprot = 1", `x.toml:2:1: unknown key "prot": is port meant?`},
		{"[server]\nallow-host = 'a'", `x.toml:2:1: unknown key "allow-host": is allow_host meant?`},
		{"[server]\nPort = 1", `x.toml:2:1: unknown key "Port": is port meant?`},
		{wrongRoute("command = 'make'"), `x.toml:4:1: unknown key "command": is run meant?`},
		{"[server]\ndirectory = 'x'", `x.toml:2:1: unknown key "directory": is root meant?`},
		{"[server]\nhost = 'localhost:80'", `x.toml:2:8: host is "localhost:80": write host = "localhost" and port = 80`},
		{"port = 1", `x.toml:1:1: unknown key "port": port belongs to [server]; here is log_level, log_format, control, idle_exit, stop_grace, state, metrics, jobs, bus, server, route`},
		{"[server]\nrun = ['x']", `x.toml:2:1: unknown key "run": run belongs to a [[route]]; here is root, `},
		{wrongRoute("on_failure = 'stop'"), `x.toml:4:14: route "x" has on_failure = "stop", which is for a program that goes on running: add service = true, or want "cancel"`},
		{wrongRoute("log_level = 'info'"), `x.toml:4:1: unknown key "log_level": log_level belongs to the top of the file; here is name, `},
		{"colour = 1", `x.toml:1:1: unknown key "colour": want one of log_level, log_format, control, idle_exit, stop_grace, state, metrics, jobs, bus, server, route`},
		{"a.b.c = 1", `x.toml:1:1: unknown key "a": want one of`},
		{"[[route]]\nname = 'x'\nrun = ['x']\n[route.on.busy]", `x.toml:4:8: unknown key "on": want one of`},
		{"[rout]\nname = 'x'", `x.toml:1:2: unknown key "rout": is route meant?`},

		// Kinds.
		{"server = 1", "x.toml:1:1: server is 1: write it as a table, [server]"},
		{"[[server]]", "x.toml:1:3: server is an array: write it as a table, [server]"},
		{"[route]\nname = 'x'", "x.toml:1:2: route is a table: begin each route with [[route]]"},
		{"route = [1]", "x.toml:1:10: route is 1: want a table, as after [[route]]"},
		{"[server]\nport = '8000'", "x.toml:2:8: port is a string: want a number from 0 to 65535"},
		{"[server]\nport = 8e3", "x.toml:2:8: port is a number with a fraction: want a number from 0 to 65535"},
		{"[server]\nport = 65536", "x.toml:2:8: port is 65536: want a number from 0 to 65535"},
		{"[server]\nhost = 1979-05-27", `x.toml:2:8: host is a date or time: want an address, as in "127.0.0.1"`},
		{"[server]\nhost = ''", `x.toml:2:8: host is empty: want an address, as in "127.0.0.1"`},
		{"[server]\nroot = \"a\\u0000\"", "x.toml:2:8: root has a NUL character: take it out"},
		{"[server]\nstatic = 'no'", "x.toml:2:10: static is \"no\": write false, without quotes"},
		{"[server]\nallow_host = ['a', 1]", `x.toml:2:20: allow_host is 1: want names, as in ["preview.example.com"]`},
		{"[server]\nallow_host = ['a', 'b:80']", `x.toml:2:20: allow_host: host "b:80": want a name or an address without a port, or .example.com`},
		{"[server]\nallow_origin = 'example.com'", `x.toml:2:16: allow_origin: origin "example.com": want scheme://host[:port] or null`},
		{"[server]\nallow_host = { a = 1 }", `x.toml:2:14: allow_host is a table: want names`},
		{"jobs = 0\n[server]", "x.toml:1:8: jobs is 0: want a number from 1 to 65536"},
		{"log_level = 'loud'\n[server]", `x.toml:1:13: log_level is "loud": want one of debug, error, info, warn`},
		{wrongRoute("delay = '1'"), `x.toml:4:9: delay is 1, without a unit: write "1ms" or "1s"`},
		{wrongRoute("delay = 30"), `x.toml:4:9: delay is 30, without a unit: write "30ms" or "30s"`},
		{wrongRoute("delay = '-1s'"), `x.toml:4:9: delay is "-1s": want a time with its unit, not negative, as in`},
		{wrongRoute("hold = 'closed'"), `x.toml:4:8: hold is "closed": want a time with its unit, not negative, as in "100ms", "2s" or "1m30s", or "until closed"`},
		{wrongRoute("hold = 30"), `x.toml:4:8: hold is 30: want a time with its unit, not negative, as in "100ms", "2s" or "1m30s", or "until closed"`},
		{wrongRoute("per = 'path'"), `x.toml:4:7: per is "path": want one of file, route`},
		{wrongRoute("env = ['A=1']"), `x.toml:4:1: env is an array: want a table of strings, as in { GOOS = "linux" }`},
		{wrongRoute("env = { A = 1 }"), "x.toml:4:13: A is 1: want a string, in quotes"},
		{wrongRoute("env = { 'A=' = '1' }"), `x.toml:4:9: "A=" is no name of a variable: want one without = and NUL`},
		{wrongRoute("env.EXECLOGD_PATH = 'x'"), "x.toml:4:5: EXECLOGD_PATH: variables of this name are set for every job: choose another"},
		{wrongRoute("env.A = \"\\u0000\""), "x.toml:4:9: A has a NUL character: take it out"},

		// Patterns and events.
		{wrongRoute("match = ['*.md', '[']"), `x.toml:4:18: match: pattern "[": it is no glob: close each [ and {`},
		{wrongRoute("outputs = '!x'"), `x.toml:4:11: outputs: pattern "!x": nothing is negated here`},
		{wrongRoute("events = 'modfy'"), `x.toml:4:10: events: unknown event "modfy": is modify meant?`},
		{wrongRoute("events = ['modify', 'change']"), `x.toml:4:21: events: unknown event "change": want one of access, modify, `},
		{wrongRoute("events = 'q_overflow'"), `x.toml:4:10: events: unknown event "q_overflow": want one of access, modify, `},

		// Commands.
		{"[[route]]\nname = 'x'\nrun = 'make site'", `x.toml:3:7: run is a string: want a list of words, as in ["go", "test", "./..."]; a line for the shell is shell = "..."`},
		{"[[route]]\nname = 'x'\nrun = []", "x.toml:3:1: run has no program: want a list of words"},
		{"[[route]]\nname = 'x'\nrun = ['']", "x.toml:3:8: run is empty: want a word in quotes"},
		{"[[route]]\nname = 'x'\nrun = ['x', 1]", "x.toml:3:13: run is 1: want a word in quotes"},
		{wrongRoute("shell = 'x'"), `x.toml:4:9: route "x" has both run and shell: keep one of them`},
		{"[[route]]\nname = 'x'", `x.toml:1:3: route "x" has nothing to run: give it run = ["make", "site"], or shell = "make site", or reload = true`},
		{wrongRoute("ready = ':80'"), `x.toml:4:9: route "x" has ready, which is for a program that goes on running: add service = true`},
		{wrongRoute("service = true\nready = 'soon'"), `x.toml:5:9: ready is "soon": want "notify", or the address that it listens on, as in "127.0.0.1:9000"`},
		{wrongRoute("service = true\nper = 'file'"), `x.toml:5:7: route "x" has service = true and per = "file": a service is one program for all files`},
		{"[[route]]\nname = 'x'\nreload = true\nservice = true", `x.toml:1:3: route "x" has service = true and nothing to run: add run or shell`},

		// Builders.
		{"[[route]]\nbuilder = 'hug'", `x.toml:2:11: builder is "hug", which is not known: is "hugo" meant?`},
		{"[[route]]\nbuilder = 'blosxom'", `x.toml:2:11: builder is "blosxom", which is not known: want one of `},
		{"[[route]]\nbuilder = 1", `x.toml:2:11: builder is 1: want true, or the name of a program that is known, as in "hugo"`},
		{"[[route]]\nname = 'x'\nbuilder = true", `x.toml:1:3: route "x" has nothing to run`},
		{"[[route]]\nbuilder = 'sass'", `x.toml:2:11: route "sass" needs run, since nobody else knows the files of sass: give it, as in run = ["sass", "--watch", "scss:public/css"]`},
		{wrongRoute("builder = true\nbegins = '('"), "x.toml:5:10: begins: error parsing regexp: missing closing ): `(`"},
		{wrongRoute("fails = ['x']"), `x.toml:1:3: route "x" has begins, succeeds or fails, which are for what a builder prints: add builder = true`},
		{wrongRoute("service = true\nbuilder = 'mkdocs'"), `x.toml:4:11: route "x" has service = true, and mkdocs ends after each build: take service out, or want builder = true for a program that goes on`},
		{wrongRoute("builder = true\nready = ':80'"), `x.toml:5:9: route "x" has builder and ready: `},
		{wrongRoute("builder = true\nretries = 1"), `x.toml:5:11: route "x" has builder and retries: `},
		{wrongRoute("builder = true\non_busy = 'restart'"), `x.toml:5:11: route "x" has builder and on_busy: `},
		{wrongRoute("builder = true\nstdin = 'json'"), `x.toml:5:9: route "x" has builder and stdin: `},
		{wrongRoute("builder = true\nper = 'file'"), `x.toml:5:7: route "x" has builder and per = "file": `},

		// Names.
		{"[[route]]\nrun = ['x']", `x.toml:1:3: the route has no name: give it one, as in name = "build"`},
		{"[[route]]\nname = 'a b'\nrun = ['x']", `x.toml:2:8: name is "a b": want one word without`},
		{"[[route]]\nname = 'reload'\nrun = ['x']", `x.toml:2:8: name is "reload": want one word without ", = and what does not print, and not "reload" or "names"`},
		{wrongRoute("") + wrongRoute(""), `x.toml:5:6: route "x": there is one of this name in line 2: rename one`},
		{"[server]\nafter = 'x'", `x.toml:2:9: after names a route "x" that is not there: name a [[route]]`},
		{wrongRoute("after = 'y'"), `x.toml:4:9: after names a route "y" that is not there: name a [[route]]`},
		{"[server]\nafter = ['bild']\n[[route]]\nname = 'build'\nrun = ['x']", `x.toml:2:10: after names a route "bild" that is not there: is "build" meant?`},
		{wrongRoute("after = 'x'"), "x.toml:4:9: after goes in a circle, x after x: take one of them out"},
		{wrongRoute("after = ['z', 'y']") + "\n[[route]]\nname = 'y'\nafter = 'x'\nrun = ['y']\n[[route]]\nname = 'z'\nrun = ['z']", "x.toml:4:15: after goes in a circle, x after y after x: take one of them out"},
	}
	for _, tt := range tests {
		_, wrong := parse("x.toml", "/dir", []byte(tt.text))
		if len(wrong) != 1 || !strings.HasPrefix(wrong.Error(), tt.want) || strings.Contains(wrong.Error(), "\n") {
			t.Errorf("%s\n got %q\nwant %s", tt.text, wrong, tt.want)
		}
	}
}

func TestFlagsWinOverTheFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "x.toml")
	text := "log_level = 'warn'\n[server]\nroot = 'www'\nport = 1\nignore = 'a'\n[[route]]\nname = 'x'\nrun = ['x']\n"
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	cfg, _, err := Parse("execlogd", "", []string{"-port", "2", "-config", file, "-ignore", "b", "-root", "/srv"})
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Port != 2 || cfg.Root != "/srv" || cfg.fromFile("root") || !cfg.fromFile("control") || cfg.LogLevel != slog.LevelWarn || len(cfg.Routes) != 1 {
		t.Errorf("got %+v", cfg)
	}
	if want := []string{"a", "b"}; !slices.Equal(cfg.Ignore, want) || !slices.Equal(cfg.Hidden, router.DefaultIgnore()) {
		t.Errorf("ignores %q beside %q, want %q beside the default", cfg.Ignore, cfg.Hidden, want)
	}
}

func TestWhenThereIsAServer(t *testing.T) {
	route := wrongRoute("")
	tests := []struct {
		text, flags string
		want        bool
	}{
		{route, "", false},
		{route + "[server]", "", true},
		{route, "-port 80", true},
		{route, "-log-level debug", false},
		{route + "[server]\nstatic = false\nlivereload = false", "", false},
		{route + "[server]", "-static=false -livereload=false", false},
	}
	for _, tt := range tests {
		file := filepath.Join(t.TempDir(), "x.toml")
		if err := os.WriteFile(file, []byte(tt.text), 0o644); err != nil {
			t.Fatal(err)
		}
		cfg, _, err := Parse("execlogd", "", append(strings.Fields(tt.flags), "-config", file))
		if err != nil || cfg.Serve != tt.want {
			t.Errorf("%s%s: serves %v with %v, want %v", tt.text, tt.flags, cfg.Serve, err, tt.want)
		}
	}
}

// Each flag of the daemon is a key of the file, at its top or in [server], unless it
// is about the process; and each of these keys is a flag, with few exceptions.
func TestFileHasTheFlags(t *testing.T) {
	_, _, help := Parse("execlogd", "", []string{"-help"})
	known := append(keyNames(new(Config).keys()), keyNames(new(Config).serverKeys())...)
	for line := range strings.Lines(help.Error()) {
		name, isFlag := strings.CutPrefix(line, "  -")
		if !isFlag {
			continue
		}
		name, _, _ = strings.Cut(strings.TrimSpace(name), " ")
		if slices.Contains([]string{"config", "watch-config", "open", "version"}, name) {
			continue
		}
		i := slices.Index(known, strings.ReplaceAll(name, "-", "_"))
		if i < 0 {
			t.Errorf("-%s cannot be in the file", name)
			continue
		}
		known = slices.Delete(known, i, i+1)
	}
	if want := []string{"jobs", "server", "route", "site", "types", "cache_size", "cache_files", "error_pages", "redirects", "headers", "after"}; !slices.Equal(known, want) {
		t.Errorf("in the file alone are %q, want %q", known, want)
	}
}

func TestNearest(t *testing.T) {
	words := []string{"match", "modify", "on_busy", "per"}
	for wrong, want := range map[string]string{
		"mtach": "match", "matches": "match", "modifed": "modify", "on-busy": "on_busy", "OnBusy": "on_busy",
		"pre": "per", "pat": "", "": "", "x": "", "run": "",
	} {
		if got := Nearest(wrong, words); got != want {
			t.Errorf("%q: got %q, want %q", wrong, got, want)
		}
	}
}

// Any bytes are a configuration or have mistakes. Each mistake is one line that says
// where it is, unless it is about the file as a whole. Lines added above move it down
// and change nothing else.
func FuzzFile(f *testing.F) {
	for _, seed := range []string{
		"[server]\nport = 'x'\n[[route]]\nname = 'a'\nrun = ['x']\nafter = 'b'\n",
		"route = [{name = 'a', run = ['x'], env = {A = '1'}}]\nserver.ignore = ['', '*.x']\n",
		"[[route]]\n[route.env]\nA = \"\"\"\n\n\"\"\"\n[[route]]\nmatch = [\n  '[',\n]\n",
		"[server]\n'a b'.\"\\u0000\" = 1979-05-27T07:32:00Z\n0 = 1\n[[server.0]]\n",
		"[a.b]\nc.d = 0x1F\n[a]\nb.e = 1\n[[f]]\n[f.g]\n[[f]]\n[f.g]\nh = [[1.5e3, -inf], {i.j = 01, i.k = 1_0}]\n",
		"a = [1,]\nb = {}\nb.c = 1\n[b]\n[[a]]\n[b.d]\na = 1979-05-32\n\r\n",
		"[[route]]\nname = 'x'\nrun = ['x']\n[[route]]\nname = 'x'\nrun = [[1]]\nafter = ['x', 'y']\n",
		"[server]\nredirects = [{from = 'a', to = '/b'}, {}, 1, {from = '/a', to = \"\\n\", query = {\"\\n\" = 1}}]\nspa = \"\\n\"\ntypes = {\".\\n\" = 'x', '.x' = \"\\n\"}\n",
		"[server]\nheaders = [{for = '/a', values = {\"A\\n\" = 'b', B = \"\\n\"}}, 1, {for = 'a'}]\nerror_pages = {\"4\\n\" = 'a', 404 = \"../\\n\"}\n[[server.redirects]]\nfrom = '/:a/:a'\nto = '/'\n",
		"a = " + strings.Repeat("[", 40) + strings.Repeat("]", 40),
		strings.Repeat("a.", 40) + "a = 1\n[" + strings.Repeat("b.", 40) + "b]\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		cfg, wrong := parse("x.toml", "/dir", text)
		moved, movedWrong := parse("x.toml", "/dir", append([]byte("#\n\n#\n"), withoutBOM(text)...))
		if len(wrong) != len(movedWrong) {
			t.Fatalf("mistakes %q, moved down %q", wrong, movedWrong)
		}
		if wrong == nil && (len(moved.Routes) != len(cfg.Routes) || moved.Serve != cfg.Serve || moved.Root != cfg.Root) {
			t.Fatalf("moved down:\n got %+v\nwant %+v", moved, cfg)
		}

		lines := strings.Split(string(withoutBOM(text)), "\n")
		for i, m := range wrong {
			if strings.Contains(m.Error(), "\n") || m.Text == "" {
				t.Errorf("mistake %q is no line", m)
			}
			aboutAll := m.Line == 0 && strings.Contains(m.Text, "nothing to do")
			if !aboutAll && (m.Line < 1 || m.Line > len(lines) || m.Column < 1 || m.Column > len(lines[m.Line-1])+1) {
				t.Errorf("mistake %q is not in the file", m)
			}
			if m.Line > 0 {
				m.Line += 3
			}
			if !strings.Contains(m.Text, " in line ") && m != movedWrong[i] {
				t.Errorf("moved down: got %q, want %q", movedWrong[i], m)
			}
		}
	})
}
