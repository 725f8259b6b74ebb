package router

import (
	"fmt"
	"strings"
	"time"

	"github.com/execlog/execlogd/inotify"
)

// A route whose run changes what triggers it would run for ever. Nobody tells
// who changed a file, so a batch is suspected if all of it happened while the
// route's own last run went on. That is also what somebody makes who saves
// often and has a slow build; but in a loop nothing happens while nothing
// runs. So the more batches in a row were suspected, the longer the next one
// waits for an event that clears it, and only after all that is it refused.
const (
	maxRounds  = 5                      // suspected runs in a row
	trusted    = 2                      // of them are not made to wait
	shortRound = 400 * time.Millisecond // a run that took less is taken for that long
	longestGap = time.Minute            // that a suspected batch waits
	upheaval   = time.Second            // what a run that is ended by newer events does in it may be its own doing
)

// A loop is what a lane knows of its own part in what triggers it.
type loop struct {
	rounds int           // suspected runs in a row
	took   time.Duration // by the last run
	shelf  []*entry      // what was refused: it goes with the next that is not suspected
}

// A LoopError says that a route was triggered again and again by what changed
// during its own runs, and that such a batch was not run.
type LoopError struct {
	// Events is the batch that was not run.
	Events []inotify.Event
}

func (e *LoopError) Error() string {
	const enough = 5
	var names []string
	for _, x := range e.Events[:min(enough, len(e.Events))] {
		names = append(names, inotify.Quote(x.Path))
	}
	if more := len(e.Events) - enough; more > 0 {
		names = append(names, fmt.Sprintf("and %d more", more))
	}
	return fmt.Sprintf("a loop: %d runs in a row were each triggered only by what changed during the one before, lastly %s: name it in Outputs or Ignore",
		maxRounds, strings.Join(names, ", "))
}

// echoes reports whether what happens at now may be the doing of the lane's
// run.
func (l *lane) echoes(now time.Time) bool {
	if l.run == nil || l.run.over || l.stage.route.ReadOnly {
		return false
	}
	return l.stage.route.OnBusy != Restart || now.Before(l.moments.started.Add(upheaval))
}

// suspected reports whether all of the batch may be the doing of the last run.
func (l *lane) suspected() bool { return l.batch.fresh == 0 }

// doubt is until when a suspected batch waits to be cleared.
func (l *lane) doubt() time.Time {
	if !l.suspected() || l.loop.rounds < trusted {
		return time.Time{}
	}
	if l.stage.route.OnBusy == Restart {
		return l.moments.started.Add(upheaval + gap(l.loop.rounds, upheaval))
	}
	return l.moments.ended.Add(gap(l.loop.rounds, l.loop.took))
}

// gap is how long a batch after so many rounds waits: a fourth of a run's
// time, then twice as long each.
func gap(rounds int, took time.Duration) time.Duration {
	return min(longestGap, max(took, shortRound)/4<<(rounds-trusted))
}

func (l *lane) isLoop() bool { return l.suspected() && l.loop.rounds >= maxRounds }

// noteRound counts the run that begins.
func (l *lane) noteRound() {
	if l.suspected() {
		l.loop.rounds++
		return
	}
	l.batch.restore(l.loop.shelf)
	l.loop.rounds, l.loop.shelf = 0, nil
}

// breakLoop refuses the batch, which is kept for a run that has a reason of
// its own: it was a mistake to refuse it if there is one.
func (l *lane) breakLoop(now time.Time) {
	f := newFrame(l, now)
	for _, e := range f.entries {
		kept := *e
		kept.tickets = nil
		l.loop.shelf = append(l.loop.shelf, &kept)
	}
	l.refuse(f, &LoopError{eventsOf(f.entries)})
}
