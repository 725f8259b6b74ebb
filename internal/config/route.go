package config

import (
	"syscall"
	"time"

	"github.com/execlog/execlogd/inotify"
	"github.com/execlog/execlogd/router"
)

// A Route is a [[route]] of a file, or what execlogd run does, checked. Its fields
// are the keys that execlogd.toml(5) describes.
type Route struct {
	Name       string
	Root       string // absolute
	Match      []string
	Hidden     []string // names that are ignored unless Match spells them out
	Ignore     []string
	Events     inotify.Mask // 0 for what Mask says
	Delay      time.Duration
	Debounce   time.Duration
	Quiet      time.Duration
	Settle     time.Duration
	Hold       time.Duration // as router.Route has it
	Per        string        // route or file
	After      []string
	OnFailure  string // cancel, continue or stop
	OnBusy     string // queue, restart or ignore
	Timeout    time.Duration
	Retries    int
	Backoff    time.Duration
	Grace      time.Duration
	Leave      []string       // names of processes; * is all
	StopSignal syscall.Signal // that ends the command
	Signal     syscall.Signal // that tells the command of changes; 0 starts it again instead
	Recursive  bool
	OnSuccess  Followup
	OnFailRun  Followup
	Notify     bool
	Run        []string // a program and its arguments, or
	Shell      string   // a script for /bin/sh
	Dir        string   // absolute
	Env        []string // NAME=value
	Stdin      string   // none, json, nul, or for execlogd run nothing: the terminal
	Service    bool
	Ready      string // notify, or an address
	Outputs    []string
	Reload     bool
	Start      bool
	Wait       bool // for a root that does not exist yet
	GitIgnore  bool

	ChangedOnly bool

	startSet bool  // Start is what the file says
	place    Place // of the table
}

// A Followup is a command that follows a run: a program with its arguments, or a
// script for /bin/sh. The zero Followup is none.
type Followup struct {
	Argv  []string
	Shell string
}

// IsSet reports whether there is a command.
func (f Followup) IsSet() bool { return len(f.Argv) > 0 || f.Shell != "" }

// defaultRoute returns what a route has that says nothing. Its root and its
// directory are dir.
func defaultRoute(dir string) Route {
	return Route{
		Root:       dir,
		Hidden:     router.DefaultIgnore(),
		Delay:      router.DefaultDelay,
		Debounce:   router.DefaultDebounce,
		Quiet:      router.DefaultQuiet,
		Settle:     router.DefaultSettle,
		Per:        "route",
		OnFailure:  "cancel",
		OnBusy:     "queue",
		Backoff:    router.DefaultBackoff,
		Grace:      5 * time.Second,
		StopSignal: syscall.SIGTERM,
		Recursive:  true,
		Dir:        dir,
		Stdin:      "none",
	}
}

// At returns the place of a key in the table of the route. A key that is not there
// stands for the table.
func (c *Route) At(key string) Place { return c.place.Key(key) }

// HasCommand reports whether the route has something to run.
func (c *Route) HasCommand() bool { return len(c.Run) > 0 || c.Shell != "" }

// PerFile reports whether the route runs once for each file.
func (c *Route) PerFile() bool { return c.Per == "file" }

// Mask is the events that the route asks for. A command for everything runs when a
// file is gone as well; one for each file gets only files that exist.
func (c *Route) Mask() inotify.Mask {
	switch {
	case c.Events != 0:
		return c.Events
	case c.PerFile():
		return router.Reload
	}
	return router.Reload | inotify.Create | inotify.Delete | inotify.MovedFrom
}

// setHold gives a route that does not say how long it waits for files the default:
// a command for each file needs files that are complete.
func (c *Route) setHold() {
	switch {
	case c.Hold != 0:
	case c.PerFile():
		c.Hold = router.UntilClosed
	default:
		c.Hold = router.DefaultHold
	}
}

// keys are the keys of a [[route]]. Those with a help are flags of execlogd run
// too; a comment names the flag that run has in place of a key.
func (c *Route) keys() []key {
	return []key{
		{"name", routeName(&c.Name), ""},
		{"root", path(&c.Root, `a directory or a file, as in "src"`), ""}, // -path
		{"wait", boolean(&c.Wait), "listen to a -path that does not exist yet as soon as it does"},
		{"match", patterns(Patterns{List: &c.Match}), "run when a file that matches this `pattern` changes, by default any (may be repeated)"},
		{"ignore", patterns(Patterns{&c.Hidden, &c.Ignore}), "do not listen to what matches this `pattern` (may be repeated; adds to hidden and\ntemporary files, which an empty pattern takes away)"},
		{"gitignore", boolean(&c.GitIgnore), ""}, // -ignore-files
		{"events", events(&c.Events), "run on these `events` of inotify(7) (default changes of content and of names)"},
		{"delay", duration(&c.Delay), "gather changes for this `duration` before each run" + byDefault(c.Delay)},
		{"debounce", duration(&c.Debounce), "start at most one run in this `duration`" + byDefault(c.Debounce)},
		{"quiet", duration(&c.Quiet), "wait until nothing came for this `duration` when many files change, as in a checkout" + byDefault(c.Quiet)},
		{"settle", duration(&c.Settle), "wait this `duration` after the last write to a file that is still open for writing" + byDefault(c.Settle)},
		{"hold", hold(&c.Hold), "wait at most this `duration` for files that are being written, or \"until closed\" for them\nto be closed (default " + router.DefaultHold.String() + ", or with -per file until closed)"},
		{"per", oneOf(&c.Per, "route", "file"), "`what` one run is for: route, for all that has changed, or file, for each file,\nside by side" + byDefault(c.Per)},
		{"after", names(&c.After), ""},
		{"on_failure", oneOf(&c.OnFailure, "cancel", "continue", "stop"), ""},
		{"on_busy", oneOf(&c.OnBusy, "queue", "restart", "ignore"), "`what` to do with changes during a run: queue makes one further run of them, restart\nends the command and starts it again, ignore drops them" + byDefault(c.OnBusy)},
		{"timeout", duration(&c.Timeout), "end a run that takes longer than this `duration`; 0 is never"},
		{"retries", number(&c.Retries, 0, 1000), "run again so `number` of times when the command fails, unless something changes first"},
		{"backoff", duration(&c.Backoff), "wait this `duration` before the first of these runs, and twice as long before each\nfurther one" + byDefault(c.Backoff)},
		{"grace", duration(&c.Grace), "kill a command that is to end after this `duration`" + byDefault(c.Grace)},
		{"leave", leave(&c.Leave), "let `processes` of this name go on that the command leaves behind; true is all (may be\nrepeated)"},
		{"stop_signal", signal(&c.StopSignal), "end the command with this `signal`, before it is killed (default SIGTERM)"},
		{"signal", signal(&c.Signal), "send a command that goes on this `signal` when something changes, and start it again\nonly when it has ended"},
		{"recursive", boolean(&c.Recursive), "listen to all directories below as well (default true)"},
		{"on_success", followup(&c.OnSuccess), "run this `script` with /bin/sh after each run that succeeds"},
		{"on_failure_run", followup(&c.OnFailRun), "run this `script` with /bin/sh after each run that fails"},
		{"notify", boolean(&c.Notify), "tell the desktop how each run ended"},
		{"run", argv(&c.Run), ""}, // what follows the flags
		{"shell", text(&c.Shell, `a line for the shell, as in "make site && cp -r out www"`), "run this `script` with /bin/sh, in place of a command"},
		{"dir", directory(&c.Dir), "run in this `directory`, by default the current one"},
		{"env", environment(&c.Env), "set a variable, `KEY=VALUE`, in the environment of the command (may be repeated)"},
		{"stdin", oneOf(&c.Stdin, "none", "json", "nul"), "`what` the command reads: none, json, for an object a line for each change, or nul,\nfor paths with a NUL after each; by default the terminal, or none without one"},
		{"service", boolean(&c.Service), ""},
		{"ready", readiness(&c.Ready), ""},
		{"outputs", patterns(Patterns{List: &c.Outputs}), "the command itself writes what matches this `pattern`, so do not run on it (may be\nrepeated)"},
		{"changed_only", boolean(&c.ChangedOnly), "leave out files that have in them what they had at the last run, and do not run for\nthese alone"},
		{"reload", boolean(&c.Reload), ""},
		{"start", func(t *tables, v value) {
			c.startSet = true
			boolean(&c.Start)(t, v)
		}, ""}, // -postpone
	}
}

// route decodes a [[route]].
func (t *tables) route(v value) Route {
	c := defaultRoute(t.dir)
	c.place = v.at
	if _, ok := v.is.(map[string]any); !ok {
		t.wrongType(v, "a table, as after [[route]]")
		return c
	}

	before := len(t.mistakes)
	t.table(v, c.keys())
	if len(t.mistakes) == before {
		t.checkRoute(&c)
	}
	c.Start = c.Start || c.Service && !c.startSet
	c.setHold()
	return c
}

// checkRoute reports keys of a route that do not go together.
func (t *tables) checkRoute(c *Route) {
	wrong := func(key, format string) { t.Add(c.At(key), format, c.Name) }
	switch {
	case c.Name == "":
		t.Add(c.place, "the route has no name: give it one, as in name = \"build\"")
	case len(c.Run) > 0 && c.Shell != "":
		wrong("shell", "route %q has both run and shell: keep one of them")
	case !c.HasCommand() && !c.Reload:
		wrong("", `route %q has nothing to run: give it run = ["make", "site"], or shell = "make site", or reload = true`)
	case c.Ready != "" && !c.Service:
		wrong("ready", "route %q has ready, which is for a program that goes on running: add service = true")
	case c.Signal != 0 && !c.Service:
		wrong("signal", "route %q has signal, which is for a program that goes on running: add service = true")
	case c.OnFailure == "stop" && !c.Service:
		wrong("on_failure", `route %q has on_failure = "stop", which is for a program that goes on running: add service = true, or want "cancel"`)
	case c.Service && c.PerFile():
		wrong("per", `route %q has service = true and per = "file": a service is one program for all files`)
	case c.Service && len(c.Leave) > 0:
		t.Add(c.At("leave").Element(0), "route %q has leave, which is for commands that end: a service is started again with nothing left of it", c.Name)
	case c.Service && !c.HasCommand():
		wrong("", "route %q has service = true and nothing to run: add run or shell")
	}
}
