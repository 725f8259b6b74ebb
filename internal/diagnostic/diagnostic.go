// Package diagnostic finds in what a failed command has written what is wrong, and where.
// It knows how the usual compilers, site generators and interpreters write that: a table of
// patterns, in rules.go, each for one line. The best of all matches counts: an error before
// a warning, one with a line before one without, a file of the project before one of a
// library, and then the first.
//
// It looks at no file. What it finds is a guess of the output's author and its own, and the
// file may not exist.
package diagnostic

import (
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/execlog/execlogd/internal/ansi"
)

// A Diagnostic is what is wrong, and where. The zero Diagnostic is that of a command that
// said nothing.
type Diagnostic struct {
	Message string // in one line

	// File is the path as the output has it: absolute, or relative to a directory that is
	// mostly that of the command. It is empty if the output names no place.
	File         string
	Line, Column int // from 1; 0 if they are not known

	// BodyLine is the line for programs that count from the end of the file's front
	// matter. Line is 0 then.
	BodyLine int
}

// Limits of what is looked at and returned, in bytes.
const (
	maxOutput  = 256 << 10 // of the end of an output
	maxLine    = 2 << 10
	maxMessage = 240
	maxPath    = 1 << 10
)

// Find returns what is wrong according to the output of a command that ran in dir. It takes
// a time that is linear in the length of the output.
func Find(output, dir string) Diagnostic {
	lines := linesOf(output)
	var best finding
	for i := range lines {
		if f, ok := lines.match(i, dir); ok && f.beats(&best) {
			best = f
		}
	}
	if best.rule == nil {
		return Diagnostic{Message: lines.summary()}
	}

	found := best.Diagnostic
	if best.rule.where != here {
		found.Message = lines.message(best.at, best.rule.where)
	}
	if found.Message = clean(found.Message); found.Message == "" {
		found.Message = lines.summary()
	}
	return found
}

// Place returns the place in one word, as in "a.go:3:5", or "" if there is none. A path
// below dir is relative to it.
func (d *Diagnostic) Place(dir string) string {
	if d.File == "" {
		return ""
	}
	place := strings.TrimPrefix(d.File, "./")
	if rel, ok := strings.CutPrefix(d.File, strings.TrimSuffix(dir, "/")+"/"); ok && dir != "" && rel != "" {
		place = rel
	}
	if d.Line > 0 {
		place += ":" + strconv.Itoa(d.Line)
		if d.Column > 0 {
			place += ":" + strconv.Itoa(d.Column)
		}
	}
	return place
}

// lines are the lines of an output, without what a terminal would act on.
type lines []string

// eleventy is what Eleventy writes before each of its lines.
const eleventy = "[11ty]"

func linesOf(output string) lines {
	all := strings.Split(ansi.Strip(output[max(0, len(output)-maxOutput):]), "\n")
	for i, line := range all {
		if rest, ok := strings.CutPrefix(line, eleventy); ok {
			line = strings.TrimPrefix(rest, " ")
		}
		all[i] = strings.TrimRight(line[:min(len(line), maxLine)], " \t")
	}
	return all
}

// A finding is a Diagnostic with the rule that found it.
type finding struct {
	Diagnostic
	rule  *rule
	at    int // the line
	score int
}

func (f *finding) beats(best *finding) bool {
	switch {
	case best.rule == nil || f.score > best.score:
		return true
	case f.rule.last && f.rule == best.rule:
		return f.score == best.score
	}
	return false
}

// match returns what a line says, by the first rule that it matches.
func (l lines) match(i int, dir string) (f finding, ok bool) {
	line := l[i]
	zeroed := digits.Replace(line)
	rules := rules()
	for r := range rules {
		if !strings.Contains(zeroed, rules[r].needs) {
			continue
		}
		m := rules[r].pattern.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		if f, ok = rules[r].finding(m, dir); ok {
			f.at = i
			if f.rule.where == explained && i+1 < len(l) {
				f.setPosition(l[i+1])
			}
			return f, true
		}
	}
	return f, false
}

var digits = strings.NewReplacer("1", "0", "2", "0", "3", "0", "4", "0", "5", "0", "6", "0", "7", "0", "8", "0", "9", "0")

// finding returns what a match says. ok is false if it names no file.
func (r *rule) finding(m []string, dir string) (f finding, ok bool) {
	group := func(name string) string {
		if i := r.pattern.SubexpIndex(name); i >= 0 {
			return m[i]
		}
		return ""
	}
	number := func(name string) int {
		n, err := strconv.ParseInt(group(name), 10, 32)
		if err != nil {
			return 0 // there is none, or it is none of a line
		}
		return int(n)
	}

	f.rule = r
	f.File, f.Line, f.Column, f.BodyLine = group("file"), number("line"), number("column"), number("body")
	if r.fromZero && group("column") != "" {
		f.Column++
	}
	f.Message = group("message")
	if !isFile(f.File) {
		return f, false
	}

	if isLibrary(f.File, dir) {
		f.Diagnostic, f.score = Diagnostic{Message: f.Message}, -1
		return f, true
	}
	f.score = 10 * severityOf(f.Message, r.severity)
	if f.Line > 0 || f.BodyLine > 0 {
		f.score += 4
	}
	if f.Column > 0 {
		f.score++
	}
	if !filepath.IsAbs(f.File) || isBelow(f.File, dir) {
		f.score += 2
	}
	return f, true
}

// isFile reports whether a text can be the path of a file that people edit. Times, ports
// and addresses look similar.
func isFile(path string) bool {
	if path == "" || len(path) > maxPath || path[0] == '<' || !strings.ContainsFunc(path, unicode.IsLetter) {
		return false
	}
	if strings.Contains(path, " ") && !strings.HasPrefix(path, "/") && !strings.HasPrefix(path, "./") && !strings.HasPrefix(path, "../") {
		return false // more likely a sentence
	}
	if shells[filepath.Base(path)] || strings.Contains(path, "://") {
		return false
	}
	return strings.Contains(path, "/") || named.MatchString(path) && !hosts.MatchString(path)
}

var (
	// shells read the command of a route, which is no file.
	shells = map[string]bool{"sh": true, "bash": true, "dash": true, "zsh": true}
	named  = regexp.MustCompile(`\.[A-Za-z][\w+-]{0,15}$|(?i)^(?:gnu)?[a-z]+file$`)
	hosts  = regexp.MustCompile(`(?i)\.(?:com|org|net|io|dev|local|lan|internal)$`)
)

// libraries are directories whose files nobody edits, and programs names those that are
// installed.
var (
	libraries = regexp.MustCompile(`(?:^|/)(?:node_modules|site-packages|dist-packages|gems|\.cargo|rustlib|pkg/mod)/|/lib/(?:python|ruby)[\d./]|/go[\d.]*/src/|^/usr/(?:lib|share)/|^/rustc/`)
	programs  = regexp.MustCompile(`/bin/[^/]+$`)
)

// isLibrary reports whether a path is one of a library, below dir or elsewhere.
func isLibrary(path, dir string) bool {
	if isBelow(path, dir) {
		return libraries.MatchString(path[len(dir):])
	}
	return libraries.MatchString(path) || filepath.IsAbs(path) && programs.MatchString(path)
}

func isBelow(path, dir string) bool {
	return dir != "" && strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}

// The severities of messages.
const (
	note = iota
	warning
	unknown
	failure
)

var (
	noteWords    = regexp.MustCompile(`^(?i:note|info|help|hint)\b`)
	warningWords = regexp.MustCompile(`^(?i:warning|warn)\b`)
	errorWords   = regexp.MustCompile(`^(?i:(?:fatal |internal |compile |syntax )?error|severe|critical|fatal)\b`)
)

// severityOf returns how bad a message is, or the severity of its rule if it does not say.
func severityOf(message string, usual int) int {
	switch {
	case errorWords.MatchString(message):
		return failure
	case warningWords.MatchString(message):
		return warning
	case noteWords.MatchString(message):
		return note
	case usual == failure:
		return failure
	}
	return unknown
}

// maxDistance is how many lines a message is away from its place at most.
const maxDistance = 40

// message returns the line that says what is wrong at the place in line i.
func (l lines) message(i int, where where) string {
	before, after := l[max(0, i-maxDistance):i], l[i+1:min(len(l), i+1+maxDistance)]
	switch where {
	case above:
		return before.lastText()
	case errorAbove:
		for j := len(before) - 1; j >= 0; j-- {
			if errorLine.MatchString(before[j]) {
				return before[j]
			}
		}
		return before.lastText()
	case below:
		for _, line := range after {
			if line != "" {
				return line
			}
		}
	case exceptionBelow:
		for _, line := range after {
			if exceptionLine.MatchString(line) {
				return line
			}
		}
		return before.lastText()
	case explained:
		for _, line := range after {
			if text, ok := strings.CutPrefix(strings.TrimLeft(line, " "), "= "); ok {
				return text
			}
		}
		return l[i]
	case lastCause:
		cause := ""
		for _, line := range after {
			if numbered.MatchString(line) {
				cause = line
			} else if line == "" {
				break
			}
		}
		return cause
	}
	return ""
}

// position is a line and a column without their file.
var position = regexp.MustCompile(`^\s*--> (\d{1,9}):(\d{1,9})$`)

// setPosition takes the line and the column from a line that has nothing else.
func (f *finding) setPosition(text string) {
	if m := position.FindStringSubmatch(text); m != nil && f.File != "" {
		f.Line, _ = strconv.Atoi(m[1])
		f.Column, _ = strconv.Atoi(m[2])
		f.score += 5
	}
}

// lastText returns the last line that is neither empty nor a heading.
func (l lines) lastText() string {
	for i := len(l) - 1; i >= 0; i-- {
		if l[i] != "" && !strings.HasSuffix(l[i], ":") {
			return l[i]
		}
	}
	return ""
}

var (
	exceptionLine = regexp.MustCompile(`^(?:Uncaught )?[A-Za-z_][\w.]*(?:Error|Exception|Exit|Interrupt|Warning)\b.*|^[a-z_]\w*(?:\.\w+)+: `)
	errorLine     = regexp.MustCompile(`^[^\w\[]*(?:\[[\w!: .-]+\] )*(?:(?i:fatal|error|panic|severe|critical)(?: ?\[\w+\])?(?: -|:) +\S|[A-Z]\w*(?:Error|Exception)(?: \[\w+\])?: \S)|^[^\w\[]*\[ERROR\] \S`)
	warningLine   = regexp.MustCompile(`^\W*(?i:warning|warn)\b[^\w]+\S`)
	numbered      = regexp.MustCompile(`^\d+\. \S`)

	// noise is what programs add that only pass a failure on.
	noise = regexp.MustCompile(`^(?:g?make(?:\[\d+\])?: |npm (?:ERR!|error)|error Command failed|exit status \d|\s*at |Node\.js v|FAIL$|ELIFECYCLE|\s+from |Aborted with|For more information)`)
)

// summary returns the line that says best what is wrong, where no place is known: the first
// that calls itself an error, or a warning, or the last.
func (l lines) summary() string {
	for _, kind := range []*regexp.Regexp{errorLine, warningLine} {
		for _, line := range l {
			if kind.MatchString(line) && !noise.MatchString(line) {
				return clean(line)
			}
		}
	}
	last := ""
	for _, line := range l {
		if strings.ContainsFunc(line, unicode.IsLetter) && !noise.MatchString(line) {
			last = line
		}
	}
	if last == "" {
		last = l.lastText()
	}
	return clean(last)
}

// Parts of a message that say that it is one, or that repeat the place.
var (
	decoration = regexp.MustCompile(`^(?:[\s✘✗✖×❌│┃├└┌╭╰─▶•*]+|[->]+ |\[(?:!|[\w:.-]+)\] |\d+\. )`)
	severity   = regexp.MustCompile(`^(?i:(?:(?:fatal |internal |compile )?error|warning|critical|severe|fatal)(?: ?\[\w+\])?(?: TS\d+)?(?: ?:| -)\s+)`)
	repetition = regexp.MustCompile(`^(?:RollupError: |Reason: |ERROR |CompilerError: |Liquid Exception: |Liquid syntax error(?: \(.*?line \d+\))?: |Original error stack trace: |in ['` + "`" + `][^']+': |` +
		`(?:Error: )?MkDocs encountered an error parsing the configuration file: |` +
		`execute of template failed at |(?:execute of template|parse) failed: template: \S+:\d+: (?:executing "[^"]*" at )?)`)
	cause = regexp.MustCompile(` \(via [\w ]+\)$`)
)

// clean returns a message without those parts, in one line of bounded length.
func clean(message string) string {
	message = strings.Join(strings.FieldsFunc(strings.ToValidUTF8(message, "\ufffd"), func(c rune) bool { return c == ' ' || c == '\ufeff' || unicode.IsControl(c) }), " ")
	for before := ""; before != message; {
		before = message
		for _, part := range []*regexp.Regexp{decoration, severity, repetition} {
			if rest := message[len(part.FindString(message)):]; rest != "" {
				message = rest
			}
		}
		message = cause.ReplaceAllLiteralString(message, "")
	}

	if len(message) > maxMessage {
		end := maxMessage
		for !utf8.RuneStart(message[end]) {
			end--
		}
		message = strings.TrimSpace(message[:end]) + "…"
	}
	return message
}
