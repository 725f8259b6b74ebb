package daemon

import (
	"fmt"
	"strings"
	"testing"
)

// A generator that makes its pages anew beside their place, and swaps the
// directories, has one run and one reload for each save.
func TestGeneratorThatSwapsItsOutputs(t *testing.T) {
	s := begin(t, `-- out/index.html --
<title>0</title>
-- src/a.md --
0
-- gen.sh --
set -e
mkdir -p out.new/sub
cp src/a.md out.new/a.md
echo "<title>$(cat src/a.md)</title>" >out.new/index.html
echo "<title>$(cat src/a.md)</title>" >out.new/sub/b.html
mv out out.old
mv out.new out
rm -rf out.old
-- x.toml --
[server]
root = "out"
port = 0
after = ["build"]
[[route]]
name = "build"
outputs = ["out/"]
run = ["sh", "gen.sh"]
`)
	told := s.page("/")
	for i := range 10 {
		s.Write("src/a.md", fmt.Sprint(i+1))
		s.isTold(told, `"command":"reload"`)
		if got, want := s.get("/"), fmt.Sprintf("<title>%d</title>", i+1); !strings.Contains(got, want) {
			t.Fatalf("build %d: reloaded to %q", i+1, got)
		}
	}
	s.Write("src/end", "")
	s.Await("src/end")
	runs := 0
	for _, line := range s.Seen {
		if strings.Contains(line, "route=build") && !strings.Contains(line, "src/end") {
			runs++
			if !strings.Contains(line, "msg=done") || !strings.Contains(line, "path="+s.Dir+"/src/a.md ") {
				t.Errorf("a run that is no save's: %s", line)
			}
		}
	}
	if runs != 10 {
		t.Errorf("%d runs for 10 saves", runs)
	}
}

// A checkout of many files is one reload.
func TestCheckoutIsOneReload(t *testing.T) {
	git := needGit(t)
	s := begin(t, `-- .git/ --
-- site/index.html --
<title>start</title>
-- x.toml --
[server]
root = "site"
port = 0
`, "-log-level", "debug")
	git(s.Dir, "init", "-q", "-b", "main")
	for _, branch := range []string{"one", "two"} {
		git(s.Dir, "checkout", "-q", "-b", branch)
		s.Write("site/index.html", "<title>"+branch+"</title>")
		for i := range 300 {
			s.Write(fmt.Sprintf("site/d%d/%d.js", i/20, i), branch)
		}
		git(s.Dir, "add", "-A", "site")
		git(s.Dir, "commit", "-q", "-m", branch)
	}
	s.awaitEnd("site/first.css") // until here it was us
	told := s.page("/")
	git(s.Dir, "checkout", "-q", "one")
	s.isTold(told, `"command":"reload"`)
	if got := s.get("/"); !strings.Contains(got, "one") {
		t.Errorf("reloaded to %q", got)
	}
	s.awaitEnd("site/last.css")
	s.isTold(told, "last.css") // and of no other reload before that
}
