package router

import (
	"path/filepath"
	"time"

	"github.com/execlog/execlogd/router/internal/git"
)

// A checkout, an unpacked archive or an install writes many files, for longer than
// a Delay. Such a burst is one batch: it ends when no further path came for
// Quiet. One saved file, or a few, do not wait for that.
const (
	// maxSaved is how many paths are no burst, however they come: as many as
	// an editor saves at once.
	maxSaved = 8

	// fewPaths are a burst as well if one of them came late in the Delay.
	fewPaths = 4

	// longestQuiet is how many times Quiet a burst that lasts for long waits for.
	longestQuiet = 5

	// longestBurst bounds how long a batch waits for the end of a burst.
	longestBurst = 10 * time.Second

	// gitInterval is how long after a look at a work tree's index.lock is the
	// next.
	gitInterval = 20 * time.Millisecond
)

// Arrivals are how the paths of a batch came. The zero value is a batch to which
// none came by an event.
type arrivals struct {
	paths int       // that came by events
	last  time.Time // when a path came that was not in the batch
}

// noteArrival notes that an event is about to put a path into the batch.
func (q *queue) noteArrival(k key, now time.Time) {
	if q.batch.empty() {
		q.arrivals = arrivals{}
	}
	if q.batch.entries[k] == nil {
		q.arrivals.paths++
		q.arrivals.last = now
	}
}

// quiet is when nothing came for long enough to a batch whose first event was at
// first, or did so before freed; zero if it need not wait for that.
func (b arrivals) quiet(r *Route, first, freed time.Time) time.Time {
	late := b.paths >= fewPaths && b.last.Sub(first) > r.Delay/2
	if r.Per == PerFile || b.paths <= maxSaved && !late || !b.last.After(freed) {
		return time.Time{}
	}
	wait := r.Quiet
	if lasted := b.last.Sub(first); !first.IsZero() {
		wait = max(wait, min(lasted/4, longestQuiet*r.Quiet)) // its pauses are longer as well
	}
	return earlier(b.last.Add(wait), first.Add(longestBurst))
}

// A gitCheck is what is known of the git commands that are at work in the trees
// of a lane's batch. The zero value is nothing.
type gitCheck struct {
	running bool      // somebody looks
	idle    bool      // the batch may go
	since   time.Time // the first look that found one at work
	next    time.Time // when to look again; zero is any time
}

// isGitIdle reports whether no git command is known to be at work where the batch
// comes from. Otherwise it sees to it that somebody looks, or looks again.
func (q *queue) isGitIdle(now time.Time) bool {
	g, s := &q.git, q.state
	switch {
	case g.idle || s.shared == nil || s.route.Quiet == 0 || q.arrivals.paths == 0:
		return true
	case g.running:
		q.pause()
		return false
	case g.next.After(now):
		q.queued = false
		s.router.schedule.Set(&q.timer, g.next)
		return false
	}
	dirs := q.gitDirs()
	if len(dirs) == 0 {
		return true
	}
	g.running = true
	q.pause()
	quiet := s.route.Quiet
	s.router.runs.Go(func() { q.lookForGit(dirs, quiet) })
	return false
}

// gitDirs are the paths from which to look for a repository: those of the roots
// that are in one, and of several files one, which may be in another, or in one
// that is new.
func (q *queue) gitDirs() []gitDir {
	var dirs []gitDir
	seen := make(map[string]bool)
	for k := range q.batch.entries {
		if !seen[k.root] {
			seen[k.root] = true
			if dir := q.state.router.gitDirs[k.root]; dir != "" {
				dirs = append(dirs, gitDir{dir: dir})
			}
			if q.arrivals.paths > 1 {
				dirs = append(dirs, gitDir{above: filepath.Join(k.root, k.path)})
			}
		}
	}
	return dirs
}

// lookForGit looks, without the router's lock, and notes the answer.
func (q *queue) lookForGit(dirs []gitDir, quiet time.Duration) {
	r := q.state.router
	busy := false
	for _, d := range dirs {
		busy = busy || d.isBusy(quiet)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	q.markDirty()
	g := &q.git
	g.running = false
	if busy && g.since.IsZero() {
		g.since = now
	}
	if g.idle = !busy || now.Sub(g.since) >= longestBurst; !g.idle {
		g.next = now.Add(gitInterval)
	}
	if r.phase == during {
		r.update(now)
	}
}

// A gitDir is the directory of a repository, or a path whose repository is meant.
type gitDir struct{ dir, above string }

// isBusy reports whether a git command is at work there.
func (d gitDir) isBusy(quiet time.Duration) bool {
	dir := d.dir
	if dir == "" {
		dir = git.FindDir(filepath.Dir(d.above))
	}
	return dir != "" && git.IsBusy(dir, quiet)
}

// findRepository notes the repository that a root is in, if it is in one.
func (r *Router) findRepository(root string) {
	abs, err := filepath.Abs(root)
	if err == nil {
		abs, err = filepath.EvalSymlinks(abs)
	}
	if err != nil {
		return // it is not there yet
	}
	if dir := git.FindDir(abs); dir != "" {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.gitDirs == nil {
			r.gitDirs = make(map[string]string)
		}
		r.gitDirs[root] = dir
	}
}
