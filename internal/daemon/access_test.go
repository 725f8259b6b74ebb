package daemon

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/execlog/execlogd/httpd"
	"github.com/execlog/execlogd/internal/accesslog"
	"github.com/execlog/execlogd/internal/config"
	"github.com/execlog/execlogd/internal/logging"
	"github.com/execlog/execlogd/internal/testenv"
)

// awaitAccess waits until the file of an access log has a line with a text.
func (s *session) awaitAccess(name, text string) (all string) {
	s.t.Helper()
	for end := time.Now().Add(testenv.WaitLimit); ; time.Sleep(time.Millisecond) {
		log, err := os.ReadFile(filepath.Join(s.Dir, name))
		if err == nil && strings.Contains(string(log), text) {
			return string(log)
		}
		if time.Now().After(end) {
			s.t.Fatalf("no %q in %s: %q, %v", text, name, log, err)
		}
	}
}

// Requests are in the file that the configuration names, which is never served, and opened
// again when the configuration is read again, also when that is refused.
func TestAccessLog(t *testing.T) {
	const conf = "[server]\nroot = 'site'\nport = 0\naccess_log = 'site/access.log'\n"
	s := begin(t, "-- x.toml --\n"+conf+"-- site/a.txt --\nhello")
	s.get("/a.txt?1")
	s.awaitAccess("site/access.log", `"GET /a.txt?1 HTTP/1.1" 200 5 `)
	for _, name := range []string{"/access.log", "/access.log.1"} {
		s.Write("site/access.log.1", "secret")
		if status, text := s.Get(name, ""); status != http.StatusNotFound {
			t.Errorf("%s is served: %d %s", name, status, text)
		}
	}

	moved := filepath.Join(s.Dir, "moved.log")
	move := func() { testenv.Check(t, os.Rename(filepath.Join(s.Dir, "site/access.log"), moved)) }
	move()
	s.Load("[server]\nport = 'wrong'\n")
	s.Await(`msg="configuration refused, the old one stays"`)
	s.get("/a.txt?2")
	s.awaitAccess("site/access.log", "/a.txt?2")

	s.Load(strings.ReplaceAll(conf, "site/access.log", "no/such/access.log"))
	s.Await(`msg="configuration refused, the old one stays"`, "no/such/access.log")
	s.Reload(conf + "access_log_format = 'json'\n")
	s.get("/a.txt?3")
	s.awaitAccess("site/access.log", `"target":"/a.txt?3","proto":"HTTP/1.1","status":200,"bytes":5,"seconds":0.`)
	s.Reload("[server]\nroot = 'site'\nport = 0\n")
	s.get("/a.txt?4")
	s.Stop()
	if all := s.awaitAccess("site/access.log", ""); strings.Contains(all, "/a.txt?4") {
		t.Errorf("a request is logged when that is off:\n%s", all)
	}
}

// Lines for a terminal are written in turn with the log and the line of state.
func TestAccessLogOnTheTerminal(t *testing.T) {
	terminal, err := os.Create(filepath.Join(t.TempDir(), "terminal"))
	testenv.Check(t, err)
	defer terminal.Close()
	d := &daemon{queue: logging.NewQueue(nil), stdout: terminal, stderr: terminal}
	defer d.queue.Close()
	line := logging.NewLiveLine(terminal, d.queue)
	d.out = line
	to, err := d.accessTarget(&config.Config{Serve: true, AccessLog: config.AccessToStdout})
	testenv.Check(t, err)
	access := accesslog.New(nil, func(err error) { t.Error(err) })
	access.Set(to, accesslog.Combined)

	const requests = 2000
	for i := range requests {
		line.Set(fmt.Sprintf(" %d pages open", i))
		fmt.Fprintln(d.queue.Writer(d.out), "logged")
		access.Log(httpd.Answer{Method: http.MethodGet, Target: "/a.txt"})
	}
	written := func() (text []byte, lines int) {
		text, err := os.ReadFile(terminal.Name())
		testenv.Check(t, err)
		return text, strings.Count(string(text), "GET /a.txt")
	}
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if _, n := written(); n == requests { // Close waits for a second at most
			break
		}
	}
	access.Close()
	line.Hide()
	text, n := written()
	if n != requests || !strings.Contains(string(text), "pages open") {
		t.Errorf("%d lines of %d requests, or no line of state:\n%q", n, requests, text)
	}
}
