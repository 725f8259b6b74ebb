package daemon

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/execlog/execlogd/httpd"
	"github.com/execlog/execlogd/inotify"
	"github.com/execlog/execlogd/job"
	"github.com/execlog/execlogd/router"
)

func TestRunsInWords(t *testing.T) {
	start := time.Now()
	run := job.Run{
		ID: 3, Route: "build", Argv: []string{"make", "a b"}, Start: start, Took: time.Second, Batch: 7, Output: []byte("out"),
		Events: []inotify.Event{{Root: "/src", Path: "x/a.md"}, {Root: "/src", Path: "."}}, Outcome: router.Succeeded,
	}
	want := httpd.Run{
		ID: 3, Route: "build", Command: `make "a b"`, Start: start, Took: time.Second, Batch: 7, Output: []byte("out"),
		Paths: []string{"x/a.md", "/src"}, State: httpd.RunDone, Outcome: "done",
	}
	if got := statusOfRun(run); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	failure := errors.New("exit status 7")
	tests := []struct {
		outcome router.Outcome
		ready   bool
		state   httpd.RunState
		words   string
	}{
		{router.Running, false, httpd.RunRunning, "running"},
		{router.Running, true, httpd.RunRunning, "ready"},
		{router.Failed, false, httpd.RunFailed, "exit status 7"},
		{router.Failed, true, httpd.RunFailed, "died: exit status 7"},
		{router.Stopped, false, httpd.RunStopped, "stopped"},
		{router.Restarted, true, httpd.RunStopped, "restarted"},
	}
	for _, tt := range tests {
		run.Outcome, run.Ready, run.Err = tt.outcome, tt.ready, failure
		if got := statusOfRun(run); got.State != tt.state || got.Outcome != tt.words || got.Ready != tt.ready {
			t.Errorf("%v, ready %v: got %s, %s; want %s, %s", tt.outcome, tt.ready, got.State, got.Outcome, tt.state, tt.words)
		}
	}
	leaves := job.Run{Left: job.Processes{First: []job.Process{{PID: 7, Name: "java"}}, Count: 2}}
	if got := statusOfRun(leaves).LeftBehind; got != "left running: java (7) and 1 more" {
		t.Errorf("the status page has %q", got)
	}
}

// The line at the start has the address at which the owner sees all, which stays
// good when the configuration is loaded anew. No other line has the token, nor
// has what systemd shows to every user.
func TestOwnersAddress(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "notify")
	notices, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer notices.Close()
	t.Setenv("NOTIFY_SOCKET", socket)
	const text = "[server]\nroot = '.'\nport = 0\n[[route]]\nname = 'build'\nmatch = '*.md'\nstart = true\nrun = ['echo', 'private']\n"
	s := begin(t, "-- index.html --\n-- x.toml --\n"+text, "-log-level", "debug")
	line := s.Await("execlogd: status page ")
	page := strings.TrimPrefix(line, "execlogd: status page ")
	address, token, _ := strings.Cut(page, "?token=")
	if address != s.URL+"/.execlogd/" || len(token) < 26 {
		t.Fatalf("got %q", line)
	}
	s.Await("msg=done route=build")

	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Jar: jar, Transport: &http.Transport{DisableKeepAlives: true}}
	look := func(url string) string {
		req, err := http.NewRequestWithContext(t.Context(), "GET", url, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Forwarded-For", "10.0.0.7")
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(body)
	}
	if strings.Contains(look(address), "echo private") {
		t.Error("a visitor sees the command")
	}
	if !strings.Contains(look(page), "echo private") {
		t.Error("the owner does not see the command")
	}
	s.Reload(text + "\nstdin = 'none'\n[[route]]\nname = 'other'\nmatch = '*.txt'\nrun = ['true']\n")
	if !strings.Contains(look(address), "echo private") {
		t.Error("the owner's cookie is not good any more")
	}
	if !strings.Contains(look(page), "echo private") {
		t.Error("the address is not good any more")
	}

	s.Stop()
	for line := range s.Log {
		s.Seen = append(s.Seen, line)
	}
	for _, seen := range s.Seen {
		if strings.Contains(seen, token) && seen != line {
			t.Errorf("the token is in %q", seen)
		}
	}
	buf := make([]byte, 1<<16)
	for stopping := false; !stopping; {
		n, err := notices.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		stopping = strings.Contains(string(buf[:n]), "STOPPING=1")
		if strings.Contains(string(buf[:n]), token) {
			t.Errorf("systemd is told %q", buf[:n])
		}
	}
}

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
	s.Write("src/a.md", "text\n")
	s.Await("msg=failed")
	body := s.get("/.execlogd/")
	for _, want := range []string{`class="name">build</span> <span class="outcome">exit status 3 after \d`, `<code>a.md</code>`, `see a.md\n</pre>`} {
		if !regexp.MustCompile(want).MatchString(body) {
			t.Errorf("no %s in %s", want, body)
		}
	}
}
