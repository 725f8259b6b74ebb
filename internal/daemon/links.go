package daemon

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/execlog/execlogd/inotify"
	"github.com/execlog/execlogd/internal/config"
)

// Symbolic links below the root of a site with follow_symlinks are roots of their own for the
// watcher, whose events come as those of a directory at the link. So a link that leads
// elsewhere is followed anew by the watcher, as any root. Links themselves are looked for at
// the start, and again when names come or go that may be some.

// How much is watched at most beside the root of a site.
const (
	maxLinks      = 1000
	maxLinkedDirs = 10_000
)

// findLinks returns the links that are followed in configurations, by the roots of sites.
func (d *daemon) findLinks(configs ...*resolvedConfig) map[string][]string {
	all := make(map[string][]string)
	for _, cfg := range configs {
		for _, s := range cfg.sites {
			if !s.FollowSymlinks || !s.Static || !s.Reloads() || all[s.Root] != nil {
				continue
			}
			f := newLinkFinder(s.Root, maxLinkedDirs)
			f.walk(".", f.above, false)
			all[s.Root] = f.links
			for _, link := range f.tooLarge {
				d.tooLarge.Do(func() {
					d.log.Warn("link not watched: too much is below what links lead to", "path", filepath.Join(s.Root, link), "directories", maxLinkedDirs, "links", maxLinks)
				})
			}
		}
	}
	return all
}

// A linkFinder finds the links below a root whose targets are not watched with it.
type linkFinder struct {
	root     string
	real     string        // the root without links
	above    []fs.FileInfo // the root itself
	links    []string      // relative to the root
	tooLarge []string      // that are not followed
	maxDirs  int
	dirs     int // directories below links
	walked   int // with those of links that are too large, which is known only at the end
}

func newLinkFinder(root string, maxDirs int) *linkFinder {
	f := &linkFinder{root: root, real: config.Resolve(root), maxDirs: maxDirs}
	if info, err := os.Stat(root); err == nil {
		f.above = []fs.FileInfo{info}
	}
	return f
}

func (f *linkFinder) isFull() bool {
	return f.dirs > f.maxDirs || len(f.links) > maxLinks || f.walked > 5*f.maxDirs
}

// enter counts a directory below a link.
func (f *linkFinder) enter() {
	f.dirs++
	f.walked++
}

// walk finds the links in a directory. linked says that it is below a link, and above are the
// root and the directories that links have led to on the way.
func (f *linkFinder) walk(dir string, above []fs.FileInfo, linked bool) {
	entries, err := os.ReadDir(filepath.Join(f.root, dir))
	if err != nil {
		return // it is reported by the watcher, or gone
	}
	for _, e := range entries {
		name := path.Join(dir, e.Name())
		switch {
		case strings.HasPrefix(e.Name(), "."), linked && f.isFull():
		case e.Type() == fs.ModeSymlink:
			f.follow(name, above, linked)
		case e.IsDir() && !linked:
			f.walk(name, above, false)
		case e.IsDir():
			f.enter()
			if info, err := e.Info(); err == nil && !has(above, info) {
				f.walk(name, above, true)
			}
		}
	}
}

// follow adds a link, and those below what it leads to.
func (f *linkFinder) follow(link string, above []fs.FileInfo, linked bool) {
	full := filepath.Join(f.root, link)
	rel, inRoot := config.Below(f.real, targetOf(full))
	isHidden := strings.Contains("/"+rel, "/.") && rel != "."
	if !linked && inRoot && !isHidden {
		return // its target is watched with the root
	}
	info, err := os.Stat(full)
	if err == nil && (info.IsDir() || info.Mode().IsRegular()) {
		var opened *os.File
		if opened, err = os.Open(full); err == nil {
			opened.Close()
		}
	} else if err == nil {
		return
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) || has(above, info) {
		return // without permission, or a loop
	}

	dirs, links := f.dirs, len(f.links)
	f.links = append(f.links, link)
	if err == nil && info.IsDir() {
		f.enter()
		f.walk(link, append(above[:len(above):len(above)], info), true)
	}
	if f.isFull() {
		f.dirs, f.links = dirs, f.links[:links]
		f.tooLarge = append(f.tooLarge, link)
	}
}

// targetOf returns where a link leads, also if there is nothing.
func targetOf(link string) string {
	if real, err := filepath.EvalSymlinks(link); err == nil {
		return real
	}
	target, err := os.Readlink(link)
	if err == nil && !filepath.IsAbs(target) {
		target = filepath.Join(filepath.Dir(config.ResolveDir(link)), target)
	}
	return config.Resolve(target)
}

// has reports whether a file is among others; nil is not.
func has(all []fs.FileInfo, info fs.FileInfo) bool {
	return info != nil && slices.ContainsFunc(all, func(other fs.FileInfo) bool { return os.SameFile(other, info) })
}

// mayChangeLinks reports whether an event of a name may be of a link, or of a directory with
// links in it.
func mayChangeLinks(e inotify.Event) bool {
	const names = inotify.Create | inotify.Delete | inotify.MovedFrom | inotify.MovedTo
	if e.Mask&names == 0 {
		return false
	}
	info, err := os.Lstat(e.Name())
	return err != nil || info.IsDir() || info.Mode().Type() == fs.ModeSymlink
}

// followNewLinks looks for links again, and has pages look at what new ones lead to.
func (p *pipeline) followNewLinks() {
	p.listening.Lock()
	defer p.listening.Unlock()
	before := p.links
	if err := p.listenTo(p.configs); err != nil {
		if !errors.Is(err, inotify.ErrClosed) {
			p.d.log.Warn("links not followed", "err", err)
		}
		return
	}
	for _, s := range p.d.sites() {
		for _, link := range p.links[s.Root] {
			if !slices.Contains(before[s.Root], link) {
				s.server.Recheck(link, link+"/")
				s.server.Refresh(link, link+"/")
			}
		}
	}
}
