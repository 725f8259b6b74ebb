package livereload

import (
	"crypto/sha256"
	_ "embed"
	"fmt"
	"regexp"
)

//go:embed client.js
var source string

// Script is the client as it is served.
var (
	Script     = squeeze(source)
	ScriptETag = fmt.Sprintf(`"%x"`, sha256.Sum224([]byte(Script)))
)

// needless matches, in JavaScript in the style of client.js, comments and the
// space around punctuation, and before a closing brace the semicolon as well.
// Strings and templates, which end on their line, it matches whole, so that
// nothing is looked for in them. What a match leaves is in its groups.
var needless = regexp.MustCompile("(?m)(\"[^\"\n]*\"|`[^`\n]*`)" +
	`|/\*\*(?s:.*?)\*/\s*|\s*//(?: .*)?$` +
	`|\s*;?\s*(})\s*|\s*([-={()\[\]<>?:;,&|*+!])\s*|\n\s*`)

// squeeze takes out what only people need.
func squeeze(source string) string {
	return needless.ReplaceAllString(source, "$1$2$3")
}
