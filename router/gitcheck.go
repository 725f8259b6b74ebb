package router

import (
	"path/filepath"
	"slices"
	"time"

	"github.com/execlog/execlogd/router/internal/git"
)

// gitInterval is how long after a look at a repository in which a git command is at
// work the next one is.
const gitInterval = 20 * time.Millisecond

// A gitCheck is what is known of git commands at work in the repositories that a batch
// comes from. The zero value is nothing.
type gitCheck struct {
	running bool      // a goroutine looks
	idle    bool      // the batch may go
	since   time.Time // the first look that found one at work
	next    time.Time // when to look again; zero is any time
}

// gitIsIdle reports whether no git command is known to be at work where the batch comes
// from. Otherwise it starts a goroutine that looks, or has the queue wait.
func (q *queue) gitIsIdle(now time.Time) bool {
	g, s := &q.git, q.state
	switch {
	case g.idle || s.shared == nil || s.route.Quiet == 0 || q.arrivals.paths == 0:
		return true
	case g.running:
		q.stop()
		return false
	case g.next.After(now):
		q.wakeAt(g.next)
		return false
	}

	// The git directories of the roots that are in a repository, and of each root with
	// several changed files one file, which may be in another, or in one that is new.
	var gitDirs, files []string
	seen := make(map[string]bool)
	for k := range q.batch.entries {
		if seen[k.root] {
			continue
		}
		seen[k.root] = true
		if dir := s.router.gitDirs[k.root]; dir != "" {
			gitDirs = append(gitDirs, dir)
		}
		if q.arrivals.paths > 1 {
			files = append(files, filepath.Join(k.root, k.path))
		}
	}
	if len(gitDirs)+len(files) == 0 {
		return true
	}

	g.running = true
	q.stop()
	quiet := s.route.Quiet
	s.router.runs.Go(func() {
		for _, file := range files {
			if _, dir := git.FindDir(filepath.Dir(file)); dir != "" {
				gitDirs = append(gitDirs, dir)
			}
		}
		q.noteGit(slices.ContainsFunc(gitDirs, func(dir string) bool { return git.IsBusy(dir, quiet) }))
	})
	return false
}

// noteGit notes whether a look has found a git command at work.
func (q *queue) noteGit(busy bool) {
	r, g := q.state.router, &q.git
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	q.markDirty()
	g.running = false
	if busy && g.since.IsZero() {
		g.since = now
	}
	g.idle = !busy || now.Sub(g.since) >= longestBurst
	g.next = now.Add(gitInterval) // if it is not idle
	if r.phase == running {
		r.update(now)
	}
}

// findRepository notes the repository that a root is in, if it is in one.
func (r *Router) findRepository(root string) {
	abs, err := filepath.Abs(root)
	if err == nil {
		abs, err = filepath.EvalSymlinks(abs)
	}
	if err != nil {
		return // the root is not there yet
	}

	if _, dir := git.FindDir(abs); dir != "" {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.gitDirs == nil {
			r.gitDirs = make(map[string]string)
		}
		r.gitDirs[root] = dir
	}
}
