package daemon

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/execlog/execlogd/inotify"
	"github.com/execlog/execlogd/internal/logging"
	"github.com/execlog/execlogd/router"
)

// An activity is what the daemon does now and how the last run ended, for the line of
// state on a terminal. The zero value is not ready to use; see newActivity.
type activity struct {
	changed chan struct{} // holds one

	mu   sync.Mutex // guards what follows
	work map[*work]bool
	last router.Run // Route is empty before the first
	at   time.Time  // its end
}

// A work is something that takes time.
type work struct {
	text  string
	since time.Time
}

func newActivity() *activity {
	return &activity{changed: make(chan struct{}, 1), work: make(map[*work]bool)}
}

// begin notes that something is done, as in "build runs", until the function that it
// returns is called.
func (a *activity) begin(text string) (end func()) {
	w := &work{text, time.Now()}
	a.mu.Lock()
	a.work[w] = true
	a.mu.Unlock()
	a.note()
	return func() {
		a.mu.Lock()
		delete(a.work, w)
		a.mu.Unlock()
		a.note()
	}
}

// noteRun notes how a run of a route has ended.
func (a *activity) noteRun(run router.Run) {
	if run.Outcome == router.Skipped || run.Outcome == router.Cancelled {
		return
	}
	a.mu.Lock()
	a.last, a.at = run, time.Now()
	a.last.Events = nil // which may be many
	a.mu.Unlock()
	a.note()
}

func (a *activity) note() {
	select {
	case a.changed <- struct{}{}:
	default:
	}
}

// texts says what is done now and since when, the longest first, and how the last run
// ended. What is done is said with its time from the first second on.
func (a *activity) texts(now time.Time, noColor bool) (texts []string, busy bool) {
	a.mu.Lock()
	defer a.mu.Unlock()

	var all []*work
	for w := range a.work {
		all = append(all, w)
	}
	slices.SortFunc(all, func(a, b *work) int { return cmp.Or(a.since.Compare(b.since), strings.Compare(a.text, b.text)) })
	switch {
	case len(all) > 0:
		text := logging.Printable(all[0].text)
		if took := now.Sub(all[0].since).Truncate(time.Second); took > 0 {
			text += " for " + took.String()
		}
		if len(all) > 1 {
			text += fmt.Sprintf(", and %d more", len(all)-1)
		}
		texts = append(texts, text)
	case a.last.Route != "":
		texts = append(texts, a.lastRun(noColor))
	}
	return texts, len(all) > 0
}

// lastRun says how the last run ended. a.mu must be held.
func (a *activity) lastRun(noColor bool) string {
	kind, text := logging.Ended, a.last.Outcome.String()
	switch a.last.Outcome {
	case router.Succeeded:
		kind, text = logging.Succeeded, "took "+a.last.Took.Round(time.Millisecond).String()
	case router.Failed:
		kind, text = logging.Failed, "failed after "+a.last.Took.Round(time.Millisecond).String()
	}
	return fmt.Sprintf("%s %s %s, %s", kind.Mark(noColor), logging.Printable(a.last.Route), text, a.at.Format(time.TimeOnly))
}

// lastChange says what has changed last; "" if nothing has.
func (l *lastEvents) lastChange() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.changed.IsZero() {
		return ""
	}
	return l.changed.Format(time.TimeOnly) + " " + inotify.Quote(l.change.Path)
}
