package daemon

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/execlog/execlogd/internal/testenv"
)

func TestRoutesAlone(t *testing.T) {
	s := begin(t, `
-- a/ --
-- b/ --
-- x.toml --
[[route]]
name = "one"
root = "a"
match = "*.txt"
shell = 'echo "$EXECLOGD_ROUTE ran in ${PWD#$EXECLOGD_ROOT} for ${EXECLOGD_PATH#$EXECLOGD_ROOT}"'
dir = "a"

[[route]]
name = "two"
root = "b"
per = "file"
run = ["echo", "for", "{path}"]
`)
	if got, want := s.Seen[0], "execlogd: 2 routes, watching 2 directories"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	s.Write("a/x.txt", "1")
	s.Await(`msg="one ran in  for /x.txt" route=one`)
	s.Await(`msg=done route=one path=` + s.Dir + "/a/x.txt")
	s.Write("b/$(x)", "1")
	s.Await(`msg="for ` + s.Dir + `/b/$(x)" route=two`)
}

const site = `
-- src/ --
-- public/index.html --
old
-- x.toml --
[server]
root = "public"
port = 0
after = ["build"]

[[route]]
name = "build"
root = "src"
run = ["sh", "build.sh"]
-- build.sh --
echo half >public/index.html
echo begun
read result <held
echo whole >public/index.html
exit $result
`

func TestPagesReloadWhenTheBuildIsDone(t *testing.T) {
	s := begin(t, site)
	s.Fifo("held")
	told := s.page("/")
	for range 2 {
		s.Write("src/a.md", "1")
		s.Await("msg=begun")
		s.Write("src/b.md", "1") // makes one more run, that pages wait for too
		s.Write("held", "0")
		s.Await("msg=begun")
		s.Write("held", "0")
		if m := told(); !strings.Contains(m, `"command":"reload"`) || !strings.Contains(m, "index.html") {
			t.Errorf("told %s", m)
		}
		if got := s.get("/"); !strings.Contains(got, "whole") {
			t.Errorf("reloaded while it was %q", got)
		}
	}
	s.Write("public/x.css", "1")
	s.isTold(told, "x.css")
}

func TestPagesStayWhenTheBuildFails(t *testing.T) {
	s := begin(t, site, "-log-level", "debug")
	s.Fifo("held")
	told := s.page("/")
	s.Write("src/a.md", "1")
	s.Await("msg=begun")
	s.Write("held", "3")
	s.Await(`level=ERROR`, "route=build", "exit status 3")
	// What comes after the failure does not wait for the next success.
	if m := insist(told, func() { s.Write("public/x.css", "1") }); !strings.Contains(m, "x.css") {
		t.Errorf("told %s, want the style sheet alone", m)
	}
	s.Write("src/a.md", "2")
	s.Await("msg=begun")
	s.Write("held", "0")
	s.isTold(told, "index.html")
}

// insist does something again from time to time until read returns.
func insist(read func() string, do func()) string {
	got := make(chan string, 1)
	go func() {
		defer close(got)
		got <- read()
	}()
	again := time.NewTicker(500 * time.Millisecond)
	defer again.Stop()
	for {
		do()
		select {
		case what := <-got:
			return what
		case <-again.C:
		}
	}
}

// A page of our client shows the output of a build that failed until it
// succeeds.
func TestPagesShowWhatFailed(t *testing.T) {
	s := begin(t, site)
	s.Fifo("held")
	conn := s.connect(
		`{"command":"hello","protocols":["http://livereload.com/protocols/official-7","https://github.com/execlog/execlogd/protocol-1"],"ver":"execlogd"}`,
		fmt.Sprintf(`{"command":"info","plugins":{},"url":"%s/","path":"/","uses":[]}`, s.URL),
	)
	var all strings.Builder // that the page was told
	told := func(part string) string {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), testenv.WaitLimit)
		defer cancel()
		for {
			_, text, err := conn.Read(ctx)
			if err != nil {
				t.Fatalf("not told %s but %s: %v", part, all.String(), err)
			}
			all.Write(text)
			if strings.Contains(string(text), part) {
				return string(text)
			}
		}
	}
	told(`"at"`)
	s.Write("src/a.md", "1")
	s.Await("msg=begun")
	s.Write("held", "3")
	if m := told(`"errors"`); !strings.Contains(m, `"title":"build: begun","output":[["begun\n"]],"text":"sh: exit status 3"`) {
		t.Errorf("told %s", m)
	}
	all.Reset()
	s.Write("src/a.md", "2")
	s.Await("msg=begun")
	s.Write("held", "0")
	told(`"errors":[]`)
	if !strings.Contains(all.String(), `"reload":true`) { // which may come first
		told(`"reload":true`)
	}
}

func TestServiceStartsAtOnceAndReloadsPages(t *testing.T) {
	s := begin(t, `
-- x.toml --
[server]
root = "."
port = 0

[[route]]
name = "compile"
match = "*.c"
start = true
shell = "echo compiled"

[[route]]
name = "app"
match = "*.c"
after = "compile"
service = true
reload = true
shell = "echo up; read line <held; exit 7"
`)
	s.Fifo("held")
	s.Await(`msg=compiled`)
	s.Await(`msg=up route=app`)
	told := s.page("/any.html")
	s.Write("x.c", "1")
	s.Await(`msg=compiled`)
	s.Await(`msg=up route=app`)
	s.isTold(told, `"command":"reload"`)
	s.Write("held", "")
	s.Await("service has died", "route=app", "exit status 7")
}

// A service that is not to outlive a failure before it is stopped by that, and
// started again by the next success, also if that does not concern it.
func TestServiceIsDownWhileTheBuildFails(t *testing.T) {
	s := begin(t, `
-- x.toml --
control = "control.sock"

[[route]]
name = "compile"
match = "*.c"
start = true
run = ["sh", "compile.sh"]

[[route]]
name = "app"
match = "*.never"
after = "compile"
service = true
on_failure = "stop"
shell = "trap 'echo ended; exit' TERM; echo up; sleep 1000 & wait"
-- compile.sh --
echo no
exit 1
`)
	s.Await("msg=no")
	s.Await("stopped until the next success")
	s.Write("compile.sh", "exit 0")
	s.Write("x.c", "1")
	s.Await("msg=up route=app")
	for range 2 {
		s.Write("compile.sh", "exit 1")
		s.Write("x.c", "2")
		s.AwaitAll("msg=ended route=app", `level=INFO msg="stopped until the next success" route=app after=compile`)
		s.Write("x.c", "3") // fails once more, and there is nothing to stop
		s.Await("msg=failed route=compile")
		s.Write("compile.sh", "exit 0")
		s.Write("x.c", "4")
		s.Await("msg=up route=app")
	}
}

// The configuration has the environment of jobs in it. Where it is among the
// files that are served, or a link leads to it, visitors do not get it, nor what
// it was before it was saved by rename, nor an editor's copy. The control socket
// is no file that could be served.
func TestTheConfigurationIsNotServed(t *testing.T) {
	s := begin(t, `
-- index.html --
hello
-- x.toml~ --
secret
-- x.toml --
control = "control.sock"

[server]
root = '.'
port = 0

[[route]]
name = "build"
match = ["*.md"]
env = { TOKEN = "secret" }
run = ["true"]
`, "-watch-config")
	in := func(name string) string { return filepath.Join(s.Dir, name) }
	link := func(how func(string, string) error, from, to string) {
		t.Helper()
		testenv.Check(t, how(from, in(to)))
	}
	link(os.Link, in("x.toml"), "hard.txt")
	link(os.Symlink, "x.toml", "soft.txt")
	refused := func(names ...string) {
		t.Helper()
		for _, name := range names {
			resp, err := http.Get(s.URL + "/" + name)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err != nil || resp.StatusCode != 404 || strings.Contains(string(body), "secret") {
				t.Errorf("%s: %s %q %v", name, resp.Status, body, err)
			}
		}
	}
	refused("x.toml", "hard.txt", "soft.txt", "x.toml~", "control.sock")

	text, err := os.ReadFile(in("x.toml"))
	if err != nil {
		t.Fatal(err)
	}
	s.Write(".new", string(text)+"# saved by rename\n")
	link(os.Rename, in(".new"), "x.toml")
	s.Await("msg=\"configuration loaded\"")
	link(os.Link, in("x.toml"), "new.txt")
	refused("x.toml", "hard.txt", "soft.txt", "new.txt")
	resp, err := http.Get(s.URL + "/")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 200 {
		t.Errorf("the page beside it: %s", resp.Status)
	}
}

func TestReloadNeedsNoCommand(t *testing.T) {
	s := begin(t, `
-- templates/ --
-- public/index.html --
-- x.toml --
[server]
root = "public"
port = 0

[[route]]
name = "templates"
root = "templates"
reload = true
`)
	told := s.page("/")
	s.Write("templates/x.tmpl", "1")
	s.isTold(told, `"command":"reload"`)
}
