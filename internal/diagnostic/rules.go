package diagnostic

import (
	"regexp"
	"sync"
)

// A rule is how a program writes a place, in one line.
type rule struct {
	// pattern has the groups file, line or body, column and message, of which only the
	// first must be there.
	pattern *regexp.Regexp
	needs   string // is in each line that matches, if digits are written as 0; patterns cost more

	where    where // the message is, if it is not in the pattern
	severity int   // if the message does not say
	last     bool  // the last of several places counts, as in a traceback
	fromZero bool  // columns count from 0
}

// where a message is, seen from its place.
type where int

const (
	here           where = iota
	above                // the next line above that is not empty
	errorAbove           // the next line above that calls itself an error
	below                // the next line below that is not empty
	exceptionBelow       // the next line below that names an exception
	lastCause            // the last of the numbered lines below
	explained            // the next line below that begins with =
)

// Parts of patterns.
const (
	path   = `(?P<file>[^\s:"'()\[\]{}<>|=,][^:"'<>|]*?)`
	anyOf  = `(?P<file>\S.*?)`
	line   = `:(?P<line>\d+)`
	column = `:(?P<column>\d+)`
)

// rules are tried in this order. The comments name a program, and an example.
// They are compiled when they are needed first: most processes of this program need none.
var rules = sync.OnceValue(func() []rule {
	return []rule{
		// Python: File "a.py", line 3, in f
		{needs: `File "`, pattern: regexp.MustCompile(`^\s*File "(?P<file>[^"]+)", line (?P<line>\d+)`), where: exceptionBelow, severity: failure, last: true},
		// YAML in Python: in "mkdocs.yml", line 3, column 6
		{needs: `in "`, pattern: regexp.MustCompile(`^\s*in "(?P<file>[^"]+)", line (?P<line>\d+), column (?P<column>\d+)`), where: above, severity: failure, last: true},
		// JavaScript: at f (file:///a.js:1:27)
		{needs: `at `, pattern: regexp.MustCompile(`^\s*at (?:.*\()?(?:file://)?(?P<file>/[^():?]+)(?:\?[^():]*)?` + line + column + `\)?$`), where: errorAbove, severity: failure},
		// Go, of a panic: /a.go:3 +0x28
		{needs: `.go:0`, pattern: regexp.MustCompile(`^\t(?P<file>/.+\.go)` + line + `(?: \+0x[0-9a-f]+)?$`), where: errorAbove, severity: failure},

		// TypeScript: a.ts(1,14): error TS2322: Type
		{needs: `0)`, pattern: regexp.MustCompile(`^\s*(?P<file>[^\s()][^()]*)\((?P<line>\d+)(?:,(?P<column>\d+))?\)\s*: (?P<message>\S.*)$`)},
		// TypeScript at a terminal: a.ts:1:14 - error TS2322: Type
		{needs: `0 - `, pattern: regexp.MustCompile(`^` + path + line + column + ` - (?P<message>\S.*)$`)},
		// Rust, Zola: --> a.rs:2:18
		{needs: `--> `, pattern: regexp.MustCompile(`^\s*--> ` + anyOf + line + column + `$`), where: above, severity: failure},
		// Rolldown, in Vite 8: ╭─[ a.ts:2:19 ]
		{needs: `─[`, pattern: regexp.MustCompile(`[╭┌]─+\[ ?` + anyOf + line + column + ` ?\]`), where: above, severity: failure},
		// Vite up to 7: file: a.js:3:2
		{needs: `file: `, pattern: regexp.MustCompile(`^\s*file: (?:file://)?` + anyOf + line + column + `$`), where: errorAbove, severity: failure},
		// Rollup: RollupError: a.js (1:17): Expression expected
		{needs: `:0`, pattern: regexp.MustCompile(`^(?:\[!\] )?(?:\w*Error: )?` + path + ` \((?P<line>\d+):(?P<column>\d+)\)(?:: (?P<message>.+))?$`), severity: failure, fromZero: true},
		// Rollup: Could not resolve "./x.js" from "a.js"
		{needs: `ould not resolve `, pattern: regexp.MustCompile(`^(?P<message>.*[Cc]ould not resolve .+ from "?(?P<file>[^"\s]+)"?)$`), severity: failure},
		// webpack: ERROR in ./a.js 1:17
		{needs: `ERROR in `, pattern: regexp.MustCompile(`^ERROR in (?P<file>\S+?)(?: (?P<line>\d+):(?P<column>\d+)(?:-[\d:]+)?)?$`), where: below, severity: failure, fromZero: true},
		// TypeScript in webpack: ERROR in a.ts:1:14
		{needs: `ERROR in `, pattern: regexp.MustCompile(`^ERROR in (?P<file>\S+?)` + line + column + `$`), where: below, severity: failure},
		// Sass: a.scss 4:8  root stylesheet
		{needs: `:0`, pattern: regexp.MustCompile(`^\s{2,}` + anyOf + ` (?P<line>\d+):(?P<column>\d+)\s{2,}\S`), where: errorAbove, severity: failure},

		// Zola up to 0.22: * Failed to parse "templates/index.html", with --> 54:7 in the next line
		{needs: `Failed to parse "`, pattern: regexp.MustCompile(`Failed to parse "(?P<file>[^"]+)"$`), where: explained, severity: failure},
		// Hugo: "layouts/index.html:2:3": parse failed
		{needs: `": `, pattern: regexp.MustCompile(`"(?P<file>[^"]+)` + line + column + `": (?P<message>\S.*)$`), severity: failure},
		// Nunjucks in Eleventy: 2. (./index.njk) [Line 2, Column 7]
		{needs: `[Line 0`, pattern: regexp.MustCompile(`^\d+\. \((?P<file>[^()]+)\) \[Line (?P<body>\d+)(?:, Column (?P<column>\d+))?\]$`), where: below, severity: failure},
		// Liquid in Eleventy: tag "x" not found, file:./index.liquid, line:2, col:1
		{needs: `, file:`, pattern: regexp.MustCompile(`^(?P<message>.+), file:(?P<file>.+?), line:(?P<body>\d+)(?:, col:(?P<column>\d+))?`), severity: failure},
		// Eleventy: 1. Having trouble rendering njk template ./index.njk (via TemplateContentRenderError)
		{needs: `0. Having trouble `, pattern: regexp.MustCompile(`^\d+\. Having trouble .* template (?P<file>\S+) \(via \w+\)$`), where: lastCause, severity: failure},
		// Jekyll: Liquid Exception: Liquid syntax error (line 2): Unknown tag 'x' in index.md
		{needs: `(line 0`, pattern: regexp.MustCompile(`Liquid Exception: (?P<message>Liquid syntax error \(line (?P<body>\d+)\): .+) in (?P<file>\S+)$`), severity: failure},
		{needs: `Liquid Exception: `, pattern: regexp.MustCompile(`Liquid Exception: (?P<message>.+) in (?P<file>\S+)$`), severity: failure},
		// Jekyll: YAML Exception reading /a.md: (<unknown>): did not find ',' at line 2 column 8
		{needs: `YAML Exception reading `, pattern: regexp.MustCompile(`YAML Exception reading (?P<file>.+?): \(<unknown>\): (?P<message>.+) at line (?P<line>\d+) column (?P<column>\d+)`), severity: failure},

		// Python in Sphinx: '(' was never closed (conf.py, line 1)
		{needs: `, line 0`, pattern: regexp.MustCompile(`^(?P<message>.+) \((?P<file>[^,()]+), line (?P<line>\d+)\)$`), severity: failure},
		// esbuild, Astro: a.js:1:7:
		{needs: `:0`, pattern: regexp.MustCompile(`^\s+` + path + line + column + `:?$`), where: errorAbove, severity: failure},
		// Shells: a.sh: line 2: syntax error
		{needs: `: `, pattern: regexp.MustCompile(`^` + path + `: (?:line )?(?P<line>\d+): (?P<message>\S.*)$`)},
		// GNU, and in the box of Tailwind CSS: a.c:4:3: error: expected ';'
		{needs: `:0`, pattern: regexp.MustCompile(`^[\s│]*(?:[\w.\[\]-]+: )?` + path + line + `(?:` + column + `)?:\s*(?P<message>\S.*)$`)},
		// JavaScript: /a.js:1
		{needs: `:0`, pattern: regexp.MustCompile(`^(?:file://)?(?P<file>/[^:]+)` + line + `$`), where: exceptionBelow, severity: failure},
		// PHP, Perl: syntax error in a.php on line 3
		{needs: `line 0`, pattern: regexp.MustCompile(`^(?P<message>.+) (?:in|at) (?P<file>[^\s"']+) (?:on )?line (?P<line>\d+)\b`)},
	}
})
