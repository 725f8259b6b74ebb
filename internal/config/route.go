package config

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/execlog/execlogd/bus"
	"github.com/execlog/execlogd/inotify"
	"github.com/execlog/execlogd/internal/builders"
	"github.com/execlog/execlogd/job"
	"github.com/execlog/execlogd/router"
)

// A Route is a [[route]] of a file, or what execlogd run does, checked: options of
// packages router and job, and some of the daemon's own. Execlogd.toml(5) describes
// them.
type Route struct {
	router.Route             // without its functions
	Service      job.Service // the command; only if IsService is it run as a Service
	IsService    bool

	// IsBuilder says that it builds what pages show: as a Service with Builds, which
	// builds by itself whenever a source changes, or else as a command.
	IsBuilder bool
	builder   *builders.Builder // the program that the route names; nil if it names none
	lines     job.BuildLines

	Root          string // absolute
	Wait          bool   // for a root that does not exist yet
	StopOnFailure bool   // stop the service when a route fails that it comes after
	OnSuccess     job.Command
	OnFailureRun  job.Command
	Notify        bool
	Reload        bool
	Shared        string // the name by which other machines know Root; empty if it is not shared

	// Queue is the queue of the cluster that does what the route has to run; empty if this
	// machine does. With Work this machine takes jobs of it.
	Queue   string
	Work    bool
	AckWait time.Duration

	Start       bool
	ChangedOnly bool

	recursive bool
	table     KeyPath // in the file
}

// defaultRoute returns what a route has that says nothing. Its root and its
// directory are dir.
func defaultRoute(dir string) Route {
	c := Route{Root: dir, recursive: true}
	c.Hidden = router.DefaultIgnore()
	c.Delay, c.Debounce, c.Quiet = router.DefaultDelay, router.DefaultDebounce, router.DefaultQuiet
	c.Settle, c.Backoff = router.DefaultSettle, router.DefaultBackoff
	c.Service.Dir = dir
	c.Service.Grace, c.Service.StopSignal = job.DefaultGrace, syscall.SIGTERM
	return c
}

// At returns the path of a key in the table of the route. If the key is not there, its
// position is that of the table.
func (c *Route) At(key string) KeyPath { return c.table.Key(key) }

// HasCommand reports whether the route has something to run.
func (c *Route) HasCommand() bool { return isSet(c.Service.Command) }

func isSet(c job.Command) bool { return len(c.Argv) > 0 || c.Shell != "" }

// PerFile reports whether the route runs once for each file.
func (c *Route) PerFile() bool { return c.Per == router.PerFile }

// What keys say in words.
var (
	pers       = choice[router.Per]{"route": router.PerRoute, "file": router.PerFile}
	onFailures = choice[router.OnFailure]{"cancel": router.Cancel, "continue": router.Continue, "stop": stopService}
	onBusies   = choice[router.OnBusy]{"queue": router.Queue, "restart": router.Restart, "ignore": router.Ignore}
	inputs     = choice[job.Input]{"none": job.NoInput, "json": job.JSONLines, "nul": job.NULPaths}
)

// holdDefault is the default of hold, for the help.
var holdDefault = router.DefaultHold.String() + ", or with -per file until closed"

// stopService is cancel with StopOnFailure.
const stopService = ^router.OnFailure(0)

// keys are the keys of a [[route]]. Those with a help are flags of execlogd run
// too; a comment names the flag that run has in place of a key.
func (c *Route) keys() []key {
	return []key{
		{"name", routeName(&c.Name), nil, ""},
		{"root", path(&c.Root, `a directory or a file, as in "src"`), nil, ""}, // -path
		{"shared", shared(&c.Shared), nil, ""},
		{"wait", boolean(&c.Wait), nil, "watch a -path that does not exist yet as soon as it does"},
		{"match", patterns(Patterns{List: &c.Patterns}), nil, "run only when a file that matches this `pattern` changes (may be repeated)"},
		{"ignore", patterns(Patterns{&c.Hidden, &c.Ignore}), nil, "ignore files that match this `pattern` (may be repeated; in addition to hidden and\ntemporary files, which an empty pattern removes from the list)"},
		{"gitignore", boolean(&c.IgnoreFiles), nil, ""}, // -ignore-files
		{"events", events(&c.Mask), "changes of content and of names", "run on these `events` of inotify(7)"},
		{"delay", duration(&c.Delay, none), c.Delay, "gather changes for this `duration` before each run"},
		{"debounce", duration(&c.Debounce, none), c.Debounce, "wait at least this `duration` between the starts of two runs"},
		{"quiet", duration(&c.Quiet, none), c.Quiet, "when many files change, as in a checkout, wait for a pause of this `duration`"},
		{"settle", duration(&c.Settle, none), c.Settle, "wait this `duration` after the last write to a file that is still open for writing"},
		{"hold", hold(&c.Hold), holdDefault, "wait at most this `duration` for files that are being written, or \"until closed\" for\nthem to be closed"},
		{"per", oneOf(&c.Per, pers), "route", "run once for `what`: route, for everything that has changed, or file, for each file,\nside by side"},
		{"after", names(&c.After), nil, ""},
		{"on_failure", oneOf(&c.OnFailure, onFailures), nil, ""},
		{"on_busy", oneOf(&c.OnBusy, onBusies), "queue", "do `what` with changes during a run: queue runs the command once more for them,\nrestart ends it and starts it again, ignore drops them"},
		{"timeout", duration(&c.Timeout, none), c.Timeout, "end a run that takes longer than this `duration`; 0s is no limit"},
		{"retries", number(&c.Retries, 0, 1000, 3), nil, "run a command that failed again this `number` of times, unless a file changes first"},
		{"backoff", duration(&c.Backoff, none), c.Backoff, "wait this `duration` before the first retry, and twice as long before each further one"},
		{"grace", func(t *tables, v value) {
			duration(&c.Service.Grace, none)(t, v)
			c.StopAtOnce = true // it has time of its own
		}, c.Service.Grace, "kill a command that has not ended this `duration` after it was asked to"},
		{"leave", leave(&c.Service.Leave), nil, "let `processes` of this name keep running that the command leaves behind; true is all\n(may be repeated)"},
		{"stop_signal", signal(&c.Service.StopSignal), "SIGTERM", "ask the command to end by this `signal`"},
		{"signal", signal(&c.Service.ReloadSignal), nil, "send this `signal` to a command that keeps running when a file changes, and start it\nagain only when it has ended"},
		{"recursive", boolean(&c.recursive), true, "watch all directories below as well"},
		{"on_success", followup(&c.OnSuccess), nil, "run this `script` with /bin/sh after each run that succeeds"},
		{"on_failure_run", followup(&c.OnFailureRun), nil, "run this `script` with /bin/sh after each run that fails"},
		{"notify", boolean(&c.Notify), nil, "show on the desktop how each run ended"},
		{"run", argv(&c.Service.Argv), nil, ""}, // what follows the flags
		{"shell", text(&c.Service.Shell, `a line for the shell, as in "make site && cp -r out www"`), nil, "run this `script` with /bin/sh in place of a command"},
		{"dir", directory(&c.Service.Dir), "the current one", "run in this `directory`"},
		{"env", environment(&c.Service.Env), nil, "set a variable, `KEY=VALUE`, in the environment of the command (may be repeated)"},
		{"stdin", oneOf(&c.Service.Input, inputs), "the terminal, or none without one", "let the command read `what`: none, json, an object on a line for each change, or nul,\nthe paths with a NUL after each"},
		{"service", func(t *tables, v value) {
			boolean(&c.IsService)(t, v)
			c.Start = c.IsService // unless start, which is below, says otherwise
		}, nil, ""},
		{"builder", c.decodeBuilder, nil, ""},
		{"begins", expressions(&c.lines.Begins), nil, ""},
		{"succeeds", expressions(&c.lines.Succeeds), nil, ""},
		{"fails", expressions(&c.lines.Fails), nil, ""},
		{"ready", readiness(&c.Service), nil, ""},
		{"outputs", patterns(Patterns{List: &c.Outputs}), nil, "do not run for files that match this `pattern`, since the command itself writes them\n(may be repeated)"},
		{"changed_only", boolean(&c.ChangedOnly), nil, "leave out files with the same content as at the last run, and do not run if there are\nno others"},
		{"reload", boolean(&c.Reload), nil, ""},
		{"start", boolean(&c.Start), nil, ""}, // -postpone
		{"catch_up", boolean(&c.CatchUp), nil, ""},
		{"queue", busName(&c.Queue), nil, ""},
		{"work", boolean(&c.Work), nil, ""},
		{"ack_wait", duration(&c.AckWait, none), nil, ""},
	}
}

// decodeBuilder decodes whether the route builds what pages show, or the name of the
// program that does.
func (c *Route) decodeBuilder(t *tables, v value) {
	if is, isBool := v.is.(bool); isBool {
		c.IsBuilder, c.Start = is, is || c.Start // unless start, which is below, says otherwise
		return
	}
	name, ok := t.text(v, `true, or the name of a program that is known, as in "hugo"`, false)
	if !ok {
		return
	}

	b, ok := builders.Find(name)
	if !ok {
		known := builders.Names()
		want := "want one of " + strings.Join(known, ", ") + ", or true, with run or shell"
		if meant := Nearest(name, known); meant != "" {
			want = fmt.Sprintf("is %q meant?", meant)
		}
		t.Add(v.at, "builder is %q, which is not known: %s", name, want)
		return
	}
	c.IsBuilder, c.Start, c.builder = true, true, &b
}

// finishBuilder sets what is known of the program, and what follows from its being a
// builder, where the route does not say otherwise.
func (c *Route) finishBuilder(dir string) {
	if !c.IsBuilder {
		return
	}
	if c.Root == dir {
		c.Root = c.Service.Dir
	}

	b := cmp.Or(c.builder, new(builders.Builder))
	c.Name = cmp.Or(c.Name, b.Name)
	if !c.HasCommand() {
		c.Service.Argv = slices.Clone(b.Run)
	}
	if len(c.Patterns) == 0 {
		c.Patterns = slices.Clone(b.Match)
	}
	if len(c.Outputs) == 0 && b.Output != "" {
		c.Outputs = []string{"/" + b.Output + "/"}
		for dir := filepath.Dir(b.Output); dir != "."; dir = filepath.Dir(dir) {
			c.Outputs = append(c.Outputs, "/"+dir) // which may have to be made as well
		}
	}
	if b.Once {
		return
	}
	c.IsService = true

	// A change of any other file is what the program watches for itself.
	c.TriggerOnly = len(c.Patterns) == 0
	lines := c.lines
	or := func(own, known []string) []string {
		if len(own) == 0 {
			return known
		}
		return own
	}
	if lines.None() || !b.Unsure { // else it is another program than the known lines are of
		lines = job.BuildLines{Begins: or(lines.Begins, b.Begins), Succeeds: or(lines.Succeeds, b.Succeeds), Fails: or(lines.Fails, b.Fails), Unsure: b.Unsure}
	}
	c.Service.Builds = &job.Builds{Lines: lines, Quiet: c.Quiet, Timeout: c.Timeout}
}

// finish sets what follows from other keys. Paths of the file are relative to dir.
func (c *Route) finish(dir string) {
	c.finishBuilder(dir)
	c.Roots, c.NotRecursive = []string{c.Root}, !c.recursive
	switch {
	case c.Mask != 0:
	case c.PerFile():
		c.Mask, c.Empty = router.Reload, true // files that exist
	default:
		c.Mask = router.Reload | inotify.Create | inotify.Delete | inotify.MovedFrom
	}
	if c.OnFailure == stopService {
		c.OnFailure, c.StopOnFailure = router.Cancel, true
	}

	command := &c.Service.Command
	command.Name = c.Name
	command.BuiltLater = len(c.After) > 0 // by one of those
	for _, next := range []*job.Command{&c.OnSuccess, &c.OnFailureRun} {
		if isSet(*next) {
			next.Name, next.Dir, next.Env, next.Grace = c.Name, command.Dir, command.Env, command.Grace
			next.BuiltLater = true
		}
	}
	if c.IsService {
		c.Background = true
		c.Service.Startup, c.Timeout = c.Timeout, 0
	}
	c.Timeout = max(0, c.Timeout) // which is no limit for the router
}

// route decodes a [[route]].
func (t *tables) route(v value) Route {
	c := defaultRoute(t.dir)
	c.table = v.at
	if _, ok := v.is.(map[string]any); !ok {
		t.unwanted(v, "a table, as after [[route]]")
		return c
	}

	before := len(t.mistakes)
	t.table(v, c.keys())
	c.finish(t.dir)
	if len(t.mistakes) == before {
		t.checkRoute(&c)
	}
	return c
}

// checkRoute reports keys of a route that do not go together.
func (t *tables) checkRoute(c *Route) {
	wrong := func(key, format string) { t.Add(c.At(key), format, c.Name) }
	switch {
	case c.Name == "":
		t.Add(c.table, "the route has no name: give it one, as in name = \"build\"")
	case len(c.Service.Argv) > 0 && c.Service.Shell != "":
		wrong("shell", "route %q has both run and shell: keep one of them")
	case !c.HasCommand() && c.builder != nil:
		t.Add(c.At("builder"), "route %q needs run, since nobody else knows the files of %s: give it, as in run = [\"%s\"]", c.Name, c.builder.Name, strings.Join(c.builder.Example, `", "`))
	case !c.HasCommand() && !c.Reload:
		wrong("", `route %q has nothing to run: give it run = ["make", "site"], or shell = "make site", or reload = true`)
	case (c.Service.Notify || c.Service.Address != "") && !c.IsService:
		wrong("ready", "route %q has ready, which is for a program that goes on running: add service = true")
	case c.Service.ReloadSignal != 0 && !c.IsService:
		wrong("signal", "route %q has signal, which is for a program that goes on running: add service = true")
	case c.StopOnFailure && !c.IsService:
		wrong("on_failure", `route %q has on_failure = "stop", which is for a program that goes on running: add service = true, or want "cancel"`)
	case !c.IsBuilder && !c.lines.None():
		wrong("", "route %q has begins, succeeds or fails, which are for what a builder prints: add builder = true")
	case c.builder != nil && c.builder.Once && !c.lines.None():
		wrong("", "route %q has begins, succeeds or fails, and a program that ends after each build: its exit status says whether that has failed; take them out")
	case c.builder != nil && c.builder.Once && c.IsService:
		t.Add(c.At("service"), "route %q has service = true, and %s ends after each build: take service out, or want builder = true for a program that goes on", c.Name, c.builder.Name)
	case c.IsBuilder && (c.Service.Notify || c.Service.Address != ""):
		wrong("ready", "route %q has builder and ready: pages wait for its builds; take ready out, or want service = true in place of builder")
	case c.Service.Builds != nil && c.Retries > 0:
		wrong("retries", "route %q has builder and retries: the program builds again by itself; take retries out")
	case c.Service.Builds != nil && c.OnBusy != router.Queue:
		wrong("on_busy", "route %q has builder and on_busy: the program sees to changes itself while it builds; take on_busy out")
	case c.Service.Builds != nil && c.Service.Input != job.NoInput:
		wrong("stdin", "route %q has builder and stdin: the program finds out itself what has changed, and its standard input stays open and empty; take stdin out")
	case c.IsBuilder && c.PerFile():
		wrong("per", `route %q has builder and per = "file": a builder is one program for all files`)
	case c.IsService && c.PerFile():
		wrong("per", `route %q has service = true and per = "file": a service is one program for all files`)
	case c.IsService && len(c.Service.Leave) > 0:
		t.Add(c.At("leave").Element(0), "route %q has leave, which is for commands that end: a service is started again with nothing left of it", c.Name)
	case c.Queue == "" && (c.Work || c.AckWait != 0):
		wrong("", `route %q has work or ack_wait, which are for the jobs of a queue: name it, as in queue = "thumbs"`)
	case c.AckWait != 0 && c.AckWait < bus.MinAckWait:
		wrong("ack_wait", "route %q has an ack_wait of less than a second, in which a machine that is busy cannot say that it is there: raise it")
	case c.Queue != "" && c.IsService:
		wrong("queue", "route %q has queue, and a program that goes on running: jobs are for commands that end; take queue out")
	case c.Queue != "" && !c.HasCommand():
		wrong("queue", "route %q has queue and nothing to run: add run or shell")
	case c.Queue != "" && c.ChangedOnly:
		wrong("changed_only", "route %q has queue and changed_only: the machines do not know what another one has done; take changed_only out")
	case c.Queue != "" && c.OnBusy != router.Queue:
		wrong("on_busy", "route %q has queue and on_busy: what changes while a job waits is done with it, and what changes later is another job; take on_busy out")
	case c.IsService && !c.HasCommand():
		wrong("", "route %q has service = true and nothing to run: add run or shell")
	}
}
