package httpd

import (
	"bufio"
	"bytes"
	"cmp"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// fleetSize is how many pages are open in the benchmark.
const fleetSize = 10_000

// BenchmarkFleet has ten thousand pages open and tells all of them of one
// change. Its floor is measured in turns with it: another process that sends
// the same bytes over as many connections, in a bare loop of write(2). Both
// times end when the last client has read the last byte. The clients, and the
// floor, are processes of their own, so that the memory is the server's alone.
func BenchmarkFleet(b *testing.B) {
	run := serve(b, Options{}, func(s *Server) { s.hub.Timeouts.Ping = time.Hour })
	const message = `{"command":"reload","path":"/style/site.css","liveCSS":true,"liveImg":true}`
	size := 2 + len(message) // a frame

	floor := startFleet(b, "writer", fleetSize, size)
	bare := startFleet(b, "readers", fleetSize, size, floor.line(b))
	bare.line(b)

	before := memoryInUse()
	pages := startFleet(b, "pages", fleetSize, size, run.addr)
	pages.line(b)
	memory := float64(memoryInUse()-before) / fleetSize

	var alone, least, took []time.Duration
	for b.Loop() {
		for range 10 {
			start := monotonic()
			floor.say(b, "go")
			alone = append(alone, floor.time(b)-start)
			least = append(least, bare.time(b)-start)

			start = monotonic()
			run.Refresh("style/site.css")
			took = append(took, pages.time(b)-start)
		}
	}
	b.ReportMetric(memory, "B/client")
	b.ReportMetric(float64(median(took))/fleetSize, "ns/client")
	b.ReportMetric(float64(median(took))/float64(median(least)), "x-floor")
	b.ReportMetric(float64(median(took))/float64(median(alone)), "x-writes") // without their reading
}

func median(of []time.Duration) time.Duration {
	return slices.Sorted(slices.Values(of))[len(of)/2]
}

// memoryInUse is the heap and the goroutines' stacks, at rest: each collection
// halves a stack that has become too large.
func memoryInUse() int64 {
	for range 3 {
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse + m.StackInuse)
}

// monotonic is the machine's clock, on which processes agree.
func monotonic() time.Duration {
	var ts unix.Timespec
	unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts)
	return time.Duration(ts.Nano())
}

// A fleet is a process that holds one end of many connections. It is this
// test's binary, which TestMain makes one of the roles in fleetRoles.
type fleet struct {
	in  io.Writer
	out *bufio.Reader
}

const fleetVariable = "EXECLOGD_TEST_FLEET"

var fleetRoles = map[string]func(n, size int, addr string) error{
	"writer":  func(n, size int, _ string) error { return bareWriter(n, size) },
	"readers": func(n, size int, addr string) error { return readFleet(n, size, addr, "") },
	"pages":   func(n, size int, addr string) error { return readFleet(n, size, addr, introduction()) },
}

// startFleet starts a process with n connections, over which size bytes go at
// a time.
func startFleet(b *testing.B, role string, n, size int, addr ...string) *fleet {
	b.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d %d %s", fleetVariable, role, n, size, strings.Join(addr, "")))
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, err1 := cmd.StdinPipe()
	out, err2 := cmd.StdoutPipe()
	if err1 != nil || err2 != nil {
		b.Fatal(err1, err2)
	}
	check(b, cmd.Start())
	b.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return &fleet{in, bufio.NewReader(out)}
}

func (f *fleet) say(b *testing.B, line string) {
	must(io.WriteString(f.in, line+"\n"))(b)
}

func (f *fleet) line(b *testing.B) string {
	line, err := f.out.ReadString('\n')
	if err != nil {
		b.Fatalf("the other process ended: %v", err)
	}
	return strings.TrimSpace(line)
}

// time is when the other process was done with one round.
func (f *fleet) time(b *testing.B) time.Duration {
	d := must(time.ParseDuration(f.line(b)))(b)
	return d
}

// playFleet is the other process. It returns when it is no such process.
func playFleet() {
	var (
		role, addr string
		n, size    int
	)
	if _, err := fmt.Sscan(os.Getenv(fleetVariable), &role, &n, &size, &addr); role == "" {
		return
	} else if err != nil && role != "writer" {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if err := fleetRoles[role](n, size, addr); err != nil {
		fmt.Fprintln(os.Stderr, role, err)
	}
	os.Exit(1)
}

// bareWriter is the floor: for each line it gets, it writes to n connections.
func bareWriter(n, size int) error {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(ln.Addr())
	var fds []int
	for range n {
		conn, err := ln.Accept()
		if err != nil {
			return err
		}
		raw, err := conn.(*net.TCPConn).SyscallConn()
		if err != nil {
			return err
		}
		defer conn.Close()
		raw.Control(func(fd uintptr) { fds = append(fds, int(fd)) })
	}
	text := bytes.Repeat([]byte("x"), size)
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		for _, fd := range fds {
			if k, err := syscall.Write(fd, text); err != nil || k != size {
				return fmt.Errorf("wrote %d: %w", k, err)
			}
		}
		fmt.Println(monotonic())
	}
	return io.EOF
}

// introduction is all that a page has to say, with a ping behind it whose
// answer shows that it was heard.
func introduction() string {
	return upgrade + string(maskedFrame(clientHello)) + string(maskedFrame(`{"command":"info","plugins":{},"url":"http://elsewhere/a/page.html"}`)) +
		"\x89\x80\x00\x00\x00\x00"
}

// readFleet opens n connections, says the same on each and says when all have
// been answered with an empty pong; then when all have read size bytes, again
// and again.
func readFleet(n, size int, addr, intro string) error {
	to, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		return err
	}
	peer := &syscall.SockaddrInet4{Port: to.Port, Addr: [4]byte(to.IP.To4())}
	epoll, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return err
	}
	for range n {
		fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		if err := cmp.Or(syscall.Connect(fd, peer), introduce(fd, intro)); err != nil {
			return err
		}
		event := syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: int32(fd)}
		if err := syscall.EpollCtl(epoll, syscall.EPOLL_CTL_ADD, fd, &event); err != nil {
			return err
		}
	}
	fmt.Println("ready")
	for {
		if err := readRound(epoll, n, size); err != nil {
			return err
		}
		fmt.Println(monotonic())
	}
}

func introduce(fd int, intro string) error {
	if intro == "" {
		return nil
	}
	if _, err := syscall.Write(fd, []byte(intro)); err != nil {
		return err
	}
	heard, buf := "", make([]byte, 4096)
	for !strings.HasSuffix(heard, "\x8a\x00") {
		n, err := syscall.Read(fd, buf)
		if err != nil || n == 0 {
			return fmt.Errorf("heard %q: %w", heard, err)
		}
		heard += string(buf[:n])
	}
	return nil
}

// readRound reads size bytes from each of n connections.
func readRound(epoll, n, size int) error {
	events, buf := make([]syscall.EpollEvent, 256), make([]byte, 4096)
	for left := n * size; left > 0; {
		ready, err := syscall.EpollWait(epoll, events, -1)
		if err != nil && err != syscall.EINTR {
			return err
		}
		for _, e := range events[:max(ready, 0)] {
			k, err := syscall.Read(int(e.Fd), buf)
			if err != nil || k == 0 {
				return fmt.Errorf("read %d: %w", k, err)
			}
			left -= k
		}
	}
	return nil
}
