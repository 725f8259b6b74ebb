package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/execlog/execlogd/internal/testenv"
)

// A session is a daemon with a configuration, in a directory of its own.
type session struct {
	t     *testing.T
	dir   string
	url   string      // of its pages
	lines chan string // of its log
	seen  []string
	stop  func() error // and await it
}

const waitLimit = testenv.WaitLimit

// begin starts a daemon in a directory with files, which are separated as in
// a txtar archive: a file x.toml is its configuration, a name with a slash at
// its end a directory.
func begin(t *testing.T, archive string, args ...string) *session {
	t.Helper()
	s := &session{t: t, dir: t.TempDir(), lines: make(chan string, 1000)}
	for _, part := range strings.Split(archive, "-- ")[1:] {
		name, text, _ := strings.Cut(part, " --\n")
		s.write(name, text)
	}
	out, stderr := io.Pipe()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- run(ctx, append([]string{"-config", s.dir + "/x.toml"}, args...), io.Discard, stderr)
		stderr.Close()
	}()
	go func() {
		defer close(s.lines)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			s.lines <- lines.Text()
		}
	}()
	s.stop = sync.OnceValue(func() error {
		cancel()
		return <-ended
	})
	t.Cleanup(func() {
		if err := s.stop(); err != nil {
			t.Error(err)
		}
	})
	s.at(s.await("execlogd: "))
	return s
}

// at goes on at the server that a line of the log names, if it does.
func (s *session) at(line string) {
	if at := regexp.MustCompile(`http://[^ ,"]+`).FindString(line); at != "" {
		s.url = strings.TrimSuffix(at, "/")
	}
}

func (s *session) write(name, text string) {
	s.t.Helper()
	path := filepath.Join(s.dir, name)
	dir := filepath.Dir(path)
	if strings.HasSuffix(name, "/") {
		dir = path
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		s.t.Fatal(err)
	}
	if dir == path {
		return
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		s.t.Fatal(err)
	}
}

// await returns the next line of the log that has text in it.
func (s *session) await(text string) string {
	s.t.Helper()
	for {
		select {
		case line, ok := <-s.lines:
			s.seen = append(s.seen, line)
			if strings.Contains(line, text) {
				return line
			}
			if ok {
				continue
			}
		case <-time.After(waitLimit):
		}
		s.t.Fatalf("no %q in the log:\n%s", text, strings.Join(s.seen, "\n"))
	}
}

// awaitAll is await for several lines in any order.
func (s *session) awaitAll(texts ...string) {
	s.t.Helper()
	for len(texts) > 0 {
		line := s.await("")
		texts = slices.DeleteFunc(texts, func(text string) bool { return strings.Contains(line, text) })
	}
}

// page opens the socket of a page, and returns what it is told next.
func (s *session) page(path string) (told func() string) {
	s.t.Helper()
	conn, _, err := websocket.Dial(s.t.Context(), s.url+"/livereload", nil)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { conn.CloseNow() })
	for _, m := range []string{
		`{"command":"hello","protocols":["http://livereload.com/protocols/official-7"]}`,
		fmt.Sprintf(`{"command":"info","plugins":{},"url":"%s%s"}`, s.url, path),
	} {
		if err := conn.Write(s.t.Context(), websocket.MessageText, []byte(m)); err != nil {
			s.t.Fatal(err)
		}
	}
	next := func() string {
		ctx, cancel := context.WithTimeout(s.t.Context(), waitLimit)
		defer cancel()
		_, text, err := conn.Read(ctx)
		if err != nil {
			s.t.Error(err)
		}
		return string(text)
	}
	next() // hello
	return next
}

// get is what a page shows.
func (s *session) get(path string) string {
	s.t.Helper()
	res, err := http.Get(s.url + path)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	http.DefaultClient.CloseIdleConnections()
	return string(text)
}

// status is what a request to another Host gets.
func (s *session) status(host string) int {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, s.url, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	req.Host = host
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	res.Body.Close()
	http.DefaultClient.CloseIdleConnections()
	return res.StatusCode
}

// fifo makes a pipe with a name, on which a job can be held up.
func (s *session) fifo(name string) {
	if err := syscall.Mkfifo(filepath.Join(s.dir, name), 0o644); err != nil {
		s.t.Fatal(err)
	}
}

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
	if got, want := s.seen[0], "execlogd: 2 routes, watching 2 directories"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	s.write("a/x.txt", "1")
	s.await(`msg="one ran in  for /x.txt" route=one`)
	s.await(`msg=done route=one path=` + s.dir + "/a/x.txt")
	s.write("b/$(x)", "1")
	s.await(`msg="for ` + s.dir + `/b/$(x)" route=two`)
	if err := s.stop(); err != nil {
		t.Error(err)
	}
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
	s.fifo("held")
	told := s.page("/")
	for range 2 {
		s.write("src/a.md", "1")
		s.await("msg=begun")
		s.write("src/b.md", "1") // makes one more run, that pages wait for too
		s.write("held", "0")
		s.await("msg=begun")
		s.write("held", "0")
		if m := told(); !strings.Contains(m, `"command":"reload"`) || !strings.Contains(m, "index.html") {
			t.Errorf("told %s", m)
		}
		if got := s.get("/"); !strings.Contains(got, "whole") {
			t.Errorf("reloaded while it was %q", got)
		}
	}
	s.write("public/x.css", "1")
	if m := told(); !strings.Contains(m, "x.css") {
		t.Errorf("told %s once more", m)
	}
}

func TestPagesStayWhenTheBuildFails(t *testing.T) {
	s := begin(t, site, "-log-level", "debug")
	s.fifo("held")
	told := s.page("/")
	s.write("src/a.md", "1")
	s.await("msg=begun")
	s.write("held", "3")
	if line := s.await(`level=ERROR`); !strings.Contains(line, "route=build") || !strings.Contains(line, "exit status 3") {
		t.Error(line)
	}
	// What comes after the failure does not wait for the next success.
	if m := insist(told, func() { s.write("public/x.css", "1") }); !strings.Contains(m, "x.css") {
		t.Errorf("told %s, want the style sheet alone", m)
	}
	s.write("src/a.md", "2")
	s.await("msg=begun")
	s.write("held", "0")
	if m := told(); !strings.Contains(m, "index.html") {
		t.Errorf("told %s", m)
	}
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
	s.fifo("held")
	conn, _, err := websocket.Dial(t.Context(), s.url+"/livereload", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	for _, m := range []string{
		`{"command":"hello","protocols":["http://livereload.com/protocols/official-7","https://github.com/execlog/execlogd/protocol-1"],"ver":"execlogd"}`,
		fmt.Sprintf(`{"command":"info","plugins":{},"url":"%s/","path":"/","uses":[]}`, s.url),
	} {
		if err := conn.Write(t.Context(), websocket.MessageText, []byte(m)); err != nil {
			t.Fatal(err)
		}
	}
	told := func(command string) string {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), waitLimit)
		defer cancel()
		for {
			_, text, err := conn.Read(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(string(text), fmt.Sprintf("%q", command)) {
				return string(text)
			}
		}
	}
	told("at")
	s.write("src/a.md", "1")
	s.await("msg=begun")
	s.write("held", "3")
	if m := told("errors"); !strings.Contains(m, "build: sh: exit status 3") || !strings.Contains(m, "begun") {
		t.Errorf("told %s", m)
	}
	s.write("src/a.md", "2")
	s.await("msg=begun")
	s.write("held", "0")
	if m := told("errors"); !strings.Contains(m, `"errors":[]`) {
		t.Errorf("told %s", m)
	}
	if m := told("change"); !strings.Contains(m, `"reload":true`) {
		t.Errorf("told %s", m)
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
	s.fifo("held")
	s.await(`msg=compiled`)
	s.await(`msg=up route=app`)
	told := s.page("/any.html")
	s.write("x.c", "1")
	s.await(`msg=compiled`)
	s.await(`msg=up route=app`)
	if m := told(); !strings.Contains(m, `"command":"reload"`) {
		t.Errorf("told %s", m)
	}
	s.write("held", "")
	if line := s.await("service has died"); !strings.Contains(line, "route=app") || !strings.Contains(line, "exit status 7") {
		t.Error(line)
	}
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
	s.await("msg=no")
	s.await("stopped until the next success")
	s.write("compile.sh", "exit 0")
	s.write("x.c", "1")
	s.await("msg=up route=app")
	for range 2 {
		s.write("compile.sh", "exit 1")
		s.write("x.c", "2")
		s.awaitAll("msg=ended route=app", `level=INFO msg="stopped until the next success" route=app after=compile`)
		s.write("x.c", "3") // fails once more, and there is nothing to stop
		s.await("msg=failed route=compile")
		s.write("compile.sh", "exit 0")
		s.write("x.c", "4")
		s.await("msg=up route=app")
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
port = 0

[[route]]
name = "build"
match = ["*.md"]
env = { TOKEN = "secret" }
run = ["true"]
`, "-watch-config")
	in := func(name string) string { return filepath.Join(s.dir, name) }
	link := func(how func(string, string) error, from, to string) {
		t.Helper()
		if err := how(from, in(to)); err != nil {
			t.Fatal(err)
		}
	}
	link(os.Link, in("x.toml"), "hard.txt")
	link(os.Symlink, "x.toml", "soft.txt")
	refused := func(names ...string) {
		t.Helper()
		for _, name := range names {
			resp, err := http.Get(s.url + "/" + name)
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
	s.write(".new", string(text)+"# saved by rename\n")
	link(os.Rename, in(".new"), "x.toml")
	s.await("msg=\"configuration loaded\"")
	link(os.Link, in("x.toml"), "new.txt")
	refused("x.toml", "hard.txt", "soft.txt", "new.txt")
	resp, err := http.Get(s.url + "/")
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
	s.write("templates/x.tmpl", "1")
	if m := told(); !strings.Contains(m, `"command":"reload"`) {
		t.Errorf("told %s", m)
	}
}
