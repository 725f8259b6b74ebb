package daemon

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"github.com/execlog/execlogd/internal/config"
	"github.com/execlog/execlogd/internal/testenv"
)

// A session is a daemon of this package, and a browser of its pages.
type session struct {
	*testenv.Session
	t *testing.T
}

// begin starts a daemon with the files of an archive and flags, as testenv.Begin does.
func begin(t *testing.T, archive string, args ...string) *session {
	t.Helper()
	return &session{testenv.Begin(t, serve, archive, args...), t}
}

func serve(ctx context.Context, args []string, stderr io.Writer) error {
	load := func() (config.Config, error) {
		cfg, _, err := config.Parse("execlogd", "", args)
		return cfg, err
	}
	cfg, err := load()
	if err != nil {
		return err
	}
	return Run(ctx, cfg, Options{Load: load, Stderr: stderr})
}

// get returns what a page shows.
func (s *session) get(path string) string {
	s.t.Helper()
	_, body := s.Get(path, "")
	return body
}

// page opens the socket of a page, and returns what it is told next.
func (s *session) page(path string) (told func() string) {
	s.t.Helper()
	return s.introduce(s.connect(), s.URL+path)
}

// introduce says at a socket that it is that of a page, and returns what that is told next.
func (s *session) introduce(conn *websocket.Conn, url string) (told func() string) {
	s.t.Helper()
	for _, m := range []string{
		`{"command":"hello","protocols":["http://livereload.com/protocols/official-7"]}`,
		fmt.Sprintf(`{"command":"info","plugins":{},"url":"%s"}`, url),
	} {
		testenv.Check(s.t, conn.Write(s.t.Context(), websocket.MessageText, []byte(m)))
	}
	next := func() string {
		ctx, cancel := context.WithTimeout(s.t.Context(), testenv.WaitLimit)
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

// connect opens the socket of a page that sends messages.
func (s *session) connect(messages ...string) *websocket.Conn {
	s.t.Helper()
	conn, _, err := websocket.Dial(s.t.Context(), s.URL+"/livereload", nil)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { conn.CloseNow() })
	for _, m := range messages {
		if err := conn.Write(s.t.Context(), websocket.MessageText, []byte(m)); err != nil {
			s.t.Fatal(err)
		}
	}
	return conn
}

// isTold reports what a page was told, if it is not what is wanted.
func (s *session) isTold(told func() string, want string) {
	s.t.Helper()
	if m := told(); !strings.Contains(m, want) {
		s.t.Errorf("told %s, want %s", m, want)
	}
}

// unusedPort returns a port that nobody has.
func unusedPort(t *testing.T) int {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().(*net.TCPAddr).Port
}
