package daemon

import (
	"fmt"
	"os"
	"os/exec"
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
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip(err)
	}
	s := begin(t, `-- .git/ --
-- site/index.html --
<title>start</title>
-- x.toml --
[server]
root = "site"
port = 0
`, "-log-level", "debug")
	git := func(args ...string) {
		t.Helper()
		cmd := exec.Command("git", append([]string{"-C", s.Dir, "-c", "user.name=n", "-c", "user.email=e"}, args...)...)
		cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %q: %v\n%s", args, err, out)
		}
	}
	git("init", "-q", "-b", "main")
	for _, branch := range []string{"one", "two"} {
		git("checkout", "-q", "-b", branch)
		s.Write("site/index.html", "<title>"+branch+"</title>")
		for i := range 300 {
			s.Write(fmt.Sprintf("site/d%d/%d.js", i/20, i), branch)
		}
		git("add", "-A", "site")
		git("commit", "-q", "-m", branch)
	}
	s.Write("site/first.css", "1")
	for content, names := false, false; !content || !names; { // until here it was us
		line := s.Await("changed")
		isLast := strings.Contains(line, "first.css")
		content = content || isLast && strings.Contains(line, "msg=changed")
		names = names || isLast && strings.Contains(line, "names changed")
	}
	told := s.page("/")
	// A machine that is busy may stop git for longer than the end of a burst is waited for.
	reloads := 0
	for try := 0; try < 3 && reloads != 1 && !t.Failed(); try++ {
		branch := []string{"one", "two"}[try%2]
		git("checkout", "-q", branch)
		s.isTold(told, `"command":"reload"`)
		shown := s.get("/")

		last := fmt.Sprintf("last%d.css", try)
		s.Write("site/"+last, "1")
		for reloads = 1; !strings.Contains(told(), last) && !t.Failed(); reloads++ {
		}
		if reloads == 1 && !strings.Contains(shown, branch) {
			t.Errorf("reloaded to %q", shown)
		}
	}
	if reloads != 1 {
		t.Errorf("a checkout is %d reloads", reloads)
	}
}
