package daemon

import (
	"context"
	"sync"
	"time"

	"github.com/execlog/execlogd/inotify"
	"github.com/execlog/execlogd/router"
)

// Of files whose jobs come one right after the other.
const (
	repeatTime    = time.Second // after the end of a job for which a change may be its own
	maxRepeats    = 8           // in a row, of which the last is refused
	firstDelayed  = 3           // repeat that is delayed
	repeatDelay   = 100 * time.Millisecond
	maxRepeatings = 4096 // files of routes that are remembered
)

// jobRepeats find files that their own jobs change, so that there would be one after the other
// for ever. The router cannot: others change files of the route all the time while a queue has
// jobs, on any machine. In such a loop nothing changes the file while its job is held back. The
// zero value is ready to use.
type jobRepeats struct {
	mu  sync.Mutex
	all map[jobKey]jobRepeat
}

// A jobRepeat says how many jobs of a file came right after the one before.
type jobRepeat struct {
	count int
	ended time.Time // the last; zero while it is under way
}

// check is called before each job of a route. It holds one back that may be the work of the job
// before, and refuses it in the end with a *router.LoopError. If the file changes meanwhile,
// which closes newer, the error is router.ErrRestarted.
func (j *jobRepeats) check(ctx context.Context, route string, batch []inotify.Event, newer <-chan struct{}) error {
	k := jobKey{route, batch[0].Name()}
	count := j.note(k, batch[0].Mask == 0)
	if count < firstDelayed {
		return nil
	}
	wait := time.NewTimer(repeatDelay << (count - firstDelayed))
	defer wait.Stop()
	select {
	case <-wait.C:
	case <-newer:
		j.forget(k)
		return router.ErrRestarted
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if count < maxRepeats {
		return nil
	}
	j.forget(k)
	return &router.LoopError{Events: batch, Routes: []string{route}}
}

// note returns how many jobs of a file have come right after the one before. One that is asked
// for begins anew.
func (j *jobRepeats) note(k jobKey, isAsked bool) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	was, known := j.all[k]
	now := jobRepeat{}
	if known && !isAsked && time.Since(was.ended) < repeatTime {
		now.count = was.count + 1
	}
	if j.all == nil || !known && len(j.all) >= maxRepeatings {
		j.all = make(map[jobKey]jobRepeat)
	}
	j.all[k] = now
	return now.count
}

// end notes the end of a job of a route.
func (j *jobRepeats) end(route string, e inotify.Event) {
	j.mu.Lock()
	defer j.mu.Unlock()
	k := jobKey{route, e.Name()}
	if is, known := j.all[k]; known {
		is.ended = time.Now()
		j.all[k] = is
	}
}

// forget begins anew for a file.
func (j *jobRepeats) forget(k jobKey) {
	j.mu.Lock()
	defer j.mu.Unlock()
	delete(j.all, k)
}
