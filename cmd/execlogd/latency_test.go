package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// BenchmarkLatency is the time from write(2) to the message at a client, with
// the daemon as a process of its own and a real websocket. Its floor is
// measured in turns with it: a process that reads from inotify and writes to a
// socket, and does nothing else.
func BenchmarkLatency(b *testing.B) {
	for _, delay := range []time.Duration{0, 20 * time.Millisecond} {
		b.Run(fmt.Sprint("delay=", delay), func(b *testing.B) {
			floor := startBareReader(b)
			page := startDaemon(b, "-delay", delay.String(), "-debounce", "0")
			var least, took []time.Duration
			for b.Loop() {
				least = append(least, floor.save(b))
				took = append(took, page.save(b)-delay)
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
func (s *saved) save(b *testing.B) time.Duration {
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
func watched(b *testing.B) (dir, path string) {
	dir = b.TempDir()
	path = filepath.Join(dir, "style.css")
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		b.Fatal(err)
	}
	return dir, path
}

func startBareReader(b *testing.B) *saved {
	dir, path := watched(b)
	addr := startRole(b, "reader", dir)
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		b.Fatal(err)
	}
	buf := make([]byte, 1024)
	heard := hear(func() error { _, err := conn.Read(buf); return err })
	b.Cleanup(func() {
		conn.Close()
		for range heard {
		}
	})
	return &saved{path, heard}
}

func startDaemon(b *testing.B, args ...string) *saved {
	dir, path := watched(b)
	addr := startRole(b, append([]string{"daemon", "-root", dir, "-port", "0"}, args...)...)
	conn, _, err := websocket.Dial(b.Context(), "ws://"+addr+"/livereload", nil)
	if err != nil {
		b.Fatal(err)
	}
	for _, text := range []string{
		`{"command":"hello","protocols":["http://livereload.com/protocols/official-7"]}`,
		`{"command":"info","plugins":{},"url":"http://` + addr + `/"}`,
	} {
		if err := conn.Write(b.Context(), websocket.MessageText, []byte(text)); err != nil {
			b.Fatal(err)
		}
	}
	read := func() error {
		_, _, err := conn.Read(context.Background())
		return err
	}
	read() // hello
	heard := hear(read)
	if err := conn.Ping(b.Context()); err != nil { // then it has read the info
		b.Fatal(err)
	}
	b.Cleanup(func() {
		conn.CloseNow()
		for range heard {
		}
	})
	return &saved{path, heard}
}

const roleVariable = "EXECLOGD_TEST_ROLE"

var addressLine = regexp.MustCompile(`127\.0\.0\.1:\d+`)

// startRole runs this test's binary in a role, and returns the address that it
// says it has.
func startRole(b *testing.B, args ...string) string {
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
	line, err := bufio.NewReader(stderr).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	return addressLine.FindString(line)
}

// playRole is the other process. It returns when it is no such process.
func playRole() {
	var err error
	switch os.Getenv(roleVariable) {
	case "":
		return
	case "daemon":
		err = run(context.Background(), os.Args[1:], io.Discard, os.Stderr)
	case "reader":
		err = bareReader(os.Args[1])
	}
	fmt.Fprintln(os.Stderr, strings.TrimSpace(fmt.Sprint(err)))
	os.Exit(1)
}

// bareReader is the floor: whatever inotify says of dir makes it write.
func bareReader(dir string) error {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Fprintln(os.Stderr, ln.Addr())
	conn, err := ln.Accept()
	if err != nil {
		return err
	}
	file, err := conn.(*net.TCPConn).File()
	if err != nil {
		return err
	}
	socket := int(file.Fd())
	fd, err := syscall.InotifyInit1(syscall.IN_CLOEXEC)
	if err != nil {
		return err
	}
	if _, err := syscall.InotifyAddWatch(fd, dir, syscall.IN_CLOSE_WRITE); err != nil {
		return err
	}
	buf, text := make([]byte, 4096), make([]byte, 70)
	for {
		if _, err := syscall.Read(fd, buf); err != nil {
			return err
		}
		if _, err := syscall.Write(socket, text); err != nil {
			return err
		}
	}
}
