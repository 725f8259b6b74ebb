package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/coder/websocket"

	"github.com/execlog/execlogd/internal/logging"
	"github.com/execlog/execlogd/job"
)

const reloading = `
-- src/ --
-- x.toml --
[[route]]
name = "service"
match = "*.never"
service = true
shell = "echo up; sleep 1000 & wait"

[[route]]
name = "slow"
match = "*.md"
shell = "echo begun; read x <held; echo whole"

[[route]]
name = "gone"
match = "*.txt"
shell = "echo one; sleep 1000"
`

func hangup(t *testing.T) {
	t.Helper()
	if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
}

func TestReloadChangesWhatDiffers(t *testing.T) {
	s := begin(t, reloading)
	s.fifo("held")
	s.awaitAll("msg=up route=service", "msg=done route=service")
	started := len(s.seen)
	s.write("a.md", "1")
	s.await("msg=begun")
	s.write("a.txt", "1")
	s.await("msg=one")

	text := strings.TrimPrefix(reloading, "\n-- src/ --\n-- x.toml --\n")
	text = strings.Replace(text, `name = "slow"`, "name = \"slow\"\ndelay = \"10ms\"", 1)
	text = strings.Replace(text, "echo one; sleep 1000", "echo two", 1)
	s.write("x.toml", text+`
[[route]]
name = "new"
match = "*.new"
start = true
shell = "echo new"
`)
	hangup(t)
	// What is new need not wait for slow, and gone's new command gets what the
	// old one did not finish.
	s.awaitAll(`msg="configuration loaded"`, `level=INFO msg=stopped route=gone`, "msg=two", "msg=new route=new")
	s.write("held", "") // slow was not ended
	s.await("msg=whole")
	s.write("b.txt", "1")
	s.await("msg=two")
	for _, line := range s.seen[started:] {
		if strings.Contains(line, "route=service") {
			t.Errorf("the service was touched: %s", line)
		}
	}
}

func TestReloadRefusesWhatIsWrong(t *testing.T) {
	s := begin(t, reloading)
	s.await("msg=up route=service")
	for text, want := range map[string]string{
		"[[route]]\nname = 1\n":                     "x.toml:2:8: name is 1",
		"[[route]]\nname='x'\nrun=['no-such-prog']": "no-such-prog",
	} {
		s.write("x.toml", strings.ReplaceAll(text, "run=['x']", "run=['sh']"))
		hangup(t)
		if line := s.await("configuration refused, the old one stays"); !strings.Contains(line, want) {
			t.Errorf("got %s, want %s", line, want)
		}
	}
	s.fifo("held")
	s.write("a.md", "1")
	s.await("msg=begun")
	s.write("held", "")
	s.await("msg=whole")
}

func TestReloadWhenTheFileChanges(t *testing.T) {
	s := begin(t, oneRouteFiles, "-watch-config")
	rename := func(from, to string) {
		t.Helper()
		if err := os.Rename(filepath.Join(s.dir, from), filepath.Join(s.dir, to)); err != nil {
			t.Fatal(err)
		}
	}
	link := func(to, name string) {
		t.Helper()
		if err := os.Symlink(to, filepath.Join(s.dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	routes := func(n int) string { return strings.Repeat("[[route]]\nname='NAME'\nmatch='*.x'\nshell='echo x'\n", n) }
	numbered := func(n int) string {
		text := routes(n)
		for i := range n {
			text = strings.Replace(text, "NAME", fmt.Sprint("r", i), 1)
		}
		return text
	}
	for n, change := range []func(text string){
		2: func(text string) { s.write("x.toml", text) },                                                 // at once, when the daemon has said that it is ready
		3: func(text string) { s.write("x.new", text); rename("x.new", "x.toml") },                       // as editors save
		4: func(text string) { s.write("b/y.toml", text); link("b/y.toml", "n"); rename("n", "x.toml") }, // a link that comes to its place
		5: func(text string) { s.write("b/y.toml", text) },                                               // what a link leads to
		6: func(text string) { // a link on the way that is turned
			s.write("v1/y.toml", numbered(5))
			link("v1", "..data")
			link("..data/y.toml", "n")
			rename("n", "x.toml")
			s.write("v2/y.toml", text)
			link("v2", "..next")
			rename("..next", "..data")
		},
	} {
		if change == nil {
			continue
		}
		change(numbered(n))
		if line := s.await(`msg="configuration loaded"`); !strings.Contains(line, fmt.Sprint(n, " routes,")) {
			t.Errorf("want %d routes: %s", n, line)
		}
	}
	s.write("v2/y.toml", numbered(6)) // which is no change
	s.write("a.x", "1")
	s.await("msg=x route=r5")
	s.write("v2/y.toml", "nonsense")
	s.await(`msg="configuration refused, the old one stays"`)
}

// No connection drops, and the pages' own routes change.
func TestReloadKeepsPages(t *testing.T) {
	s := begin(t, `
-- index.html --
-- x.toml --
[server]
port = 0
`)
	told := s.page("/")
	s.write("x.toml", "[server]\nport = 0\nignore = '*.css'\n[[route]]\nname = 'x'\nmatch = '*.x'\nreload = true\nshell = 'echo x'\n")
	hangup(t)
	s.await(`msg="configuration loaded"`)
	s.write("a.css", "1")
	s.write("a.x", "1")
	if m := told(); !strings.Contains(m, `"command":"reload"`) || strings.Contains(m, "a.css") {
		t.Errorf("told %s", m)
	}
}

// A service that is another now begins when the old one has ended.
func TestReloadReplacesAService(t *testing.T) {
	s := begin(t, `
-- x.toml --
[[route]]
name = "service"
match = "*.never"
service = true
shell = "trap 'sleep 0.3; rmdir lock; exit' TERM; mkdir lock && echo one; while :; do sleep 0.05; done"
`)
	s.await("msg=one")
	s.write("x.toml", `
[[route]]
name = "service"
match = "*.never"
service = true
shell = "mkdir lock && echo two; sleep 1000"
`)
	hangup(t)
	s.await("msg=two")
	for _, line := range s.seen {
		if strings.Contains(line, "File exists") {
			t.Errorf("the new began beside the old: %s", line)
		}
	}
}

// A service waits for the end of an old one also if the service between them, which
// waited for that, is replaced before it begins.
func TestReloadTwiceReplacesAService(t *testing.T) {
	const service = "[[route]]\nname = 'service'\nmatch = '*.never'\nservice = true\n"
	s := begin(t, "-- x.toml --\n"+service+`shell = "trap 'sleep 0.5; rmdir lock; exit' TERM; mkdir lock && echo one; while :; do sleep 0.05; done"`)
	s.await("msg=one")
	s.reload(service + "shell = 'echo two; sleep 1000 & wait'\n")
	s.write("x.toml", service+"shell = 'mkdir lock || echo beside; echo three; sleep 1000 & wait'\n")
	hangup(t)
	s.await("msg=three")
	for _, line := range s.seen {
		if strings.Contains(line, "msg=beside") {
			t.Errorf("the third began beside the first: %s", line)
		}
	}
}

// What pages show of a route that failed stays, if the route does.
func TestReloadKeepsFaults(t *testing.T) {
	const faulty = `
[server]
port = 0
after = ["stays", "goes"]

[[route]]
name = "stays"
match = "*.s"
shell = "false"

[[route]]
name = "goes"
match = "*.g"
shell = "false"
`
	s := begin(t, "-- index.html --\n-- x.toml --\n"+faulty)
	s.write("a.s", "1")
	s.await("msg=failed route=stays")
	s.write("a.g", "1")
	s.await("msg=failed route=goes")
	if page := s.get("/.execlogd/"); !strings.Contains(page, "goes: ") {
		t.Errorf("no error of goes: %s", page)
	}
	s.write("x.toml", strings.TrimSuffix(faulty, "false\"\n")+"true\"\n")
	hangup(t)
	s.await(`msg="configuration loaded"`)
	if page := s.get("/.execlogd/"); !strings.Contains(page, "stays: ") || strings.Contains(page, "goes: ") {
		t.Errorf("want the error of stays alone: %s", page)
	}
}

// reload loads a configuration and returns the line that says so. The session
// goes on where the server is then.
func (s *session) reload(text string) string {
	s.t.Helper()
	s.write("x.toml", text)
	hangup(s.t)
	line := s.await(`msg="configuration loaded"`)
	s.at(line)
	return line
}

func TestReloadChangesTheServer(t *testing.T) {
	s := begin(t, `
-- a/index.html --
<p>first
-- b/index.html --
<p>second
-- x.toml --
[server]
root = "a"
port = 0
`)
	told := s.page("/")
	old := s.url
	s.reload(fmt.Sprintf("[server]\nroot = 'b'\nport = %d\nallow_host = 'preview.test'\n", freePort(t)))
	if s.url == old {
		t.Fatal("the port is as it was")
	}
	if m := told(); !strings.Contains(m, `"command":"reload"`) {
		t.Errorf("a page of the old root was told %s", m)
	}
	if page := s.get("/"); !strings.Contains(page, "second") {
		t.Errorf("the new root has %s", page)
	}
	if _, err := net.Dial("tcp", strings.TrimPrefix(old, "http://")); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("the old port: %v", err)
	}
	s.write("a/index.html", "1")
	s.write("b/x.css", "1")
	if m := told(); !strings.Contains(m, "x.css") {
		t.Errorf("a page that stayed was told %s", m)
	}
	if code := s.status("preview.test"); code != http.StatusOK {
		t.Errorf("the new name gets %d", code)
	}
	here := strings.TrimPrefix(s.url, "http://127.0.0.1:")
	s.reload("[server]\nroot = 'b'\nhost = '0.0.0.0'\nport = " + here + "\nstatic = false")
	s.url = old[:len("http://127.0.0.1:")] + here
	if code := s.status("preview.test"); code != http.StatusForbidden {
		t.Errorf("the name that was taken out gets %d", code)
	}
	if code := s.status("localhost"); code != http.StatusNotFound {
		t.Errorf("a page gets %d though no files are served", code)
	}
	s.write("b/x.css", "2")
	if m := told(); !strings.Contains(m, "x.css") {
		t.Errorf("a page that stayed was told %s", m)
	}
}

// A server comes and goes with its table.
func TestReloadWithAndWithoutAServer(t *testing.T) {
	s := begin(t, "-- site/index.html --\n<p>here\n-- x.toml --\n"+oneRoute, "-watch-config")
	s.write("x.toml", "[server]\nroot = 'site'\nport = 0\n")
	s.at(s.await(`msg="configuration loaded"`))
	page, _, err := websocket.Dial(t.Context(), s.url+"/livereload", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer page.CloseNow()
	s.write("x.toml", fmt.Sprintf("[server]\nroot = 'site'\nport = %d\n", freePort(t)))
	s.at(s.await(`msg="configuration loaded"`)) // the page stays where it is
	if page := s.get("/"); !strings.Contains(page, "here") {
		t.Errorf("got %s", page)
	}
	s.write("x.toml", oneRoute)
	s.await(`msg="configuration loaded"`)
	if _, _, err := page.Read(t.Context()); websocket.CloseStatus(err) != websocket.StatusGoingAway {
		t.Errorf("a page of the server that is gone: %v", err)
	}
	if _, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://")); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("where the server was: %v", err)
	}
	s.write("x.toml", "[server]\nroot = 'site'\nport = 0\n")
	s.at(s.await(`msg="configuration loaded"`))
	if page := s.get("/"); !strings.Contains(page, "here") {
		t.Errorf("got %s", page)
	}
}

// What cannot be had leaves all as it was, also what could.
func TestReloadIsAllOrNothing(t *testing.T) {
	const begun = "[server]\nroot = 'a'\nport = 0\n[[route]]\nname = 'r'\nmatch = '*.r'\nshell = 'echo old'\n"
	s := begin(t, "-- a/index.html --\n<p>first\n-- b/index.html --\n<p>second\n-- x.toml --\n"+begun)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := taken.Addr().(*net.TCPAddr).Port
	changed := strings.NewReplacer("'a'", "'b'", "old", "new").Replace(begun)
	for text, want := range map[string]string{
		strings.Replace(changed, "port = 0", fmt.Sprint("port = ", port), 1):                    "is taken by",
		"control = '/no/such/dir'\n" + changed:                                                  "control: /no/such/dir cannot be made",
		strings.Replace(changed, "port = 0", "port = 0\nhost = '192.0.2.1'", 1):                 "is not an address of this machine",
		strings.Replace(changed, "port = 0", "port = 0\nallow_origin = 'x y'", 1):               "x y",
		"log_format = 'json'\n" + strings.Replace(changed, "port = 0", "host = '192.0.2.1'", 1): "192.0.2.1",
	} {
		s.write("x.toml", text)
		hangup(t)
		if line := s.await(`msg="configuration refused, the old one stays"`); !strings.Contains(line, want) {
			t.Errorf("got %s, want %s", line, want)
		}
		if page := s.get("/"); !strings.Contains(page, "first") {
			t.Errorf("%s: serves %s", want, page)
		}
	}
	s.write("x.r", "1")
	s.await("msg=old")
}

func TestReloadChangesTheLog(t *testing.T) {
	const server = "[server]\nroot = 'site'\nport = 0\n"
	s := begin(t, "-- site/ --\n-- x.toml --\n"+server)
	s.reload("log_level = 'debug'\n" + server)
	s.write("site/y.css", "1")
	s.await("level=DEBUG")
	s.write("x.toml", "log_format = 'json'\n"+server)
	hangup(t)
	s.await(`"msg":"configuration loaded"`)
}

func TestReloadMovesTheControlSocket(t *testing.T) {
	s := begin(t, "-- x.toml --\ncontrol = 'one.sock'\n"+oneRoute)
	follow, out := io.Pipe()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var wg sync.WaitGroup
	wg.Go(func() {
		defer out.Close()
		if err := run(ctx, []string{"log", "-f", "-json", "-control", s.dir + "/one.sock"}, out, io.Discard); err != nil {
			t.Error(err)
		}
	})
	records := json.NewDecoder(follow)
	next := func() (r job.Run) {
		if err := records.Decode(&r); err != nil {
			t.Error(err)
		}
		return r
	}
	s.write("a.r", "1")
	if r := next(); r.Route != "r" {
		t.Errorf("got %+v", r)
	}
	s.reload("control = 'two.sock'\n" + oneRoute)
	s.write("b.r", "1")
	if r := next(); len(r.Events) != 1 || filepath.Base(r.Events[0].Path) != "b.r" {
		t.Errorf("who follows got %+v", r)
	}
	var printed strings.Builder
	if err := run(t.Context(), []string{"log", "-control", s.dir + "/two.sock"}, &printed, io.Discard); err != nil || strings.Count(printed.String(), "\n") != 2 {
		t.Errorf("the new socket prints %q, %v", printed.String(), err)
	}
	if _, err := net.Dial("unix", s.dir+"/one.sock"); err == nil {
		t.Error("the old socket takes connections")
	}
	cancel()
	wg.Wait()
}

const oneRouteFiles = "-- x.toml --\n" + oneRoute

const oneRoute = "[[route]]\nname = 'r'\nmatch = '*.r'\nrun = ['true']\n"

func freePort(t *testing.T) int {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().(*net.TCPAddr).Port
}

// What was to run at the start is no file, though the start is over.
func TestReloadWithAListDue(t *testing.T) {
	const busy = "jobs = 1\n[[route]]\nname = 'busy'\nmatch = '*.md'\nshell = 'echo begun; read x <held'\n"
	const each = "[[route]]\nname = 'each'\nroot = 'in'\nper = 'file'\nshell = 'echo got ${EXECLOGD_PATH##*/}'\n"
	s := begin(t, "-- in/x --\n-- x.toml --\n"+busy)
	s.fifo("held")
	s.write("a.md", "1")
	s.await("msg=begun")
	s.reload(busy + each + "start = true\n")
	s.reload(busy + each)
	s.write("held", "")
	s.awaitAll(`msg="got x"`, "msg=done route=each")
	if got := s.words("msg=.got in."); got != nil {
		t.Errorf("the directory has run as a file: %v", got)
	}
}

// A run of all files is given up for runs of each.
func TestReloadChangesPer(t *testing.T) {
	const route = "[[route]]\nname = 'r'\nmatch = '*.md'\nshell = 'test -e free && echo free && exit; echo begun; sleep 1000'\n"
	s := begin(t, "-- x.toml --\n"+route)
	s.write("a.md", "1")
	s.await("msg=begun")
	s.write("free", "")
	s.write("x.toml", route+"per = 'file'\n")
	hangup(t)
	s.awaitAll(`msg="configuration loaded"`, "msg=free", "msg=done route=r")
}

// A service that a failure keeps down is up again when it need not be down for
// that.
func TestReloadLiftsAService(t *testing.T) {
	const build = "[[route]]\nname = 'build'\nmatch = '*.b'\nshell = 'false'\n"
	const service = "[[route]]\nname = 'service'\nmatch = '*.s'\nservice = true\nshell = 'echo up; sleep 1000 & wait'\n"
	s := begin(t, "-- src/ --\n-- x.toml --\n"+build+service+"after = 'build'\non_failure = 'stop'\n")
	s.awaitAll("msg=up", "msg=done route=service")
	s.write("x.b", "1")
	s.await(logging.Suspended)
	s.reload("log_level = 'debug'\n" + build + service + "after = 'build'\non_failure = 'stop'\n")
	up := strings.Count(strings.Join(s.seen, "\n"), "msg=up")
	s.write("x.toml", build+service+"after = 'build'\non_failure = 'continue'\n")
	hangup(t)
	s.awaitAll(`msg="configuration loaded"`, "msg=up")
	if up != 1 {
		t.Error("it came up while it is to be down")
	}
}
