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

// scripts is embedded, because a process of another user may not be able to
// read it.
//
//go:embed testdata/*.txtar
var scripts embed.FS

var updateFlag = flag.Bool("update", false, "make the events that come the ones that the scripts want")

// TestScripts plays every script in testdata, whose README has the notation
// and says which case is where.
//
// Each is played with a reader that begins when the commands are done, so that
// there is one outcome alone, and again with one that reads all the time, which
// may get other events. Either way the events must lead from what was there to
// what is there, and checkModel has the last word.
func TestScripts(t *testing.T) {
	files, err := scripts.ReadDir("testdata")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		name := strings.TrimSuffix(f.Name(), ".txtar")
		t.Run(name, func(t *testing.T) {
			text, err := scripts.ReadFile("testdata/" + f.Name())
			if err != nil {
				t.Fatal(err)
			}
			sc := parseScript(string(text))
			attr := sc.apart()
			if attr == nil && !sc.has("exec") {
				t.Parallel() // not beside a fork, which has everybody's files open for a moment
			}
			if attr != nil && !apart(t, attr) {
				return
			}
			if newStage(t, sc, false).play() {
				err = os.WriteFile(filepath.Join("testdata", f.Name()), []byte(sc.String()), 0o644)
				if err != nil {
					t.Fatal(err)
				}
			}
			if !t.Failed() && !sc.has("go", "later", "overflow", "mount", "bind", "overlay") {
				newStage(t, sc, true).play()
			}
		})
	}
}

// A script is the sections of a txtar file. The first has no title.
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

// has says whether the script uses one of some commands.
func (sc script) has(commands ...string) bool {
	for _, sec := range sc {
		for _, line := range sec.lines {
			f := strings.Fields(line)
			if !sec.wants() && len(f) > 0 && slices.ContainsFunc(commands, func(c string) bool { return c == f[0] || f[0] == "before" && c == f[2] }) {
				return true
			}
		}
	}
	return false
}

// apart is the process that the script needs; nil is this one.
func (sc script) apart() *syscall.SysProcAttr {
	switch {
	case sc.has("mount", "bind", "overlay"):
		return mountNamespace()
	case sc.has("unprivileged") && os.Getuid() == 0:
		return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	return nil
}

func (sec section) wants() bool { return strings.HasPrefix(sec.title, "want") }

// A stage is where a script is played.
type stage struct {
	*trial
	script   script
	live     bool   // the reader reads all the time
	stop     func() // stops the reader; nil when there is none
	watching []*reader
	said     []string // guarded by trial.mu

	hooking sync.Mutex
	hooks   map[string][]string // what to do before a scan looks at a path
}

// A reader is a subscription of the script.
type reader struct {
	label  string
	sub    Subscription
	replay *replay // nil when the subscription does not get what it takes
	events []Event // not replayed yet; guarded by trial.mu
}

func newStage(t *testing.T, sc script, live bool) *stage {
	s := &stage{trial: emptyTrial(t), script: sc, live: live, hooks: map[string][]string{}}
	w, err := New(Options{Problem: func(err error) { s.say("problem: " + s.short(err)) }})
	s.must(err)
	s.w = w
	if live {
		w.kernel.buf = make([]byte, 16+256) // for one record, so that reads end between the halves of a rename
	}
	t.Cleanup(func() { s.must(w.Close()) })
	return s
}

// play plays the script, and says whether it has another expectation now.
func (s *stage) play() (updated bool) {
	s.t.Helper()
	s.do(s.script[0].lines)
	if !s.script.has("watch") {
		s.do([]string{"watch ."})
	}
	s.read()
	s.heard()
	for i, sec := range s.script[1:] {
		if !sec.wants() {
			s.do(sec.lines)
			continue
		}
		s.read()
		got := s.heard()
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

// expect is what the section would have to say if got is right.
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

// finish compares what the watcher and the readers believe with the disk.
func (s *stage) finish() {
	s.t.Helper()
	s.read()
	s.hooking.Lock()
	for at := range s.hooks {
		s.t.Errorf("no scan has asked about %s", at)
	}
	s.hooking.Unlock()
	for _, r := range s.watching {
		if r.replay != nil {
			s.compare(r)
		}
	}
	if s.stop == nil {
		s.stop = s.start()
	}
	checkModel(s.t, s.trial)
	s.stop()
	if n := s.w.Unwatched(); n != 0 || s.w.unwatched.timeout() >= 0 {
		s.t.Errorf("%d directories have no watch, and the next look is in %d ms", n, s.w.unwatched.timeout())
	}
}

// compare sees that r's events have led to what is there.
func (s *stage) compare(r *reader) {
	s.t.Helper()
	disk := s.list(r)
	for p, dir := range disk {
		if believed, ok := r.replay.dirs[p]; !ok || believed != dir {
			s.t.Errorf("%s is there (directory: %t), and the events do not say so (there: %t, directory: %t)", Quote(p), dir, ok, believed)
		}
	}
	for p := range r.replay.dirs {
		if _, ok := disk[p]; !ok {
			s.t.Errorf("%s is not there, and the events do not say so", Quote(p))
		}
	}
	if s.t.Failed() && s.live {
		s.t.Logf("a live reader got\n%s", strings.Join(r.replay.log, "\n"))
	}
}

// list says what is there for r to know; true is a directory.
func (s *stage) list(r *reader) map[string]bool {
	s.t.Helper()
	dirs := map[string]bool{}
	s.must(walkTree(r.sub.Root, r.sub.SkipDir, func(_ *os.Root, at string, names []os.DirEntry) error {
		for _, e := range names {
			dirs[path.Join(at, e.Name())] = e.IsDir()
		}
		return nil
	}))
	return dirs
}

func (s *stage) say(line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.said = append(s.said, line)
}

// heard returns what was said since it was called last. Whether the kernel has
// merged equal events depends on whether anything else happened, if only in
// the directory where temporary files are.
func (s *stage) heard() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	said := s.said
	s.said = nil
	return slices.Compact(said)
}

// short is an error without the paths of this stage.
func (s *stage) short(err error) string {
	return strings.NewReplacer(s.root, "root", s.out, "out").Replace(err.Error())
}

// read has all delivered that happened before, and the readers follow it.
func (s *stage) read() {
	s.t.Helper()
	if s.stop == nil {
		s.trial.read()
	} else {
		s.flush()
	}
	for _, r := range s.watching {
		s.mu.Lock()
		events := r.events
		r.events = nil
		s.mu.Unlock()
		if r.replay != nil {
			r.follow(events)
		}
	}
}

// follow is the replay of events, with what the package documentation says of
// a root that is gone.
func (r *reader) follow(events []Event) {
	for _, e := range events {
		if e.Path == "." && e.Mask&(DeleteSelf|MoveSelf) != 0 {
			clear(r.replay.dirs)
		}
		r.replay.apply([]Event{e})
	}
}

func (s *stage) do(lines []string) {
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
		if _, unable := errors.AsType[unableError](err); unable {
			s.t.Skip(err)
		}
		if err != nil {
			s.t.Fatalf("%s: %v", line, err)
		}
	}
}

// command does a command of the script itself, or one of the trial's.
func (s *stage) command(name string, args []string) error {
	switch name {
	case "unprivileged":
	case "watch":
		return s.watch(args)
	case "before":
		s.hooking.Lock()
		defer s.hooking.Unlock()
		s.hooks[args[0]] = args[1:]
	case "go":
		s.stop = s.start()
	case "read":
		s.read()
	case "try":
		s.command(args[0], args[1:]) // it may fail
	case "later":
		return s.later()
	case "overflow":
		return s.overflow()
	case "mount", "bind", "overlay", "umount", "detach":
		err := s.trial.command(name, args)
		if err == nil {
			err = s.w.wait() // for the kernel to say so
		}
		return err
	default:
		return s.trial.command(name, args)
	}
	return nil
}

// watch adds a subscription: PATH [mask=EVENTS] [skip=PATTERN] [wait] [as=NAME].
func (s *stage) watch(args []string) error {
	r := &reader{sub: Subscription{Root: s.at(args[0])}}
	if len(s.watching) > 0 {
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

func (s *stage) add(r *reader) error {
	sub := r.sub
	sub.SkipDir = func(p string) bool {
		s.meanwhile(p)
		return r.sub.SkipDir != nil && r.sub.SkipDir(p)
	}
	sub.Deliver = func(events []Event) { s.hear(r, events) }
	if _, err := s.w.Add(sub); err != nil {
		s.say("watch: " + s.short(err))
		return nil
	}
	s.watching = append(s.watching, r)
	if info, err := os.Stat(sub.Root); err == nil && !info.IsDir() {
		return nil // nothing lies below a file
	}
	s.others = append(s.others, sub.Root)
	const names = Create | Delete | MovedFrom | MovedTo
	if sub.Mask == 0 || sub.Mask&names == names {
		r.replay = newReplay(sub.Root)
		r.replay.dirs = s.list(r)
	}
	if s.live && s.stop == nil {
		s.stop = s.start()
	}
	return nil
}

// hear is r's Deliver.
func (s *stage) hear(r *reader, events []Event) {
	s.take(events)
	s.mu.Lock()
	defer s.mu.Unlock()
	r.events = append(r.events, events...)
	for _, e := range events {
		line := e.String()
		if r.label != "" {
			line = r.label + ": " + line
		}
		s.said = append(s.said, line)
	}
}

// meanwhile does what is to be done while a scan is under way, which has found
// the directory at and has not looked at it.
func (s *stage) meanwhile(at string) {
	s.hooking.Lock()
	defer s.hooking.Unlock()
	f, ok := s.hooks[at]
	if !ok {
		return
	}
	delete(s.hooks, at)
	if err := s.command(f[0], f[1:]); err != nil {
		s.t.Errorf("before %s: %s: %v", at, strings.Join(f, " "), err)
	}
}

// later lets so much time pass that time stamps tell what comes from what was.
func (s *stage) later() error {
	err := s.trial.later()
	s.read()
	return err
}

// overflow fills the kernel's queue with records that nobody waits for, so
// that all that follows until the reader has come to its end is lost.
func (s *stage) overflow() error {
	var files [2]*os.File // in turns, or the kernel merges the records
	for i := range files {
		fd, err := unix.MemfdCreate("overflow", unix.MFD_CLOEXEC)
		if err != nil {
			return err
		}
		files[i] = os.NewFile(uintptr(fd), "overflow")
		defer files[i].Close()
		wd, err := unix.InotifyAddWatch(s.w.kernel.fd, dirfd.Path(fd, ""), unix.IN_ATTRIB)
		if err != nil {
			return err
		}
		defer unix.InotifyRmWatch(s.w.kernel.fd, uint32(wd))
	}
	for i := range queueLength() + 1 {
		if err := files[i%2].Chmod(0o600); err != nil {
			return err
		}
	}
	return nil
}
