package job

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/execlog/execlogd/inotify"
	"github.com/execlog/execlogd/router"
)

// Builds says of a Service that it builds something, and builds it again by itself
// whenever a source changes. It is read line by line to know when. Its start is the
// beginning of a build; it is ready when that is over, also if it has failed.
type Builds struct {
	Lines BuildLines

	// Quiet is how long nothing may have been printed for a build to be over of which
	// no line says so; 0 is router.DefaultQuiet.
	Quiet time.Duration

	// Timeout is how long a build may take. One that takes longer has failed, and the
	// program goes on; 0 is DefaultBuildTimeout, negative is no limit.
	Timeout time.Duration

	// Began is told, by the goroutine that reads the output, of a build that has begun
	// by itself. A Run for BuildEvent is then to wait for its end. Nil is nobody.
	Began func()
}

// DefaultBuildTimeout is how long a build may take if its Builds does not say: longer than
// most take, and no longer than somebody is willing to wait for a line that never comes.
const DefaultBuildTimeout = time.Minute

// unsureQuiet is how long a program may print nothing while it starts, as a script of npm
// does that starts another.
const unsureQuiet = 2 * time.Second

// BuildLines are regular expressions for the lines that a program prints when a build
// begins and ends. They are matched with each line without the colours of a terminal.
// Without Begins any line begins a build, which is then also over when it is followed by
// nothing, as is one without Succeeds. A build with a line of Fails has failed, whatever
// follows. Lines after that belong to it until one of Begins or Succeeds comes, or none.
type BuildLines struct {
	Begins, Succeeds, Fails []string

	// Unsure says that the program may be another one, of which no such line ever comes.
	// The first build is then also over when nothing follows for a time in which the
	// program should have started.
	Unsure bool
}

// None reports whether there are none.
func (l BuildLines) None() bool { return len(l.Begins)+len(l.Succeeds)+len(l.Fails) == 0 }

// BuildEvent returns the event of a batch for which Run waits for the end of a build that
// has begun by itself. Any other starts the program again.
func BuildEvent(root string) inotify.Event {
	return inotify.Event{Root: root, Path: ".", Mask: inotify.Modify | inotify.IsDir} // which the kernel never reports
}

func isBuildEvent(e inotify.Event) bool { return e == BuildEvent(e.Root) }

// errBuildFailed is the error of a build that a line says has failed.
var errBuildFailed = errors.New("the build has failed")

// builds are the builds of a program from its start to its end. A nil one has none.
type builds struct {
	runner  *Runner
	spec    Run // of each build
	quiet   time.Duration
	timeout time.Duration
	told    func() // Began

	begins, succeeds, fails []*regexp.Regexp

	mu     sync.Mutex // guards what follows
	latest *build
	before strings.Builder // what was printed since the last build
	ended  bool            // the program has
}

// A build ends when over is closed. Then err may be read.
type build struct {
	entry   *entry
	guess   bool // any line may have begun it
	failed  bool // a line of Fails has come
	silence time.Duration
	quiet   *time.Timer // ends it after silence
	late    *time.Timer
	over    chan struct{}
	err     error
}

func (b *build) isOver() bool {
	select {
	case <-b.over:
		return true
	default:
		return false
	}
}

// newBuilds returns the builds of a service that is about to start.
func (s *Server) newBuilds(e *entry) *builds {
	if s.service.Builds == nil {
		return nil
	}
	opts := s.service.Builds
	run := e.now()
	b := &builds{
		runner: s.job.runner, spec: Run{Route: run.Route, Argv: run.Argv, Dir: run.Dir, Events: run.Events, Batch: run.Batch},
		quiet: cmp.Or(opts.Quiet, router.DefaultQuiet), timeout: cmp.Or(opts.Timeout, DefaultBuildTimeout), told: opts.Began,
		begins: s.begins, succeeds: s.succeeds, fails: s.fails,
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.begin()
	if opts.Lines.Unsure {
		b.latest.guess, b.latest.silence = true, max(b.quiet, unsureQuiet)
	}
	if b.latest.guess || b.isSilent() {
		b.latest.quiet.Reset(b.latest.silence) // it may never print anything
	}
	return b
}

// isSilent reports whether there is nothing to tell builds by.
func (b *builds) isSilent() bool { return len(b.begins)+len(b.succeeds)+len(b.fails) == 0 }

// compile compiles the expressions of Builds.
func (s *Server) compile(lines BuildLines) error {
	for _, list := range []struct {
		texts []string
		to    *[]*regexp.Regexp
	}{{lines.Begins, &s.begins}, {lines.Succeeds, &s.succeeds}, {lines.Fails, &s.fails}} {
		for _, text := range list.texts {
			r, err := regexp.Compile(text)
			if err != nil {
				return fmt.Errorf("route %q: %w", s.job.name, err)
			}
			*list.to = append(*list.to, r)
		}
	}
	return nil
}

// begin begins a build. b.mu must be held.
func (b *builds) begin() {
	x := &build{entry: b.runner.log.begin(b.spec), silence: b.quiet, over: make(chan struct{})}
	x.quiet = time.AfterFunc(time.Hour, func() { b.endLater(x, nil) })
	x.quiet.Stop()
	if b.timeout > 0 {
		x.late = time.AfterFunc(b.timeout, func() {
			b.endLater(x, fmt.Errorf("no line has said within %v that the build is over: see succeeds, fails and timeout", b.timeout))
		})
	}
	b.latest = x
}

// end ends the latest build, with an error unless it has succeeded. b.mu must be held.
func (b *builds) end(err error) {
	x := b.latest
	x.quiet.Stop()
	if x.late != nil {
		x.late.Stop()
	}
	if x.failed && err == nil {
		err = errBuildFailed
	}
	x.err = b.runner.done(x.entry, func(run *Run) {
		run.Err = err
		if err != nil {
			run.Exit = -1
		}
	})
	close(x.over)
	b.before.Reset()
}

// endLater ends a build, if it is not over.
func (b *builds) endLater(x *build, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if x == b.latest && !x.isOver() && !b.ended {
		if x.guess {
			err = nil // it may be another program, that never ceases to print
		}
		b.end(err)
	}
}

// line takes a line that the program has printed.
func (b *builds) line(text string) {
	plain := withoutColours(text)
	is := func(list []*regexp.Regexp) bool {
		return slices.ContainsFunc(list, func(r *regexp.Regexp) bool { return r.MatchString(plain) })
	}
	begins, succeeds, fails := is(b.begins), is(b.succeeds), is(b.fails)

	b.mu.Lock()
	hasBegun := b.take(text, begins, succeeds, fails)
	b.mu.Unlock()
	if hasBegun && b.told != nil {
		b.told()
	}
}

// take is line with what the line says. It reports whether a build has begun. b.mu must
// be held.
func (b *builds) take(text string, begins, succeeds, fails bool) (hasBegun bool) {
	if b.ended {
		return false
	}
	if begins && b.latest.failed && !b.latest.isOver() {
		b.end(nil) // no more will follow
	}

	hasBegun = b.latest.isOver()
	if hasBegun {
		saysNothing := !begins && !succeeds && !fails
		if saysNothing && len(b.begins) > 0 {
			b.keep(text)
			return false
		}
		before := b.before.String()
		b.begin()
		b.latest.guess = saysNothing
		if !begins {
			b.latest.entry.write([]byte(before)) // it may be a part of the message
		}
	}

	x := b.latest
	x.entry.write([]byte(text + "\n"))
	if x.guess && begins {
		x.guess = false
		x.quiet.Stop()
	}
	x.failed = x.failed || fails
	switch {
	case succeeds:
		b.end(nil)
	case x.failed || x.guess || len(b.succeeds) == 0:
		x.quiet.Reset(x.silence)
	}
	return hasBegun
}

// maxBefore bounds what is kept of what was printed since the last build.
const maxBefore = 8 << 10

// keep keeps a line that is part of no build. b.mu must be held.
func (b *builds) keep(text string) {
	if b.before.Len() > maxBefore {
		b.before.Reset()
	}
	b.before.WriteString(text + "\n")
}

// endProgram notes how the program has ended, or why it was stopped or did not start. A
// build that is under way ends with it. The output in the error becomes that of the build,
// or what was printed since.
func (b *builds) endProgram(err error) {
	failed, ok := errors.AsType[*Error](err)
	if b == nil || !ok {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ended = true
	failed.Run.Output = []byte(b.before.String())
	if !b.latest.isOver() {
		b.end(failed.Run.Err)
		if build, ok := errors.AsType[*Error](b.latest.err); ok {
			failed.Run.Output = build.Run.Output
		}
	}
}

// await waits for the end of the latest build, and returns its error. If ctx ends
// earlier the error is its cause.
func (b *builds) await(ctx context.Context) error {
	b.mu.Lock()
	x := b.latest
	b.mu.Unlock()

	select {
	case <-x.over:
		return x.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// colours are the escape sequences of a terminal that programs print.
var colours = regexp.MustCompile(`\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\))`)

// withoutColours returns a line without escape sequences and what ends it in some
// programs.
func withoutColours(line string) string {
	if strings.Contains(line, "\x1b") {
		line = colours.ReplaceAllString(line, "")
	}
	return strings.TrimRight(line, "\r")
}
