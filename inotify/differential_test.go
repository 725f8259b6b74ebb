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
		read    func(tr *trial, r *replay, written <-chan struct{})
	}{
		{"one writer", 1, readLive},
		{"one writer and a stopped reader", 1, readAfterwards},
		{"two writers", 2, readLive},
		{"three writers and a stopped reader", 3, readAfterwards},
		{"one writer, record by record", 1, readStepwise},
		{"two writers, record by record", 2, readStepwise},
		{"two writers and a stopped reader, record by record", 2, readStepwiseAfterwards},
	}
	for _, mode := range modes {
		t.Run(mode.name, func(t *testing.T) {
			for round := range *roundsFlag {
				seed := *seedFlag + uint64(round)
				if !t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) { playRound(t, seed, mode.writers, mode.read) }) {
					return
				}
			}
		})
	}
}

func playRound(t *testing.T, seed uint64, writers int, read func(*trial, *replay, <-chan struct{})) {
	tr := newTrial(t, Subscription{})
	tr.do(`
		mkdir a/b/c
		mkdir b
		write a/f`)
	tr.read()
	r := newReplay(tr.root)
	logs := make([][]string, writers)
	written := make(chan struct{})
	go func() {
		defer close(written)
		var wg sync.WaitGroup
		for i := range writers {
			wg.Go(func() {
				wr := writer{rand: rand.New(rand.NewPCG(seed, uint64(i))), root: tr.root, out: tr.out}
				for range *opsFlag {
					logs[i] = append(logs[i], wr.step())
				}
			})
		}
		wg.Wait()
	}()
	read(tr, r, written)
	<-written
	r.check(t)
	if t.Failed() && testing.Verbose() {
		t.Logf("events:\n%s", strings.Join(r.log, "\n"))
	}
	tr.run()
	checkModel(t, tr)
	if t.Failed() && testing.Verbose() {
		for i, log := range logs {
			t.Logf("writer %d:\n%s", i, strings.Join(log, "\n"))
		}
	}
}

func readLive(tr *trial, r *replay, written <-chan struct{}) {
	defer tr.start()()
	<-written
	r.apply(tr.flush())
}

func readAfterwards(tr *trial, r *replay, written <-chan struct{}) {
	<-written
	r.apply(tr.read())
}

func readStepwise(tr *trial, r *replay, written <-chan struct{}) {
	for !tr.t.Failed() && (tr.step(r) || !closed(written)) {
		runtime.Gosched()
	}
	// What was written between the last step and the look at the channel.
	for !tr.t.Failed() && tr.step(r) {
	}
}

func readStepwiseAfterwards(tr *trial, r *replay, written <-chan struct{}) {
	<-written
	readStepwise(tr, r, written)
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// step is one turn of Run, with a look at what a reader knows after each
// record. It says whether there was anything to do.
func (tr *trial) step(r *replay) bool {
	n, err := tr.w.read()
	if errors.Is(err, unix.EAGAIN) {
		again, err := tr.w.repairAll()
		tr.must(err)
		r.apply(tr.taken())
		r.compare(tr, "repairs")
		return again
	}
	tr.must(err)
	for rec, err := range records(tr.w.buf[:n]) {
		tr.must(err)
		tr.w.apply(rec)
		tr.w.deliver()
		r.log = append(r.log, fmt.Sprintf("          # wd %d %s %q", rec.wd, rec.mask, rec.name))
		r.apply(tr.taken())
		r.compare(tr, rec.mask.String())
	}
	return true
}

// compare sees that the reader knows of every directory that the tree has,
// but for those that will be said anew and those whose end is in the queue.
func (r *replay) compare(tr *trial, after string) {
	tr.t.Helper()
	w := tr.w
	for root := range w.tops {
		for _, n := range w.tree.subtree(nil, root)[1:] {
			w.here.find(n, nil)
			path := w.here.text(w.here.hits[0].start)
			if !r.dirs[path] && !w.unsaid(n) && w.tree.nodes[n].wd != 0 {
				tr.t.Errorf("after %s the reader does not know of the directory %q", after, path)
			}
		}
	}
}

// A writer does random operations. The names are few, so that they collide.
type writer struct {
	rand      *rand.Rand
	root, out string
}

func (w *writer) path() string {
	p := w.root
	for range 1 + w.rand.IntN(4) {
		p = filepath.Join(p, string("abcdef"[w.rand.IntN(6)]))
	}
	return p
}

func (w *writer) outside() string {
	return filepath.Join(w.out, string("12345678"[w.rand.IntN(8)]))
}

// step does one operation, which may fail, and says what it was.
func (w *writer) step() string {
	p, q := w.path(), w.path()
	op, err := "", error(nil)
	switch w.rand.IntN(14) {
	case 0, 1:
		op, err = "mkdir "+p, os.Mkdir(p, 0o755)
	case 2:
		op, err = "mkdir -p "+p, os.MkdirAll(p, 0o755)
		os.WriteFile(filepath.Join(p, "f"), []byte("at once"), 0o644)
	case 3:
		op, err = "rm -rf "+p, os.RemoveAll(p)
	case 4:
		op, err = "rmdir "+p, unix.Rmdir(p)
	case 5, 6:
		op, err = "write "+p, os.WriteFile(p, []byte(q), 0o644)
	case 7, 8, 9:
		op, err = "mv "+p+" "+q, unix.Rename(p, q)
	case 10:
		op, err = "exchange "+p+" "+q, unix.Renameat2(unix.AT_FDCWD, p, unix.AT_FDCWD, q, unix.RENAME_EXCHANGE)
	case 11:
		q = w.outside()
		op, err = "mv "+p+" "+q, unix.Rename(p, q)
	case 12:
		p = w.outside()
		op, err = "mv "+p+" "+q, unix.Rename(p, q)
	case 13:
		p = w.outside()
		os.MkdirAll(p+"/x/a", 0o755)
		os.WriteFile(p+"/x/a/f", nil, 0o644)
		op, err = "build and mv "+p+"/x "+q, unix.Rename(p+"/x", q)
	}
	if err != nil {
		return "# " + op + ": " + err.Error()
	}
	return op
}
