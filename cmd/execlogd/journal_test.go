package main

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

	"github.com/execlog/execlogd/job"
)

// fields reads an entry of the journal.
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
	q := newLogQueue()
	h := newJournalHandler(&lines, &slog.HandlerOptions{Level: slog.LevelInfo}, socket, q)
	t.Cleanup(func() {
		q.close(time.Minute)
		h.out.conn.Close()
	})
	log := slog.New(h)
	next := func() string {
		buf := make([]byte, 1<<18)
		n, err := conn.Read(buf)
		if err != nil {
			t.Fatal(err)
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
	log.With("route", "build", "path", pathList{"/a\nb", "/c"}).Error("failed", "err", "no")
	want := `MESSAGE=msg=failed route=build path="/a\nb and 1 more" err=no PRIORITY=3 EXECLOGD_ROUTE=build EXECLOGD_PATH=/a` + "\nb EXECLOGD_PATH=/c"
	if got := next(); got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	log.Info(leftRunning, "route", "build", "processes", job.Processes{First: []job.Process{{PID: 7, Name: "java"}, {PID: 8, Name: "sh"}}, Count: 2})
	want = `MESSAGE=msg="left running" route=build processes="java (7), sh (8)" PRIORITY=6 EXECLOGD_ROUTE=build EXECLOGD_PROCESS=java (7) EXECLOGD_PROCESS=sh (8)`
	if got := next(); got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}

	// The journal is started anew.
	conn.Close()
	if err := os.Remove(socket); err != nil {
		t.Fatal(err)
	}
	conn = listen()
	defer conn.Close()
	log.Warn("m", "k", "v")
	if got := next(); got != "MESSAGE=msg=m k=v PRIORITY=4" {
		t.Errorf("got %q", got)
	}

	// More than fits.
	paths := slices.Repeat(pathList{"/" + strings.Repeat("x", 4000)}, 1000)
	log.Info("done", "route", "build", "path", paths)
	if got := next(); strings.Count(got, "EXECLOGD_PATH=") < 10 {
		t.Errorf("got %d paths", strings.Count(got, "EXECLOGD_PATH="))
	}
	q.close(time.Minute)
	if lines.Len() > 0 {
		t.Errorf("written as lines: %s", lines.String())
	}
}
