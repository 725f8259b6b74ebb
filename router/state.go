package router

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"time"

	"github.com/execlog/execlogd/inotify"
	"github.com/execlog/execlogd/internal/statelog"
)

// The events of routes with Durable outlive the process in a file. What one call of the Router
// changes in it is one record, which is there as a whole or not at all. In this way a run that
// has succeeded is finished exactly when the routes that follow have its events.
//
// An entry of a batch has an ID in the file. It keeps the ID while it goes from the batch into
// a run and back. So nothing is written for another write to a file that waits already.

// A record consists of changes, each of which begins with its kind and the ID of an entry.
const (
	entryWaits    = 'W' // uvarint mask, entryFlags, route, root, path and From: a string is its length and its bytes
	entryFinished = 'F'
)

// The entryFlags are what else a later process must know of an entry.
const (
	flagPinned byte = 1 << iota
	flagReplacedFile
	flagKept
)

// maxSpareRecord is how much memory for a record is kept for the next one.
const maxSpareRecord = 64 << 10

var errState = errors.New("the state of the router is damaged")

// A stateLog keeps what is not finished in the file of Options.State. If it is nil, it keeps
// nothing. The router's lock guards it.
type stateLog struct {
	log     *statelog.Log
	record  []byte // what has changed and is not in the file yet
	lastID  uint64
	resumed []savedEntry // of the process before, until there are routes
}

// A savedEntry is an entry as it is in the file.
type savedEntry struct {
	route string
	entry
}

// openState takes over what is in the file.
func (r *Router) openState(file *os.File) error {
	log, records, err := statelog.Open(file)
	if err != nil {
		return fmt.Errorf("open state: %w", err)
	}
	// A Router has no Close: the memory that the log has mapped goes with it.
	runtime.AddCleanup(r, func(log *statelog.Log) { log.Close() }, log)

	resumed, err := savedEntries(records)
	if err != nil {
		resumed = nil // it is of another version
	}
	r.saved = &stateLog{log: log, resumed: resumed}
	return nil
}

// savedEntries returns the entries that are not finished, in the order in which they came.
func savedEntries(records [][]byte) ([]savedEntry, error) {
	entries := make(map[uint64]savedEntry)
	for _, r := range records {
		for d := (statelog.Decoder{Rest: r}); len(d.Rest) > 0; {
			kind := d.Uvarint()
			id := d.Uvarint()
			switch kind {
			case entryWaits:
				e := entry{watched: true, resumed: true}
				e.event.Mask = inotify.Mask(d.Uvarint())
				flags := byte(d.Uvarint())
				e.pinned, e.replacedFile, e.kept = flags&flagPinned != 0, flags&flagReplacedFile != 0, flags&flagKept != 0
				route := d.String()
				e.event.Root, e.event.Path, e.event.From = d.String(), d.String(), d.String()
				entries[id] = savedEntry{route, e}
			case entryFinished:
				delete(entries, id)
			default:
				d.Bad = true
			}
			if d.Bad {
				return nil, errState
			}
		}
	}

	var all []savedEntry
	for _, id := range slices.Sorted(maps.Keys(entries)) {
		all = append(all, entries[id])
	}
	return all, nil
}

// isSaved reports whether what waits for the route outlives the process.
func (s *routeState) isSaved() bool { return s.router.saved != nil && s.route.Durable }

// save notes an entry as it is now.
func (l *stateLog) save(route string, e *entry) {
	if e.id == 0 {
		l.lastID++
		e.id = l.lastID
	}

	b := append(l.record, entryWaits)
	b = binary.AppendUvarint(b, e.id)
	b = binary.AppendUvarint(b, uint64(e.event.Mask))
	b = append(b, e.flags())
	for _, s := range []string{route, e.event.Root, e.event.Path, e.event.From} {
		b = statelog.AppendString(b, s)
	}
	l.record = b
}

func (e *entry) flags() (flags byte) {
	if e.pinned {
		flags |= flagPinned
	}
	if e.replacedFile {
		flags |= flagReplacedFile
	}
	if e.kept {
		flags |= flagKept
	}
	return flags
}

// finish notes that an entry is over for good.
func (l *stateLog) finish(e *entry) {
	if l == nil || e.id == 0 {
		return
	}
	l.record = binary.AppendUvarint(append(l.record, entryFinished), e.id)
	e.id = 0
}

// merge is batch.merge for a batch of the route, and notes what it changes.
func (s *routeState) merge(b *batch, k key, x entry) {
	if !s.isSaved() {
		b.merge(k, x)
		return
	}

	saved := x // as it is in the file, if it is there
	if old := b.entries[k]; old != nil && old.id != 0 {
		saved = *old
		s.router.saved.finish(&x) // from now on old stands for it
	}
	b.merge(k, x)
	e := b.entries[k]
	if e.id == 0 && e.watched || e.id != 0 && (e.event != saved.event || e.flags() != saved.flags()) {
		s.router.saved.save(s.route.Name, e)
	}
}

// saveAgain notes an entry that has changed.
func (s *routeState) saveAgain(e *entry) {
	if e.id != 0 && s.isSaved() {
		s.router.saved.save(s.route.Name, e)
	}
}

// noteKept notes whether entries are in keptForSuccess.
func (s *routeState) noteKept(entries []*entry, kept bool) {
	for _, e := range entries {
		e.kept = kept
		s.saveAgain(e)
	}
}

// resume puts what the process before has not finished into the batches of the routes of the
// same name, when there are routes.
func (r *Router) resume(now time.Time) {
	l := r.saved
	if l == nil || len(r.states) == 0 {
		return
	}
	for _, x := range l.resumed {
		s := r.byName[x.route]
		if s == nil || !s.isSaved() || !s.stillWants(&x.entry) {
			continue
		}
		if x.kept && s.route.OnFailure == Keep && len(s.after) > 0 {
			q := s.makeQueue(keyOf(x.event))
			q.keptForSuccess = append(q.keptForSuccess, &x.entry)
			continue
		}
		x.kept = false
		s.insert(x.entry, nil, now, false)
	}
	l.resumed = nil
}

// saveState writes what has changed into the file.
func (r *Router) saveState() {
	l := r.saved
	if l == nil || len(l.record) == 0 {
		return
	}
	r.noteWritten(l.log.Append(l.record))
	if l.log.Grown() {
		r.rewriteState()
	}
}

// rewriteState replaces what is in the file by all that is not finished.
func (r *Router) rewriteState() {
	l := r.saved
	if l == nil || l.resumed != nil {
		return
	}
	l.record = l.record[:0]
	for _, s := range r.states {
		if !s.isSaved() {
			continue
		}
		for _, e := range s.unfinished() {
			if e.id != 0 || e.watched {
				l.save(s.route.Name, e)
			}
		}
	}

	var records [][]byte // none of which may be empty
	if len(l.record) > 0 {
		records = append(records, l.record)
	}
	r.noteWritten(l.log.Rewrite(records...))
}

// noteWritten notes that the file has what has changed, or that it has nothing.
func (r *Router) noteWritten(err error) {
	l := r.saved
	l.record = l.record[:0]
	if cap(l.record) > maxSpareRecord {
		l.record = nil
	}
	if err == nil {
		return
	}
	r.saved = nil
	if r.problem != nil {
		r.problem(fmt.Errorf("the next start will not know which events are not finished: %w", err))
	}
}

// Unfinished counts the events of each route with Durable that are not finished, by its name; not
// those of routes that have none. Without Options.State there are none.
func (r *Router) Unfinished() map[string]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	counts := make(map[string]int)
	for _, s := range r.states {
		for _, e := range s.unfinished() {
			if e.id != 0 {
				counts[s.route.Name]++
			}
		}
	}
	return counts
}

// unfinished returns the entries of the route, wherever they are.
func (s *routeState) unfinished() []*entry {
	all := slices.Collect(maps.Values(s.loop.refused.entries))
	for _, q := range slices.AppendSeq(slices.Clone(s.previous), s.allQueues()) {
		all = slices.AppendSeq(all, maps.Values(q.batch.entries))
		all = append(all, q.keptForSuccess...)
		if q.run != nil {
			all = append(all, q.run.entries...)
		}
	}
	for i := range s.movedOut {
		if x := &s.movedOut[i]; x.id != 0 { // otherwise it is in a batch as well
			all = append(all, x)
		}
	}
	return all
}
