package router

import (
	"bytes"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/execlog/execlogd/inotify"
	"golang.org/x/sys/unix"
)

// What git ignores (gitignore(5)), as far as that is written in the work tree: in
// .gitignore files and .git/info/exclude. Files called .ignore are like .gitignore
// and stronger, as other programs have it.

// ignoreFileNames are the files that any directory may have, the stronger first.
var ignoreFileNames = []string{".ignore", ".gitignore"}

const (
	// maxIgnoreFile is the most that is read of one.
	maxIgnoreFile = 1 << 20

	// outsideGap is how long what was read of files outside the root is not
	// looked at again: nobody tells of their changes.
	outsideGap = time.Second
)

// An ignoreRule is a line of an ignore file.
type ignoreRule struct {
	glob    glob // relative to the file's directory
	base    bool // the pattern has no slash: it is for the last name
	negated bool
	dirOnly bool
	text    string
	line    int
}

// parseIgnoreFile reads an ignore file. Lines that can match nothing are left out.
func parseIgnoreFile(text []byte) (rules []ignoreRule) {
	text = bytes.TrimPrefix(text, []byte("\ufeff"))
	n := 0
	for line := range bytes.Lines(text) {
		n++
		line = bytes.TrimSuffix(line, []byte("\n"))
		line = bytes.TrimSuffix(line, []byte("\r"))
		if rule, ok := parseIgnoreLine(string(line)); ok {
			rule.line = n
			rules = append(rules, rule)
		}
	}
	return rules
}

func parseIgnoreLine(line string) (rule ignoreRule, ok bool) {
	if strings.HasPrefix(line, "#") {
		return rule, false
	}
	pattern := trimSpaces(line)
	rule.text = pattern
	pattern, rule.negated = strings.CutPrefix(pattern, "!")
	pattern, rule.dirOnly = strings.CutSuffix(pattern, "/")
	if pattern == "" {
		return rule, false
	}
	rule.base = !strings.Contains(pattern, "/")
	parts := strings.Split(strings.TrimPrefix(pattern, "/"), "/")
	for i, part := range parts {
		if i < len(parts)-1 && (len(part)-len(strings.TrimRight(part, `\`)))%2 == 1 {
			part = part[:len(part)-1] // a slash means the same with a backslash before it
		}
		s, ok := ignoreSegment(part, len(parts) > 1 || pattern[0] == '/')
		if !ok {
			return rule, false
		}
		rule.glob = append(rule.glob, s)
		if s.kind == anyDepth && i == len(parts)-1 {
			rule.glob = append(rule.glob, segment{kind: suffix}) // what is in it, and not itself
		}
	}
	return rule, true
}

// trimSpaces cuts the spaces at the end off, but for one after a backslash.
func trimSpaces(line string) string {
	end := 0
	for i := 0; i < len(line); i++ {
		switch line[i] {
		case ' ':
			continue
		case '\\':
			i++
		}
		end = min(i+1, len(line))
	}
	return line[:end]
}

// ignoreSegment reads a part of a pattern between slashes. Two stars alone are any
// number of names only in a pattern that has a slash.
func ignoreSegment(part string, slashed bool) (segment, bool) {
	if len(part) > 1 && strings.Trim(part, "*") == "" {
		if slashed {
			return segment{kind: anyDepth}, true
		}
		return segment{kind: suffix}, true
	}
	var b strings.Builder
	for i := 0; i < len(part); {
		switch c := part[i]; c {
		case '[':
			class, size := ignoreClass(part[i:])
			if size == 0 {
				return segment{}, false
			}
			b.WriteString(class)
			i += size
		case '\\':
			if i+1 == len(part) {
				return segment{}, false
			}
			b.WriteString(part[i : i+2])
			i += 2
		case '*':
			for ; i < len(part) && part[i] == '*'; i++ {
			}
			b.WriteByte('*')
		case '{', '}', ']':
			b.WriteString(`\` + string(c))
			i++
		default:
			b.WriteByte(c)
			i++
		}
	}
	s, err := parseSegment(b.String())
	return s, err == nil
}

// classNames are the classes of characters of POSIX, as ranges.
var classNames = map[string]string{
	"alnum": "a-zA-Z0-9", "alpha": "a-zA-Z", "blank": " \t", "cntrl": "\x01-\x1f\x7f", "digit": "0-9",
	"graph": `\!-.0-\[\\\]\^-~`, "lower": "a-z", "print": ` -.0-\[\\\]\^-~`, "punct": `\!-.:-@\[\\\]\^_` + "`" + `{-~`,
	"space": " \t\n\v\f\r", "upper": "A-Z", "xdigit": "0-9A-Fa-f",
}

// ignoreClass reads the class that s begins with, as doublestar has it, and how
// much of s that is; 0 if it has no end.
func ignoreClass(s string) (class string, size int) {
	var b strings.Builder
	b.WriteByte('[')
	i := 1
	if i < len(s) && (s[i] == '!' || s[i] == '^') {
		b.WriteByte('^')
		i++
	}
	for start := i; i < len(s) && (s[i] != ']' || i == start); {
		if name, rest, ok := strings.Cut(s[i:], ":]"); ok && strings.HasPrefix(name, "[:") {
			ranges, known := classNames[name[2:]]
			if !known {
				return "", 0
			}
			b.WriteString(ranges)
			i = len(s) - len(rest)
			continue
		}
		from, next := classChar(s, i)
		if next == 0 {
			return "", 0
		}
		i = next
		b.WriteString(`\` + from)
		if i+1 < len(s) && s[i] == '-' && s[i+1] != ']' {
			to, next := classChar(s, i+1)
			if next == 0 {
				return "", 0
			}
			b.WriteString(`-\` + to)
			i = next
		}
	}
	if i >= len(s) {
		return "", 0
	}
	b.WriteByte(']')
	return b.String(), i + 1
}

// classChar is the character of a class at i, and where the next begins.
func classChar(s string, i int) (c string, next int) {
	if s[i] == '\\' {
		i++
	}
	if i >= len(s) {
		return "", 0
	}
	return s[i : i+1], i + 1
}

// An ignoreFile is what was read of one.
type ignoreFile struct {
	path  string // absolute
	rules []ignoreRule
	stamp ignoreStamp
}

// An ignoreStamp tells one state of a file from another; the zero is that it is
// not there.
type ignoreStamp struct {
	ino   uint64
	ctime unix.Timespec
	size  int64
}

func stampOf(path string) ignoreStamp {
	var st unix.Stat_t
	if unix.Stat(path, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return ignoreStamp{}
	}
	return ignoreStamp{st.Ino, st.Ctim, st.Size}
}

// readIgnoreFile reads a regular file; nil if there is none that can be read.
func readIgnoreFile(path string) *ignoreFile {
	// It may be a FIFO.
	file, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return nil
	}
	text, err := io.ReadAll(io.LimitReader(file, maxIgnoreFile))
	if err != nil {
		return nil
	}
	return &ignoreFile{path: path, rules: parseIgnoreFile(text)}
}

// match is the last rule for a path, which is relative to the file's directory.
func (f *ignoreFile) match(rel string, dir bool) (ignoreRule, bool) {
	base := path.Base(rel)
	for i := range slices.Backward(f.rules) {
		rule := &f.rules[i]
		if rule.dirOnly && !dir {
			continue
		}
		if rule.base && rule.glob[0].matches(base) || !rule.base && rule.glob.matches(rel) {
			return *rule, true
		}
	}
	return ignoreRule{}, false
}

// ignoreFiles are the ignore files for a root: those in it and below, and, if it
// lies in a work tree of git, in the directories above up to the top of that, with
// its info/exclude. Those outside count for nothing if they ignore the root itself:
// who names it wants what is in it, as below a home directory whose .gitignore has *
// alone. It may be used by several goroutines at once.
type ignoreFiles struct {
	root   string // absolute
	prefix string // of root below top, with a slash after it, or empty
	top    string

	mu      sync.Mutex
	inside  map[string][]*ignoreFile // by directory below root, "" for that; as ignoreFileNames, nil where there is none
	outside []*ignoreFile            // those above root, from the deepest on, each as ignoreFileNames, and last info/exclude
	apart   bool                     // root itself is ignored: those outside do not count
	looked  time.Time                // at those outside
	changed bool                     // one outside has
	decided map[string]decision      // of directories below root, while nothing changes
}

// A decision is what the ignore files say of one directory.
type decision struct {
	by      ignoredBy
	ignored bool
}

// maxDecided is how many directories are remembered.
const maxDecided = 1 << 16

func newIgnoreFiles(root string) *ignoreFiles {
	f := &ignoreFiles{root: root}
	f.locate()
	return f
}

// locate finds the work tree, and forgets what was read.
func (f *ignoreFiles) locate() {
	f.inside, f.decided = make(map[string][]*ignoreFile), make(map[string]decision)
	f.outside, f.looked = nil, time.Time{}
	f.top, f.prefix = workTree(f.root), ""
	if rel, err := filepath.Rel(f.top, resolvedRoot(f.root)); err == nil && rel != "." {
		f.prefix = rel + "/"
	}
}

// allIgnoreFiles are the ignoreFiles of all roots for which somebody asked.
type allIgnoreFiles struct {
	mu     sync.Mutex
	byRoot map[string]*ignoreFiles
}

func (a *allIgnoreFiles) of(root string) *ignoreFiles {
	a.mu.Lock()
	defer a.mu.Unlock()
	f := a.byRoot[root]
	if f == nil {
		if a.byRoot == nil {
			a.byRoot = make(map[string]*ignoreFiles)
		}
		f = newIgnoreFiles(root)
		a.byRoot[root] = f
	}
	return f
}

// heed is ignoreFiles.heed for the root of the events.
func (a *allIgnoreFiles) heed(root string, events []inotify.Event) (changed bool) {
	a.mu.Lock()
	f := a.byRoot[root]
	a.mu.Unlock()
	return f != nil && f.heed(events)
}

// resolvedRoot is root without symbolic links, or as it is.
func resolvedRoot(root string) string {
	if real, err := filepath.EvalSymlinks(root); err == nil {
		return real
	}
	return root
}

// workTree is the top of the work tree that root lies in, or root.
func workTree(root string) string {
	root = resolvedRoot(root)
	for dir := root; ; dir = filepath.Dir(dir) {
		if _, err := os.Lstat(filepath.Join(dir, ".git")); err == nil {
			return dir
		}
		if dir == filepath.Dir(dir) {
			return root
		}
	}
}

// excludeFile is info/exclude of the repository whose work tree has this top. In a
// further work tree, or a submodule, .git is a file that says where that is.
func excludeFile(top string) string {
	git := filepath.Join(top, ".git")
	if text, err := os.ReadFile(git); err == nil {
		git = strings.TrimSpace(strings.TrimPrefix(string(text), "gitdir:"))
		if !filepath.IsAbs(git) {
			git = filepath.Join(top, git)
		}
	}
	if text, err := os.ReadFile(filepath.Join(git, "commondir")); err == nil {
		common := strings.TrimSpace(string(text))
		if !filepath.IsAbs(common) {
			common = filepath.Join(git, common)
		}
		git = common
	}
	return filepath.Join(git, "info", "exclude")
}

// outsidePaths are the files that outside has, in their order.
func (f *ignoreFiles) outsidePaths() (paths []string) {
	for dir := path.Dir(strings.TrimSuffix(f.prefix, "/")); f.prefix != ""; dir = path.Dir(dir) {
		for _, name := range ignoreFileNames {
			paths = append(paths, filepath.Join(f.top, dir, name))
		}
		if dir == "." {
			break
		}
	}
	return append(paths, excludeFile(f.top))
}

// lookOutside reads the files outside the root that have changed since it was
// called last. f.mu is held.
func (f *ignoreFiles) lookOutside() (changed bool) {
	f.looked = time.Now()
	old := f.outside
	f.outside = nil
	for i, path := range f.outsidePaths() {
		stamp := stampOf(path)
		file := &ignoreFile{path: path}
		switch {
		case i < len(old) && old[i].path == path && old[i].stamp == stamp:
			file = old[i]
		case stamp != ignoreStamp{}:
			changed = true
			if read := readIgnoreFile(path); read != nil {
				file = read
			}
		default:
			changed = changed || i < len(old)
		}
		file.stamp = stamp
		f.outside = append(f.outside, file)
	}
	f.apart = false
	f.apart = f.isRootIgnored()
	return changed
}

// in is the files of a directory below the root. f.mu is held.
func (f *ignoreFiles) in(dir string) []*ignoreFile {
	files, known := f.inside[dir]
	if known {
		return files
	}
	for i, name := range ignoreFileNames {
		if file := readIgnoreFile(filepath.Join(f.root, dir, name)); file != nil {
			if files == nil {
				files = make([]*ignoreFile, len(ignoreFileNames))
			}
			files[i] = file
		}
	}
	f.inside[dir] = files
	return files
}

// An ignoredBy is the line of an ignore file that keeps a path out.
type ignoredBy struct {
	file string
	ignoreRule
}

// find says by which line a path below the root, or a directory above it, is
// ignored. The root itself is not, whatever is written above it.
func (f *ignoreFiles) find(path string, dir bool) (by ignoredBy, ignored bool) {
	if path == "" {
		return by, false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if time.Since(f.looked) > outsideGap {
		first := f.outside == nil
		if f.lookOutside() && !first {
			f.changed = true
			clear(f.decided)
		}
	}
	for i := 0; i < len(path); i++ {
		if path[i] == '/' {
			if d := f.directory(path[:i]); d.ignored {
				return d.by, true
			}
		}
	}
	return f.decide(path, dir)
}

// directory is decide for a directory. f.mu is held.
func (f *ignoreFiles) directory(at string) decision {
	d, known := f.decided[at]
	if !known {
		if len(f.decided) >= maxDecided {
			clear(f.decided)
		}
		d.by, d.ignored = f.decide(at, true)
		f.decided[at] = d
	}
	return d
}

// decide is find for the path alone: of the files with a line for it the one that is
// strongest counts. f.mu is held.
func (f *ignoreFiles) decide(at string, dir bool) (by ignoredBy, ignored bool) {
	full := f.prefix + at
	for kind := range ignoreFileNames {
		for in := path.Dir(at); ; in = path.Dir(in) {
			rel := at
			if in == "." {
				in = ""
			} else {
				rel = at[len(in)+1:]
			}
			if files := f.in(in); files != nil && files[kind] != nil {
				if rule, ok := files[kind].match(rel, dir); ok {
					return ignoredBy{files[kind].path, rule}, !rule.negated
				}
			}
			if in == "" {
				break
			}
		}
		if by, ok := f.ruleAbove(full, dir, kind); ok {
			return by, !by.negated
		}
	}
	by, ok := f.exclude(full, dir)
	return by, ok && !by.negated
}

// ruleAbove is the rule that the files of a kind above the root have for a path below
// top. f.mu is held.
func (f *ignoreFiles) ruleAbove(full string, dir bool, kind int) (by ignoredBy, ok bool) {
	above := strings.TrimSuffix(f.prefix, "/")
	for i := kind; i < len(f.outside)-1 && !f.apart; i += len(ignoreFileNames) {
		above = path.Dir(above)
		rel := full
		if above != "." {
			if rel, ok = strings.CutPrefix(full, above+"/"); !ok {
				continue
			}
		}
		if rule, ok := f.outside[i].match(rel, dir); ok {
			return ignoredBy{f.outside[i].path, rule}, true
		}
	}
	return by, false
}

// exclude is the rule of info/exclude for a path below top. f.mu is held.
func (f *ignoreFiles) exclude(full string, dir bool) (by ignoredBy, ok bool) {
	if f.apart {
		return by, false
	}
	file := f.outside[len(f.outside)-1]
	rule, ok := file.match(full, dir)
	return ignoredBy{file.path, rule}, ok
}

// isRootIgnored reports whether the root, or a directory above it, is ignored by a
// file outside. f.mu is held.
func (f *ignoreFiles) isRootIgnored() bool {
	for i := range len(f.prefix) {
		if f.prefix[i] != '/' {
			continue
		}
		by, ok := ignoredBy{}, false
		for kind := 0; kind < len(ignoreFileNames) && !ok; kind++ {
			by, ok = f.ruleAbove(f.prefix[:i], true, kind)
		}
		if !ok {
			by, ok = f.exclude(f.prefix[:i], true)
		}
		if ok && !by.negated {
			return true
		}
	}
	return false
}

// heed forgets what is not so any more after events below the root, and reports
// whether a line of a file may be another now.
func (f *ignoreFiles) heed(events []inotify.Event) (changed bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	changed, f.changed = f.changed, false
	for _, e := range events {
		if e.Mask&inotify.Overflow != 0 || e.Path == "." && e.Mask&inotify.IsDir != 0 && e.Mask&arrived != 0 {
			f.locate()
			changed = true
			continue
		}
		in := path.Dir(e.Path)
		if in == "." {
			in = ""
		}
		switch base := path.Base(e.Path); {
		case e.Mask&inotify.IsDir == 0 && slices.Contains(ignoreFileNames, base):
			if e.Mask&(content|gone|arrived) != 0 {
				delete(f.inside, in)
				clear(f.decided)
				changed = true
			}
		case e.Mask&inotify.IsDir != 0 && e.Mask&(gone|arrived) != 0:
			f.forget(e.Path, e.Mask&inotify.MovedFrom != 0)
		}
	}
	return changed
}

// forget drops a directory, and those below it if they moved with it. One that
// was removed had none any more.
func (f *ignoreFiles) forget(dir string, moved bool) {
	if _, known := f.inside[dir]; !known {
		return
	}
	delete(f.inside, dir)
	delete(f.decided, dir)
	if !moved {
		return
	}
	clear(f.decided)
	for other := range f.inside {
		if strings.HasPrefix(other, dir+"/") {
			delete(f.inside, other)
		}
	}
}
