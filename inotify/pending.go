package inotify

import (
	"slices"

	"github.com/execlog/execlogd/inotify/internal/dirtree"
)

// A dirEntry is a name in a directory of the tree. The watch descriptor tells the
// directory from a later one with the same ID.
type dirEntry struct {
	dir  dirtree.ID
	wd   int32
	name string
}

// exists reports whether the directory of e is still the one that it was made for. Only a root
// is in the tree without a watch.
func (e dirEntry) exists(t *dirtree.Tree) bool {
	return t.Node(e.dir).WD == e.wd && (e.wd != 0 || t.Has(e.dir, dirtree.Root))
}

// verifyFlags say what to report when an entry is verified. The tree is made to agree with
// the disk in any case.
type verifyFlags uint8

const (
	reportPresent verifyFlags = 1 << iota // report what is there even if the tree has it
	reportAbsent                          // report that the directory is gone whose creation was reported
)

// A detachment is what is known of a directory whose place is not known. It is given
// up when the queue is empty and the directory was not found.
type detachment struct {
	cookie     uint32     // of the rename that took it away, or 0
	replacedBy dirtree.ID // the directory that was renamed to its place and is still there
	exchanged  bool       // that one was renamed in its turn: the two changed places
}

// pending is the work that has to wait until the kernel's queue is empty, because
// only then do the tree and the disk mean the same moment.
type pending struct {
	overflow     bool                      // records are missing: scan everything
	roots        map[*subscriber]struct{}  // subscriptions whose root is to be resolved again
	dirty        map[dirEntry]verifyFlags  // entries that may not be as the tree has them
	unscanned    map[dirtree.ID]struct{}   // directories to be scanned once they are reachable
	unreported   map[dirtree.ID]struct{}   // directories to be reported as removed and created, with all below
	detached     map[dirtree.ID]detachment // directories to be dropped unless they are found
	unwanted     []int32                   // watches to be removed unless they are needed again
	skipChecks   []string                  // roots below which SkipDir is to be called again
	mountedFiles bool                      // the mounted files are to be compared with the list of mounts
}

// empty reports whether there is no work at all.
func (p *pending) empty() bool {
	return !p.overflow && !p.mountedFiles &&
		len(p.roots)+len(p.dirty)+len(p.unscanned)+len(p.unreported)+len(p.detached)+len(p.unwanted)+len(p.skipChecks) == 0
}

// anyKey reports whether is returns true for a key of m.
func anyKey[K comparable, V any](m map[K]V, is func(K) bool) bool {
	for k := range m {
		if is(k) {
			return true
		}
	}
	return false
}

// removeFrom removes x from the list of key, and the list when it is empty then, which it reports.
func removeFrom[K, T comparable](lists map[K][]T, key K, x T) (empty bool) {
	rest := slices.DeleteFunc(lists[key], func(other T) bool { return other == x })
	if len(rest) == 0 {
		delete(lists, key)
		return true
	}
	lists[key] = rest
	return false
}

// resolve has the roots of some subscriptions resolved.
func (p *pending) resolve(subs ...*subscriber) {
	for _, s := range subs {
		if !s.closed {
			p.roots[s] = struct{}{}
		}
	}
}

// reportAnew has n, unless it is 0, reported as removed and created again, with all
// below it.
func (p *pending) reportAnew(n dirtree.ID) {
	if n != 0 {
		p.unreported[n] = struct{}{}
	}
}

// isUnreported reports whether n, or a directory above it, is to be reported anew.
func (p *pending) isUnreported(t *dirtree.Tree, n dirtree.ID) bool {
	if len(p.unreported) == 0 {
		return false
	}
	for ; n != 0; n = t.Parent(n) {
		if _, ok := p.unreported[n]; ok {
			return true
		}
	}
	return false
}

// forget drops all work for a directory that is not in the tree any more.
func (p *pending) forget(n dirtree.ID) {
	delete(p.detached, n)
	delete(p.unscanned, n)
	delete(p.unreported, n)
}
