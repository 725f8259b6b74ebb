package livereload

import (
	"crypto/sha256"
	_ "embed"
	"fmt"
	"regexp"
)

//go:embed client.js
var source string

// Script is client.js as it is served, and ScriptETag its ETag.
var (
	Script     = minify(source)
	ScriptETag = fmt.Sprintf(`"%x"`, sha256.Sum224([]byte(Script)))
)

// needless matches, in JavaScript in the style of client.js, comments, the space around
// punctuation, and the semicolon before a closing brace. It matches strings and
// templates, which end on their line, as a whole, so that nothing is looked for in them.
// What a match leaves is in its groups.
var needless = regexp.MustCompile("(?m)(\"[^\"\n]*\"|`[^`\n]*`)" +
	`|/\*\*(?s:.*?)\*/\s*|\s*//(?: .*)?$` +
	`|\s*;?\s*(})\s*|\s*([-={()\[\]<>?:;,&|*+!])\s*|\n\s*`)

// minify removes what only people need.
func minify(source string) string {
	return needless.ReplaceAllString(source, "$1$2$3")
}
