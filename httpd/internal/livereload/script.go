package livereload

import (
	"crypto/sha256"
	_ "embed"
	"fmt"
	"regexp"
	"strings"
	"sync"
)

var (
	//go:embed panel.js
	panelJS string
	//go:embed worker.js
	workerJS string
	//go:embed client.js
	clientJS string
	//go:embed sync.js
	syncJS string
)

// A Script is what pages load.
type Script struct {
	Text string
	ETag string
}

// The scripts: the client, and the client with what Config.Sync takes. They are made when a
// page asks first. Many processes of this program, such as the supervisors of jobs, have none.
var (
	Client     = sync.OnceValue(func() Script { return newScript(panelJS, workerJS, clientJS) })
	SyncClient = sync.OnceValue(func() Script { return newScript(panelJS, workerJS, syncJS, clientJS) })
)

// newScript joins files in a function, so that pages see none of their names.
func newScript(files ...string) Script {
	text := minify("(() => {\n\"use strict\";\n" + strings.Join(files, "") + "})();\n")
	return Script{text, fmt.Sprintf(`"%x"`, sha256.Sum224([]byte(text)))}
}

// needless matches, in JavaScript in the style of these files, comments, the space around
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
