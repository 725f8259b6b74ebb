package inotify

import (
	"embed"
	"errors"
	"flag"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/execlog/execlogd/inotify/internal/dirfd"
)

// scripts is embedded, because a process of another user may not be able to read the files.
//
//go:embed testdata/*.txtar
var scripts embed.FS

var updateFlag = flag.Bool("update", false, "make the events that come the ones that the scripts want")

// TestScripts runs every script in testdata, whose README.md has the notation.
//
// Each is run with a watcher that begins to read when the commands are done, so that there
// is only one possible result, and again with one that reads all the time, which may get
// other events. Either way the events must lead from the initial tree to the final one, and
// checkModel must agree.
func TestScripts(t *testing.T) {
	files, err := scripts.ReadDir("testdata")
	must(t, err)
	for _, f := range files {
		name := strings.TrimSuffix(f.Name(), ".txtar")
		t.Run(name, func(t *testing.T) {
			text, err := scripts.ReadFile("testdata/" + f.Name())
			must(t, err)
			sc := parseScript(string(text))
			attr := sc.processAttr()
			if attr == nil && !sc.has("exec") {
				t.Parallel() // not during a fork, which has the files of all tests open for a moment
			}
			if attr != nil && !inSubprocess(t, attr) {
				return
			}
			if newScriptRun(t, sc, false).play() {
				err = os.WriteFile(filepath.Join("testdata", f.Name()), []byte(sc.String()), 0o644)
				must(t, err)
			}
			if !t.Failed() && !sc.has("go", "later", "overflow", "mount", "bind", "overlay") {
				newScriptRun(t, sc, true).play()
			}
		})
	}
}

// A script is the sections of a txtar file. The first one has no title.
type script []section

type section struct {
	title string
	lines []string
}

func parseScript(text string) script {
	sc := script{{}}
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if title, ok := strings.CutPrefix(line, "-- "); ok && strings.HasSuffix(title, " --") {
			sc = append(sc, section{title: strings.TrimSuffix(title, " --")})
			continue
		}
		last := &sc[len(sc)-1]
		last.lines = append(last.lines, line)
	}
	return sc
}

func (sc script) String() string {
	var text strings.Builder
	for i, sec := range sc {
		if i > 0 {
			fmt.Fprintf(&text, "-- %s --\n", sec.title)
		}
		for _, line := range sec.lines {
			fmt.Fprintln(&text, line)
		}
	}
	return text.String()
}

// has reports whether the script uses one of some commands.
func (sc script) has(commands ...string) bool {
	for _, sec := range sc {
		for _, line := range sec.lines {
			f := strings.Fields(line)
			if !sec.isWant() && len(f) > 0 && slices.ContainsFunc(commands, func(c string) bool { return c == f[0] || f[0] == "before" && c == f[2] }) {
				return true
			}
		}
	}
	return false
}

// processAttr is the process that the script needs; nil is this one.
func (sc script) processAttr() *syscall.SysProcAttr {
	switch {
	case sc.has("mount", "bind", "overlay"):
		return mountNamespaceAttr()
	case sc.has("unprivileged") && os.Getuid() == 0:
		return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	return nil
}

func (sec section) isWant() bool { return strings.HasPrefix(sec.title, "want") }

// A scriptRun is where a script is played.
type scriptRun struct {
	*fixture
	script  script
	live    bool   // the watcher reads all the time
	stop    func() // stops the watcher; nil when it does not run
	readers []*reader
	output  []string // guarded by fixture.mu

	hookMu sync.Mutex
	hooks  map[string][]string // commands to run when a scan asks about a path
}

// A reader is a subscription of the script.
type reader struct {
	label  string
	sub    Subscription
	replay *replay // nil when the events of the subscription are not enough for it
	events []Event // not replayed yet; guarded by fixture.mu
}

func newScriptRun(t *testing.T, sc script, live bool) *scriptRun {
	s := &scriptRun{fixture: newEmptyFixture(t), script: sc, live: live, hooks: map[string][]string{}}
	w, err := New(Options{Problem: func(err error) { s.print("problem: " + s.short(err)) }})
	s.must(err)
	s.watcher = w
	if live {
		w.kernel.buf = make([]byte, 16+256) // for one record, so that reads end between the halves of a rename
	}
	t.Cleanup(func() { s.must(w.Close()) })
	return s
}

// play runs the script, and reports whether it has changed its expectations.
func (s *scriptRun) play() (updated bool) {
	s.t.Helper()
	s.do(s.script[0].lines)
	if !s.script.has("watch") {
		s.do([]string{"watch ."})
	}
	s.sync()
	s.takeOutput()
	for i, sec := range s.script[1:] {
		if !sec.isWant() {
			s.do(sec.lines)
			continue
		}
		s.sync()
		got := s.takeOutput()
		if s.live {
			continue
		}
		if want := sec.expect(got); *updateFlag && sec.title != "want at least" && !slices.Equal(want, sec.lines) {
			s.script[i+1].lines, updated = want, true
		} else if !slices.Equal(want, sec.lines) {
			s.t.Errorf("-- %s --\n%s\ngot\n%s", sec.title, strings.Join(sec.lines, "\n"), strings.Join(got, "\n"))
		}
	}
	s.finish()
	return updated
}

// expect returns what the section would have if got is right.
func (sec section) expect(got []string) []string {
	got = slices.Clone(got)
	switch sec.title {
	case "want in any order":
		slices.Sort(got)
	case "want at least":
		return slices.DeleteFunc(slices.Clone(sec.lines), func(line string) bool {
			return !slices.ContainsFunc(got, func(g string) bool {
				match, _ := path.Match(line, g) // the names of temporary files differ
				return g == line || match
			})
		})
	}
	return got
}

// finish compares what the watcher and the readers have with the disk.
func (s *scriptRun) finish() {
	s.t.Helper()
	s.sync()
	s.hookMu.Lock()
	for at := range s.hooks {
		s.t.Errorf("no scan has asked about %s", at)
	}
	s.hookMu.Unlock()
	for _, r := range s.readers {
		if r.replay == nil {
			continue
		}
		r.replay.check(s.t)
		if s.t.Failed() && s.live {
			s.t.Logf("the live reader got\n%s", strings.Join(r.replay.log, "\n"))
		}
	}
	if s.stop == nil {
		s.stop = s.start()
	}
	checkModel(s.t, s.fixture)
	s.stop()
	if n := s.watcher.Unwatched(); n != 0 || s.watcher.unwatched.timeout() >= 0 {
		s.t.Errorf("%d directories have no watch, and the next poll is in %d ms", n, s.watcher.unwatched.timeout())
	}
}

func (s *scriptRun) print(line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.output = append(s.output, line)
}

// takeOutput returns the output since it was called last. Equal lines that follow each
// other are one: whether the kernel has merged equal events depends on whether anything
// else happened, if only in the directory for temporary files.
func (s *scriptRun) takeOutput() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	output := s.output
	s.output = nil
	return slices.Compact(output)
}

// short returns an error without the paths of this run.
func (s *scriptRun) short(err error) string {
	return strings.NewReplacer(s.root, "root", s.outside, "out").Replace(err.Error())
}

// sync has all delivered that happened before, and the readers follow it.
func (s *scriptRun) sync() {
	s.t.Helper()
	if s.stop == nil {
		s.fixture.read()
	} else {
		s.flush()
	}
	for _, r := range s.readers {
		s.mu.Lock()
		events := r.events
		r.events = nil
		s.mu.Unlock()
		if r.replay != nil {
			r.replay.apply(events)
		}
	}
}

func (s *scriptRun) do(lines []string) {
	s.t.Helper()
	for _, line := range lines {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		f, err := words(line)
		if err == nil {
			err = s.command(f[0], f[1:])
		}
		if _, unable := errors.AsType[unsupportedError](err); unable {
			s.t.Skip(err)
		}
		if err != nil {
			s.t.Fatalf("%s: %v", line, err)
		}
	}
}

// command runs a command of the script itself, or one of the fixture.
func (s *scriptRun) command(name string, args []string) error {
	switch name {
	case "unprivileged":
	case "watch":
		return s.watch(args)
	case "before":
		s.hookMu.Lock()
		defer s.hookMu.Unlock()
		s.hooks[args[0]] = args[1:]
	case "go":
		s.stop = s.start()
	case "read":
		s.sync()
	case "try":
		s.command(args[0], args[1:]) // it may fail
	case "later":
		return s.waitForClock()
	case "overflow":
		return s.overflow()
	case "mount", "bind", "overlay", "umount", "detach":
		err := s.fixture.command(name, args)
		if err == nil {
			err = s.watcher.wait() // for the list of mounts
		}
		return err
	default:
		return s.fixture.command(name, args)
	}
	return nil
}

// watch adds a subscription: PATH [mask=EVENTS] [skip=PATTERN] [wait] [as=NAME].
func (s *scriptRun) watch(args []string) error {
	r := &reader{sub: Subscription{Root: s.at(args[0])}}
	if len(s.readers) > 0 {
		r.label = args[0]
	}
	for _, arg := range args[1:] {
		name, value, _ := strings.Cut(arg, "=")
		switch name {
		case "mask":
			mask, err := ParseMask(value)
			if err != nil {
				return err
			}
			r.sub.Mask = mask
		case "skip":
			r.sub.SkipDir = func(p string) bool {
				skip, _ := path.Match(value, path.Base(p))
				return skip
			}
		case "wait":
			r.sub.Wait = true
		case "as":
			r.label = value
		}
	}
	return s.add(r)
}

func (s *scriptRun) add(r *reader) error {
	sub := r.sub
	sub.SkipDir = func(p string) bool {
		s.runHook(p)
		return r.sub.SkipDir != nil && r.sub.SkipDir(p)
	}
	sub.Deliver = func(events []Event) { s.deliverTo(r, events) }
	if _, err := s.watcher.Add(sub); err != nil {
		s.print("watch: " + s.short(err))
		return nil
	}
	s.readers = append(s.readers, r)
	if info, err := os.Stat(sub.Root); err == nil && !info.IsDir() {
		return nil // nothing lies below a file
	}
	s.moreRoots = append(s.moreRoots, sub.Root)
	const names = Create | Delete | MovedFrom | MovedTo
	if sub.Mask == 0 || sub.Mask&names == names {
		r.replay = newReplay(sub.Root, r.sub.SkipDir)
	}
	if s.live && s.stop == nil {
		s.stop = s.start()
	}
	return nil
}

// deliverTo is r's Deliver.
func (s *scriptRun) deliverTo(r *reader, events []Event) {
	s.deliver(events)
	s.mu.Lock()
	defer s.mu.Unlock()
	r.events = append(r.events, events...)
	for _, e := range events {
		line := e.String()
		if r.label != "" {
			line = r.label + ": " + line
		}
		s.output = append(s.output, line)
	}
}

// runHook runs the command that a script has for the moment when a scan asks about the
// directory at.
func (s *scriptRun) runHook(at string) {
	s.hookMu.Lock()
	defer s.hookMu.Unlock()
	f, ok := s.hooks[at]
	if !ok {
		return
	}
	delete(s.hooks, at)
	if err := s.command(f[0], f[1:]); err != nil {
		s.t.Errorf("before %s: %s: %v", at, strings.Join(f, " "), err)
	}
}

// waitForClock also reads what is queued.
func (s *scriptRun) waitForClock() error {
	err := s.fixture.waitForClock()
	s.sync()
	s.sync() // with nothing to read, Flush ends when Run has found that nothing is missing
	return err
}

// overflow fills the queue of the kernel with records that nobody asks for, so that
// everything that follows is lost until the queue has been read.
func (s *scriptRun) overflow() error {
	var files [2]*os.File // in turns, or the kernel merges the records
	for i := range files {
		fd, err := unix.MemfdCreate("overflow", unix.MFD_CLOEXEC)
		if err != nil {
			return err
		}
		files[i] = os.NewFile(uintptr(fd), "overflow")
		defer files[i].Close()
		wd, err := unix.InotifyAddWatch(s.watcher.kernel.fd, dirfd.Path(fd, ""), unix.IN_ATTRIB)
		if err != nil {
			return err
		}
		defer unix.InotifyRmWatch(s.watcher.kernel.fd, uint32(wd))
	}
	for i := range queueLength() + 1 {
		if err := files[i%2].Chmod(0o600); err != nil {
			return err
		}
	}
	return nil
}
