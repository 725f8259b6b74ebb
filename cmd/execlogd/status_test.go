package main

import (
	"regexp"
	"strings"
	"testing"
)

func TestStatusPageShowsWhatRan(t *testing.T) {
	s := begin(t, `
-- site/ --
-- src/ --
-- x.toml --
server.root = "site"
server.port = 0
[[route]]
name = "build"
root = "src"
shell = 'echo "see ${EXECLOGD_PATH##*/}"; exit 3'
`)
	if body := s.get("/.execlogd/"); !strings.Contains(body, `<ol id="runs" reversed></ol>`) {
		t.Errorf("at first %s", body)
	}
	s.write("src/a.md", "text\n")
	s.await("msg=failed")
	body := s.get("/.execlogd/")
	for _, want := range []string{`class="name">build</span> <span class="outcome">exit status 3 after \d`, `<code>a.md</code>`, `see a.md\n</pre>`} {
		if !regexp.MustCompile(want).MatchString(body) {
			t.Errorf("no %s in %s", want, body)
		}
	}
}
