package daemon

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/execlog/execlogd/inotify"
	"github.com/execlog/execlogd/internal/config"
	"github.com/execlog/execlogd/internal/testenv"
)

// notifySocket takes the messages to systemd.
type notifySocket struct {
	t    *testing.T
	conn *net.UnixConn
}

func newNotifySocket(t *testing.T) *notifySocket {
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	testenv.Check(t, err)
	t.Cleanup(func() { conn.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	return &notifySocket{t, conn}
}

// next returns the next message, or "" when none comes within a time.
func (n *notifySocket) next(within time.Duration) string {
	n.t.Helper()
	testenv.Check(n.t, n.conn.SetReadDeadline(time.Now().Add(within)))
	buf := make([]byte, 8<<10)
	size, err := n.conn.Read(buf)
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		n.t.Fatal(err)
	}
	return string(buf[:size])
}

// await waits for a message with all texts in it.
func (n *notifySocket) await(texts ...string) string {
	n.t.Helper()
	last := ""
	for {
		message := n.next(testenv.WaitLimit)
		if message == "" {
			n.t.Fatalf("no message with %q; the last one was %q", texts, last)
		}
		last = message
		missing := false
		for _, text := range texts {
			missing = missing || !strings.Contains(message, text)
		}
		if !missing {
			return message
		}
	}
}

func TestStatusLine(t *testing.T) {
	n := newNotifySocket(t)
	const config = "[server]\nroot = 'site'\n[[route]]\nname = 'build'\nroot = 'site'\nmatch = '*.md'\nshell = 'test ! -e site/bad'\n"
	s := begin(t, "-- x.toml --\n"+config+"-- site/index.html --\n<p>\n", "-port", "0")
	n.await("READY=1\nSTATUS=serving ", "site on http://127.0.0.1:", ", 1 route, watching 1 directory, 0 pages open")

	// While nothing changes nothing is said.
	if message := n.next(statusInterval * 3 / 2); message != "" {
		t.Errorf("it said %q", message)
	}

	told := s.page("/")
	n.await("STATUS=serving", "1 page open")
	s.Write("site/index.html", "<p>2\n")
	told()
	n.await("last change ", "site/index.html")
	s.Write("site/a/b/", "")
	n.await("watching 3 directories")

	s.Write("site/a/x.md", "1")
	n.await("last change ", "site/a/x.md", "last run ", ": build ok")
	s.Write("site/bad", "")
	s.Write("site/a/x.md", "2")
	n.await(": build failed")

	s.Load(config + "x = 1\n")
	n.await("RELOADING=1")
	n.await("READY=1\nSTATUS=serving", "configuration refused ", "unknown key")
	s.Load(config)
	n.await("RELOADING=1")
	if message := n.await("READY=1\nSTATUS=serving"); strings.Contains(message, "refused") {
		t.Errorf("it says still %q", message)
	}

	s.Stop()
	n.await("STOPPING=1\nSTATUS=stopping")
	n.await("EXTEND_TIMEOUT_USEC=")
	if message := n.next(time.Millisecond); message != "" {
		t.Errorf("at last it said %q", message)
	}
}

// Many changes are one message a second.
func TestStatusLineIsRateLimited(t *testing.T) {
	n := newNotifySocket(t)
	s := begin(t, "-- x.toml --\n[server]\nroot = 'site'\n-- site/index.html --\n<p>\n", "-port", "0")
	n.await("READY=1")

	began := time.Now()
	made := make(chan struct{})
	go func() {
		defer close(made)
		for i := range 30 {
			if err := os.Mkdir(filepath.Join(s.Dir, "site", fmt.Sprint(i)), 0o755); err != nil {
				t.Error(err)
			}
			time.Sleep(statusInterval / 20)
		}
	}()
	messages := 0
	for {
		messages++
		if strings.Contains(n.await("STATUS="), "watching 31 directories") {
			break
		}
	}
	<-made
	if most := int(time.Since(began)/statusInterval) + 2; messages > most {
		t.Errorf("%d messages, want at most %d", messages, most)
	}
}

// What comes from files and errors can be no message of its own.
func TestStatusLineIsOneLine(t *testing.T) {
	l := newLastEvents()
	l.noteChange([]inotify.Event{{Root: "/srv", Path: "a\nREADY=1\xff" + strings.Repeat("é", 1000), Mask: inotify.Modify}})
	l.noteReload(errors.New("x.toml:1:1: a\nx.toml:2:1: b\x1b[31m"))
	for _, text := range l.texts() {
		if strings.ContainsAny(text, "\n\x1b") || !utf8.ValidString(text) || len(text) > maxStatusError+100 {
			t.Errorf("%q", text)
		}
	}
	if all := strings.Join(l.texts(), " "); !strings.Contains(all, `/srv/a\nREADY=1\xff`) || !strings.Contains(all, "x.toml:1:1: a; x.toml:2:1: b") {
		t.Errorf("%s", all)
	}
}

// While systemd does not read, callbacks note what happens and go on, and nothing is told after the
// stop.
func TestStatusWhileSystemdDoesNotRead(t *testing.T) {
	n := newNotifySocket(t)
	d, err := newDaemon(t.Context(), config.Config{}, Options{Stderr: io.Discard})
	testenv.Check(t, err)
	defer d.release()
	d.notifyStopping()
	d.tellStatus("", "serving")
	n.await("EXTEND_TIMEOUT_USEC=")
	if message := n.next(time.Millisecond); message != "" {
		t.Errorf("after the stop it said %q", message)
	}

	d.last.telling.Lock() // as while a message waits for room
	defer d.last.telling.Unlock()
	noted := make(chan struct{})
	go func() {
		d.last.noteChange([]inotify.Event{{Root: "/srv", Path: "a", Mask: inotify.Modify}})
		close(noted)
	}()
	select {
	case <-noted:
	case <-time.After(testenv.WaitLimit):
		t.Fatal("a change cannot be noted while systemd is told something")
	}
}

// The name of a directory is in one line, with nothing that a terminal would act upon, of what
// is said at the start and told to systemd.
func TestDirectoryWithAnOddName(t *testing.T) {
	s := begin(t, "-- a\nb\x1b[31m/ --\n-- x.toml --\n[server]\nroot = \"a\\nb\\u001b[31m\"\nport = 0\n")
	if want := `execlogd: serving "` + s.Dir + `/a\nb\x1b[31m" on http://`; !strings.HasPrefix(s.Seen[0], want) {
		t.Errorf("it says %q, want %s", s.Seen[0], want)
	}
}
