package logging

import (
	"bytes"
	"encoding/binary"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/execlog/execlogd/internal/testenv"
	"github.com/execlog/execlogd/job"
)

// fields parses an entry of the journal: name=value each.
func fields(t *testing.T, entry []byte) (all []string) {
	t.Helper()
	for len(entry) > 0 {
		name, rest, ok := bytes.Cut(entry, []byte("\n"))
		if !ok || len(rest) < 9 {
			t.Fatalf("entry ends in %q", entry)
		}
		n := binary.LittleEndian.Uint64(rest)
		all = append(all, string(name)+"="+string(rest[8:8+n]))
		if rest[8+n] != '\n' {
			t.Fatalf("no end of the field in %q", rest[8:])
		}
		entry = rest[8+n+1:]
	}
	return all
}

func TestJournalGetsFields(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "journal")
	listen := func() *net.UnixConn {
		conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
		if err != nil {
			t.Fatal(err)
		}
		return conn
	}
	conn := listen()
	var lines bytes.Buffer
	q := NewQueue(nil)
	log := slog.New(newJournalHandler(&lines, q, Options{JournalSocket: socket}))
	t.Cleanup(func() { q.close(time.Minute) })
	next := func() string {
		t.Helper()
		testenv.Check(t, conn.SetReadDeadline(time.Now().Add(10*time.Second)))
		buf := make([]byte, 1<<18)
		n, err := conn.Read(buf)
		if err != nil {
			t.Fatalf("no entry has come: %v; written as lines: %q", err, lines.String())
		}
		all := fields(t, buf[:n])
		if i := slices.Index(all, "SYSLOG_IDENTIFIER=execlogd"); i >= 0 {
			all = slices.Delete(all, i, i+1)
		}
		return strings.Join(all, " ")
	}

	log.Info("a line of\x1b output", "route", "build")
	if got := next(); got != "MESSAGE=a line of\x1b output PRIORITY=6 EXECLOGD_ROUTE=build" {
		t.Errorf("got %q", got)
	}
	log.With("route", "build", "path", Paths{"/a\nb", "/c"}).Error("failed", "err", "no")
	want := `MESSAGE=build: failed: no path="/a\nb and 1 more" PRIORITY=3 MESSAGE_ID=` + MessageIDs[RunFailed] + ` EXECLOGD_ROUTE=build EXECLOGD_PATH=/a` + "\nb EXECLOGD_PATH=/c EXECLOGD_ERR=no"
	if got := next(); got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	log.Info("left running", "route", "build", "processes", job.Processes{First: []job.Process{{PID: 7, Name: "java"}, {PID: 8, Name: "sh"}}, Count: 2})
	want = `MESSAGE=build: left running processes="java (7), sh (8)" PRIORITY=6 EXECLOGD_ROUTE=build EXECLOGD_PROCESS=java (7) EXECLOGD_PROCESS=sh (8)`
	if got := next(); got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}

	// journald is restarted: another socket has the address.
	conn.Close()
	testenv.Check(t, os.Remove(socket))
	conn = listen()
	defer conn.Close()
	log.Warn("m", "k", "v")
	if got := next(); got != "MESSAGE=m k=v PRIORITY=4 EXECLOGD_K=v" {
		t.Errorf("got %q", got)
	}

	// There are more paths than fit into a datagram.
	paths := slices.Repeat(Paths{"/" + strings.Repeat("x", 4000)}, 1000)
	log.Info("done", "route", "build", "path", paths)
	if got := next(); strings.Count(got, "EXECLOGD_PATH=") < 10 {
		t.Errorf("got %d paths", strings.Count(got, "EXECLOGD_PATH="))
	}
	q.close(time.Minute)
	if lines.String() != "\n" { // which is no entry
		t.Errorf("written as lines: %q", lines.String())
	}
}

// Each text that a JournalWriter gets is an entry.
func TestJournalWriter(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "journal")
	if _, err := NewJournalWriter(Options{JournalSocket: socket}, "x"); err == nil {
		t.Error("there is a journal where there is no socket")
	}
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	testenv.Check(t, err)
	defer conn.Close()
	w, err := NewJournalWriter(Options{JournalSocket: socket}, "execlogd-access")
	testenv.Check(t, err)
	defer w.Close()
	_, err = w.Write([]byte("1.2.3.4 - -\n"))
	testenv.Check(t, err, conn.SetReadDeadline(time.Now().Add(10*time.Second)))
	buf := make([]byte, 1<<10)
	n, err := conn.Read(buf)
	testenv.Check(t, err)
	if got := strings.Join(fields(t, buf[:n]), " "); got != "MESSAGE=1.2.3.4 - - PRIORITY=6 SYSLOG_IDENTIFIER=execlogd-access" {
		t.Errorf("got %q", got)
	}
}
