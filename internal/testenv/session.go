package testenv

import (
	"bufio"
	"context"
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
)

// A Session is a daemon with a configuration, in a directory of its own.
type Session struct {
	Dir  string
	URL  string      // of its pages
	Log  chan string // lines that are not awaited yet; closed at its end
	Seen []string    // those that were
	Stop func()      // waits for its end, which must be without an error

	t *testing.T
}

// Begin starts a daemon in a directory with files, which are separated as in a txtar
// archive: a file x.toml is its configuration, a name with a slash at its end a directory.
// run is called with -config and the other arguments.
func Begin(t *testing.T, run func(ctx context.Context, args []string, stderr io.Writer) error, archive string, args ...string) *Session {
	t.Helper()
	s := &Session{t: t, Dir: t.TempDir(), Log: make(chan string, 1000)}
	for _, part := range strings.Split(archive, "-- ")[1:] {
		name, text, _ := strings.Cut(part, " --\n")
		s.Write(name, text)
	}

	out, stderr := io.Pipe()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- run(ctx, append([]string{"-config", s.Dir + "/x.toml"}, args...), stderr)
		stderr.Close()
	}()
	go func() {
		defer close(s.Log)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			s.Log <- lines.Text()
		}
	}()

	s.Stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(s.Stop)
	s.Await("execlogd: ")
	return s
}

// Write writes a file, or makes a directory if the name has a slash at its end.
func (s *Session) Write(name, text string) {
	s.t.Helper()
	path := filepath.Join(s.Dir, name)
	if strings.HasSuffix(name, "/") {
		Check(s.t, os.MkdirAll(path, 0o755))
		return
	}
	Check(s.t, os.MkdirAll(filepath.Dir(path), 0o755))
	Check(s.t, os.WriteFile(path, []byte(text), 0o644))
}

// Fifo makes a pipe with a name, on which a job can be held up.
func (s *Session) Fifo(name string) {
	s.t.Helper()
	Check(s.t, syscall.Mkfifo(filepath.Join(s.Dir, name), 0o644))
}

// Await returns the next line of the log that has text in it, and reports what else is
// wanted there and missing. The session goes on at the server that the line names, if it
// does.
func (s *Session) Await(text string, also ...string) string {
	s.t.Helper()
	for {
		select {
		case line, ok := <-s.Log:
			s.Seen = append(s.Seen, line)
			if strings.Contains(line, text) {
				if at := regexp.MustCompile(`https?://[^ ,"/]+`).FindString(line); at != "" {
					s.URL = at
				}
				for _, want := range also {
					if !strings.Contains(line, want) {
						s.t.Errorf("no %q in %s", want, line)
					}
				}
				return line
			}
			if ok {
				continue
			}
		case <-time.After(WaitLimit):
		}
		s.t.Fatalf("no %q in the log:\n%s", text, strings.Join(s.Seen, "\n"))
	}
}

// AwaitAll is Await for several lines in any order.
func (s *Session) AwaitAll(texts ...string) {
	s.t.Helper()
	for len(texts) > 0 {
		line := s.Await("")
		texts = slices.DeleteFunc(texts, func(text string) bool { return strings.Contains(line, text) })
	}
}

// Words are all that a pattern matches in the log so far, sorted.
func (s *Session) Words(pattern string) []string {
	words := regexp.MustCompile(pattern).FindAllString(strings.Join(s.Seen, "\n"), -1)
	slices.Sort(words)
	return words
}

// Load changes the configuration and sends SIGHUP.
func (s *Session) Load(text string) {
	s.t.Helper()
	s.Write("x.toml", text)
	s.Hangup()
}

// Reload is Load, and waits until that is done.
func (s *Session) Reload(text string) {
	s.t.Helper()
	s.Load(text)
	s.Await(`msg="configuration loaded"`)
}

// Hangup sends SIGHUP.
func (s *Session) Hangup() {
	s.t.Helper()
	Check(s.t, syscall.Kill(os.Getpid(), syscall.SIGHUP))
}

// Get returns the status and the body of the answer to a request for a path, which may
// have the Host of another server.
func (s *Session) Get(path, host string) (status int, body string) {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, s.URL+path, nil)
	Check(s.t, err)
	req.Host = host
	res, err := http.DefaultClient.Do(req)
	Check(s.t, err)
	defer http.DefaultClient.CloseIdleConnections()
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	Check(s.t, err)
	return res.StatusCode, string(text)
}
