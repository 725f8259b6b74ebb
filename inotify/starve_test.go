package inotify

import (
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
)

// Random operations while there are never enough watches: at the end who
// follows the events knows the tree, and once there is room all is watched.
func TestStarvedDifferential(t *testing.T) {
	if !apart(t, namespace()) {
		return
	}
	for round := range max(2, *roundsFlag/3) {
		seed := *seedFlag + uint64(round)
		t.Run("seed "+strconv.FormatUint(seed, 10), func(t *testing.T) { starve(t, seed) })
		if t.Failed() {
			return
		}
	}
}

func starve(t *testing.T, seed uint64) {
	tr := newBlindTrial(t)
	tr.do(`
		mkdir a/b/c
		mkdir b
		write a/f`)
	if seed%2 == 0 {
		tr.room(4)
	} else {
		tr.room(1000)
	}
	tr.w.Add(Subscription{Root: tr.root, Deliver: tr.take}) // with an error or without
	r := newReplay(tr.root)
	stop := tr.start()
	wr := writer{rand: rand.New(rand.NewPCG(seed, 0)), root: tr.root, out: tr.out}
	for range 12 {
		tr.room(wr.rand.IntN(6))
		for range 12 {
			wr.step()
		}
		if wr.rand.IntN(2) == 0 {
			r.apply(tr.tick())
		}
	}
	r.apply(tr.tick())
	r.apply(tr.tick()) // what the first one found may be another's to look at
	r.check(t)
	tr.room(1000)
	r.apply(tr.tick())
	r.check(t)
	stop()
	tr.run()
	tr.unwatched(0, false)
	checkModel(t, tr.trial)
	if t.Failed() {
		t.Logf("operations:\n%s\nevents:\n%s", wr.script(), strings.Join(r.log, "\n"))
	}
}
