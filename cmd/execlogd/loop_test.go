package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A server that writes below its root when it has started is started a few times
// and no more, and then it is said what to do about it.
func TestServersThatWriteWhatStartsThem(t *testing.T) {
	const most = 12
	// What has ended is counted as well.
	starts := func(t *testing.T, file string) int {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return bytes.Count(text, []byte("\n"))
	}
	await := func(t *testing.T, lines <-chan string, want string) {
		t.Helper()
		var seen []string
		for late := time.After(4 * waitLimit); ; {
			select {
			case line := <-lines:
				seen = append(seen, line)
				if strings.Contains(line, "a loop: ") && strings.HasSuffix(line, want) {
					return
				}
			case <-late:
				t.Fatalf("no loop that says %q in:\n%s", want, strings.Join(seen, "\n"))
			}
		}
	}

	t.Run("a service, at once", func(t *testing.T) {
		t.Parallel()
		file := filepath.Join(t.TempDir(), "starts") // a line each: the paths that led to it
		s := begin(t, `-- in/ --
-- x.toml --
[[route]]
name = "server"
root = "in"
service = true
run = ["sh", "-c", "echo $EXECLOGD_PATHS >>\"$STARTS\"; date +%N >in/.out; mv in/.out in/out; sleep 100"]
env = { STARTS = "`+file+`" }
`)
		await(t, s.lines, `lastly out: name it in outputs or ignore"`)
		if n := starts(t, file); n > most {
			t.Errorf("started %d times, want at most %d", n, most)
		}

		// What it goes on to write does not start it again by itself.
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		known := len(text)
		for i := range 5 {
			save := fmt.Sprintf("in/save%d", i)
			s.write(save, "")
			for late := time.Now().Add(waitLimit); !bytes.Contains(text[known:], []byte(save)); time.Sleep(10 * time.Millisecond) {
				if text, err = os.ReadFile(file); err != nil || time.Now().After(late) {
					t.Fatalf("%s starts nothing: %v, %q", save, err, text[known:])
				}
			}
			time.Sleep(200 * time.Millisecond) // as nothing says that a start did not come
		}
		for line := range strings.Lines(string(text[known:])) {
			if !strings.Contains(line, "save") {
				t.Errorf("the service was started again by %s", line)
			}
		}
	})
	t.Run("run -restart, after more than a second", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		file := filepath.Join(dir, "starts")
		r := startRun(t, "-restart", "-shell", `echo >>`+file+`; sleep 1.2; cd "$EXECLOGD_ROOT"; date +%N >.out; mv .out out; sleep 100`)
		await(t, r.out, "lastly out: name it with -outputs or -ignore")
		if n := starts(t, file); n > most {
			t.Errorf("started %d times, want at most %d", n, most)
		}
	})
}

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
		s.write("src/a.md", fmt.Sprint(i+1))
		if m := told(); !strings.Contains(m, `"command":"reload"`) {
			t.Fatalf("build %d: told %s", i+1, m)
		}
		if got, want := s.get("/"), fmt.Sprintf("<title>%d</title>", i+1); !strings.Contains(got, want) {
			t.Fatalf("build %d: reloaded to %q", i+1, got)
		}
	}
	s.write("src/end", "")
	s.await("src/end")
	runs := 0
	for _, line := range s.seen {
		if strings.Contains(line, "route=build") && !strings.Contains(line, "src/end") {
			runs++
			if !strings.Contains(line, "msg=done") || !strings.Contains(line, "path="+s.dir+"/src/a.md ") {
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
		cmd := exec.Command("git", append([]string{"-C", s.dir, "-c", "user.name=n", "-c", "user.email=e"}, args...)...)
		cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %q: %v\n%s", args, err, out)
		}
	}
	git("init", "-q", "-b", "main")
	for _, branch := range []string{"one", "two"} {
		git("checkout", "-q", "-b", branch)
		s.write("site/index.html", "<title>"+branch+"</title>")
		for i := range 300 {
			s.write(fmt.Sprintf("site/d%d/%d.js", i/20, i), branch)
		}
		git("add", "-A", "site")
		git("commit", "-q", "-m", branch)
	}
	s.write("site/first.css", "1")
	for content, names := false, false; !content || !names; { // until here it was us
		line := s.await("changed")
		isLast := strings.Contains(line, "first.css")
		content = content || isLast && strings.Contains(line, "msg=changed")
		names = names || isLast && strings.Contains(line, "names changed")
	}
	told := s.page("/")
	git("checkout", "-q", "one")
	if m := told(); !strings.Contains(m, `"command":"reload"`) {
		t.Errorf("told %s", m)
	}
	if got := s.get("/"); !strings.Contains(got, "one") {
		t.Errorf("reloaded to %q", got)
	}
	s.write("site/last.css", "1")
	if m := told(); !strings.Contains(m, "last.css") {
		t.Errorf("told %s once more", m)
	}
}
