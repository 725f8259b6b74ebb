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
	questionShare      = 10
	longestQuestionGap = 100 * time.Millisecond

	// rotation is how long after a run's last close of a file what happens to
	// the name is its doing as well: programs close a log and then rename it. Of a
	// file that was open for so long, older logs are renamed too.
	rotation = time.Second

	// askLater is how long after a question it is asked again for a file that
	// holds a batch.
	askLater = time.Second

	// maxOutputs is how many files are remembered at most.
	maxOutputs = 1024
)

// rescanned is in the mask of an event that the watcher makes of what it finds, and of
// none of the kernel's.
const rescanned = inotify.Create | inotify.CloseWrite

// outputs are what is known of the files that the runs of a stage write. The
// router's lock guards it.
type outputs struct {
	router *Router
	stage  *stage // has them now; the lock guards which
	known  map[key]output
	moved  *movedOutput // by the latest MovedFrom: the MovedTo may follow
	free   key          // the latest name that a log has lost
	freed  time.Time    // and when
	unsure map[key]*doubtful
	asking bool      // a goroutine is
	next   time.Time // the next question is not before
}

// An output is a file that a run has, or had, open for writing.
type output struct {
	opened time.Time // when it was found open
	closed time.Time // zero if it is open
	named  time.Time // when it got its name; zero if that is not known
}

// A doubtful file is one of which it is to be asked whether it is an output.
type doubtful struct {
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

// has reports whether what has happened to a path at now is known to be the doing
// of the stage's own runs, and keeps up with it. It is to be called with each event.
func (o *outputs) has(k key, e inotify.Event, now time.Time) bool {
	if len(o.known) == 0 && o.moved == nil && len(o.unsure) == 0 && o.freed.IsZero() {
		return false
	}
	if x := o.unsure[k]; x != nil && e.Mask&(inotify.CloseWrite|gone|arrived) != 0 {
		x.stale = true
	}
	was, known := o.known[k]
	switch {
	case e.Mask&gone != 0:
		known = known && was.ownsName(now)
		delete(o.known, k)
		if known && was.isLog() {
			o.free, o.freed = k, now
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
	case e.Mask&inotify.Create != 0 && k == o.free && now.Sub(o.freed) < rotation:
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
func (o *outputs) forget() { o.known, o.moved, o.freed = nil, nil, time.Time{} }

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

// mayHave reports whether it has to be asked whose doing an event is.
func (o *outputs) mayHave(k key, e inotify.Event) bool {
	s := o.stage
	if s.route.OwnOutput == nil || s.router.phase != during || e.Mask&(inotify.IsDir|gone) != 0 {
		return false
	}
	return e.Mask&(inotify.Create|inotify.Modify) != 0 || o.unsure[k] != nil
}

// isDue reports whether it is to be asked whose doing an event is that has happened
// to the path of an entry: what waits for one that is open, which nobody could have
// foreseen, is not to wait in vain.
func (o *outputs) isDue(k key, e inotify.Event, now time.Time) bool {
	l := o.stage.at(k)
	if l == nil || l.batch.entries[k] == nil {
		return true
	}
	x := l.batch.entries[k]
	return e.Mask&inotify.Modify != 0 && x.place > 0 && now.Sub(x.asked) >= askLater
}

// ask has OwnOutput asked for the file of an event. If that has made the entry of the
// path, its batch waits for the answer.
func (o *outputs) ask(k key, e inotify.Event, made bool, now time.Time) {
	if l := o.stage.at(k); l != nil && l.batch.entries[k] != nil {
		x := l.batch.entries[k]
		x.asked = now
		if made {
			l.batch.doubt(x)
		}
	}
	if o.unsure[k] != nil {
		return
	}
	if o.unsure == nil {
		o.unsure = make(map[key]*doubtful)
	}
	o.unsure[k] = &doubtful{event: e}
	if !o.asking {
		o.asking = true
		o.stage.router.runs.Go(o.keepAsking)
	}
}

// keepAsking asks until there is nothing to ask for.
func (o *outputs) keepAsking() {
	for {
		time.Sleep(time.Until(o.nextQuestion()))
		own, events := o.question()
		if len(events) == 0 {
			return
		}
		began := time.Now()
		answers := own(events)
		gap := min(questionShare*time.Since(began), longestQuestionGap)
		if !o.answer(events, answers, began.Add(gap)) {
			return
		}
	}
}

func (o *outputs) nextQuestion() time.Time {
	r := o.lock()
	defer r.mu.Unlock()
	return o.next
}

// question is what is to be asked, and whom. Without events there is nothing, and
// asking has ended.
func (o *outputs) question() (own func([]inotify.Event) []bool, events []inotify.Event) {
	r := o.lock()
	defer r.mu.Unlock()
	own = o.stage.route.OwnOutput
	if own == nil || r.phase == after {
		for k := range o.unsure {
			o.settle(k, false)
		}
		r.turn(time.Now())
	}
	for _, x := range o.unsure {
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
		x := o.unsure[k]
		own := i < len(answers) && answers[i]
		switch {
		case own && x != nil && !x.stale:
			o.note(k, output{opened: now}, now)
		case own:
			o.note(k, output{opened: now, closed: now}, now)
		}
		o.settle(k, own)
	}
	r.turn(now)
	o.next, o.asking = next, len(o.unsure) > 0
	return o.asking
}

// settle takes the entry of a path out, if it is an output, or lets it go.
func (o *outputs) settle(k key, own bool) {
	delete(o.unsure, k)
	l := o.stage.at(k)
	if l == nil {
		return
	}
	e := l.batch.entries[k]
	if e == nil || !e.unsure && !own {
		return
	}
	l.touch()
	switch {
	case own && e.unsure:
		l.batch.drop(k)
	case own:
		l.batch.close(e) // it is not waited for, but others may have written it too
	default:
		l.batch.makeSure(e)
	}
}

// lock locks the router, and returns it.
func (o *outputs) lock() *Router {
	r := o.router
	r.mu.Lock()
	return r
}
