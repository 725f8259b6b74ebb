package job

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/execlog/execlogd/inotify"
	"github.com/execlog/execlogd/internal/ansi"
	"github.com/execlog/execlogd/router"
)

// Builds says of a Service that it builds something, and builds it again by itself
// whenever a source changes. It is read line by line to know when. Its start is the
// beginning of a build; it is ready when that is over, also if it has failed.
type Builds struct {
	Lines BuildLines

	// Quiet is how long nothing may have been printed for a build to be over of which
	// no line says so; 0 or less is router.DefaultQuiet.
	Quiet time.Duration

	// Timeout is how long a build may take. One that takes longer has failed, and the
	// program goes on; 0 is DefaultBuildTimeout, negative is no limit.
	Timeout time.Duration

	// Began is told, by the goroutine that reads the output, of a build that has begun
	// by itself. A Run for BuildEvent is then to wait for its end. Nil is nobody.
	Began func()

	// Ended is told, with an *[Error], when the program has ended by itself, also in its
	// first build, or could not be started. A goroutine of the Runner calls it, or that of
	// the Run. It must not call the Server. Nil is nobody.
	Ended func(error)
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
//
// A program may build several files each by itself. Where a group named file, as in
// "^built (?P<file>.+)", says in lines of Fails which one has failed, later builds fail as
// well, until a line of Succeeds names that file, or the file is gone. Such a line ends a
// build that has failed, and is one by itself. The path is absolute or relative to Run.Dir.
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
	program *entry
	spec    Run // of each build
	quiet   time.Duration
	timeout time.Duration
	told    func() // Began

	begins, succeeds, fails []*regexp.Regexp

	mu      sync.Mutex // guards what follows
	latest  *build
	before  strings.Builder // what was printed since the last build
	failing []failingFile   // that have not been built since, the last to fail at the end; at most maxFailing
	ended   bool            // the program has
}

// A failingFile is a file whose last build has failed, with the output of that.
type failingFile struct {
	name   string
	output []byte
}

// A build ends when over is closed. Then err may be read.
type build struct {
	entry   *entry
	guess   bool   // any line may have begun it
	failed  bool   // a line of Fails has come
	file    string // that the line names
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
		runner: s.job.runner, program: e, spec: Run{Route: run.Route, Argv: run.Argv, Dir: run.Dir, Events: run.Events, Batch: run.Batch},
		quiet: cmp.Or(max(0, opts.Quiet), router.DefaultQuiet), timeout: cmp.Or(opts.Timeout, DefaultBuildTimeout), told: opts.Began,
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

// maxFailing bounds how many files are remembered that fail.
const maxFailing = 100

// end ends the latest build, with an error unless it has succeeded. The program is ready
// after that of its start, unless it has ended. b.mu must be held.
func (b *builds) end(err error) {
	x := b.latest
	x.quiet.Stop()
	if x.late != nil {
		x.late.Stop()
	}
	if x.failed && err == nil {
		err = errBuildFailed
	}
	if x.file != "" {
		b.forget(x.file)
		b.failing = append(b.failing, failingFile{x.file, x.entry.allOutput()})
		b.failing = b.failing[max(0, len(b.failing)-maxFailing):]
	}
	if err == nil {
		err = b.stillFailing(x)
	}
	x.err = b.runner.done(x.entry, func(run *Run) {
		run.Err = err
		if err != nil {
			run.Exit = -1
		}
	})
	if !b.ended && !b.program.now().Ready {
		b.program.update(func(r *Run) { r.Ready = true }) // before anybody hears of the build
	}
	close(x.over)
	b.before.Reset()
}

// forget notes that a file does not fail any more. b.mu must be held.
func (b *builds) forget(file string) {
	b.failing = slices.DeleteFunc(b.failing, func(f failingFile) bool { return f.name == file })
}

// stillFailing returns an error if there is a file left whose build has failed before x, and
// gives x the output of that. b.mu must be held.
func (b *builds) stillFailing(x *build) error {
	b.failing = slices.DeleteFunc(b.failing, func(f failingFile) bool {
		name := f.name
		if !filepath.IsAbs(name) {
			name = filepath.Join(b.spec.Dir, name)
		}
		_, err := os.Lstat(name)
		return errors.Is(err, fs.ErrNotExist)
	})
	if len(b.failing) == 0 {
		return nil
	}
	last := b.failing[len(b.failing)-1]
	x.entry.write(last.output)
	return fmt.Errorf("the last build of %s has failed", inotify.Quote(last.name))
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
	plain := ansi.Strip(text)
	line := buildLine{text: text}
	line.begins, _ = matchLine(b.begins, plain)
	line.succeeds, line.built = matchLine(b.succeeds, plain)
	line.fails, line.failed = matchLine(b.fails, plain)

	b.mu.Lock()
	hasBegun := b.take(line)
	b.mu.Unlock()
	if hasBegun && b.told != nil {
		b.told()
	}
}

// A buildLine is a line that a program has printed, and what it says of builds.
type buildLine struct {
	text                    string
	begins, succeeds, fails bool
	built, failed           string // the files that it says this of; empty for none
}

// matchLine reports whether one of the expressions matches a line, and which file it names.
func matchLine(list []*regexp.Regexp, line string) (matches bool, file string) {
	for _, r := range list {
		found := r.FindStringSubmatch(line)
		if found == nil {
			continue
		}
		if group := r.SubexpIndex("file"); group >= 0 {
			file = found[group]
		}
		return true, file
	}
	return false, ""
}

// take adds a line to the build that is under way, or begins one, and ends it if the line
// says so. Before that it ends a build that has failed, if the line is of another. It
// reports whether a build has begun. b.mu must be held.
func (b *builds) take(line buildLine) (hasBegun bool) {
	if b.ended {
		return false
	}
	another := line.failed != "" && b.latest.file != "" && line.failed != b.latest.file
	if (line.begins || line.built != "" || another) && b.latest.failed && !b.latest.isOver() {
		b.end(nil) // no more will follow
	}
	b.forget(line.built)

	hasBegun = b.latest.isOver()
	if hasBegun {
		saysNothing := !line.begins && !line.succeeds && !line.fails
		if saysNothing && len(b.begins) > 0 {
			b.keep(line.text)
			return false
		}
		before := b.before.String()
		b.begin()
		b.latest.guess = saysNothing
		if !line.begins {
			b.latest.entry.write([]byte(before)) // it may be a part of the message
		}
	}

	x := b.latest
	x.entry.write([]byte(line.text + "\n"))
	if x.guess && line.begins {
		x.guess = false
		x.quiet.Stop()
	}
	x.failed, x.file = x.failed || line.fails, cmp.Or(line.failed, x.file)
	switch {
	case line.succeeds:
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
