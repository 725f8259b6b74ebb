package inotify

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

var (
	seedFlag   = flag.Uint64("seed", uint64(time.Now().UnixNano()), "seed of the differential test")
	roundsFlag = flag.Int("rounds", 4, "rounds of the differential test in each mode; make torture plays more")
	opsFlag    = flag.Int("ops", 300, "operations of each writer in a round")
)

// TestDifferential lets writers do random operations on a real tree and then
// compares what the watcher believes with what is there: the directories, the
// kernel's watches, a probe in every directory, and a replay of all events
// over what was there at the start.
func TestDifferential(t *testing.T) {
	modes := []struct {
		name    string
		writers int
		play    func(*storm)
	}{
		{"a reader that keeps up", 1, (*storm).live},
		{"a reader that keeps up with two writers", 2, (*storm).live},
		{"a slow reader", 2, (*storm).slowly},
		{"a stopped reader", 1, (*storm).afterwards},
		{"a stopped reader and three writers", 3, (*storm).afterwards},
		{"record by record", 1, (*storm).recordByRecord},
		{"record by record with two writers", 2, (*storm).recordByRecord},
		{"record by record afterwards", 2, (*storm).recordByRecordAfterwards},
		{"an overflow", 2, (*storm).overflow},
		{"an overflow and no end of writing", 2, (*storm).overflowAndGoOn},
		{"the first scan", 1, (*storm).firstScan},
		{"the first scan and two writers", 2, (*storm).firstScan},
		{"a second subscription below", 2, (*storm).addBelow},
		{"a second subscription above", 2, (*storm).addAbove},
	}
	for _, mode := range modes {
		t.Run(mode.name, func(t *testing.T) {
			for round := range *roundsFlag {
				seed := *seedFlag + uint64(round)
				play := func(t *testing.T) { newStorm(t, seed, mode.writers).round(mode.play) }
				if !t.Run(fmt.Sprintf("seed %d", seed), play) {
					return
				}
			}
		})
	}
}

// A storm is writers on the tree of a trial.
type storm struct {
	*trial
	t       *testing.T
	writers []*writer
	replay  *replay
}

func newStorm(t *testing.T, seed uint64, writers int) *storm {
	s := &storm{t: t, trial: newTrial(t, Subscription{})}
	s.do(`
		mkdir a/b/c
		mkdir b
		mkdir pin
		write a/f`)
	s.read()
	s.replay = newReplay(s.root)
	for i := range writers {
		s.writers = append(s.writers, &writer{
			rand: rand.New(rand.NewPCG(seed, uint64(i))), root: s.root, out: s.out,
		})
	}
	return s
}

// round plays, and shows the whole story when that fails.
func (s *storm) round(play func(*storm)) {
	play(s)
	if !s.t.Failed() || !testing.Verbose() {
		return
	}
	s.t.Logf("events:\n%s", strings.Join(s.replay.log, "\n"))
	for i, w := range s.writers {
		s.t.Logf("writer %d:\n%s", i, strings.Join(w.log, "\n"))
	}
}

// check compares everything when all is read.
func (s *storm) check() {
	s.t.Helper()
	s.replay.check(s.t)
	defer s.start()()
	checkModel(s.t, s.trial)
}

// write starts the writers. What it returns is closed when they are done.
func (s *storm) write() <-chan struct{} {
	written := make(chan struct{})
	var wg sync.WaitGroup
	for _, w := range s.writers {
		wg.Go(w.work)
	}
	go func() {
		wg.Wait()
		close(written)
	}()
	return written
}

// follow reads while the writers work.
func (s *storm) follow() {
	written := s.write()
	defer s.start()()
	<-written
	s.replay.apply(s.flush())
}

func (s *storm) live() {
	s.follow()
	s.check()
}

// slowly lets the reader go on only once in a while.
func (s *storm) slowly() {
	pace := make(chan struct{}, 1)
	s.pace, s.writers[0].pace = pace, pace
	written := s.write()
	stop := s.start()
	<-written
	close(pace)
	s.replay.apply(s.flush())
	stop()
	s.check()
}

func (s *storm) afterwards() {
	<-s.write()
	s.replay.apply(s.read())
	s.check()
}

func (s *storm) recordByRecord() {
	s.steps(s.write())
	s.check()
}

func (s *storm) recordByRecordAfterwards() {
	written := s.write()
	<-written
	s.steps(written)
	s.check()
}

func (s *storm) overflow() {
	<-s.write()
	s.fillQueue()
	<-s.write()
	s.replay.apply(s.read())
	s.check()
}

func (s *storm) overflowAndGoOn() {
	<-s.write()
	s.fillQueue()
	<-s.write()
	s.live()
}

// firstScan adds a watcher of its own while the writers work.
func (s *storm) firstScan() {
	for _, w := range s.writers {
		w.linkless = true
	}
	s.trial = s.beside(s.root, openWatcher(s.t))
	written := s.write()
	added := s.add()
	stop := s.start()
	<-written
	<-s.write()
	checkHearsay(s.t, s.root, s.flush(), added)
	stop()
	s.replay = newReplay(s.root)
	s.live()
}

// addBelow has a subscription of the same watcher begin within the first.
func (s *storm) addBelow() {
	s.do(`mkdir inner/a`)
	s.read()
	s.replay = newReplay(s.root)
	s.writers[0].root = s.at("inner")
	s.addMore(s.at("inner"))
	s.check()
}

// addAbove has a subscription of the same watcher begin around the first.
func (s *storm) addAbove() {
	outer := s.addMore(filepath.Dir(s.root))
	s.replay.check(s.t)
	defer s.start()()
	checkModel(s.t, outer)
}

// addMore adds a subscription while writers work, and follows both.
func (s *storm) addMore(root string) *trial {
	for _, w := range s.writers {
		w.linkless = true
	}
	more := s.beside(root, s.w)
	written := s.write()
	stop := s.start()
	added := more.add()
	<-written
	s.replay.apply(s.flush())
	checkHearsay(s.t, root, more.taken(), added)
	stop()
	s.replay.check(s.t)

	r := newReplay(root)
	s.follow()
	r.apply(more.taken())
	r.check(s.t)
	return more
}

// fillQueue makes the kernel's queue overflow while nobody reads.
func (s *storm) fillQueue() {
	for range queueLength() {
		s.do("chmod pin") // two records, of pin and of its name, so that none is merged
	}
}

// steps is Run until the writers are done, with a look at what a reader knows
// after each record.
func (s *storm) steps(written <-chan struct{}) {
	for !s.t.Failed() && (s.step() || !closed(written)) {
		runtime.Gosched()
	}
	for !s.t.Failed() && s.step() { // what came between the last step and the end
	}
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// step is one turn of Run. It says whether there was anything to do.
func (s *storm) step() bool {
	n, err := s.w.read()
	if errors.Is(err, unix.EAGAIN) {
		again, err := s.w.repairAll()
		s.must(err)
		s.compare("repairs")
		return again
	}
	s.must(err)
	for rec, err := range records(s.w.buf[:n]) {
		s.must(err)
		s.w.apply(rec)
		s.w.deliver()
		s.replay.note("wd %d %s %q", rec.wd, rec.mask, rec.name)
		s.compare(rec.mask.String())
	}
	return true
}

// compare sees that the reader knows of every directory that the tree has,
// but for those that will be said anew and those whose end is in the queue.
func (s *storm) compare(after string) {
	s.t.Helper()
	s.replay.apply(s.taken())
	tree := s.w.tree
	for root := range s.w.tops {
		for _, n := range tree.subtree(nil, root)[1:] {
			s.w.here.find(n, nil)
			path := s.w.here.text(s.w.here.hits[0].start)
			if !s.replay.dirs[path] && !s.w.unsaid(n) && tree.nodes[n].wd != 0 {
				s.t.Errorf("after %s the reader does not know of the directory %q", after, path)
			}
		}
	}
}

// A writer does random operations. The names are few, so that they collide.
type writer struct {
	rand      *rand.Rand
	root, out string
	linkless  bool          // makes no hard links
	pace      chan struct{} // gets something once in a while; may be nil
	log       []string
}

func (w *writer) path() string {
	p := w.root
	for range 1 + w.rand.IntN(4) {
		p += "/" + []string{"a", "b", "c", "d", "e", "\xff\n"}[w.rand.IntN(6)]
	}
	return p
}

func (w *writer) outside() string {
	return w.out + "/" + string("12345678"[w.rand.IntN(8)])
}

func (w *writer) work() {
	for i := range *opsFlag {
		w.step()
		if i%16 == 0 {
			select {
			case w.pace <- struct{}{}:
			default:
			}
		}
	}
}

// operations are what a writer does, with two paths in the tree and one
// outside. They may fail. Those that stand here twice are done twice as often.
var operations = []struct {
	name string
	do   func(p, q, out string) error
}{
	{"mkdir p", func(p, _, _ string) error { return os.Mkdir(p, 0o755) }},
	{"mkdir p", func(p, _, _ string) error { return os.Mkdir(p, 0o755) }},
	{"mkdir -p p; write p/f", func(p, _, _ string) error {
		return errors.Join(os.MkdirAll(p, 0o755), os.WriteFile(p+"/f", []byte("at once"), 0o644))
	}},
	{"rm -rf p", func(p, _, _ string) error { return os.RemoveAll(p) }},
	{"rmdir p", func(p, _, _ string) error { return unix.Rmdir(p) }},
	{"rm p", func(p, _, _ string) error { return unix.Unlink(p) }},
	{"write p", func(p, q, _ string) error { return os.WriteFile(p, []byte(q), 0o644) }},
	{"write p", func(p, q, _ string) error { return os.WriteFile(p, []byte(q), 0o644) }},
	{"truncate p", func(p, _, _ string) error { return os.Truncate(p, 1) }},
	{"chmod p", func(p, _, _ string) error { return os.Chmod(p, 0o750) }},
	{"symlink q p", func(p, q, _ string) error { return os.Symlink(q, p) }},
	{"link p q", func(p, q, _ string) error { return os.Link(p, q) }},
	{"save p", save},
	{"unnamed p", writeUnnamed},
	{"mv p q", func(p, q, _ string) error { return unix.Rename(p, q) }},
	{"mv p q", func(p, q, _ string) error { return unix.Rename(p, q) }},
	{"mv p q", func(p, q, _ string) error { return unix.Rename(p, q) }},
	{"exchange p q", exchange},
	{"mv p out", func(p, _, out string) error { return unix.Rename(p, out) }},
	{"mv out p", func(p, _, out string) error { return unix.Rename(out, p) }},
	{"exchange p out", func(p, _, out string) error { return exchange(p, out, "") }},
	{"build out/x; mv out/x p", func(p, _, out string) error {
		return errors.Join(os.MkdirAll(out+"/x/a", 0o755), os.WriteFile(out+"/x/a/f", nil, 0o644), unix.Rename(out+"/x", p))
	}},
}

func exchange(p, q, _ string) error {
	return unix.Renameat2(unix.AT_FDCWD, p, unix.AT_FDCWD, q, unix.RENAME_EXCHANGE)
}

// save is how most editors do it.
func save(p, q, _ string) error {
	tmp := filepath.Dir(p) + "/tmp"
	return errors.Join(os.WriteFile(tmp, []byte(q), 0o644), unix.Rename(tmp, p))
}

// writeUnnamed makes a file that gets its name when it is complete.
func writeUnnamed(p, q, _ string) error {
	fd, err := unix.Open(filepath.Dir(p), unix.O_TMPFILE|unix.O_WRONLY|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	_, err = unix.Write(fd, []byte(q))
	return errors.Join(err, unix.Linkat(unix.AT_FDCWD, procPath(fd, ""), unix.AT_FDCWD, p, unix.AT_SYMLINK_FOLLOW))
}

func (w *writer) step() {
	op := operations[w.rand.IntN(len(operations))]
	p, q, out := w.path(), w.path(), w.outside()
	if w.linkless && op.name == "link p q" {
		return
	}
	line := fmt.Sprintf("%s: p=%s q=%s out=%s", op.name, Quote(p[len(w.root)+1:]), Quote(q[len(w.root)+1:]), out[len(w.out)+1:])
	if op.do(p, q, out) != nil {
		line += " (not done)"
	}
	w.log = append(w.log, line)
}
