package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// BenchmarkLatency is the time from write(2) to the message at a client beyond
// the delay that was asked for, with the daemon as a process of its own and a
// real websocket. Its floor is measured in turns with it: a process that reads
// from inotify and writes a frame, and does nothing else.
func BenchmarkLatency(b *testing.B) {
	for _, delay := range []time.Duration{0, 20 * time.Millisecond} {
		b.Run(fmt.Sprint("delay=", delay), func(b *testing.B) {
			floor := startBareReader(b)
			page := startDaemon(b, "-delay", delay.String(), "-debounce", "0")
			var least, took []time.Duration
			for b.Loop() {
				for range 300 {
					least = append(least, floor.save(b))
					took = append(took, page.save(b)-delay)
				}
			}
			b.ReportMetric(ms(percentile(took, 50)), "p50-ms")
			b.ReportMetric(ms(percentile(took, 99)), "p99-ms")
			b.ReportMetric(ms(percentile(least, 50)), "floor-p50-ms")
			b.ReportMetric(ms(percentile(least, 99)), "floor-p99-ms")
			b.ReportMetric(ms(percentile(took, 50))/ms(percentile(least, 50)), "x-floor")
		})
	}
}

func percentile(of []time.Duration, n int) time.Duration {
	return slices.Sorted(slices.Values(of))[(len(of)-1)*n/100]
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// A saved is a file that somebody watches, and when we heard of its changes.
type saved struct {
	path  string
	heard <-chan time.Time // closed when the connection ends
}

// save writes the file in place and returns how long after write(2) we heard
// of it.
func (s *saved) save(b testing.TB) time.Duration {
	f, err := os.OpenFile(s.path, os.O_WRONLY, 0)
	if err != nil {
		b.Fatal(err)
	}
	start := time.Now()
	f.Write([]byte("content"))
	f.Close()
	heard, open := <-s.heard
	if !open {
		b.Fatal("the connection ended")
	}
	return heard.Sub(start)
}

// hear calls read again and again and says when it has returned.
func hear(read func() error) <-chan time.Time {
	heard := make(chan time.Time)
	go func() {
		defer close(heard)
		for read() == nil {
			heard <- time.Now()
		}
	}()
	return heard
}

// watched makes a file that can be saved.
func watched(b testing.TB) (dir, path string) {
	dir = b.TempDir()
	path = filepath.Join(dir, "style.css")
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		b.Fatal(err)
	}
	return dir, path
}

func startBareReader(b testing.TB) *saved {
	dir, path := watched(b)
	addr := startRole(b, "reader", dir)
	return &saved{path, listenAt(b, addr)}
}

func startDaemon(b testing.TB, args ...string) *saved {
	dir, path := watched(b)
	addr := startRole(b, append([]string{"daemon", "-root", dir, "-port", "0"}, args...)...)
	return &saved{path, listenAt(b, addr)}
}

// listenAt opens a websocket, introduces itself, and says when messages come.
func listenAt(b testing.TB, addr string) <-chan time.Time {
	conn, _, err := websocket.Dial(context.Background(), "ws://"+addr+"/livereload", nil)
	if err != nil {
		b.Fatal(err)
	}
	for _, text := range []string{
		`{"command":"hello","protocols":["http://livereload.com/protocols/official-7"]}`,
		`{"command":"info","plugins":{},"url":"http://` + addr + `/"}`,
	} {
		if err := conn.Write(context.Background(), websocket.MessageText, []byte(text)); err != nil {
			b.Fatal(err)
		}
	}
	read := func() error {
		_, _, err := conn.Read(context.Background())
		return err
	}
	read() // the answer to hello
	heard := hear(read)
	if err := conn.Ping(context.Background()); err != nil { // then the info was read
		b.Fatal(err)
	}
	b.Cleanup(func() {
		conn.CloseNow()
		for range heard {
		}
	})
	return heard
}

// Without a delay a save is announced as soon as it is there, and not sooner:
// who reads the file on hearing of it finds all of it. As each save waits for
// the announcement of the one before, an announcement too many is one too early.
func TestNoSaveIsAnnouncedBeforeItIsWritten(t *testing.T) {
	for _, kind := range kindsOfSaves {
		t.Run(kind.name, func(t *testing.T) {
			page := startDaemon(t, "-delay", "0", "-debounce", "0")
			for i := range 300 {
				part := bytes.Repeat([]byte{byte(i)}, 2000)
				read := make(chan []byte, 1)
				go func() {
					<-page.heard
					content, _ := os.ReadFile(page.path)
					read <- content
				}()
				kind.save(t, page.path, part)
				if got := <-read; !bytes.Equal(got, bytes.Repeat(part, parts)) {
					t.Fatalf("save %d: %d bytes were there when it was announced", i, len(got))
				}
			}
		})
	}
}

// parts is how many equal parts a file is written in.
const parts = 5

var kindsOfSaves = []struct {
	name string
	save func(t *testing.T, path string, part []byte)
}{
	{"written over", func(t *testing.T, path string, part []byte) { writeParts(t, path, 0, part) }},
	{"truncated and written", func(t *testing.T, path string, part []byte) { writeParts(t, path, os.O_TRUNC, part) }},
	{"written beside and renamed", func(t *testing.T, path string, part []byte) {
		draft := filepath.Join(filepath.Dir(path), ".draft")
		writeParts(t, draft, os.O_CREATE, part)
		if err := os.Rename(draft, path); err != nil {
			t.Fatal(err)
		}
	}},
}

func writeParts(t *testing.T, path string, flags int, part []byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY|flags, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for range parts {
		if _, err := f.Write(part); err != nil {
			t.Fatal(err)
		}
		runtime.Gosched() // the daemon has its chance
	}
}

const roleVariable = "EXECLOGD_TEST_ROLE"

var addressLine = regexp.MustCompile(`127\.0\.0\.1:\d+`)

// startRole runs this test's binary in a role, and returns the address that it
// says it has.
func startRole(b testing.TB, args ...string) string {
	b.Helper()
	line, err := play(b, args...).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	return addressLine.FindString(line)
}

// play runs this test's binary in a role until the test ends, and returns what
// it writes to standard error.
func play(b testing.TB, args ...string) *bufio.Reader {
	b.Helper()
	cmd := exec.Command(os.Args[0], args[1:]...)
	cmd.Env = append(os.Environ(), roleVariable+"="+args[0])
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return bufio.NewReader(stderr)
}

// playRole is the other process. It returns when it is no such process.
func playRole() {
	var err error
	switch os.Getenv(roleVariable) {
	case "":
		return
	case "daemon":
		err = run(context.Background(), os.Args[1:], io.Discard, os.Stderr)
	case "main":
		main()
	case "reader":
		err = bareReader(os.Args[1])
	}
	fmt.Fprintln(os.Stderr, strings.TrimSpace(fmt.Sprint(err)))
	os.Exit(1)
}

// bareReader is the floor: whatever inotify says of dir makes it write the
// frame of a message.
func bareReader(dir string) error {
	fd, err := syscall.InotifyInit1(syscall.IN_CLOEXEC)
	if err != nil {
		return err
	}
	if _, err := syscall.InotifyAddWatch(fd, dir, syscall.IN_CLOSE_WRITE); err != nil {
		return err
	}
	socket, err := bareSocket()
	if err != nil {
		return err
	}
	text := `{"command":"reload","path":"/style.css","liveCSS":true,"liveImg":true}`
	buf, frame := make([]byte, 4096), append([]byte{0x81, byte(len(text))}, text...)
	for {
		if _, err := syscall.Read(fd, buf); err != nil {
			return err
		}
		if _, err := syscall.Write(socket, frame); err != nil {
			return err
		}
	}
}

// bareSocket is the descriptor of the first websocket that somebody opens and
// introduces itself at.
func bareSocket() (int, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	fmt.Fprintln(os.Stderr, ln.Addr())
	conns := make(chan net.Conn, 1)
	server := http.Server{
		ConnState: func(c net.Conn, state http.ConnState) {
			if state == http.StateHijacked {
				conns <- c
			}
		},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			conn, err := websocket.Accept(w, r, nil)
			if err == nil {
				conn.Read(r.Context()) // hello
				conn.Write(r.Context(), websocket.MessageText, []byte("{}"))
				conn.Read(r.Context()) // info
				conn.Read(r.Context()) // a ping, and nothing more
			}
		}),
	}
	go server.Serve(ln)
	raw, err := (<-conns).(*net.TCPConn).SyscallConn()
	if err != nil {
		return 0, err
	}
	socket := -1
	raw.Control(func(fd uintptr) { socket, err = syscall.Dup(int(fd)) })
	return socket, err
}
