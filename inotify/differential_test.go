package inotify

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

var (
	seedFlag   = flag.Uint64("seed", uint64(time.Now().UnixNano()), "seed of the differential test")
	roundsFlag = flag.Int("rounds", 12, "rounds of the differential test in each mode")
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
		gated   bool // the reader waits until all is done
	}{
		{"one writer", 1, false},
		{"one writer and a stopped reader", 1, true},
		{"two writers", 2, false},
		{"three writers and a stopped reader", 3, true},
	}
	for _, mode := range modes {
		t.Run(mode.name, func(t *testing.T) {
			for round := range *roundsFlag {
				seed := *seedFlag + uint64(round)
				if !t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) { playRound(t, seed, mode.writers, mode.gated) }) {
					return
				}
			}
		})
	}
}

func playRound(t *testing.T, seed uint64, writers int, gated bool) {
	tr := newTrial(t, Subscription{}).run()
	tr.do(`
		mkdir a/b/c
		mkdir b
		write a/f`)
	tr.flush()
	replay := newReplay(tr.root)
	if gated {
		tr.close()
	}
	logs := make([][]string, writers)
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
	if gated {
		tr.open()
	}
	for _, e := range tr.flush() {
		replay.apply(e)
	}
	replay.check(t)
	checkModel(t, tr)
	if t.Failed() && testing.Verbose() {
		for i, log := range logs {
			t.Logf("writer %d:\n%s", i, strings.Join(log, "\n"))
		}
	}
}

// close keeps the reader from going on after its next delivery; open lets it.
func (tr *trial) close() {
	tr.mu.Lock()
	tr.gate = make(chan struct{})
	tr.mu.Unlock()
	tr.do(`write gate`)
	for tr.pending() == 0 {
		time.Sleep(100 * time.Microsecond)
	}
}

func (tr *trial) open() {
	tr.mu.Lock()
	close(tr.gate)
	tr.gate = nil
	tr.mu.Unlock()
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

// A replay applies events to the set of paths that were there at the start.
type replay struct {
	root  string
	paths map[string]bool
	moved map[string][]string // what a MovedFrom took away, by its path
	log   []Event
}

func newReplay(root string) *replay {
	r := &replay{root: root, paths: map[string]bool{}, moved: map[string][]string{}}
	for _, p := range listTree(root) {
		r.paths[p] = true
	}
	return r
}

func (r *replay) apply(e Event) {
	r.log = append(r.log, e)
	switch {
	case e.Path == ".":
	case e.Mask&(Delete|MovedFrom) != 0:
		r.moved[e.Path] = r.remove(e.Path)
	case e.Mask&MovedTo != 0:
		r.remove(e.Path)
		r.paths[e.Path] = true
		if e.Mask&IsDir != 0 {
			for _, below := range r.moved[e.From] {
				r.paths[e.Path+below] = true
			}
		}
		delete(r.moved, e.From)
	case e.Mask&IsDir == 0:
		r.remove(e.Path) // a file has nothing below it
		r.paths[e.Path] = true
	default:
		r.paths[e.Path] = true
	}
}

// remove takes path and all below it away and returns what was below.
func (r *replay) remove(path string) (below []string) {
	delete(r.paths, path)
	for p := range r.paths {
		if strings.HasPrefix(p, path+"/") {
			below = append(below, p[len(path):])
			delete(r.paths, p)
		}
	}
	return below
}

// check compares with the disk. A path that is there must be known. One that
// is known and not there must be below something that is gone or is a file
// now: an event can come for what was deleted meanwhile.
func (r *replay) check(t *testing.T) {
	t.Helper()
	disk := listTree(r.root)
	for _, p := range disk {
		if !r.paths[p] {
			t.Errorf("%s is there and no event says so", p)
			r.explain(t, p)
		}
	}
	for p := range r.paths {
		if !slices.Contains(disk, p) {
			t.Errorf("%s is not there and no event says so", p)
			r.explain(t, p)
		}
	}
}

func (r *replay) explain(t *testing.T, path string) {
	for i, e := range r.log {
		if testing.Verbose() || strings.HasPrefix(path+"/", e.Path+"/") || strings.HasPrefix(path+"/", e.From+"/") {
			t.Logf("%5d %s", i, e)
		}
	}
}

func listTree(root string) (paths []string) {
	filepath.WalkDir(root, func(p string, d os.DirEntry, err error) error {
		if rel, _ := filepath.Rel(root, p); rel != "." {
			paths = append(paths, rel)
		}
		return err
	})
	return paths
}
