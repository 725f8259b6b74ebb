package daemon

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/coder/websocket"

	"github.com/execlog/execlogd/internal/config"
	"github.com/execlog/execlogd/internal/control"
	"github.com/execlog/execlogd/internal/logging"
	"github.com/execlog/execlogd/internal/runnable"
	"github.com/execlog/execlogd/internal/testenv"
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

func TestReloadChangesWhatDiffers(t *testing.T) {
	s := begin(t, reloading)
	s.Fifo("held")
	s.AwaitAll("msg=up route=service", "msg=done route=service")
	started := len(s.Seen)
	s.Write("a.md", "1")
	s.Await("msg=begun")
	s.Write("a.txt", "1")
	s.Await("msg=one")

	text := strings.TrimPrefix(reloading, "\n-- src/ --\n-- x.toml --\n")
	text = strings.Replace(text, `name = "slow"`, "name = \"slow\"\ndelay = \"10ms\"", 1)
	text = strings.Replace(text, "echo one; sleep 1000", "echo two", 1)
	s.Write("x.toml", text+`
[[route]]
name = "new"
match = "*.new"
start = true
shell = "echo new"
`)
	s.Hangup()
	// What is new need not wait for slow, and gone's new command gets what the
	// old one did not finish.
	s.AwaitAll(`msg="configuration loaded"`, `level=INFO msg=stopped route=gone`, "msg=two", "msg=new route=new")
	s.Write("held", "") // slow was not ended
	s.Await("msg=whole")
	s.Write("b.txt", "1")
	s.Await("msg=two")
	for _, line := range s.Seen[started:] {
		if strings.Contains(line, "route=service") {
			t.Errorf("the service was touched: %s", line)
		}
	}
}

func TestReloadWhenTheFileChanges(t *testing.T) {
	s := begin(t, oneRouteFiles, "-watch-config")
	rename := func(from, to string) {
		t.Helper()
		testenv.Check(t, os.Rename(filepath.Join(s.Dir, from), filepath.Join(s.Dir, to)))
	}
	link := func(to, name string) {
		t.Helper()
		testenv.Check(t, os.Symlink(to, filepath.Join(s.Dir, name)))
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
		2: func(text string) { s.Write("x.toml", text) },                                                 // at once, when the daemon has said that it is ready
		3: func(text string) { s.Write("x.new", text); rename("x.new", "x.toml") },                       // as editors save
		4: func(text string) { s.Write("b/y.toml", text); link("b/y.toml", "n"); rename("n", "x.toml") }, // a link that comes to its place
		5: func(text string) { s.Write("b/y.toml", text) },                                               // what a link leads to
		6: func(text string) { // a link on the way that is turned
			s.Write("v1/y.toml", numbered(5))
			link("v1", "..data")
			link("..data/y.toml", "n")
			rename("n", "x.toml")
			s.Write("v2/y.toml", text)
			link("v2", "..next")
			rename("..next", "..data")
		},
	} {
		if change == nil {
			continue
		}
		change(numbered(n))
		s.Await(`msg="configuration loaded"`, fmt.Sprint(n, " routes,"))
	}
	s.Write("v2/y.toml", numbered(6)) // which is no change
	s.Write("a.x", "1")
	s.Await("msg=x route=r5")
	s.Write("v2/y.toml", "nonsense")
	s.Await(`msg="configuration refused, the old one stays"`)
}

// No connection drops, and the pages' own routes change.
func TestReloadKeepsPages(t *testing.T) {
	s := begin(t, `
-- index.html --
-- x.toml --
[server]
root = '.'
port = 0
`)
	told := s.page("/")
	s.Reload("[server]\nroot = '.'\nport = 0\nignore = '*.css'\n[[route]]\nname = 'x'\nmatch = '*.x'\nreload = true\nshell = 'echo x'\n")
	s.Write("a.css", "1")
	s.Write("a.x", "1")
	if m := told(); !strings.Contains(m, `"command":"reload"`) || strings.Contains(m, "a.css") {
		t.Errorf("told %s", m)
	}
}

// A service that is another now begins when the old one has ended.
func TestReloadReplacesAService(t *testing.T) {
	const service = "[[route]]\nname = 'service'\nmatch = '*.never'\nservice = true\ndelay = '0s'\n"
	s := begin(t, "-- x.toml --\n"+service+`shell = "trap 'sleep 1; rmdir lock; exit' TERM; mkdir lock && echo one; while :; do sleep 0.05; done"`)
	s.Await("msg=one")
	s.Load(service + "shell = 'mkdir lock || echo beside; echo two; sleep 1000 & wait'\n")
	s.Await("msg=two")
	if beside := s.Words("msg=beside"); beside != nil {
		t.Error("the new began beside the old")
	}
}

// A service waits for the end of an old one also if the service between them, which
// waited for that, is replaced before it begins.
func TestReloadTwiceReplacesAService(t *testing.T) {
	const service = "[[route]]\nname = 'service'\nmatch = '*.never'\nservice = true\n"
	s := begin(t, "-- x.toml --\n"+service+`shell = "trap 'sleep 0.5; rmdir lock; exit' TERM; mkdir lock && echo one; while :; do sleep 0.05; done"`)
	s.Await("msg=one")
	s.Reload(service + "shell = 'echo two; sleep 1000 & wait'\n")
	s.Load(service + "shell = 'mkdir lock || echo beside; echo three; sleep 1000 & wait'\n")
	s.Await("msg=three")
	for _, line := range s.Seen {
		if strings.Contains(line, "msg=beside") {
			t.Errorf("the third began beside the first: %s", line)
		}
	}
}

// What pages show of a route that failed stays, if the route does.
func TestReloadKeepsFaults(t *testing.T) {
	const faulty = `
[server]
root = '.'
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
	s.Write("a.s", "1")
	s.Await("msg=failed route=stays")
	s.Write("a.g", "1")
	s.Await("msg=failed route=goes")
	if page := s.get("/.execlogd/"); !strings.Contains(page, `class="title">goes: `) {
		t.Errorf("no error of goes: %s", page)
	}
	s.Reload(strings.TrimSuffix(faulty, "false\"\n") + "true\"\n")
	if page := s.get("/.execlogd/"); !strings.Contains(page, `class="title">stays: `) || strings.Contains(page, `class="title">goes: `) {
		t.Errorf("want the error of stays alone: %s", page)
	}
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
	old := s.URL
	s.Reload(fmt.Sprintf("[server]\nroot = 'b'\nport = %d\nallow_host = 'preview.test'\n", unusedPort(t)))
	if s.URL == old {
		t.Fatal("the port is as it was")
	}
	s.isTold(told, `"command":"reload"`)
	if page := s.get("/"); !strings.Contains(page, "second") {
		t.Errorf("the new root has %s", page)
	}
	if _, err := net.Dial("tcp", strings.TrimPrefix(old, "http://")); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("the old port: %v", err)
	}
	s.Write("a/index.html", "1")
	s.Write("b/x.css", "1")
	s.isTold(told, "x.css")
	if code, _ := s.Get("/", "preview.test"); code != http.StatusOK {
		t.Errorf("the new name gets %d", code)
	}
	here := strings.TrimPrefix(s.URL, "http://127.0.0.1:")
	s.Reload("[server]\nroot = 'b'\nhost = '0.0.0.0'\nport = " + here + "\nstatic = false")
	s.URL = old[:len("http://127.0.0.1:")] + here
	if code, _ := s.Get("/", "preview.test"); code != http.StatusForbidden {
		t.Errorf("the name that was taken out gets %d", code)
	}
	if code, _ := s.Get("/", "localhost"); code != http.StatusNotFound {
		t.Errorf("a page gets %d though no files are served", code)
	}
	s.Write("b/x.css", "2")
	s.isTold(told, "x.css")
}

// A server comes and goes with its table.
func TestReloadWithAndWithoutAServer(t *testing.T) {
	s := begin(t, "-- site/index.html --\n<p>here\n-- x.toml --\n"+oneRoute, "-watch-config")
	s.Write("x.toml", "[server]\nroot = 'site'\nport = 0\n")
	s.Await("execlogd: status page http://127.0.0.1:") // told when there is one
	s.Await(`msg="configuration loaded"`)
	page := s.connect()
	s.Write("x.toml", fmt.Sprintf("[server]\nroot = 'site'\nport = %d\n", unusedPort(t)))
	s.Await(`msg="configuration loaded"`) // the page stays where it is
	if page := s.get("/"); !strings.Contains(page, "here") {
		t.Errorf("got %s", page)
	}
	s.Write("x.toml", oneRoute)
	s.Await(`msg="configuration loaded"`)
	if _, _, err := page.Read(t.Context()); websocket.CloseStatus(err) != websocket.StatusGoingAway {
		t.Errorf("a page of the server that is gone: %v", err)
	}
	if _, err := net.Dial("tcp", strings.TrimPrefix(s.URL, "http://")); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("where the server was: %v", err)
	}
	s.Write("x.toml", "[server]\nroot = 'site'\nport = 0\n")
	s.Await(`msg="configuration loaded"`)
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
		"[[route]]\nname = 1\n":                                                                 "x.toml:2:8: name is 1",
		"[[route]]\nname='x'\nrun=['no-such-prog']":                                             "no-such-prog",
		strings.Replace(changed, "port = 0", fmt.Sprint("port = ", port), 1):                    "is taken by",
		"control = '/no/such/dir'\n" + changed:                                                  "control: /no/such/dir cannot be made",
		strings.Replace(changed, "port = 0", "port = 0\nhost = '192.0.2.1'", 1):                 "is not an address of this machine",
		strings.Replace(changed, "port = 0", "port = 0\nallow_origin = 'x y'", 1):               "x y",
		"log_format = 'json'\n" + strings.Replace(changed, "port = 0", "host = '192.0.2.1'", 1): "192.0.2.1",
	} {
		s.Load(text)
		s.Await(`msg="configuration refused, the old one stays"`, want)
		if page := s.get("/"); !strings.Contains(page, "first") {
			t.Errorf("%s: serves %s", want, page)
		}
	}
	s.Write("x.r", "1")
	s.Await("msg=old")
}

func TestReloadChangesTheLog(t *testing.T) {
	const server = "[server]\nroot = 'site'\nport = 0\n"
	s := begin(t, "-- site/ --\n-- x.toml --\n"+server)
	s.Reload("log_level = 'debug'\n" + server)
	s.Write("site/y.css", "1")
	s.Await("level=DEBUG")
	s.Load("log_format = 'json'\n" + server)
	s.Await(`"msg":"configuration loaded"`)
}

func TestReloadMovesTheControlSocket(t *testing.T) {
	s := begin(t, "-- x.toml --\ncontrol = 'one.sock'\n"+oneRoute)
	ask := func(path, target string) *json.Decoder {
		t.Helper()
		res, err := control.Do(t.Context(), filepath.Join(s.Dir, path), http.MethodGet, target, nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { res.Body.Close() })
		return json.NewDecoder(res.Body)
	}
	next := func(runs *json.Decoder, want string) {
		t.Helper()
		var r job.Run
		if err := runs.Decode(&r); err != nil || len(r.Events) != 1 || filepath.Base(r.Events[0].Path) != want {
			t.Errorf("got %+v and %v, want a run for %s", r, err, want)
		}
	}
	follow := ask("one.sock", "/log?follow")
	s.Write("a.r", "1")
	next(follow, "a.r")
	s.Reload("control = 'two.sock'\n" + oneRoute)
	s.Write("b.r", "1")
	next(follow, "b.r") // who follows stays connected
	runs := ask("two.sock", "/log")
	next(runs, "a.r")
	next(runs, "b.r")
	if _, err := net.Dial("unix", s.Dir+"/one.sock"); err == nil {
		t.Error("the old socket takes connections")
	}
}

const oneRouteFiles = "-- x.toml --\n" + oneRoute

const oneRoute = "[[route]]\nname = 'r'\nmatch = '*.r'\nrun = ['true']\n"

// What was to run at the start is no file, though the start is over.
func TestReloadWithAListDue(t *testing.T) {
	const busy = "jobs = 1\n[[route]]\nname = 'busy'\nmatch = '*.md'\nshell = 'echo begun; read x <held'\n"
	const each = "[[route]]\nname = 'each'\nroot = 'in'\nper = 'file'\nshell = 'echo got ${EXECLOGD_PATH##*/}'\n"
	s := begin(t, "-- in/x --\n-- x.toml --\n"+busy)
	s.Fifo("held")
	s.Write("a.md", "1")
	s.Await("msg=begun")
	s.Reload(busy + each + "start = true\n")
	s.Reload(busy + each)
	s.Write("held", "")
	s.AwaitAll(`msg="got x"`, "msg=done route=each")
	if got := s.Words("msg=.got in."); got != nil {
		t.Errorf("the directory has run as a file: %v", got)
	}
}

// A run of all files is given up for runs of each.
func TestReloadChangesPer(t *testing.T) {
	const route = "[[route]]\nname = 'r'\nmatch = '*.md'\nshell = 'test -e free && echo free && exit; echo begun; sleep 1000'\n"
	s := begin(t, "-- x.toml --\n"+route)
	s.Write("a.md", "1")
	s.Await("msg=begun")
	s.Write("free", "")
	s.Load(route + "per = 'file'\n")
	s.AwaitAll(`msg="configuration loaded"`, "msg=free", "msg=done route=r")
}

// A service that a failure keeps down is up again when it need not be down for
// that.
func TestReloadLiftsAService(t *testing.T) {
	const build = "[[route]]\nname = 'build'\nmatch = '*.b'\nshell = 'false'\n"
	const service = "[[route]]\nname = 'service'\nmatch = '*.s'\nservice = true\nshell = 'echo up; sleep 1000 & wait'\n"
	s := begin(t, "-- src/ --\n-- x.toml --\n"+build+service+"after = 'build'\non_failure = 'stop'\n")
	s.AwaitAll("msg=up", "msg=done route=service")
	s.Write("x.b", "1")
	s.Await(logging.Suspended)
	s.Reload("log_level = 'debug'\n" + build + service + "after = 'build'\non_failure = 'stop'\n")
	up := strings.Count(strings.Join(s.Seen, "\n"), "msg=up")
	s.Load(build + service + "after = 'build'\non_failure = 'continue'\n")
	s.AwaitAll(`msg="configuration loaded"`, "msg=up")
	if up != 1 {
		t.Error("it came up while it is to be down")
	}
}

// A candidate that is discarded leaves no watch and no socket, and what is active stays.
func TestDiscard(t *testing.T) {
	site, other := t.TempDir(), t.TempDir()
	file := filepath.Join(t.TempDir(), "x.toml")
	read := func(text string) config.Config {
		t.Helper()
		testenv.Check(t, os.WriteFile(file, []byte("[server]\nroot = '"+site+"'\nport = 0\n"+text), 0o600))
		cfg, err := config.Read(file)
		if err != nil {
			t.Fatal(err)
		}
		return cfg
	}
	d, err := newDaemon(t.Context(), read(""), Options{Stderr: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	defer d.release()
	watches, socket := d.pipeline.group.Watches(), d.web.sockets()[0]

	cfg := read("host = '127.0.0.2'\n[[route]]\nname = 'r'\nroot = '" + other + "'\nrun = ['true']\n")
	routes, wrong := runnable.Resolve(&cfg, d.runner, d.notices())
	testenv.Check(t, wrong.Err())
	c := &candidate{cfg: &resolvedConfig{Config: cfg, resolved: routes, sites: d.sites()}}
	testenv.Check(t, c.prepare(d))
	if n := d.pipeline.group.Watches(); n != watches+1 {
		t.Errorf("%d directories are watched for the candidate, want %d", n, watches+1)
	}
	c.discard(d)

	if n := d.pipeline.group.Watches(); n != watches {
		t.Errorf("%d directories are watched after it was discarded, want %d", n, watches)
	}
	if _, err := c.web[0].Accept(); err == nil {
		t.Error("the socket of the candidate is open")
	}
	if now := d.web.sockets(); len(now) != 1 || now[0] != socket {
		t.Errorf("the sockets are %v, want %v", now, socket)
	}

	// Sockets from systemd stay: they are had once.
	passed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer passed.Close()
	d.activated = []net.Listener{passed}
	sockets, err := d.webSockets(cfg)
	(&candidate{web: sockets}).discard(d)
	if err != nil || len(sockets) != 1 {
		t.Fatalf("from systemd: %v, %v", sockets, err)
	}
	conn, err := net.Dial("tcp", passed.Addr().String())
	if err != nil {
		t.Fatalf("after a refusal: %v", err)
	}
	conn.Close()
	if _, err := d.webSockets(config.Config{}); err == nil {
		t.Error("they may be given up")
	}
}
