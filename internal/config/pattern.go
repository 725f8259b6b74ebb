package config

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// A pattern is a pattern in the list of a key, or of the flag for that key. Patterns
// that cannot be meant are mistakes, and those that may be meant otherwise have notes.
type pattern struct {
	key  string // match, ignore or outputs
	glob string
	list KeyPath
}

func (p pattern) keyPath() KeyPath { return p.list.Text(p.glob) }

func patternsOf(key string, list KeyPath, globs []string) (all []pattern) {
	for _, glob := range globs {
		all = append(all, pattern{key, glob, list})
	}
	return all
}

// patterns are the patterns of the route.
func (c *Route) patterns() []pattern {
	return slices.Concat(
		patternsOf("match", c.At("match"), c.Patterns),
		patternsOf("ignore", c.At("ignore"), c.Ignore),
		patternsOf("outputs", c.At("outputs"), c.Outputs),
	)
}

// ignorePatterns are the patterns of ignore of the site, or of a flag -ignore.
func (cfg *Config) ignorePatterns() []pattern {
	return patternsOf("ignore", cfg.table.Key("ignore"), cfg.Ignore)
}

// CheckIgnore returns a UsageError for the first pattern of a flag -ignore that
// cannot be meant below the roots.
func CheckIgnore(globs []string, roots ...string) error {
	return checkFlags(patternsOf("ignore", KeyPath{}, globs), new(Report), roots...)
}

// checkFlags returns a UsageError for the first pattern that cannot be meant and is
// not in the file of the report.
func checkFlags(patterns []pattern, r *Report, roots ...string) error {
	for _, p := range patterns {
		wrong := p.wrong(roots)
		if wrong == "" {
			continue
		}
		if line, _ := r.position(p.keyPath()); line == 0 {
			return Usagef("-%s: pattern %q: %s", p.key, p.glob, wrong)
		}
	}
	return nil
}

// checkPatterns reports patterns that cannot be meant.
func (r *Report) checkPatterns(patterns []pattern, roots ...string) {
	for _, p := range patterns {
		if wrong := p.wrong(roots); wrong != "" {
			r.Add(p.keyPath(), "%s: pattern %q: %s", p.key, p.glob, wrong)
		}
	}
}

// wrong says what a pattern should be that can match nothing below any of the roots,
// which are absolute. It is empty if the pattern may match.
func (p pattern) wrong(roots []string) string {
	if rest, ok := p.belowRoot(roots); ok {
		return fmt.Sprintf("patterns are relative to the root: write %q", rest)
	}

	parts := p.commaParts()
	isGlob := func(part string) bool {
		return strings.HasPrefix(part, "*.") || strings.Contains(part, "/*.") || len(part) > 1 && strings.HasSuffix(part, "/")
	}
	if all(parts, isGlob) {
		return fmt.Sprintf(`a comma is part of a name: write {%s}, or several patterns, or \, for a name that has one`, strings.Join(parts, ","))
	}
	return ""
}

// commaParts returns what the pattern lists between commas, outside braces; nil if it
// is no list.
func (p pattern) commaParts() []string {
	parts := strings.Split(p.glob, ",")
	if len(parts) == 1 || strings.ContainsAny(p.glob, `{[\`) {
		return nil
	}
	for i := range parts {
		parts[i] = strings.TrimSpace(parts[i])
	}
	return parts
}

// all reports whether there are parts, and a condition holds for each.
func all(parts []string, holds func(part string) bool) bool {
	return len(parts) > 0 && !slices.ContainsFunc(parts, func(part string) bool { return !holds(part) })
}

// belowRoot returns the pattern without the path of a root, if it begins with that
// and cannot be meant relative to one.
func (p pattern) belowRoot(roots []string) (rest string, ok bool) {
	if !strings.HasPrefix(p.glob, "/") || p.existsBelow(roots) {
		return "", false
	}

	for _, root := range roots {
		for _, dir := range []string{root, Resolve(root)} {
			rest, ok := strings.CutPrefix(p.glob, dir)
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

// existsBelow reports whether the first name of the pattern exists in one of the
// roots.
func (p pattern) existsBelow(roots []string) bool {
	first, _, _ := strings.Cut(strings.TrimPrefix(p.glob, "/"), "/")
	return inAny(roots, first, exists)
}

// inAny reports whether a path in one of the roots is what a function says.
func inAny(roots []string, rel string, is func(path string) bool) bool {
	return slices.ContainsFunc(roots, func(root string) bool { return is(filepath.Join(root, rel)) })
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// note says what a pattern may be meant to be that may also be right as it is. It is
// empty if there is nothing to say.
func (p pattern) note(roots []string) string {
	if trimmed := strings.TrimSpace(p.glob); trimmed != p.glob {
		return fmt.Sprintf("spaces at its ends are part of a name: is %q meant?", trimmed)
	}
	if meant, ok := p.withSlashes(roots); ok {
		return fmt.Sprintf(`\ takes the meaning from the character after it: is %q meant?`, meant)
	}
	parts := p.commaParts()
	isName := func(part string) bool { return len(filepath.Ext(part)) > 1 || strings.HasSuffix(part, "/") }
	if all(parts, isName) && !inAny(roots, p.glob, exists) {
		return fmt.Sprintf(`a comma is part of a name: is %q meant?`, "{"+strings.Join(parts, ",")+"}")
	}

	names := strings.Split(p.glob, "/")
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
	isGlob := strings.ContainsAny(p.glob, `*?[{\`) || strings.HasSuffix(p.glob, "/")
	if p.key == "match" && !isGlob && inAny(roots, p.glob, IsDir) {
		return fmt.Sprintf("it is for the directory itself, and not for what is in it: is %q meant?", p.glob+"/")
	}
	return ""
}

// withSlashes returns the pattern with a slash for each backslash, if a backslash
// seems to separate the names of a path.
func (p pattern) withSlashes(roots []string) (meant string, ok bool) {
	before, after, has := strings.Cut(p.glob, `\`)
	if !has || after == "" {
		return "", false
	}
	c := after[0]
	isPlain := '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z' || c == '_'
	return strings.ReplaceAll(p.glob, `\`, "/"), isPlain || before != "" && inAny(roots, before, IsDir)
}

// elsewhere returns the directory with which the pattern begins, if that is an
// absolute path, or one in the home directory, that is not below a root.
func (p pattern) elsewhere(roots []string) (dir string, ok bool) {
	literal := p.glob
	if i := strings.IndexAny(literal, `*?[{\`); i >= 0 {
		literal = literal[:i]
	}
	dir = literal[:strings.LastIndex(literal, "/")+1]
	switch {
	case len(dir) < 2 || p.existsBelow(roots):
		return "", false
	case strings.HasPrefix(dir, "~/"):
		return "~", true
	case p.key != "match" && strings.Count(dir, "/") == 2:
		return "", false // "/tmp/" may well be made in the root
	}

	dir = filepath.Clean(dir)
	above := filepath.Dir(dir) // what a command makes need not exist yet
	return dir, dir[0] == '/' && (IsDir(dir) || strings.Count(above, "/") > 1 && IsDir(above))
}

// noteRoute reports what is, or may be, wrong with the patterns of a route. Each note
// begins with a prefix.
func (r *Report) noteRoute(prefix string, c *Route) {
	r.notePatterns(prefix, c.patterns(), c.Roots...)
	if c.Service.Builds != nil {
		r.noteSources(prefix, c)
	}
	for _, conflict := range c.Conflicts() {
		r.Add(c.At("match").Text(conflict.Pattern), "%spattern %q in match lets nothing in: the pattern %q keeps all of it out", prefix, conflict.Pattern, conflict.By)
	}
}

func (r *Report) notePatterns(prefix string, patterns []pattern, roots ...string) {
	for _, p := range patterns {
		if note := cmp.Or(p.wrong(roots), p.note(roots)); note != "" {
			r.Add(p.keyPath(), "%spattern %q in %s: %s", prefix, p.glob, p.key, note)
		}
	}
}

// noteSources reports patterns in match of a builder that seem to be for its sources, which
// it builds without being started again.
func (r *Report) noteSources(prefix string, c *Route) {
	for _, glob := range c.Patterns {
		isKnown := c.builder != nil && slices.Contains(c.builder.Match, glob)
		if !isKnown && isForSources(glob, c.Root) {
			r.Add(c.At("match").Text(glob), "%spattern %q in match: each save of such a file starts the program again: name only files that it does not watch itself, such as its own configuration", prefix, glob)
		}
	}
}

// sourceTypes are the ends of names of files that builders watch, and that hold no
// configuration.
var sourceTypes = []string{
	".md", ".markdown", ".rst", ".adoc", ".html", ".htm", ".njk", ".liquid", ".pug", ".hbs", ".erb", ".tmpl",
	".css", ".scss", ".sass", ".less", ".ts", ".tsx", ".jsx", ".vue", ".svelte", ".astro",
}

// isForSources reports whether a pattern is for all files, for those of a type that sources
// have, or for a directory in which there is one.
func isForSources(glob, root string) bool {
	names := strings.Split(strings.TrimPrefix(glob, "/"), "/")
	last := len(names) - 1
	for last > 0 && slices.Contains([]string{"", "*", "**"}, names[last]) {
		last--
	}
	name := names[last]
	switch {
	case slices.Contains([]string{"*", "**", "*.*"}, name):
		return true
	case strings.HasPrefix(name, "*."):
		types := strings.Split(strings.Trim(name[2:], "{}"), ",")
		return slices.ContainsFunc(types, func(t string) bool { return slices.Contains(sourceTypes, "."+t) })
	case last == len(names)-1:
		return false // a file by its name
	}

	const enough = 1000
	dir, err := os.Open(filepath.Join(root, filepath.Join(names[:last+1]...)))
	if err != nil {
		return false
	}
	defer dir.Close()
	found, _ := dir.Readdirnames(enough)
	return slices.ContainsFunc(found, func(name string) bool { return slices.Contains(sourceTypes, filepath.Ext(name)) })
}
