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

Explains what would happen if the path changed: under which root it is, what
ignores it, which routes it triggers, and which pages it concerns. With a new path it
explains what would happen if the path were renamed to that. The flags are
those of the daemon that is meant, or those of execlogd run, which need the word
run only where both have them.
`

// why explains a path, as the daemon or the run with the same flags would treat
// it.
func why(_ context.Context, args []string, stdout, _ io.Writer) error {
	cfg, rest, err := parseWhy(args)
	switch {
	case err != nil:
		return err
	case cfg.Help != "":
		_, err := io.WriteString(stdout, cfg.Help)
		return err
	case len(rest) != 1 && len(rest) != 2:
		return config.Usagef("execlogd why takes one path, or two of a rename")
	}
	routes, err := cfg.router()
	if err != nil {
		return config.UsageError{Err: err}
	}
	for i, path := range rest {
		if rest[i], err = filepath.Abs(path); err != nil {
			return err
		}
	}
	text := cfg.explain(rest[0], routes)
	if len(rest) == 2 {
		text = cfg.explainMove(rest[0], rest[1], routes)
	}
	_, err = io.WriteString(stdout, text+cfg.notes())
	return err
}

// whyConfig is the command line of `execlogd why`, checked.
type whyConfig struct {
	config.Config
	paths []string // that run listens to; nil when the daemon is meant
}

// parseWhy reads the flags of the daemon, or those of run if they come after that
// word, or if one of them is run's alone. It returns what follows them.
func parseWhy(args []string) (whyConfig, []string, error) {
	if len(args) > 1 && args[0] == "run" {
		return parseWhyRun(args[1:])
	}
	cfg, rest, err := config.Parse("execlogd why", whyUsage, args)
	if isRunFlag(err) {
		return parseWhyRun(args)
	}
	return whyConfig{Config: cfg}, rest, err
}

// isRunFlag reports whether package flag has refused a flag that run has.
func isRunFlag(err error) bool {
	wrong, ok := errors.AsType[config.UsageError](err)
	if !ok {
		return false
	}
	name, undefined := strings.CutPrefix(wrong.Err.Error(), "flag provided but not defined: -")
	return undefined && config.IsRunFlag(name)
}

// parseWhyRun reads the flags of run.
func parseWhyRun(args []string) (whyConfig, []string, error) {
	run, rest, err := config.ParseRunFlags("execlogd why run", whyUsage, args)
	return whyConfig{config.Config{Help: run.Help, Routes: []config.Route{run.Route}}, run.Paths}, rest, err
}

// roots are the directories that are listened to, each once.
func (cfg *whyConfig) roots() []string {
	switch {
	case cfg.paths != nil:
		return cfg.paths
	case cfg.Serve && !cfg.LiveReload:
		return append(cfg.Config.Roots(), cfg.Root)
	}
	return cfg.Config.Roots()
}

// router is the routes, which do nothing.
func (cfg *whyConfig) router() (*router.Router, error) {
	var routes []router.Route
	if cfg.Reloads() {
		routes = append(routes, cfg.PageRoutes(idle, idle, nil)...)
	}
	for _, c := range cfg.Routes {
		route := c.Router(idle)
		if cfg.paths != nil {
			route.Roots = cfg.paths
		}
		routes = append(routes, route)
	}
	return router.New(router.Options{}, routes...)
}

// explainMove is explain of a rename.
func (cfg *whyConfig) explainMove(from, to string, routes *router.Router) string {
	text := cfg.explainChange(from, routes, "from", inotify.MovedFrom, "") + cfg.explainChange(to, routes, "to", inotify.MovedTo, from)
	if slashIfDir(from)+slashIfDir(to) != "" {
		text += "note     what is in the directory counts as renamed as well, each file by its own path\n"
	}
	return text
}

// explain is what why prints of a path that changes in any way.
func (cfg *whyConfig) explain(path string, routes *router.Router) string {
	return cfg.explainChange(path, routes, "path", 0, "")
}

// explainChange explains a change of a path, which is called what, of one kind, or of
// any if that is 0. From is its old path, if it was renamed.
func (cfg *whyConfig) explainChange(path string, routes *router.Router, what string, kind inotify.Mask, from string) string {
	var b strings.Builder
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "%-8s "+format+"\n", append([]any{name}, args...)...)
	}
	line(what, "%s", inotify.Quote(path)+kindOf(path))
	roots := cfg.roots()
	// What is watched has one name for us, however people have come to it.
	real := config.ResolveDir(path)
	inNone := true
	for _, root := range roots {
		rel, ok := config.Below(config.Resolve(root), real)
		if !ok {
			continue
		}
		inNone = false
		line("root", "%s", inotify.Quote(root))
		verdicts := routes.Explain(root, rel)
		if len(verdicts) == 0 {
			line("routes", "none: -livereload=false")
		}
		for _, v := range verdicts {
			v.Wanted = v.Wanted || rel == "." && config.IsFile(root) // which every pattern is for
			if !v.Wanted && v.Ignored == "" && v.Output == "" && cfg.isTooDeep(v.Route, rel) {
				line("route", "%s: not directly in the root, and recursive is false", v.Route)
				continue
			}
			v.Mask &= cmp.Or(kind, v.Mask)
			old := outputPattern(v.Route, root, from, routes)
			switch {
			case kind != 0 && v.Wanted && v.Mask == 0:
				line("route", "%s: %s is not among its events", v.Route, kind)
				continue
			case kind != 0 && v.Wanted && old != "":
				line("route", "%s: an output of its own runs that is renamed, for the pattern %s in its outputs", v.Route, old)
				continue
			case kind != 0:
				line("route", "%s: %s", v.Route, verdict(v))
			default:
				line("route", "%s: %s", v.Route, verdict(v)+cfg.emptyFiles(v)+cfg.sameContent(v))
			}
			if v.Wanted && (v.Route == config.ReloadRoute || v.Route == config.NamesRoute) {
				line("pages", "%s", explainPages(v, rel+slashIfDir(path)))
			}
		}
	}
	if inNone {
		what := "it"
		if real != path {
			what = inotify.Quote(real) + ", which it is,"
		}
		line("root", "none: %s is not below %s, so nothing happens", what, inotify.Quote(strings.Join(roots, " or ")))
	}
	return b.String()
}

// outputPattern is the pattern in the outputs of a route for a path; empty if there is
// none.
func outputPattern(route, root, path string, routes *router.Router) string {
	rel, ok := config.Below(config.Resolve(root), config.ResolveDir(path))
	if path == "" || !ok {
		return ""
	}
	for _, v := range routes.Explain(root, rel) {
		if v.Route == route {
			return v.Output
		}
	}
	return ""
}

// notes is what why says in the end.
func (cfg *whyConfig) notes() string {
	var b strings.Builder
	for _, note := range cfg.Remarks(cfg.paths) {
		fmt.Fprintf(&b, "%-8s %s\n", "note", note)
	}
	return b.String()
}

// explainPages says what a route does to pages.
func explainPages(v router.Verdict, path string) string {
	if v.Route == config.NamesRoute {
		return httpd.ExplainNames(path)
	}
	return httpd.Explain(path)
}

func verdict(v router.Verdict) string {
	switch {
	case v.IgnoredBy != "":
		return fmt.Sprintf("ignored by the pattern %s in %s", v.Ignored, v.IgnoredBy)
	case v.Ignored != "":
		return fmt.Sprintf("ignored by the pattern %s", v.Ignored)
	case v.Output != "":
		return fmt.Sprintf("written by its own runs, for the pattern %s in its outputs", v.Output)
	case !v.Wanted:
		return "no pattern matches"
	case v.Pattern != "":
		return fmt.Sprintf("triggered by %s, for the pattern %s", v.Mask, v.Pattern)
	}
	return fmt.Sprintf("triggered by %s", v.Mask)
}

// emptyFiles is a remark on a route that heeds them.
func (cfg *whyConfig) emptyFiles(v router.Verdict) string {
	heeds := func(c config.Route) bool { return c.Name == v.Route && c.Router(idle).Empty }
	if v.Wanted && slices.ContainsFunc(cfg.Routes, heeds) {
		return ", or when it is new, empty and closed"
	}
	return ""
}

// sameContent is a remark on a route that compares files.
func (cfg *whyConfig) sameContent(v router.Verdict) string {
	compares := func(c config.Route) bool { return c.Name == v.Route && c.ChangedOnly }
	if v.Wanted && slices.ContainsFunc(cfg.Routes, compares) {
		return ", unless it has in it what it had at the last run"
	}
	return ""
}

// isTooDeep reports whether a path is below a directory of a route's root that is
// not watched for it.
func (cfg *whyConfig) isTooDeep(route, path string) bool {
	return strings.Contains(path, "/") && slices.ContainsFunc(cfg.Routes, func(c config.Route) bool { return c.Name == route && !c.Recursive })
}

// kindOf is a remark on what is at a path, for what is not a plain file.
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

func slashIfDir(path string) string {
	if info, err := os.Lstat(path); err == nil && info.IsDir() {
		return "/"
	}
	return ""
}
