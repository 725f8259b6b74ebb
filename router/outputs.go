package router

import (
	"maps"
	"time"

	"github.com/execlog/execlogd/inotify"
)

// What the runs of a route have open for writing is their output: an event of it
// neither triggers the route nor holds it back. Nobody tells who has written to a
// file, so Route.OwnOutput is asked who has it open. That takes a while, and
// happens without the router's lock; the batch waits meanwhile. What was found
// open stays so until its IN_CLOSE_WRITE, so a log costs one question.

const (
	// From the start of one question to the next there is questionShare times
	// what it took, up to longestQuestionGap, so that events in great numbers do
	// not keep a processor busy with reading /proc. While nothing of the route
	// runs there is nothing to read, and a batch without a Delay hardly waits.
	questionPause       = 10
	maxQuestionInterval = 100 * time.Millisecond

	// rotation is how long after a run's last close of a file what happens to
	// the name is its doing as well: programs close a log and then rename it. Of a
	// file that was open for so long, older logs are renamed too.
	rotation = time.Second

	// outputCheckInterval is how long after a question it is asked again for a file that
	// holds a batch.
	outputCheckInterval = time.Second

	// maxOutputs is how many files are remembered at most.
	maxOutputs = 1024
)

// rescanned is in the mask of an event that the watcher makes of what it finds, and of
// none of the kernel's.
const rescanned = inotify.Create | inotify.CloseWrite

// outputs are what is known of the files that the runs of a stage write. The
// router's lock guards it.
type outputs struct {
	router    *Router
	state     *routeState // has them now; the lock guards which
	known     map[key]output
	moved     *movedOutput // by the latest MovedFrom: the MovedTo may follow
	freedName key          // the latest name that a log has lost
	freedAt   time.Time    // and when
	questions map[key]*outputQuestion
	asking    bool      // a goroutine is
	notBefore time.Time // the next question is not before
}

// An output is a file that a run has, or had, open for writing.
type output struct {
	opened time.Time // when it was found open
	closed time.Time // zero if it is open
	named  time.Time // when it got its name; zero if that is not known
}

// A outputQuestion file is one of which it is to be asked whether it is an output.
type outputQuestion struct {
	event inotify.Event
	stale bool // it was closed since, or is another
}

type movedOutput struct {
	from key
	output
}

func (o output) isOpen() bool { return o.closed.IsZero() }

// isLog reports whether it is, or was, open for long.
func (o output) isLog() bool { return o.isOpen() || o.closed.Sub(o.opened) >= rotation }

// ownsName reports whether it is the doing of who has written it that its name goes or
// becomes another.
func (o output) ownsName(now time.Time) bool {
	return o.isLog() || now.Sub(o.closed) < rotation
}

// isOwn reports whether what has happened to a path at now is known to be the doing
// of the stage's own runs, and keeps up with it. It is to be called with each event.
func (o *outputs) isOwn(k key, e inotify.Event, now time.Time) bool {
	if len(o.known) == 0 && o.moved == nil && len(o.questions) == 0 && o.freedAt.IsZero() {
		return false
	}
	if x := o.questions[k]; x != nil && e.Mask&(inotify.CloseWrite|gone|arrived) != 0 {
		x.stale = true
	}
	was, known := o.known[k]
	switch {
	case e.Mask&gone != 0:
		known = known && was.ownsName(now)
		delete(o.known, k)
		if known && was.isLog() {
			o.freedName, o.freedAt = k, now
		}
		if e.Mask&inotify.MovedFrom != 0 {
			o.moved = nil
		}
		if known && e.Mask&inotify.MovedFrom != 0 {
			o.moved = &movedOutput{k, was}
		}
		return known
	case e.Mask&inotify.MovedTo != 0 && o.moved != nil && o.moved.from == (key{e.Root, e.From}):
		is := o.moved.output
		is.named = now
		o.note(k, is, now)
		o.moved = nil
		return true
	case known && e.Mask&rescanned == rescanned && now.Sub(was.named) < rotation:
		return true // the watcher has looked what it is that was renamed
	case e.Mask&inotify.Create != 0 && k == o.freedName && now.Sub(o.freedAt) < rotation:
		o.note(k, output{opened: now}, now) // the next log
		return true
	case e.Mask&arrived != 0:
		delete(o.known, k) // another file
		return false
	case known && was.isOpen() && e.Mask&content != 0:
		if e.Mask&inotify.CloseWrite != 0 {
			was.closed = now
			o.note(k, was, now)
		}
		return true
	}
	return false
}

// forget is for when closes may be missing.
func (o *outputs) forget() { o.known, o.moved, o.freedAt = nil, nil, time.Time{} }

func (o *outputs) note(k key, is output, now time.Time) {
	if o.known == nil {
		o.known = make(map[key]output)
	}
	if _, known := o.known[k]; !known && len(o.known) >= maxOutputs {
		maps.DeleteFunc(o.known, func(_ key, x output) bool { return !x.ownsName(now) })
		if len(o.known) >= maxOutputs {
			clear(o.known) // it is asked again
		}
	}
	o.known[k] = is
}

// mustAsk reports whether it has to be asked whose doing an event is.
func (o *outputs) mustAsk(k key, e inotify.Event) bool {
	s := o.state
	if s.route.OwnOutput == nil || s.router.phase != during || e.Mask&(inotify.IsDir|gone) != 0 {
		return false
	}
	return e.Mask&(inotify.Create|inotify.Modify) != 0 || o.questions[k] != nil
}

// isQuestionDue reports whether it is to be asked whose doing an event is that has happened
// to the path of an entry: what waits for one that is open, which nobody could have
// foreseen, is not to wait in vain.
func (o *outputs) isQuestionDue(k key, e inotify.Event, now time.Time) bool {
	q := o.state.queue(k)
	if q == nil || q.batch.entries[k] == nil {
		return true
	}
	x := q.batch.entries[k]
	return e.Mask&inotify.Modify != 0 && x.openIndex > 0 && now.Sub(x.asked) >= outputCheckInterval
}

// ask has OwnOutput asked for the file of an event. If that has made the entry of the
// path, its batch waits for the answer.
func (o *outputs) ask(k key, e inotify.Event, made bool, now time.Time) {
	if q := o.state.queue(k); q != nil && q.batch.entries[k] != nil {
		x := q.batch.entries[k]
		x.asked = now
		if made {
			q.batch.markMaybeOutput(x)
		}
	}
	if o.questions[k] != nil {
		return
	}
	if o.questions == nil {
		o.questions = make(map[key]*outputQuestion)
	}
	o.questions[k] = &outputQuestion{event: e}
	if !o.asking {
		o.asking = true
		o.state.router.runs.Go(o.keepAsking)
	}
}

// keepAsking asks until there is nothing to ask for.
func (o *outputs) keepAsking() {
	for {
		time.Sleep(time.Until(o.nextTime()))
		own, events := o.nextQuestions()
		if len(events) == 0 {
			return
		}
		began := time.Now()
		answers := own(events)
		gap := min(questionPause*time.Since(began), maxQuestionInterval)
		if !o.answer(events, answers, began.Add(gap)) {
			return
		}
	}
}

func (o *outputs) nextTime() time.Time {
	r := o.lock()
	defer r.mu.Unlock()
	return o.notBefore
}

// nextQuestions is what is to be asked, and whom. Without events there is nothing, and
// asking has ended.
func (o *outputs) nextQuestions() (own func([]inotify.Event) []bool, events []inotify.Event) {
	r := o.lock()
	defer r.mu.Unlock()
	own = o.state.route.OwnOutput
	if own == nil || r.phase == after {
		for k := range o.questions {
			o.resolve(k, false)
		}
		r.update(time.Now())
	}
	for _, x := range o.questions {
		events = append(events, x.event)
	}
	o.asking = len(events) > 0
	return own, events
}

// answer draws the conclusions. It reports whether there is more to ask.
func (o *outputs) answer(events []inotify.Event, answers []bool, next time.Time) bool {
	r := o.lock()
	defer r.mu.Unlock()
	now := time.Now()
	for i, e := range events {
		k := keyOf(e)
		x := o.questions[k]
		own := i < len(answers) && answers[i]
		switch {
		case own && x != nil && !x.stale:
			o.note(k, output{opened: now}, now)
		case own:
			o.note(k, output{opened: now, closed: now}, now)
		}
		o.resolve(k, own)
	}
	r.update(now)
	o.notBefore, o.asking = next, len(o.questions) > 0
	return o.asking
}

// resolve takes the entry of a path out, if it is an output, or lets it go.
func (o *outputs) resolve(k key, own bool) {
	delete(o.questions, k)
	q := o.state.queue(k)
	if q == nil {
		return
	}
	e := q.batch.entries[k]
	if e == nil || !e.maybeOutput && !own {
		return
	}
	q.markDirty()
	switch {
	case own && e.maybeOutput:
		q.batch.remove(k)
	case own:
		q.batch.markClosed(e) // it is not waited for, but others may have written it too
	default:
		q.batch.clearMaybeOutput(e)
	}
}

// lock locks the router, and returns it.
func (o *outputs) lock() *Router {
	r := o.router
	r.mu.Lock()
	return r
}
