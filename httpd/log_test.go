package httpd

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/execlog/execlogd/httpd/internal/livereload"
)

// A log that many goroutines write.
type lockedLog struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lockedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lockedLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *lockedLog) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// lines are the lines of a log so far, without times.
func (l *lockedLog) lines() []string {
	text := regexp.MustCompile(`(?m)^time=\S+ `).ReplaceAllString(l.String(), "")
	return slices.Collect(strings.Lines(text))
}

// Of the lines that a client can cause, a few are logged, and then one a minute, which
// says how many were left out.
func TestLogIsLimited(t *testing.T) {
	root := t.TempDir()
	for i := range 300 {
		write(t, root, fmt.Sprintf("policy/%d.html", i), `<!doctype html><meta http-equiv="Content-Security-Policy" content="default-src 'none'">`)
	}
	requests := map[string]func(i int) *http.Request{
		"another Host": func(i int) *http.Request {
			return at("127.0.0.1:8000", "GET", "/", fmt.Sprintf("%d.example", i))
		},
		"another Origin": func(i int) *http.Request {
			return at("127.0.0.1:8000", "GET", "/livereload", "localhost:8000", "Origin", fmt.Sprintf("http://%d.example", i))
		},
		"a policy that is reported": func(i int) *http.Request {
			return at("127.0.0.1:8000", "GET", fmt.Sprint("/livereload.js?blocked=", i), "localhost:8000")
		},
		"a policy in a page": func(i int) *http.Request {
			return at("127.0.0.1:8000", "GET", fmt.Sprintf("/policy/%d.html", i), "localhost:8000")
		},
	}
	for name, request := range requests {
		burst := slices.Repeat([]string{""}, logBurst)
		if name == "a policy in a page" {
			burst = slices.Repeat([]string{""}, logPolicyBurst)
		}
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log lockedLog
				s := must(New(Options{Root: root, Logger: log.logger()}))(t)
				defer s.Close()
				asked, said := 0, 0
				ask := func(times int, want ...string) {
					t.Helper()
					for range times {
						s.answerTo(request(asked))
						asked++
					}
					lines := log.lines()[said:]
					said += len(lines)
					if len(lines) != len(want) {
						t.Fatalf("%d requests caused %d log lines, want %d:\n%s", times, len(lines), len(want), strings.Join(lines, ""))
					}
					for i, line := range lines {
						if !strings.Contains(line, want[i]) || want[i] == "" && strings.Contains(line, "suppressed") {
							t.Errorf("got %swant %s", line, want[i])
						}
					}
				}
				ask(len(burst)+15, burst...)
				time.Sleep(time.Minute - time.Second)
				ask(20)
				time.Sleep(time.Second)
				ask(20, "suppressed=35")
				time.Sleep(time.Minute)
				ask(1, "suppressed=19")
				time.Sleep(time.Hour)
				ask(len(burst)+5, burst...)
				s.Close()
				ask(0, "suppressed=5")
				s.Close()
				ask(0)
			})
		})
	}
}

// A page whose policy is reported gets the script again, and is named once.
func TestReportedPoliciesAreLogged(t *testing.T) {
	var log lockedLog
	run := serve(t, Options{Logger: log.logger()})
	for _, page := range []string{"http://127.0.0.1/a", "http://127.0.0.1/a", "http://127.0.0.1/b", ""} {
		run.shows(t, livereload.Client().Text, "/livereload.js?blocked=connect-src", "Referer", page)
	}
	if lines := strings.Count(log.String(), "page's policy blocks live reload"); lines != 3 {
		t.Errorf("%d lines for 3 pages:\n%s", lines, &log)
	}
}

// One kind of line does not keep another from being logged, and the first host that is
// refused is named.
func TestLogLimitsArePerKind(t *testing.T) {
	var log lockedLog
	s := newServer(t, Options{Root: t.TempDir(), Logger: log.logger()})
	for range 100 {
		s.answerTo(at("127.0.0.1:8000", "GET", "/", "preview.example.com"))
	}
	s.answerTo(at("127.0.0.1:8000", "GET", "/livereload", "localhost:8000", "Origin", "http://one.example"))
	lines := log.lines()
	if n := len(lines); n > 10 || !strings.Contains(lines[0], "host=preview.example.com") || !strings.Contains(lines[n-1], "origin=http://one.example") {
		t.Errorf("%d lines: %.1000s", n, strings.Join(lines, ""))
	}
}

// A page whose policy was not named for want of room is named later.
func TestSuppressedPolicyIsLoggedLater(t *testing.T) {
	root := t.TempDir()
	const pages = 2*logPolicyBurst + 10
	for i := range pages {
		write(t, root, fmt.Sprintf("%03d.html", i), `<!doctype html><meta http-equiv="Content-Security-Policy" content="default-src 'none'">`)
	}
	synctest.Test(t, func(t *testing.T) {
		var log lockedLog
		s := must(New(Options{Root: root, Logger: log.logger()}))(t)
		defer s.Close()
		for range 4 {
			for i := range pages {
				s.answerTo(at("127.0.0.1:8000", "GET", fmt.Sprintf("/%03d.html", i), "localhost:8000"))
			}
			time.Sleep(time.Hour)
		}
		for i := range pages {
			if n := strings.Count(log.String(), fmt.Sprintf("path=%03d.html", i)); n != 1 {
				t.Errorf("%03d.html is named %d times, want once:\n%s", i, n, log.String())
			}
		}
	})
}

// exhaust makes every file descriptor one too many, also those that others give back
// meanwhile. It returns what ends that.
func exhaust(t testing.TB) (end func()) {
	t.Helper()
	var before syscall.Rlimit
	check(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &before))
	none := before
	none.Cur = 0
	check(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &none))
	end = func() { syscall.Setrlimit(syscall.RLIMIT_NOFILE, &before) }
	t.Cleanup(end)
	return end
}

// When descriptors have run out, for files and for connections, the log says so once,
// and the server goes on when there are some again.
func TestDescriptorsRunOut(t *testing.T) {
	root := tree(t, "a.txt", "a")
	begin := func(t *testing.T) (run *running, log *lockedLog, logged func() int) {
		log = new(lockedLog)
		run = serve(t, Options{Root: root, Logger: log.logger()})
		return run, log, func() int { return strings.Count(log.String(), `level=WARN msg="no file descriptor left"`) }
	}

	t.Run("files", func(t *testing.T) {
		run, log, logged := begin(t)
		var client http.Client // keeps its connection
		defer client.CloseIdleConnections()
		get := func() int {
			resp := must(client.Get(run.url("/a.txt")))(t)
			io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			return resp.StatusCode
		}
		get()
		end := exhaust(t)
		defer end()
		for range 50 {
			if code := get(); code != http.StatusServiceUnavailable {
				t.Fatalf("answered with %d", code)
			}
		}
		end()
		if n := logged(); n != 1 {
			t.Errorf("50 requests without descriptors were logged %d times, want the first:\n%s", n, log.String())
		}
		if code := get(); code != http.StatusOK {
			t.Errorf("with descriptors it is answered with %d", code)
		}
	})
	t.Run("connections", func(t *testing.T) {
		run, log, logged := begin(t)
		ln := must(net.Listen("tcp", "127.0.0.1:0"))(t)
		conn := must(net.Dial("tcp", ln.Addr().String()))(t)
		defer conn.Close()
		end := exhaust(t)
		defer end()
		serveListener(t, run.Server, ln)
		await(t, func() bool { return logged() > 0 }, "accepting fails and nothing is logged at level Warn")
		time.Sleep(50 * time.Millisecond) // in which it is tried again some times
		end()
		if answer := exchange(t, conn, "GET /a.txt HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"); !strings.Contains(answer, "200 OK") {
			t.Errorf("with descriptors the answer is %q", answer)
		}
		if n := logged(); n != 1 {
			t.Errorf("that there were none was logged %d times:\n%s", n, log.String())
		}
	})
}

// A panic while a request is answered is an error, and logged with its stack, and
// not with each request.
func TestPanicsOfHandlersAreLogged(t *testing.T) {
	var log lockedLog
	run := serve(t, Options{
		Logger:  log.logger(),
		Watches: func() []Watch { panic("no watches here") },
	})
	for range 20 {
		run.raw(t, "GET /.execlogd/ HTTP/1.1\r\nHost: localhost\r\n\r\n")
	}
	lines := log.lines()
	if len(lines) == 0 || len(lines) > 5 {
		t.Fatalf("20 panics were logged in %d lines, want the first 5 at most", len(lines))
	}
	for _, want := range []string{"level=ERROR", `msg="request panicked"`, "no watches here", "log_test.go"} {
		if !strings.Contains(lines[0], want) {
			t.Errorf("there is no %q in %.300s", want, lines[0])
		}
	}
}
