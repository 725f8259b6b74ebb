package router

import (
	"maps"
	"time"

	"github.com/execlog/execlogd/inotify"
)

// The files that a route's own runs write neither trigger the route nor hold it back. No
// event says who has written a file, so Route.OwnOutput is asked which files the programs
// of the route have open. What was found open is an output until its IN_CLOSE_WRITE, so a
// log costs one question.
const (
	// Questions are so far apart that they take no more than a tenth of a processor, and
	// at most maxPause. While nothing of the route runs, a question costs nothing, and a
	// batch without a Delay hardly waits.
	pauseFactor = 10
	maxPause    = 100 * time.Millisecond

	// renameWindow is how long after a run has closed a file the run is taken for the
	// cause of what happens to its name: programs close a log and then rename it. If the
	// file was open for so long, it is a log, of which older ones are renamed too.
	renameWindow = time.Second

	// askOutputAgain is how long after a question OwnOutput is asked again for an open
	// file that holds a batch back.
	askOutputAgain = time.Second

	maxOutputs        = 1024 // that are remembered
	maxRenamedOutputs = 64   // names that are remembered
)

// foundByScan is in the mask of an event that the watcher makes of what it finds in a
// directory, and of none of the kernel's.
const foundByScan = inotify.Create | inotify.CloseWrite

// outputs are the files that the runs of a route are known to have written. The router's
// lock guards it.
type outputs struct {
	state *routeState

	known     map[key]output
	moved     *movedOutput // with the latest MovedFrom: the MovedTo may follow
	freedName key          // that a log had until it was removed or renamed
	freedAt   time.Time

	questions map[key]*outputQuestion
	asking    bool // a goroutine asks, or pauses after it has asked
}

// An output is a file that a run has, or had, open for writing.
type output struct {
	opened time.Time // when it was found open
	closed time.Time // zero while it is open
	named  time.Time // when it was renamed; zero if it was not
}

type movedOutput struct {
	from key
	output
}

// An outputQuestion is a file for which OwnOutput is to be asked.
type outputQuestion struct {
	event inotify.Event
	stale bool // it was closed since, or is another file
}

func (o output) isOpen() bool { return o.closed.IsZero() }

// isLog reports whether the file is, or was, open for long.
func (o output) isLog() bool { return o.isOpen() || o.closed.Sub(o.opened) >= renameWindow }

// mayRename reports whether the run that has written the file may be what renames or
// removes it now.
func (o output) mayRename(now time.Time) bool {
	return o.isLog() || now.Sub(o.closed) < renameWindow
}

// isOwn reports whether an event is known to be caused by the route's own runs. It must be
// called with each event of a watcher.
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
		return o.noteGone(k, e, now)

	// The other half of the rename of an output.
	case e.Mask&inotify.MovedTo != 0 && o.moved != nil && o.moved.from == (key{e.Root, e.From}):
		is := o.moved.output
		is.named = now
		o.note(k, is, now)
		o.moved = nil
		return true

	// The watcher has looked what it is that was renamed.
	case known && e.Mask&foundByScan == foundByScan && now.Sub(was.named) < renameWindow:
		return true

	// The next log, in the place of one that was renamed.
	case e.Mask&inotify.Create != 0 && k == o.freedName && now.Sub(o.freedAt) < renameWindow:
		o.note(k, output{opened: now}, now)
		return true

	// Another file.
	case e.Mask&arrived != 0:
		delete(o.known, k)
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

// noteGone is isOwn for a path that goes away.
func (o *outputs) noteGone(k key, e inotify.Event, now time.Time) bool {
	isMove := e.Mask&inotify.MovedFrom != 0
	if isMove {
		o.moved = nil
	}

	was, known := o.known[k]
	delete(o.known, k)
	if !known || !was.mayRename(now) {
		return false
	}

	if was.isLog() {
		o.freedName, o.freedAt = k, now
	}
	if isMove {
		o.moved = &movedOutput{k, was}
	}
	return true
}

// forget forgets everything, because events may be missing.
func (o *outputs) forget() { o.known, o.moved, o.freedAt = nil, nil, time.Time{} }

// note remembers an output. If there are too many, those that do not matter any more are
// forgotten, or else all, for which OwnOutput is asked again.
func (o *outputs) note(k key, is output, now time.Time) {
	if o.known == nil {
		o.known = make(map[key]output)
	}
	if _, known := o.known[k]; !known && len(o.known) >= maxOutputs {
		maps.DeleteFunc(o.known, func(_ key, x output) bool { return !x.mayRename(now) })
		if len(o.known) >= maxOutputs {
			clear(o.known)
		}
	}
	o.known[k] = is
}

// mustAsk reports whether OwnOutput must be asked about an event that is not known to be
// caused by the route's own runs.
func (o *outputs) mustAsk(k key, e inotify.Event, now time.Time) bool {
	s := o.state
	if s.route.OwnOutput == nil || s.router.phase != running || e.Mask&(inotify.IsDir|gone) != 0 {
		return false
	}
	if e.Mask&(inotify.Create|inotify.Modify) == 0 && o.questions[k] == nil {
		return false
	}
	x := s.entry(k)
	if x == nil {
		return true
	}

	// The batch waits for a file that is open. If a run has opened it since, the batch
	// would wait in vain.
	return e.Mask&inotify.Modify != 0 && x.openIndex > 0 && now.Sub(x.asked) >= askOutputAgain
}

// ask has OwnOutput asked about an event. If the event has made the entry of its path, the
// batch waits for the answer.
func (o *outputs) ask(k key, e inotify.Event, isNew bool, now time.Time) {
	if x := o.state.entry(k); x != nil {
		x.asked = now
		if isNew && !x.maybeOutput {
			x.maybeOutput = true
			o.state.queue(k).batch.maybeOutputs++
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

// keepAsking asks until there is no question any more.
func (o *outputs) keepAsking() {
	for {
		ownOutput, events := o.nextQuestions()
		if len(events) == 0 {
			return
		}
		began := time.Now()
		answers := ownOutput(events)
		pause := min(pauseFactor*time.Since(began), maxPause)
		o.noteAnswers(events, answers)
		time.Sleep(time.Until(began.Add(pause)))
	}
}

// nextQuestions returns what is to be asked. Without events, asking is over.
func (o *outputs) nextQuestions() (ownOutput func([]inotify.Event) []bool, events []inotify.Event) {
	r := o.state.router
	r.mu.Lock()
	defer r.mu.Unlock()

	ownOutput = o.state.route.OwnOutput
	if ownOutput == nil || r.phase == stopped {
		for k := range o.questions {
			o.resolve(k, false)
		}
		r.update(time.Now())
	}

	for _, x := range o.questions {
		events = append(events, x.event)
	}
	o.asking = len(events) > 0
	return ownOutput, events
}

// noteAnswers notes which files are outputs.
func (o *outputs) noteAnswers(events []inotify.Event, answers []bool) {
	r := o.state.router
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()

	for i, e := range events {
		k := keyOf(e)
		isOwn := i < len(answers) && answers[i]
		if isOwn {
			is := output{opened: now}
			if x := o.questions[k]; x == nil || x.stale {
				is.closed = now
			}
			o.note(k, is, now)
		}
		o.resolve(k, isOwn)
	}
	r.update(now)
}

// resolve ends a question. The entry of an output is taken out if nobody else can have
// made it.
func (o *outputs) resolve(k key, isOwn bool) {
	delete(o.questions, k)
	e := o.state.entry(k)
	if e == nil || !e.maybeOutput && !isOwn {
		return
	}

	q := o.state.queue(k)
	q.markDirty()
	switch {
	case isOwn && e.maybeOutput:
		q.batch.remove(k)
		o.state.router.saved.finish(e)
	case isOwn:
		q.batch.markClosed(e) // others may have written it as well
	default:
		q.batch.clearMaybeOutput(e)
	}
}

// A program that replaces its output as a whole writes out.new, renames out to out.old and
// then out.new to out. Neither name is a change: what was made since the last run began
// and is moved away again was never there, and what an output is renamed to is an output
// until the end of the run.

// isOutputRename reports whether an event is no change by these rules. It must be called
// with each event of a watcher.
func (s *routeState) isOutputRename(k key, e inotify.Event, now time.Time) bool {
	if at, ok := s.renamedOutput(k, now); ok {
		isOther := at == k && e.Mask&arrived != 0 && !s.isOutput(e.From)
		if !isOther {
			s.renamedOutputs[at] = now
			return true
		}
		delete(s.renamedOutputs, k)
	}

	const newDir = inotify.Create | inotify.IsDir
	switch {
	case e.Mask&inotify.MovedFrom != 0 && s.isNew(k):
		if e.Mask&inotify.IsDir != 0 {
			s.renamedOutputs.note(k, now, maxRenamedOutputs)
		}
		return true
	case e.From != "" && s.isOutput(e.From) && !s.isOutput(e.Path):
		s.dropNewBelow(k)
		s.renamedOutputs.note(k, now, maxRenamedOutputs)
		return true
	case e.Mask&newDir == newDir && len(s.newDirs) < maxOutputs && s.route.Mask&inotify.MovedFrom != 0:
		if s.newDirs == nil {
			s.newDirs = make(map[key]bool)
		}
		s.newDirs[k] = true
	case e.Mask&gone != 0:
		delete(s.newDirs, k)
	}
	return false
}

// renamedOutput returns the path, or the directory above it, to which an output was
// renamed. It is not ok if there is none.
func (s *routeState) renamedOutput(k key, now time.Time) (at key, ok bool) {
	for at, last := range s.renamedOutputs {
		if (s.running == 0 || s.route.keepsRunning()) && now.Sub(last) >= renameWindow {
			delete(s.renamedOutputs, at)
			continue
		}
		if at.root == k.root && isBelow(k.path, at.path) {
			return at, true
		}
	}
	return key{}, false
}

// dropNewBelow takes out what came as new below a path to which an output is renamed: a
// scan of the watcher had met the output under that name already.
func (s *routeState) dropNewBelow(at key) {
	for q := range s.allQueues() {
		for k := range q.batch.entries {
			if k.root == at.root && isBelow(k.path, at.path) && s.isNew(k) {
				s.takeOut(q, k, false, false)
			}
		}
	}
}

// isNew reports whether a path was not there when the last run began.
func (s *routeState) isNew(k key) bool {
	e := s.entry(k)
	return s.newDirs[k] || e != nil && e.event.Mask&inotify.Create != 0 && !e.replacedFile && !e.pinned
}
