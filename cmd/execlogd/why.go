package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/execlog/execlogd/httpd"
	"github.com/execlog/execlogd/inotify"
	"github.com/execlog/execlogd/internal/config"
	"github.com/execlog/execlogd/router"
)

const whyUsage = `Usage: execlogd why [flags] path [new-path]
       execlogd why [run] [flags of execlogd run] path [new-path]

Explains what happens when a path changes: below which root it is, what ignores it, which
routes it triggers, and which pages it concerns. With a new path, it explains what happens
when the path is renamed to that. The flags are those of the daemon, or those of execlogd
run; the word run is needed only if both commands have all the flags that are given.
`

// why explains what the daemon, or execlogd run, with the same flags does when a path
// changes.
func why(_ context.Context, args []string, stdout, _ io.Writer) error {
	cfg, rest, err := parseWhy(args)
	if err != nil {
		return err
	}
	if len(rest) != 1 && len(rest) != 2 {
		return config.Usagef("execlogd why takes one path, or two of a rename")
	}
	for i, path := range rest {
		if rest[i], err = filepath.Abs(path); err != nil {
			return err
		}
	}

	var routes []router.Route
	for _, site := range cfg.AllSites() {
		if site.Reloads() {
			routes = append(routes, site.PageRoutes(noCallback, noCallback, nil)...)
		}
	}
	for _, c := range cfg.Routes {
		c.Callback = noCallback
		routes = append(routes, c.Route)
	}
	r, err := router.New(router.Options{}, routes...)
	if err != nil {
		return config.UsageError{Err: err}
	}

	e := &explanation{cfg: cfg, router: r}
	if len(rest) == 1 {
		e.change(change{label: "path", path: rest[0]})
	} else {
		from, to := rest[0], rest[1]
		e.change(change{label: "from", path: from, event: inotify.MovedFrom})
		e.change(change{label: "to", path: to, event: inotify.MovedTo, from: from})
		if slashIfDir(from)+slashIfDir(to) != "" {
			e.line("note", "what is in the directory counts as renamed as well, each file by its own path")
		}
	}
	for _, remark := range cfg.Notes() {
		e.line("note", "%s", remark.Text)
	}
	_, err = io.WriteString(stdout, e.text.String())
	return err
}

// parseWhy reads the flags of the daemon, or those of run if they come after that
// word, or if only run has one of them. It returns what follows them.
func parseWhy(args []string) (config.Config, []string, error) {
	if len(args) > 1 && args[0] == "run" {
		return parseWhyRun(args[1:])
	}

	daemon, err := config.WithDefaultFile("execlogd why", whyUsage, args)
	if unknown, ok := errors.AsType[config.UnknownFlag](err); ok && config.IsRunFlag(unknown.Name) {
		return parseWhyRun(args)
	}
	if err != nil {
		return config.Config{}, nil, err
	}
	return config.Parse("execlogd why", whyUsage, daemon)
}

// parseWhyRun reads the flags of run.
func parseWhyRun(args []string) (config.Config, []string, error) {
	run, rest, err := config.ParseRunFlags("execlogd why run", whyUsage, args)
	return config.Config{Routes: []config.Route{run.Route}}, rest, err
}

// An explanation is what execlogd why prints.
type explanation struct {
	cfg    config.Config
	router *router.Router
	text   strings.Builder
}

// line adds a line that begins with a label.
func (e *explanation) line(label, format string, args ...any) {
	fmt.Fprintf(&e.text, "%-8s %s\n", label, fmt.Sprintf(format, args...))
}

// A change is a change of a path to explain.
type change struct {
	label string       // of the path
	path  string       // absolute
	event inotify.Mask // 0 for any
	from  string       // the old path after a rename; empty without one
}

// change explains a change of one path.
func (e *explanation) change(c change) {
	kind := kindOf(c.path)
	if isLink(c.path) && slices.ContainsFunc(e.cfg.AllSites(), func(s *config.Config) bool { return s.FollowSymlinks }) {
		kind = " (a symbolic link)"
	}
	e.line(c.label, "%s", inotify.Quote(c.path)+kind)
	// The path may lead to the roots by symbolic links.
	real := config.ResolveDir(c.path)
	roots := e.cfg.Roots()
	for _, site := range e.cfg.AllSites() {
		if !slices.Contains(roots, site.Root) {
			roots = append(roots, site.Root)
		}
	}
	found := false
	for _, root := range roots {
		rel, ok := config.Below(config.Resolve(root), real)
		if !ok {
			continue
		}
		found = true
		e.line("root", "%s", inotify.Quote(root))
		verdicts := e.router.Explain(root, rel)
		if len(verdicts) == 0 {
			e.line("routes", "none: -livereload=false")
		}
		for _, v := range verdicts {
			v.Wanted = v.Wanted || rel == "." && config.IsFile(root) // every pattern is for it
			text, triggered := e.route(c, v, root, rel)
			e.line("route", "%s: %s", v.Route, text)
			page := rel + slashIfDir(c.path)
			switch {
			case triggered && config.IsPageRoute(v.Route, config.ReloadRoute):
				e.line("pages", "%s", httpd.Explain(page))
			case triggered && config.IsPageRoute(v.Route, config.NamesRoute):
				e.line("pages", "%s", httpd.ExplainNames(page))
			}
		}
	}
	if !found {
		what := "it"
		if real != c.path {
			what = inotify.Quote(real) + ", which it is,"
		}
		e.line("root", "none: %s is not below %s, so nothing happens", what, inotify.Quote(strings.Join(roots, " or ")))
	}
}

// route explains what a change does to a route, and reports whether it triggers the
// route.
func (e *explanation) route(c change, v router.Explanation, root, rel string) (text string, triggered bool) {
	var route config.Route
	i := slices.IndexFunc(e.cfg.Routes, func(r config.Route) bool { return r.Name == v.Route })
	if i >= 0 {
		route = e.cfg.Routes[i] // otherwise it is a route of pages
	}

	v.Mask &= cmp.Or(c.event, v.Mask)
	switch {
	case v.IgnoredBy != "":
		return fmt.Sprintf("ignored by the pattern %s in %s", v.Ignored, v.IgnoredBy), false
	case v.Ignored != "":
		return fmt.Sprintf("ignored by the pattern %s", v.Ignored), false
	case v.Output != "":
		return fmt.Sprintf("written by its own runs, for the pattern %s in its outputs", v.Output), false
	case !v.Wanted && route.NotRecursive && strings.Contains(rel, "/"):
		return "not directly in the root, and recursive is false", false
	case !v.Wanted:
		return "no pattern matches", false
	case c.event != 0 && v.Mask == 0:
		return fmt.Sprintf("%s is not among its events", c.event), false
	}
	if old := e.outputPattern(v.Route, root, c.from); old != "" {
		return fmt.Sprintf("an output of its own runs that is renamed, for the pattern %s in its outputs", old), false
	}

	text = fmt.Sprintf("triggered by %s", v.Mask)
	if v.Pattern != "" {
		text += fmt.Sprintf(", for the pattern %s", v.Pattern)
	}
	if c.event == 0 && route.Empty {
		text += ", or when it is new, empty and closed"
	}
	if c.event == 0 && route.ChangedOnly {
		text += ", unless it has in it what it had at the last run"
	}
	return text, true
}

// outputPattern returns the pattern in the outputs of a route that matches a path;
// empty if there is none.
func (e *explanation) outputPattern(route, root, path string) string {
	rel, ok := config.Below(config.Resolve(root), config.ResolveDir(path))
	if path == "" || !ok {
		return ""
	}

	all := e.router.Explain(root, rel)
	i := slices.IndexFunc(all, func(v router.Explanation) bool { return v.Route == route })
	if i < 0 {
		return ""
	}
	return all[i].Output
}

// kindOf says what is at a path; empty for a plain file.
func kindOf(path string) string {
	info, err := os.Lstat(path)
	switch {
	case err != nil:
		return " (not there now)"
	case info.IsDir():
		return " (a directory)"
	case info.Mode()&os.ModeSymlink != 0:
		return " (a symbolic link: what it leads to is not watched)"
	case inotify.IsMountedFile(path):
		return " (a file that is mounted here: writes to it are heard from both sides, but not that it is replaced by a rename where it comes from)"
	}
	return ""
}

func isLink(path string) bool {
	info, err := os.Lstat(path)
	return err == nil && info.Mode()&os.ModeSymlink != 0
}

// slashIfDir is a slash if a directory is at the path.
func slashIfDir(path string) string {
	if info, err := os.Lstat(path); err == nil && info.IsDir() {
		return "/"
	}
	return ""
}

// noCallback is the callback of routes that never run.
func noCallback(context.Context, []inotify.Event) error { return nil }
