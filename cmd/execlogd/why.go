package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/execlog/execlogd/httpd"
	"github.com/execlog/execlogd/inotify"
	"github.com/execlog/execlogd/router"
)

const whyUsage = `Usage: execlogd why [flags] path

Explains what would happen if the path changed: under which root it is, what
ignores it, which routes it triggers, and which pages it concerns. The flags are
those of the daemon that is meant.
`

// why explains a path, as the daemon with the same flags would treat it.
func why(_ context.Context, args []string, stdout, _ io.Writer) error {
	cfg, rest, err := parseFlags("execlogd why", whyUsage, args)
	switch {
	case err != nil:
		return err
	case cfg.print != "":
		_, err := io.WriteString(stdout, cfg.print)
		return err
	case len(rest) != 1:
		return usagef("execlogd why takes one path")
	}
	routes, err := cfg.router()
	if err != nil {
		return usageError{error: err}
	}
	path, err := filepath.Abs(rest[0])
	if err != nil {
		return err
	}
	_, err = io.WriteString(stdout, cfg.explain(path, routes))
	return err
}

// router is the routes, which do nothing.
func (cfg *config) router() (*router.Router, error) {
	var routes []router.Route
	if cfg.reloads() {
		routes = append(routes, cfg.pageRoutes(idle, idle)...)
	}
	for _, c := range cfg.routes {
		routes = append(routes, c.route(idle))
	}
	return router.New(router.Options{}, routes...)
}

// explain is what why prints.
func (cfg *config) explain(path string, routes *router.Router) string {
	var b strings.Builder
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "%-8s "+format+"\n", append([]any{name}, args...)...)
	}
	line("path", "%s", inotify.Quote(path)+kindOf(path))
	roots := cfg.roots()
	if cfg.serve && !cfg.livereload {
		roots = append(roots, cfg.root)
	}
	// What is watched has one name for us, however people have come to it.
	real := filepath.Join(resolved(filepath.Dir(path)), filepath.Base(path))
	inNone := true
	for _, root := range roots {
		rel, ok := below(resolved(root), real)
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
			line("route", "%s: %s", v.Route, verdict(v)+cfg.emptyFiles(v))
			if v.Wanted && (v.Route == reloadRoute || v.Route == namesRoute) {
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

// explainPages says what a route does to pages.
func explainPages(v router.Verdict, path string) string {
	if v.Route == namesRoute {
		return httpd.ExplainNames(path)
	}
	return httpd.Explain(path)
}

func verdict(v router.Verdict) string {
	switch {
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
func (cfg *config) emptyFiles(v router.Verdict) string {
	heeds := func(c routeConfig) bool { return c.name.is == v.Route && c.route(idle).Empty }
	if v.Wanted && slices.ContainsFunc(cfg.routes, heeds) {
		return ", or when it is new, empty and closed"
	}
	return ""
}

// resolved is a directory without symbolic links, as far as it is there.
func resolved(dir string) string {
	real, err := filepath.EvalSymlinks(dir)
	if parent := filepath.Dir(dir); err != nil && parent != dir {
		return filepath.Join(resolved(parent), filepath.Base(dir))
	}
	return real
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
	}
	return ""
}

func slashIfDir(path string) string {
	if info, err := os.Lstat(path); err == nil && info.IsDir() {
		return "/"
	}
	return ""
}
