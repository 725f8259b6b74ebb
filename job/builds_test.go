package job

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/execlog/execlogd/inotify"
	"github.com/execlog/execlogd/router"
)

// What a program prints at which millisecond, and the builds that it had: from when to
// when, with a ! if it has failed, and then what of its output is not a line of a kind.
// The start is the beginning of a build.
func TestBuildsByLines(t *testing.T) {
	all := BuildLines{Begins: []string{"^begin"}, Succeeds: []string{"^ok"}, Fails: []string{"^fail"}}
	unsure := all
	unsure.Unsure = true
	var chatter strings.Builder
	for second := range 65 {
		chatter.WriteString(fmt.Sprintf("x@%d ", 1000*second))
	}
	dir := t.TempDir()
	for _, name := range []string{"a", "b"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	files := BuildLines{Begins: []string{"^fail"}, Succeeds: []string{"^ok(:(?P<file>.+))?"}, Fails: []string{"^fail(:(?P<file>.+))?"}}
	filesAlone := BuildLines{Succeeds: files.Succeeds, Fails: files.Fails}
	noEnds := BuildLines{Begins: all.Begins, Fails: all.Fails}
	noBegins := BuildLines{Succeeds: all.Succeeds, Fails: all.Fails}
	tests := []struct {
		name  string
		lines BuildLines
		print string
		want  string
	}{
		{"the first build", all, "x@50 ok@900", "0-900"},
		{"the first build fails", all, "fail@50 ok@60", "0-60!"},
		{"another build", all, "ok@10 begin@500 ok@700", "0-10 500-700"},
		{"one that begins twice is one", all, "ok@10 begin@500 begin@550 ok@700", "0-10 500-700"},
		{"what fails is over when nothing follows", all, "ok@10 begin@500 fail@600 why@650", "0-10 500-850!"},
		{"what fails is over when another begins", all, "ok@10 begin@500 fail@600 begin@650 ok@700", "0-10 500-650! 650-700"},
		{"what fails has failed, whatever follows", all, "ok@10 begin@500 fail@600 ok@650", "0-10 500-650!"},
		{"a long build", all, "ok@10 begin@500 x@900 ok@20000", "0-10 500-20000"},
		{"an end without a beginning", all, "ok@10 ok@500", "0-10 500-500"},
		{"a failure without a beginning has what was printed before", all, "ok@10 begin@20 ok@30 why@490 fail@500", "0-10 20-30 500-700!"},
		{"what is no line of a build begins none", all, "ok@10 hint@500", "0-10"},
		{"nothing says that it is over", all, "begin@10", "0-60000!"},
		{"colours do not matter", all, "\x1b[32mok\x1b[0m@10 \x1b]8;;x\x1b\\begin@500 \x1b[1;31mfail\r@600", "0-10 500-800!"},

		{"without ends it is over when nothing follows", noEnds, "begin@10 x@100 begin@900 fail@1000", "0-300 900-1200!"},
		{"without beginnings any line begins", noBegins, "ok@10 x@500 x@600 ok@700 x@2000", "0-10 500-700 2000-2200"},
		{"any line need not begin", noBegins, "ok@10 x@500 ok@2000", "0-10 500-700 2000-2000"},
		{"without the lines of another program", unsure, "x@100 x@2000 x@5000", "0-4000"},
		{"without the lines of another program, and silent", unsure, "", "0-2000"},
		{"without the lines of another program that never ceases to print", unsure, chatter.String(), "0-60000"},
		{"lines that were not sure to come", unsure, "x@100 begin@150 ok@2900 x@3000 begin@4000 fail@5000", "0-2900 4000-5200!"},
		{"a file fails until it is built", files, "ok:a@10 ok:b@20 fail:a@500 why@510 ok:b@1000 ok:b@2000 ok:a@3000", "0-10 20-20 500-710! 1000-1000! 2000-2000! 3000-3000"},
		{"two files fail", files, "fail:a@10 why@10 fail:b@20 why@20 ok:a@500 ok:b@600", "0-20! 20-220! 500-500! 600-600"},
		{"two files fail, and no line says that a build begins", filesAlone, "fail:a@10 why@10 fail:b@20 why@20 ok:a@500 ok:b@600", "0-20! 20-220! 500-500! 600-600"},
		{"a file fails by two lines", filesAlone, "fail:a@10 why@10 fail:a@20 ok:a@500", "0-220! 500-500"},
		{"a file that is mended at once", files, "ok:a@10 fail:a@500 why@510 ok:a@520", "0-10 500-520! 520-520"},
		{"a file that fails while others are built", files, "ok:a@10 fail:a@500 why@510 ok:b@520 ok:a@530", "0-10 500-520! 520-520! 530-530"},
		{"a file that fails twice", files, "fail:a@10 why@10 fail:a@500 why@500 ok:a@1000", "0-210! 500-700! 1000-1000"},
		{"a file that fails and is gone", files, "ok:a@10 fail:gone@500 why@500 ok:a@1000", "0-10 500-700! 1000-1000"},
		{"what fails without the name of a file", files, "ok:a@10 fail@500 why@510 ok:b@1000", "0-10 500-710! 1000-1000"},

		{"without any lines", BuildLines{}, "x@100 x@500 x@600", "0-300 500-800"},
		{"without any lines, and silent", BuildLines{}, "", "0-200"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				told := 0
				b, log := testBuilds(t, dir, Builds{Lines: tt.lines, Began: func() { told++ }})
				for line := range strings.FieldsSeq(tt.print) {
					text, at, _ := strings.Cut(line, "@")
					ms, _ := strconv.Atoi(at)
					time.Sleep(time.Until(start.Add(time.Duration(ms) * time.Millisecond)))
					b.line(text)
				}
				time.Sleep(2 * time.Minute)

				var got []string
				for _, r := range log.Runs()[1:] {
					from := r.Start.Sub(start)
					one := fmt.Sprintf("%d-%d", from.Milliseconds(), (from + r.Took).Milliseconds())
					if r.Outcome == router.Failed {
						one += "!"
						if strings.Contains(tt.print, "why") && !strings.Contains(string(r.Output), "why\n") {
							t.Errorf("the output is %q", r.Output)
						}
					}
					if r.Outcome == router.Running {
						t.Errorf("%v is not over", r)
					}
					got = append(got, one)
				}
				if got := strings.Join(got, " "); got != tt.want {
					t.Errorf("after %q\n got %s\nwant %s", tt.print, got, tt.want)
				}
				if program := log.Runs()[0]; program.State() != "ready" {
					t.Errorf("the program is %s after its first build", program.State())
				}
				if want := strings.Count(tt.want, " "); told != want {
					t.Errorf("told of %d builds beside the first, want %d", told, want)
				}
			})
		})
	}
}

// testBuilds returns the builds of a program that has started in a directory, and the log
// that they are in.
func testBuilds(t *testing.T, dir string, opts Builds) (*builds, *Log) {
	t.Helper()
	log := &Log{size: DefaultRuns}
	server := &Server{job: &Job{runner: &Runner{log: log}}, service: Service{Builds: &opts}}
	if err := server.compile(opts.Lines); err != nil {
		t.Fatal(err)
	}
	return server.newBuilds(log.begin(Run{Route: "x", Argv: []string{"x"}, Dir: dir})), log
}

// Without a quiet a build that fails is over no earlier than with that by default.
func TestBuildsWithoutQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, log := testBuilds(t, "", Builds{Lines: BuildLines{Fails: []string{"^fail"}}, Quiet: -1})
		b.line("fail")
		time.Sleep(router.DefaultQuiet / 2)
		b.line("why")
		time.Sleep(time.Minute)
		if runs := log.Runs(); len(runs) != 2 || string(runs[1].Output) != "fail\nwhy\n" {
			t.Errorf("the builds are %v", runs[1:])
		}
	})
}

// Of many files that fail the last ones are remembered.
func TestManyFilesFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "a"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		b, _ := testBuilds(t, dir, Builds{Lines: BuildLines{Succeeds: []string{"^ok (?P<file>.+)"}, Fails: []string{"^fail (?P<file>.+)"}}})
		name := func(i int) string { return strings.Repeat("./", i) + "a" }
		for i := range maxFailing + 1 {
			b.line("fail " + name(i))
		}
		for i := 1; i <= maxFailing; i++ {
			b.line("ok " + name(i))
		}
		if err := b.await(t.Context()); err != nil {
			t.Errorf("when all are built but the first to fail: %v", err)
		}
	})
}

// A builder is a real program that is told through a FIFO what to do.
type builder struct {
	*Server
	jobs  *testRunner
	fifo  *os.File
	began chan struct{}
	died  chan error
	ended chan error
}

func (jobs *testRunner) builder(lines BuildLines) *builder {
	jobs.t.Helper()
	name := filepath.Join(jobs.t.TempDir(), "fifo")
	if err := unix.Mkfifo(name, 0o600); err != nil {
		jobs.t.Fatal(err)
	}
	fifo, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		jobs.t.Fatal(err)
	}
	jobs.t.Cleanup(func() { fifo.Close() })
	b := &builder{jobs: jobs, fifo: fifo, began: make(chan struct{}, 10), died: make(chan error, 10), ended: make(chan error, 10)}
	b.Server = jobs.server(Service{
		Command: Command{Shell: `while read -r line; do eval "$line"; done <` + name, Input: NoInput},
		Builds: &Builds{
			Lines: lines, Quiet: time.Second, // a busy machine may pause between two lines
			Began: func() { b.began <- struct{}{} }, Ended: func(err error) { b.ended <- err },
		},
		Died: func(err error) { b.died <- err },
	})
	return b
}

// do has the program do something.
func (b *builder) do(script string) {
	b.jobs.t.Helper()
	if _, err := b.fifo.WriteString(script + "\n"); err != nil {
		b.jobs.t.Fatal(err)
	}
}

// await waits for something to come.
func await[T any](t *testing.T, what string, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(20 * time.Second):
		t.Fatalf("no %s came", what)
	}
	return v
}

// run calls Run as the router does.
func (b *builder) run(events ...inotify.Event) <-chan error {
	ended := make(chan error, 1)
	go func() { ended <- b.Run(b.jobs.t.Context(), events) }()
	return ended
}

func outputOf(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return string(e.Run.Output)
	}
	return fmt.Sprintf("not of a run: %v", err)
}

// A Run returns when a build is over. The program goes on, whatever came of it, and is
// started again by any event but that of a build.
func TestBuilderBuilds(t *testing.T) {
	jobs := newTestRunner(t)
	b := jobs.builder(BuildLines{Begins: []string{"^begin"}, Succeeds: []string{"^ok"}, Fails: []string{"^fail"}})
	root := t.TempDir()
	started := b.run(inotify.Event{Root: root, Path: "."})
	b.do("echo fail: one; echo ok")
	if err := await(t, "end of the first build", started); !errors.Is(err, errBuildFailed) || outputOf(err) != "fail: one\nok\n" {
		t.Fatalf("the first build: %v with %q", err, outputOf(err))
	}
	pid := jobs.Log().Runs()[0].PID

	b.do("echo begin")
	await(t, "build", b.began)
	ended := b.run(BuildEvent(root))
	b.do("echo ok")
	if err := await(t, "end of the build", ended); err != nil {
		t.Errorf("the second build: %v", err)
	}

	b.do("echo begin; echo fail: two")
	await(t, "build", b.began)
	if err := await(t, "end of the build", b.run(BuildEvent(root))); outputOf(err) != "begin\nfail: two\n" {
		t.Errorf("the third build: %v with %q", err, outputOf(err))
	}
	if runs := jobs.Log().Runs(); runs[0].PID != pid || runs[0].State() != "ready" || len(runs) != 4 {
		t.Errorf("the log has %v", runs)
	}

	started = b.run(inotify.Event{Root: root, Path: "config", Mask: inotify.Modify}, BuildEvent(root))
	over := make(chan struct{})
	go func() {
		defer close(over)
		for {
			changed := jobs.Log().Changed()
			if jobs.Log().Runs()[0].Outcome != router.Running {
				return
			}
			<-changed
		}
	}()
	await(t, "end of the program", over)
	b.do("echo ok") // to the next one
	if err := await(t, "end of the build", started); err != nil {
		t.Errorf("after a change of the configuration: %v", err)
	}
	if first := jobs.Log().Runs()[0]; first.Outcome != router.Restarted {
		t.Errorf("after a change of the configuration: %v", first)
	}
	b.Stop()
	if b.Running() || len(b.died)+len(b.ended) > 0 {
		t.Errorf("after Stop: running %v, died %d times, ended by itself %d times", b.Running(), len(b.died), len(b.ended))
	}
}

// A program that ends while it builds has failed to build. After its first build it has
// died as well.
func TestBuilderEnds(t *testing.T) {
	jobs := newTestRunner(t)
	b := jobs.builder(BuildLines{Begins: []string{"^begin"}, Succeeds: []string{"^ok"}, Fails: []string{"^fail"}})
	root := t.TempDir()
	start := inotify.Event{Root: root, Path: "."}
	started := b.run(start)
	b.do("echo one; exit 3")
	if err := await(t, "end of the first build", started); err == nil || !strings.Contains(err.Error(), "exit status 3") || outputOf(err) != "one\n" {
		t.Fatalf("the first build: %v with %q", err, outputOf(err))
	}
	if err := await(t, "end of the program", b.ended); outputOf(err) != "one\n" || b.Running() {
		t.Errorf("it ended: %v with %q", err, outputOf(err))
	}

	started = b.run(start)
	b.do("echo ok")
	await(t, "end of the first build", started)
	if len(b.died) > 0 {
		t.Errorf("it has died before it was ready: %v", <-b.died)
	}
	b.do("echo begin")
	await(t, "build", b.began)
	ended := b.run(BuildEvent(root))
	b.do("echo two; kill -KILL $$")
	if err := await(t, "end of the build", ended); !strings.Contains(err.Error(), "SIGKILL") || outputOf(err) != "begin\ntwo\n" {
		t.Errorf("the build: %v with %q", err, outputOf(err))
	}
	if err := await(t, "death", b.died); outputOf(err) != "begin\ntwo\n" {
		t.Errorf("it died: %v with %q", err, outputOf(err))
	}

	started = b.run(BuildEvent(root)) // it does not run: it is started
	b.do("echo ok")
	if err := await(t, "end of the first build", started); err != nil || !b.Running() {
		t.Errorf("started again: %v", err)
	}
	b.do("echo three; exit 0")
	if err := await(t, "death", b.died); outputOf(err) != "three\n" || b.Running() {
		t.Errorf("it died: %v with %q", err, outputOf(err))
	}
}

// Each death is told, also one right after the first build.
func TestBuilderEndsAfterItsFirstBuild(t *testing.T) {
	jobs := newTestRunner(t)
	died := make(chan error, 1)
	b := jobs.server(Service{
		Command: Command{Shell: "echo ok; exit 3"},
		Builds:  &Builds{Lines: BuildLines{Succeeds: []string{"^ok"}}},
		Died:    func(err error) { died <- err },
	})
	for range 50 {
		if err := b.Run(t.Context(), jobs.events("a")); err != nil {
			t.Fatal(err)
		}
		await(t, "death", died)
	}
}

// A program that ends when its standard input does goes on.
func TestInputOfABuilderStaysOpen(t *testing.T) {
	jobs := newTestRunner(t)
	b := jobs.server(Service{Command: Command{Shell: "echo ok; cat; echo fail; sleep 1000"}, Builds: &Builds{Lines: BuildLines{Succeeds: []string{"^ok"}, Fails: []string{"^fail"}}}})
	if err := b.Run(t.Context(), jobs.events("a")); err != nil {
		t.Fatal(err)
	}
	time.Sleep(200 * time.Millisecond) // nothing happens
	if runs := jobs.Log().Runs(); len(runs) != 2 || string(runs[0].Output) != "ok\n" {
		t.Errorf("it has printed %q", runs[0].Output)
	}
	b.Stop()
}

// The end of the context ends a program that is building for the first time.
func TestStopOfTheFirstBuild(t *testing.T) {
	jobs := newTestRunner(t)
	b := jobs.builder(BuildLines{Succeeds: []string{"^ok"}})
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(100*time.Millisecond, cancel)
	if err := b.Run(ctx, jobs.events("a")); !errors.Is(err, context.Canceled) || b.Running() {
		t.Errorf("got %v", err)
	}
	for _, r := range jobs.Log().Runs() {
		if r.Outcome != router.Stopped {
			t.Errorf("the log has %v", r)
		}
	}
}
