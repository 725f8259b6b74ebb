package inotify

import (
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
)

// Random operations while there are never enough watches. The events must lead to the final
// tree, and once there is room everything is watched.
func TestWatchLimitDifferential(t *testing.T) {
	if !inSubprocess(t, userNamespace()) {
		return
	}
	for round := range max(2, *roundsFlag/3) {
		seed := *seedFlag + uint64(round)
		t.Run("seed "+strconv.FormatUint(seed, 10), func(t *testing.T) { runWatchLimit(t, seed) })
		if t.Failed() {
			return
		}
	}
}

func runWatchLimit(t *testing.T, seed uint64) {
	tr := newPollFixture(t)
	tr.do(`
		mkdir a/b/c
		mkdir b
		write a/f`)
	if seed%2 == 0 {
		tr.setWatchLimit(4)
	} else {
		tr.setWatchLimit(1000)
	}
	tr.watcher.Add(Subscription{Root: tr.root, Deliver: tr.deliver}) // with an error or without
	r := newReplay(tr.root, nil)
	stop := tr.start()
	wr := writer{rand: rand.New(rand.NewPCG(seed, 0)), dirs: tr.another(tr.root, nil)}
	for range 12 {
		tr.setWatchLimit(wr.rand.IntN(6))
		for range 12 {
			wr.step()
		}
		if wr.rand.IntN(2) == 0 {
			r.apply(tr.poll())
		}
	}
	r.apply(tr.poll())
	r.apply(tr.poll()) // the first poll may have found a directory for another to poll
	r.check(t)
	tr.setWatchLimit(1000)
	r.apply(tr.poll())
	r.check(t)
	stop()
	tr.run()
	tr.wantUnwatched(0, false)
	checkModel(t, tr.fixture)
	if t.Failed() {
		t.Logf("operations:\n%s\nevents:\n%s", wr.script(), strings.Join(r.log, "\n"))
	}
}
