package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"
)

// A runTest is execlogd run in a directory of its own.
type runTest struct {
	t    *testing.T
	dir  string
	out  chan string // lines of both outputs, but for what matches nothing yet, which is said at any time
	stop func() error
	wait func() error
}

func startRun(t *testing.T, args ...string) *runTest {
	t.Helper()
	dir := t.TempDir()
	r := runIn(t, dir, append([]string{"-path", dir}, args...)...)
	r.next("execlogd: watching 1 directory")
	return r
}

// runIn starts execlogd run with these arguments only; dir is where files are saved.
func runIn(t *testing.T, dir string, args ...string) *runTest {
	t.Helper()
	r := &runTest{t: t, dir: dir, out: make(chan string, 1000)}
	read, write := io.Pipe()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- run(ctx, append([]string{"run"}, args...), write, write)
		write.Close()
	}()
	go func() {
		defer close(r.out)
		for lines := bufio.NewScanner(read); lines.Scan(); {
			if !strings.Contains(lines.Text(), "no file matches yet") {
				r.out <- lines.Text()
			}
		}
	}()
	r.wait = sync.OnceValue(func() error {
		select {
		case err := <-ended:
			return err
		case <-time.After(waitLimit):
			cancel()
			return fmt.Errorf("goes on, and then %w", <-ended)
		}
	})
	r.stop = func() error {
		cancel()
		return r.wait()
	}
	t.Cleanup(func() { r.stop() })
	return r
}

// next checks the next line that is printed. A * stands for any duration.
func (r *runTest) next(want string) {
	r.t.Helper()
	select {
	case got := <-r.out:
		start, end, any := strings.Cut(strings.ReplaceAll(want, "DIR", r.dir), "*")
		if any && strings.HasPrefix(got, start) && strings.HasSuffix(got, end) || got == start {
			return
		}
		r.t.Fatalf("got %q, want %q", got, want)
	case <-time.After(waitLimit):
		r.t.Fatalf("nothing, want %q", want)
	}
}

func (r *runTest) save(name string) {
	r.t.Helper()
	if err := os.WriteFile(filepath.Join(r.dir, name), []byte("x"), 0o644); err != nil {
		r.t.Fatal(err)
	}
}

func TestRunAtOnceAndOnChanges(t *testing.T) {
	r := startRun(t, "-match", "*.go", "--", "sh", "-c", `echo "${EXECLOGD_PATH##*/}"`)
	r.next(filepath.Base(r.dir))
	r.next("execlogd: sh: ok after *")
	r.save("x.txt")
	r.save("x.go")
	r.next("x.go")
	r.next("execlogd: sh: ok after *")
	if err := r.stop(); err != nil {
		t.Error(err)
	}
}

// Processes that a command leaves behind are ended, and named.
func TestRunNamesWhatIsLeftBehind(t *testing.T) {
	for leave, want := range map[string]string{
		"false": "execlogd: ended what it left behind: sleep (*)",
		"true":  "execlogd: left running: sleep (*)",
	} {
		note := filepath.Join(t.TempDir(), "pid")
		r := startRun(t, "-leave="+leave, "--", "sh", "-c", `sleep 1000 >/dev/null 2>&1 &
			until [ "$name" = sleep ]; do read name </proc/$!/comm; done
			echo $! >"$0"`, note)
		r.next(want)
		if text, err := os.ReadFile(note); err == nil && leave == "true" {
			pid, _ := strconv.Atoi(strings.TrimSpace(string(text)))
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		r.next("execlogd: sh: ok after *")
		if err := r.stop(); err != nil {
			t.Error(err)
		}
	}
}

func TestRunWaitsForTheFirstChange(t *testing.T) {
	for args, want := range map[string]string{
		"-postpone echo all": "all",
		"echo {path}":        "DIR/a b",
		"-per file echo one": "one",
	} {
		r := startRun(t, strings.Fields(args)...)
		r.save("a b")
		r.next(want)
		ends := "*"
		if strings.HasPrefix(args, "-per") {
			ends = `*: "DIR/a b"` // several may run at once
		}
		r.next("execlogd: echo: ok after " + ends)
	}
}

func TestRunGoesOnAfterFailure(t *testing.T) {
	r := startRun(t, "--", "sh", "-c", "exit 3")
	r.next("execlogd: sh -c \"exit 3\": exit status 3 after *")
	r.save("x")
	r.next("execlogd: sh -c \"exit 3\": exit status 3 after *")
}

func TestRunNamesTheFileThatFailed(t *testing.T) {
	r := startRun(t, "-per", "file", "--", "sh", "-c", "exit 3")
	r.save("x")
	r.next(`execlogd: sh -c "exit 3": exit status 3 after *: DIR/x`)
	r = startRun(t, "-per", "file", "-exit-on-failure", "--", "sh", "-c", "exit 3")
	r.save("x")
	if err := r.wait(); exitStatus(err) != 3 || !strings.HasSuffix(err.Error(), "exit status 3: "+r.dir+"/x") {
		t.Errorf("got %v", err)
	}
}

// A long line, such as one of JSON, is printed as one line, though it is read in parts.
func TestRunPrintsLongLines(t *testing.T) {
	r := startRun(t, "--", "sh", "-c", `printf "%030000d\nend" 0`)
	r.next(strings.Repeat("0", 30000))
	r.next("end")
}

func TestRunExitsWithTheFirstFailure(t *testing.T) {
	for script, want := range map[string]int{"exit 3": 3, "kill -TERM $$": 128 + 15} {
		r := startRun(t, "-exit-on-failure", "--", "sh", "-c", script)
		err := r.wait()
		if status := exitStatus(err); status != want {
			t.Errorf("%s: status %d with %v, want %d", script, status, err, want)
		}
	}
}

func TestRunRestarts(t *testing.T) {
	r := startRun(t, "-restart", "--", "sh", "-c", `trap 'echo ended; exit' TERM; echo up; sleep 1000 & wait`)
	r.next("up")
	r.save("x")
	r.next("ended")
	r.next("up")
	if err := r.stop(); err != nil {
		t.Error(err)
	}
	r.next("ended") // before run returns
}

// terminal opens a pseudo-terminal, and returns both ends.
func terminal(t *testing.T) (screen, program *os.File) {
	t.Helper()
	screen, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { screen.Close() })
	unlock, number := int32(0), uint32(0)
	for request, arg := range map[uintptr]unsafe.Pointer{syscall.TIOCSPTLCK: unsafe.Pointer(&unlock), syscall.TIOCGPTN: unsafe.Pointer(&number)} {
		if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, screen.Fd(), request, uintptr(arg)); errno != 0 {
			t.Skip(errno)
		}
	}
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { program.Close() })
	return screen, program
}

// A command writes to a terminal itself, which -clear clears before.
func TestRunWritesToATerminal(t *testing.T) {
	screen, program := terminal(t)
	for want, args := range map[string][]string{
		"50%\r100%":                 {"sh", "-c", "test -t 1 && ! test -t 2 && ! test -t 0 && printf 50%%; echo elsewhere >&2; printf '\\r100%%'; sleep 1000"},
		"\x1b[H\x1b[2J\x1b[3Jshown": {"-clear", "--", "sh", "-c", "printf shown; sleep 1000"},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		ended := make(chan error, 1)
		go func() { ended <- run(ctx, append([]string{"run", "-path", t.TempDir()}, args...), program, io.Discard) }()
		got := make([]byte, len(want))
		if _, err := io.ReadFull(screen, got); err != nil || string(got) != want {
			t.Errorf("got %q %v, want %q", got, err, want)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	if _, err := program.WriteString("still open"); err != nil {
		t.Error(err)
	}
}

func TestRunRunsAScript(t *testing.T) {
	r := startRun(t, "-env", "WHO=me", "-shell", `echo "$WHO" && echo again`)
	r.next("me")
	r.next("again")
	r.next("execlogd: sh: ok after *")
}
