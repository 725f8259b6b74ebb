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

// TestDifferential lets writers do random operations on a real tree. Then it compares what
// the watcher has with the disk: the directories, the watches of the kernel, a probe in
// every directory, and a replay of all events over the initial tree.
func TestDifferential(t *testing.T) {
	modes := []struct {
		name    string
		writers int
		play    func(*differential)
	}{
		{"a live reader", 1, (*differential).live},
		{"a live reader and two writers", 2, (*differential).live},
		{"a slow reader", 2, (*differential).slowly},
		{"a stopped reader", 1, (*differential).afterwards},
		{"a stopped reader and three writers", 3, (*differential).afterwards},
		{"record by record", 1, (*differential).recordByRecord},
		{"record by record with two writers", 2, (*differential).recordByRecord},
		{"record by record afterwards", 2, (*differential).recordByRecordAfterwards},
		{"an overflow", 2, (*differential).overflow},
		{"an overflow and no end of writing", 2, (*differential).overflowAndGoOn},
		{"the first scan", 1, (*differential).firstScan},
		{"the first scan and two writers", 2, (*differential).firstScan},
		{"a second subscription below", 2, (*differential).addBelow},
		{"a second subscription above", 2, (*differential).addAbove},
	}
	for _, mode := range modes {
		t.Run(mode.name, func(t *testing.T) {
			for round := range *roundsFlag {
				seed := *seedFlag + uint64(round)
				play := func(t *testing.T) { newDifferential(t, seed, mode.writers).round(mode.play) }
				if !t.Run(fmt.Sprintf("seed %d", seed), play) {
					return
				}
			}
		})
	}
	fmt.Printf("%d operations, %d events, %d overflows\n", totals.operations.Load(), totals.events.Load(), totals.overflows.Load())
}

// totals counts over all rounds of this process.
var totals struct{ operations, events, overflows atomic.Int64 }

// A differential has writers that work on the tree of a fixture.
type differential struct {
	*fixture
	t       testing.TB
	writers []*writer
	replay  *replay
}

func newDifferential(t testing.TB, seed uint64, writers int) *differential {
	s := &differential{t: t, fixture: newFixture(t, Subscription{})}
	s.do(`
		mkdir a/b/c
		mkdir b
		mkdir pin
		write a/f`)
	s.read()
	s.replay = newReplay(s.root, nil)
	for i := range writers {
		s.writers = append(s.writers, &writer{
			rand: rand.New(rand.NewPCG(seed, uint64(i))), dirs: s.another(s.root, nil), noLinks: seed%2 == 0,
		})
	}
	if seed%2 == 0 {
		s.contents = map[string]string{}
	}
	return s
}

// round runs one round. After a failure it prints the shortest part of the operations that
// still fails, and with -v all of them.
func (s *differential) round(play func(*differential)) {
	play(s)
	for _, w := range s.writers {
		totals.operations.Add(int64(len(w.done)))
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

// shrink runs parts of the operations. With several writers it is not certain that the same
// part fails again.
func (s *differential) shrink(play func(*differential)) (plans [][]operation) {
	for _, w := range s.writers {
		plans = append(plans, w.done)
	}
	for i := range plans {
		plans[i] = shrink(plans[i], 200, func(part []operation) bool {
			tb := &quietTB{TB: s.t}
			defer tb.cleanUp()
			again := newDifferential(tb, 0, len(plans))
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

// A quietTB records a failure without reporting it.
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

// run calls f and returns when that has returned or called Fatal.
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

// check compares everything when all records are read.
func (s *differential) check() {
	s.t.Helper()
	s.replay.check(s.t)
	s.checkContents()
	defer s.start()()
	checkModel(s.t, s.fixture)
}

// write starts the writers, and returns a channel that is closed when they are done.
func (s *differential) write() <-chan struct{} {
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
func (s *differential) follow() {
	written := s.write()
	defer s.start()()
	<-written
	s.replay.apply(s.flush())
}

func (s *differential) live() {
	s.follow()
	s.check()
}

// slowly lets Deliver return only once in a while.
func (s *differential) slowly() {
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

func (s *differential) afterwards() {
	<-s.write()
	s.replay.apply(s.read())
	s.check()
}

func (s *differential) recordByRecord() {
	s.steps(s.write())
	s.check()
}

func (s *differential) recordByRecordAfterwards() {
	written := s.write()
	<-written
	s.steps(written)
	s.check()
}

func (s *differential) overflow() {
	<-s.write()
	s.fillQueue("pin")
	totals.overflows.Add(1)
	<-s.write()
	s.replay.apply(s.read())
	s.check()
}

func (s *differential) overflowAndGoOn() {
	<-s.write()
	s.fillQueue("pin")
	totals.overflows.Add(1)
	<-s.write()
	s.live()
}

// firstScan adds another watcher while the writers work.
func (s *differential) firstScan() {
	for _, w := range s.writers {
		w.noLinks = true
	}
	s.fixture = s.another(s.root, openWatcher(s.t))
	written := s.write()
	added := s.add()
	stop := s.start()
	<-written
	<-s.write()
	checkReported(s.t, s.root, s.flush(), added)
	stop()
	s.replay = newReplay(s.root, nil)
	s.live()
}

// addBelow adds a subscription of a directory in the tree of the first.
func (s *differential) addBelow() {
	s.do(`mkdir inner/a`)
	s.read()
	s.replay = newReplay(s.root, nil)
	s.writers[0].dirs.root = s.at("inner")
	s.addMore(s.at("inner"))
	s.check()
}

// addAbove adds a subscription of the directory above the first.
func (s *differential) addAbove() {
	outer := s.addMore(filepath.Dir(s.root))
	s.replay.check(s.t)
	defer s.start()()
	checkModel(s.t, outer)
}

// addMore adds a subscription while writers work, and follows both.
func (s *differential) addMore(root string) *fixture {
	for _, w := range s.writers {
		w.noLinks = true
	}
	more := s.another(root, s.watcher)
	written := s.write()
	stop := s.start()
	added := more.add()
	<-written
	s.replay.apply(s.flush())
	checkReported(s.t, root, more.takeEvents(), added)
	stop()
	s.replay.check(s.t)

	r := newReplay(root, nil)
	s.follow()
	r.apply(more.takeEvents())
	r.check(s.t)
	return more
}

// steps does what Run does until the writers are done, and compares after each record.
func (s *differential) steps(written <-chan struct{}) {
	for !s.t.Failed() && (s.step() || !closed(written)) {
		runtime.Gosched()
	}
	for !s.t.Failed() && s.step() { // what was made since the last step
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

// step does one turn of Run, and reports whether there was anything to do.
func (s *differential) step() bool {
	buf, err := s.watcher.read()
	if errors.Is(err, unix.EAGAIN) {
		complete, err := s.watcher.repair()
		s.must(err)
		s.watcher.deliver()
		s.compare("pending work")
		return !complete
	}
	s.must(err)
	for rec, err := range records(buf) {
		s.must(err)
		s.watcher.apply(rec)
		s.watcher.deliver()
		s.replay.note("wd %d %s %q", rec.wd, rec.mask, rec.name)
		s.compare(rec.mask.String())
	}
	return true
}

// compare checks that the events have reported every directory of the tree, except those
// that are to be reported anew and those whose end is in the queue.
func (s *differential) compare(after string) {
	s.t.Helper()
	s.replay.apply(s.takeEvents())
	tree := s.watcher.tree
	for root := range s.watcher.rootPaths {
		for _, n := range tree.Subtree(root)[1:] {
			s.watcher.paths.Locate(n, nil)
			path := s.watcher.paths.Path(s.watcher.paths.Matches()[0].Start)
			if !s.replay.dirs[path] && !s.watcher.pending.isUnreported(tree, n) && tree.Node(n).WD != 0 {
				s.t.Errorf("after %s no event has reported the directory %q", after, path)
			}
		}
	}
}
