package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/execlog/execlogd/router"
)

// A listedPattern is a pattern with the key, or the flag, that it belongs to.
type listedPattern struct {
	key string
	placed
}

// listed are the patterns of a route.
func (c *routeConfig) listed() []listedPattern {
	return slices.Concat(listed("match", c.match), listed("ignore", c.ignore), listed("outputs", c.outputs))
}

func listed(key string, patterns []placed) []listedPattern {
	var all []listedPattern
	for _, p := range patterns {
		all = append(all, listedPattern{key, p})
	}
	return all
}

// wrong says what a pattern was meant to be that can match nothing below any of
// the roots, which are absolute; empty if it can, as far as one knows.
func (p listedPattern) wrong(roots []string) string {
	if rest, ok := p.belowRoot(roots); ok {
		return fmt.Sprintf("patterns are relative to the root: write %q", rest)
	}
	parts := strings.Split(p.is, ",")
	isGlob := func(part string) bool {
		part = strings.TrimSpace(part)
		return strings.HasPrefix(part, "*.") || strings.Contains(part, "/*.") || len(part) > 1 && strings.HasSuffix(part, "/")
	}
	if len(parts) > 1 && !strings.ContainsAny(p.is, `{[\`) && !slices.ContainsFunc(parts, func(part string) bool { return !isGlob(part) }) {
		for i := range parts {
			parts[i] = strings.TrimSpace(parts[i])
		}
		return fmt.Sprintf(`a comma is part of a name: write {%s}, or several patterns, or \, for a name that has one`, strings.Join(parts, ","))
	}
	return ""
}

// belowRoot is the pattern without the path of a root, if it begins with that and
// cannot be relative to one.
func (p listedPattern) belowRoot(roots []string) (rest string, ok bool) {
	if !strings.HasPrefix(p.is, "/") || p.beginsBelow(roots) {
		return "", false
	}
	for _, root := range roots {
		for _, dir := range []string{root, resolved(root)} {
			rest, ok := strings.CutPrefix(p.is, dir)
			switch {
			case !ok || dir == "/":
			case strings.Trim(rest, "/") == "":
				return "**", true
			case rest[0] == '/':
				return rest, true
			}
		}
	}
	return "", false
}

// beginsBelow reports whether what the pattern begins with, as a path, is there
// below one of the roots.
func (p listedPattern) beginsBelow(roots []string) bool {
	first, _, _ := strings.Cut(strings.TrimPrefix(p.is, "/"), "/")
	return slices.ContainsFunc(roots, func(root string) bool {
		_, err := os.Lstat(filepath.Join(root, first))
		return err == nil
	})
}

// note says what a pattern may have been meant to be, of which one cannot know;
// empty if there is nothing to say.
func (p listedPattern) note(roots []string) string {
	if trimmed := strings.TrimSpace(p.is); trimmed != p.is {
		return fmt.Sprintf("spaces at its ends are part of a name: is %q meant?", trimmed)
	}
	if meant, ok := p.withSlashes(roots); ok {
		return fmt.Sprintf(`\ takes the meaning from the character after it: is %q meant?`, meant)
	}
	if meant, ok := p.alternatives(roots); ok {
		return fmt.Sprintf(`a comma is part of a name: is %q meant?`, meant)
	}
	names := strings.Split(p.is, "/")
	for i, name := range names {
		if rest, ok := strings.CutPrefix(name, "**"); ok && rest != "" && len(names) > 1 {
			names[i] = "**/*" + rest
			return fmt.Sprintf("** beside other characters is *, a part of one name: is %q meant?", strings.Join(names, "/"))
		}
	}
	if dir, ok := p.elsewhere(roots); ok {
		what := "needs a root of its own"
		if p.key != "match" {
			what = "need not be named"
		}
		return fmt.Sprintf("patterns are relative to the root, and %s is not below that: it %s", dir, what)
	}
	if p.key == "match" && p.isDir(roots) {
		return fmt.Sprintf("it is for the directory itself, and not for what is in it: is %q meant?", p.is+"/")
	}
	return ""
}

// alternatives is the pattern with what it lists between commas as alternatives,
// if each part of it is a name with an extension, or a directory, and no file is
// called as the whole.
func (p listedPattern) alternatives(roots []string) (meant string, ok bool) {
	parts := strings.Split(p.is, ",")
	if len(parts) == 1 || strings.ContainsAny(p.is, "{[\\") {
		return "", false
	}
	for i := range parts {
		parts[i] = strings.TrimSpace(parts[i])
		if len(filepath.Ext(parts[i])) < 2 && !strings.HasSuffix(parts[i], "/") {
			return "", false
		}
	}
	isThere := func(root string) bool {
		_, err := os.Lstat(filepath.Join(root, p.is))
		return err == nil
	}
	return "{" + strings.Join(parts, ",") + "}", !slices.ContainsFunc(roots, isThere)
}

// withSlashes is the pattern with a slash for each backslash, if those seem to be
// meant to cut a path.
func (p listedPattern) withSlashes(roots []string) (meant string, ok bool) {
	before, after, has := strings.Cut(p.is, `\`)
	if !has || after == "" {
		return "", false
	}
	c := after[0]
	isPlain := '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z' || c == '_'
	isBelow := func(root string) bool { return before != "" && isDirectory(filepath.Join(root, before)) }
	return strings.ReplaceAll(p.is, `\`, "/"), isPlain || slices.ContainsFunc(roots, isBelow)
}

// elsewhere is the directory with which the pattern begins, if that is an absolute
// path, or one in the home directory, and what is meant by it cannot be below a
// root.
func (p listedPattern) elsewhere(roots []string) (dir string, ok bool) {
	literal := p.is
	if i := strings.IndexAny(literal, `*?[{\`); i >= 0 {
		literal = literal[:i]
	}
	dir = literal[:strings.LastIndex(literal, "/")+1]
	switch {
	case len(dir) < 2 || p.beginsBelow(roots):
		return "", false
	case strings.HasPrefix(dir, "~/"):
		return "~", true
	case p.key != "match" && strings.Count(dir, "/") == 2:
		return "", false // "/tmp/" may well be made in the root
	}
	dir = filepath.Clean(dir)
	above := filepath.Dir(dir) // what a command makes need not be there yet
	return dir, dir[0] == '/' && (isDirectory(dir) || strings.Count(above, "/") > 1 && isDirectory(above))
}

// isDir reports whether the pattern is the path of a directory in a root.
func (p listedPattern) isDir(roots []string) bool {
	return !strings.ContainsAny(p.is, `*?[{\`) && !strings.HasSuffix(p.is, "/") &&
		slices.ContainsFunc(roots, func(root string) bool { return isDirectory(filepath.Join(root, p.is)) })
}

func isDirectory(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// wrongPatterns is what cannot be meant among the patterns of a file, of which the
// places are known.
func (r *reader) wrongPatterns(patterns []listedPattern, roots ...string) {
	for _, p := range patterns {
		if p.at == (place{}) {
			continue
		}
		if wrong := p.wrong(roots); wrong != "" {
			r.wrong(p.at, "%s: pattern %q: %s", p.key, p.is, wrong)
		}
	}
}

// wrongFlag is the first pattern of a flag that cannot be meant.
func wrongFlag(patterns []listedPattern, roots ...string) error {
	for _, p := range patterns {
		if p.at != (place{}) {
			continue
		}
		if wrong := p.wrong(roots); wrong != "" {
			return usagef("-%s: pattern %q: %s", p.key, p.is, wrong)
		}
	}
	return nil
}

// notes is what there is to say of patterns that may be wrong, in the order of the
// file.
func (cfg *config) notes() mistakes {
	r := &reader{file: cfg.file}
	if cfg.reloads() {
		r.notePatterns("", listed("ignore", cfg.ignore), cfg.root)
	}
	for i := range cfg.routes {
		c := &cfg.routes[i]
		r.notePatterns(c.name.is, c.listed(), c.root.is)
		r.noteConflicts(c.name.is, c)
	}
	slices.SortStableFunc(r.mistakes, mistake.compare)
	return r.mistakes
}

func (r *reader) notePatterns(route string, patterns []listedPattern, roots ...string) {
	for _, p := range patterns {
		if note := p.note(roots); note != "" && !r.full() {
			r.wrong(p.at, "%spattern %q in %s: %s", ofRoute(route), p.is, p.key, note)
		}
	}
}

// noteConflicts says which patterns of a route its other patterns keep out.
func (r *reader) noteConflicts(name string, c *routeConfig) {
	route := router.Route{Patterns: texted(c.match), Ignore: texted(c.ignore), Outputs: texted(c.outputs)}
	for _, conflict := range route.Conflicts() {
		i := slices.IndexFunc(c.match, func(p placed) bool { return p.is == conflict.Pattern })
		r.wrong(c.match[i].at, "%spattern %q in match lets nothing in: the pattern %q keeps all of it out", ofRoute(name), conflict.Pattern, conflict.By)
	}
}

func ofRoute(name string) string {
	if name == "" {
		return ""
	}
	return fmt.Sprintf("route %q: ", name)
}

// logNotes logs what there is to say of the patterns of a configuration that was
// not said of the one before.
func (d *daemon) logNotes(cfg config) {
	said := make(map[string]bool)
	for _, note := range cfg.notes() {
		said[note.text] = true
		if !d.noted[note.text] {
			d.log.Warn(note.said())
		}
	}
	d.noted = said
}

// noteUnmatched logs which of the routes that old does not have, with the same
// patterns, match no file that is there. It takes as long as looking for one does,
// until ctx ends.
func (r *routing) noteUnmatched(ctx context.Context, old []finding) {
	known := make(map[string]bool)
	patternsOf := func(c *routeConfig) string {
		return fmt.Sprintf("%q %q %q %q %q", c.name.is, c.root.is, texted(c.match), texted(c.ignore), c.hidden)
	}
	for _, f := range old {
		known[patternsOf(f.routeConfig)] = true
	}
	fresh := make(map[string][]string) // by their root
	match := make(map[string][]string)
	for _, f := range r.found {
		if len(f.match) > 0 && !known[patternsOf(f.routeConfig)] {
			fresh[f.root.is] = append(fresh[f.root.is], f.name.is)
			match[f.name.is] = texted(f.match)
		}
	}
	for _, root := range r.cfg.roots() {
		for _, route := range unmatched(ctx, r.router, []string{root}, fresh[root]) {
			r.d.log.Info("no file matches yet", "route", route, "match", match[route])
		}
	}
}

// unmatched returns those of the routes that match nothing that is below the roots.
// In a tree of many files it does not look to the end, and returns none.
func unmatched(ctx context.Context, r *router.Router, roots, routes []string) []string {
	const mostFiles, mostMatches = 20_000, 2_000_000
	type candidate struct {
		route   string
		matches func(root, path string) bool
	}
	var left []candidate
	for _, route := range routes {
		if matches, err := r.Matcher(route); err == nil {
			left = append(left, candidate{route, matches})
		}
	}
	enough := errors.New("enough")
	files, tried := 0, 0
	for _, root := range roots {
		if isFile(root) || !isDirectory(root) {
			return nil // a file is for whoever names it, and what comes nobody knows
		}
		// What cannot be read the watcher has complained of.
		err := filepath.WalkDir(root+"/", func(path string, d fs.DirEntry, err error) error {
			rel, _ := below(root, path)
			files, tried = files+1, tried+len(left)
			switch {
			case len(left) == 0 || ctx.Err() != nil || files > mostFiles || tried > mostMatches:
				return enough
			case err != nil || rel == ".":
				return nil
			}
			left = slices.DeleteFunc(left, func(c candidate) bool { return c.matches(root, rel) })
			if d.IsDir() && r.SkipDir(root, rel) {
				return fs.SkipDir
			}
			return nil
		})
		if err != nil {
			break
		}
	}
	if len(left) == 0 || ctx.Err() != nil || files > mostFiles || tried > mostMatches {
		return nil
	}
	var none []string
	for _, c := range left {
		none = append(none, c.route)
	}
	return none
}

// perhapsIgnored is the end of a note that no file matches, if ignore files may be
// why.
func (o *oneLiner) perhapsIgnored() string {
	for _, root := range o.cfg.paths {
		if _, err := os.Lstat(filepath.Join(root, ".gitignore")); err == nil && o.cfg.gitignore {
			return " (what git ignores counts only with -ignore-files=false)"
		}
	}
	return ""
}

// sayNotes prints what there is to say of the patterns of run.
func (o *oneLiner) sayNotes(ctx context.Context, routes *router.Router) {
	r := new(reader)
	r.notePatterns("", o.cfg.listed(), o.cfg.paths...)
	r.noteConflicts("", &o.cfg.routeConfig)
	for _, note := range r.mistakes {
		o.say("note: " + note.text)
	}
	if len(o.cfg.match) > 0 && len(unmatched(ctx, routes, o.cfg.paths, []string{o.cfg.name.is})) > 0 {
		o.say("note: no file matches yet: " + strings.Join(texted(o.cfg.match), " ") + o.perhapsIgnored())
	}
}
