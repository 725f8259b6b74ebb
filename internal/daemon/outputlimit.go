package daemon

import (
	"slices"
	"sync"
	"time"

	"github.com/execlog/execlogd/internal/config"
	"github.com/execlog/execlogd/internal/logging"
	"github.com/execlog/execlogd/job"
)

// How many lines of output go into the journal. journald takes 10,000 entries of a service
// in 30 s (journald.conf(5)) and drops the rest: what a job writes must not cost its result.
const (
	maxRunLines  = 1000 // of a job, and of a service in each window
	maxLines     = 5000 // of all together, in each window
	outputWindow = 30 * time.Second
)

// An outputLimit limits the output of runs that goes into the journal. The zero value has
// seen none.
type outputLimit struct {
	mu    sync.Mutex
	began time.Time // of the window
	lines int       // of all runs in the window
	runs  map[uint64]*runOutput
}

// A runOutput is the output of one run that is not over.
type runOutput struct {
	began time.Time // of its window, which that of a job never leaves
	lines int       // that were logged in the window
	left  leftOutput
}

// A leftOutput is output that was not logged.
type leftOutput struct{ lines, bytes int }

// admit reports whether a line is to be logged. If it is the first of a service after some
// were left out, these are returned.
func (o *outputLimit) admit(l job.Line, isService bool, now time.Time) (before leftOutput, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if now.Sub(o.began) >= outputWindow {
		o.began, o.lines = now, 0
	}
	if o.runs == nil {
		o.runs = make(map[uint64]*runOutput)
	}
	run := o.runs[l.ID]
	if run == nil {
		run = &runOutput{began: now}
		o.runs[l.ID] = run
	}
	if isService && now.Sub(run.began) >= outputWindow {
		run.began, run.lines = now, 0
	}

	if run.lines >= maxRunLines || o.lines >= maxLines {
		run.left.lines++
		run.left.bytes += len(l.Text) + 1
		if !isService {
			run.lines = maxRunLines // what is left out is the end, and not a part of the middle
		}
		return leftOutput{}, false
	}
	run.lines++
	o.lines++
	before, run.left = run.left, leftOutput{}
	return before, true
}

// end forgets a run that is over, and returns what was left out of its output.
func (o *outputLimit) end(id uint64) leftOutput {
	o.mu.Lock()
	defer o.mu.Unlock()
	run := o.runs[id]
	delete(o.runs, id)
	if run == nil {
		return leftOutput{}
	}
	return run.left
}

// logOutput logs what a job writes, no faster than the log is read, and in the journal no
// more than an outputLimit admits.
func (d *daemon) logOutput(l job.Line) {
	if d.toJournal {
		before, ok := d.output.admit(l, d.isService(l.Route), time.Now())
		if !ok {
			return
		}
		d.logLeftOutput(l.Route, before)
	}
	d.queue.WaitForRoom()
	d.log.Info(l.Text, "route", l.Route)
}

// isService reports whether a route of the active configuration is a service.
func (d *daemon) isService(route string) bool {
	return slices.ContainsFunc(d.active.Load().Routes, func(c config.Route) bool { return c.Name == route && c.IsService })
}

// logLeftOutput says how much output is not in the journal, and where there is more.
func (d *daemon) logLeftOutput(route string, left leftOutput) {
	if left.lines > 0 {
		d.log.Info(logging.OutputCapped, "route", route, "lines", left.lines, "bytes", left.bytes,
			"see", "execlogd log -json, which has the last 64 KiB of each run")
	}
}
