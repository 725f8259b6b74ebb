package inotify

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
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
	fmt.Printf("%d operations, %d events, %d overflows\n", played.operations.Load(), played.events.Load(), played.overflows.Load())
}

// played counts what the storms of this process were.
var played struct{ operations, events, overflows atomic.Int64 }

// A storm is writers on the tree of a trial.
type storm struct {
	*trial
	t       testing.TB
	writers []*writer
	replay  *replay
}

func newStorm(t testing.TB, seed uint64, writers int) *storm {
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
			linkless: seed%2 == 0,
		})
	}
	if seed%2 == 0 {
		s.contents = map[string]string{}
	}
	return s
}

// round plays. When that fails it shows the shortest part of what the writers
// did that still does, and with -v the whole story.
func (s *storm) round(play func(*storm)) {
	play(s)
	for _, w := range s.writers {
		played.operations.Add(int64(len(w.done)))
	}
	if !s.t.Failed() {
		return
	}
	if testing.Verbose() {
		s.t.Logf("events:\n%s", strings.Join(s.replay.log, "\n"))
		for i, w := range s.writers {
			s.t.Logf("writer %d:\n%s", i, w.script())
		}
	}
	for i, plan := range s.shrink(play) {
		w := writer{done: plan}
		s.t.Logf("writer %d, shrunk:\n%s", i, w.script())
	}
}

// shrink plays parts of what the writers did. With several of them it is a
// matter of luck whether the same part fails again.
func (s *storm) shrink(play func(*storm)) (plans [][]operation) {
	for _, w := range s.writers {
		plans = append(plans, w.done)
	}
	for i := range plans {
		plans[i] = shrink(plans[i], 200, func(part []operation) bool {
			tb := &quietTB{TB: s.t}
			defer tb.cleanUp()
			again := newStorm(tb, 0, len(plans))
			for j, w := range again.writers {
				w.plan = plans[j]
				w.ops = len(plans[j])
			}
			again.writers[i].plan, again.writers[i].ops = part, len(part)
			tb.run(func() { play(again) })
			return tb.failed
		})
	}
	return plans
}

// A quietTB keeps a failure to itself.
type quietTB struct {
	testing.TB
	failed   bool
	cleanups []func()
}

func (q *quietTB) Errorf(string, ...any) { q.failed = true }
func (q *quietTB) Error(...any)          { q.failed = true }
func (q *quietTB) Log(...any)            {}
func (q *quietTB) Logf(string, ...any)   {}
func (q *quietTB) Failed() bool          { return q.failed }
func (q *quietTB) Cleanup(f func())      { q.cleanups = append(q.cleanups, f) }

func (q *quietTB) Fatal(...any) {
	q.failed = true
	runtime.Goexit()
}

func (q *quietTB) Fatalf(string, ...any) { q.Fatal() }

// run returns when f does, or has called Fatal.
func (q *quietTB) run(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	<-done
}

func (q *quietTB) cleanUp() {
	for _, f := range slices.Backward(q.cleanups) {
		f()
	}
}

// check compares everything when all is read.
func (s *storm) check() {
	s.t.Helper()
	s.replay.check(s.t)
	s.checkContents()
	defer s.start()()
	checkModel(s.t, s.trial)
}

// write starts the writers. What it returns is closed when they are done.
func (s *storm) write() <-chan struct{} {
	written := make(chan struct{})
	var wg sync.WaitGroup
	for _, w := range s.writers {
		wg.Go(func() { w.work(cmp.Or(w.ops, *opsFlag)) })
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
	s.fillQueue("pin")
	played.overflows.Add(1)
	<-s.write()
	s.replay.apply(s.read())
	s.check()
}

func (s *storm) overflowAndGoOn() {
	<-s.write()
	s.fillQueue("pin")
	played.overflows.Add(1)
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
		again, err := s.w.repair()
		s.must(err)
		s.compare("repairs")
		return again
	}
	s.must(err)
	for rec, err := range records(s.w.kernel.buf[:n]) {
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
	for root := range s.w.rootPaths {
		for _, n := range tree.Subtree(root)[1:] {
			s.w.paths.Locate(n, nil)
			path := s.w.paths.Path(s.w.paths.Matches()[0].Start)
			if !s.replay.dirs[path] && !s.w.pending.isUnreported(tree, n) && tree.Node(n).WD != 0 {
				s.t.Errorf("after %s the reader does not know of the directory %q", after, path)
			}
		}
	}
}
