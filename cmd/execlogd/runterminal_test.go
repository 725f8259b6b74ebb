package main

import (
	"bufio"
	"bytes"
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A typist is a user at a terminal in which execlogd run is started, with startTypist
// by a shell with job control.
type typist struct {
	t       *testing.T
	dir     string
	screen  *os.File // our end of the terminal
	program *os.File // the other
	cmd     *exec.Cmd
	ended   chan error

	mu   sync.Mutex
	seen []byte // that was not expected yet
	more chan struct{}
}

// atTerminal starts execlogd run as the leader of a session of its own, which the
// terminal controls.
func atTerminal(t *testing.T, args ...string) *typist {
	return startTypist(t, append([]string{"/proc/self/exe"}, args...)...)
}

// startTypist starts a command, in whose environment $EXECLOGD is execlogd.
func startTypist(t *testing.T, argv ...string) *typist {
	t.Helper()
	y := &typist{t: t, dir: t.TempDir(), more: make(chan struct{}, 1), ended: make(chan error, 1)}
	y.screen, y.program = terminal(t)
	if argv[0] == "/proc/self/exe" {
		argv = append([]string{argv[0], "run", "-path", y.dir}, argv[1:]...)
	}
	y.cmd = exec.Command(argv[0], argv[1:]...)
	y.cmd.Dir = y.dir
	y.cmd.Env = append(os.Environ(), roleVariable+"=main", "TERM=dumb", "PS1=PROMPT>", "EXECLOGD="+self(t))
	y.cmd.Stdin, y.cmd.Stdout, y.cmd.Stderr = y.program, y.program, y.program
	y.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	go y.read()
	if err := y.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { y.ended <- y.cmd.Wait() }()
	t.Cleanup(func() {
		y.cmd.Process.Kill() // nothing, where it has ended
		select {
		case err := <-y.ended:
			y.ended <- err
		case <-time.After(waitLimit):
			t.Error("it goes on after SIGKILL")
		}
	})
	return y
}

// self is the path of the test program.
func self(t *testing.T) string {
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// read reads the screen until the terminal is gone.
func (y *typist) read() {
	buf := make([]byte, 4096)
	for {
		n, err := y.screen.Read(buf)
		y.mu.Lock()
		y.seen = append(y.seen, buf[:n]...)
		y.mu.Unlock()
		select {
		case y.more <- struct{}{}:
		default:
		}
		if err != nil && !errors.Is(err, syscall.EIO) { // EIO while nobody has it open
			return
		}
		if err != nil {
			time.Sleep(time.Millisecond)
		}
	}
}

// sees waits until the screen has text that matches the pattern. The next call begins
// after that text.
func (y *typist) sees(pattern string) {
	y.t.Helper()
	re := regexp.MustCompile(pattern)
	late := time.After(waitLimit)
	for {
		y.mu.Lock()
		at := re.FindIndex(y.seen)
		if at != nil {
			y.seen = bytes.Clone(y.seen[at[1]:])
		}
		rest := string(y.seen)
		y.mu.Unlock()
		if at != nil {
			return
		}
		select {
		case <-y.more:
		case <-late:
			y.t.Fatalf("the screen has no %q, only %q", pattern, rest)
		}
	}
}

// hasSeen returns the text on the screen after what sees has matched.
func (y *typist) hasSeen() string {
	y.mu.Lock()
	defer y.mu.Unlock()
	return string(y.seen)
}

func (y *typist) types(keys string) {
	y.t.Helper()
	if _, err := y.screen.WriteString(keys); err != nil {
		y.t.Fatal(err)
	}
}

func (y *typist) save(name string) {
	y.t.Helper()
	if err := os.WriteFile(filepath.Join(y.dir, name), []byte("x"), 0o644); err != nil {
		y.t.Fatal(err)
	}
}

// ends waits for the end of execlogd, and checks its exit status.
func (y *typist) ends(status int) {
	y.t.Helper()
	select {
	case err := <-y.ended:
		y.ended <- err
		if got := y.cmd.ProcessState.ExitCode(); got != status {
			y.t.Errorf("ended with %v, want status %d; on the screen %q", err, status, y.hasSeen())
		}
	case <-time.After(waitLimit):
		y.t.Fatalf("goes on; on the screen %q", y.hasSeen())
	}
}

// modes returns the modes of the terminal.
func (y *typist) modes() unix.Termios {
	y.t.Helper()
	m, err := unix.IoctlGetTermios(int(y.program.Fd()), unix.TCGETS)
	if err != nil {
		y.t.Fatal(err)
	}
	return *m
}

// hasKeys reports whether the terminal gives single keys, without echo.
func (y *typist) hasKeys() bool { return y.modes().Lflag&(unix.ICANON|unix.ECHO) == 0 }

// foreground returns the process group in the foreground of the terminal.
func (y *typist) foreground() int {
	y.t.Helper()
	group, err := unix.IoctlGetInt(int(y.screen.Fd()), unix.TIOCGPGRP)
	if err != nil {
		y.t.Fatal(err)
	}
	return group
}

// awaits waits until a condition holds.
func (y *typist) awaits(what string, holds func() bool) {
	y.t.Helper()
	for begin := time.Now(); !holds(); time.Sleep(time.Millisecond) {
		if time.Since(begin) > waitLimit {
			y.t.Fatalf("never %s; on the screen %q", what, y.hasSeen())
		}
	}
}

const (
	ctrlC         = "\x03"
	ctrlD         = "\x04"
	ctrlZ         = "\x1a"
	ctrlBackslash = "\x1c"
)

func TestCommandReadsTheTerminal(t *testing.T) {
	y := atTerminal(t, "cat")
	y.sees(`watching 1 directory; \? lists keys`)
	y.types("q is no key\n")
	y.sees(`q is no key\r\nq is no key\r\n`) // the echo, and cat
	y.types(ctrlD)
	y.sees(`execlogd: cat: ok after`)
	y.awaits("in the mode for keys", y.hasKeys)
	y.save("x")
	y.awaits("cat's", func() bool { return !y.hasKeys() }) // what is typed before is no input of it
	y.types("again\n")
	y.sees(`again\r\nagain\r\n`)
	y.types(ctrlC)
	y.ends(0)
}

// A command opens /dev/tty, finds itself in the foreground and asks without echo,
// as sudo does.
func TestCommandAsksForAPassword(t *testing.T) {
	for _, stdin := range []string{"", "json"} {
		args := []string{"--", "sh", "-c", `stty -echo </dev/tty; printf "Word: " >/dev/tty; read word </dev/tty; stty echo </dev/tty; echo "got $word"`}
		if stdin != "" {
			args = append([]string{"-stdin", stdin}, args...)
		}
		y := atTerminal(t, args...)
		y.sees(`Word: $`)
		y.types("secret\n")
		y.sees(`^got secret\r\n`)
		y.sees(`execlogd: sh: ok`)
		y.types("q")
		y.ends(0)
	}
	y := atTerminal(t, "--", "python3", "-c", `import os
tty = os.open("/dev/tty", os.O_RDWR)
print("foreground", os.tcgetpgrp(tty) == os.getpgrp(), os.isatty(0), input("Name? "))`)
	y.sees(`Name\? `)
	y.types("me\n")
	y.sees(`foreground True True me`)
}

// The modes of the terminal are restored after the command, and Ctrl-C works.
func TestTerminalIsRestored(t *testing.T) {
	y := atTerminal(t, "-postpone", "-stdin", "json", "--", "sh", "-c", "stty raw -echo </dev/tty; kill -KILL $$")
	y.sees(`watching 1 directory`)
	y.awaits("in the mode for keys", y.hasKeys)
	keys := y.modes()
	y.save("x")
	y.sees(`killed by SIGKILL`)
	y.awaits("restored", func() bool { return y.modes() == keys })
	if err := y.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	y.ends(0)
	if m := y.modes(); m.Lflag&(unix.ICANON|unix.ECHO|unix.ISIG) != unix.ICANON|unix.ECHO|unix.ISIG || m.Oflag&unix.OPOST == 0 {
		t.Errorf("left the terminal with %#v", m)
	}
}

func TestCtrlCEndsTheCommandAndExeclogd(t *testing.T) {
	y := atTerminal(t, "--", "sh", "-c", "echo up; exec sleep 1000")
	y.sees(`up\r\n`)
	y.types(ctrlC)
	y.ends(0)
	y = atTerminal(t, "--", "python3", "-c", "print('up', flush=True)\nimport time, sys\ntry:\n while True: time.sleep(0.01)\nexcept KeyboardInterrupt: sys.exit(130)")
	y.sees(`up\r\n`)
	y.types(ctrlC)
	y.ends(0)
	// The same with a server that handles the signal, also one that reads the terminal.
	y = atTerminal(t, "-restart", "--", "sh", "-c", "trap 'echo bye; exit 0' INT; read up; echo \"got $up\"; while :; do sleep 0.01; done")
	y.sees(`watching 1 directory`)
	y.awaits("the command's", func() bool { return y.foreground() != y.cmd.Process.Pid })
	y.types("up\n")
	y.sees(`got up\r\n`)
	y.types(ctrlC)
	y.sees(`bye`)
	y.ends(0)
	y = atTerminal(t, "-restart", "--", "sh", "-c", "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.01; done")
	y.sees(`up\r\n`)
	y.types(ctrlC)
	y.sees(`bye`)
	y.ends(0)
}

// Ctrl-C does not end execlogd if the command uses the key in another way, as an
// interpreter does.
func TestCtrlCForAnInterpreter(t *testing.T) {
	done := filepath.Join(t.TempDir(), "done") // which starts no other run
	y := atTerminal(t, "--", "sh", "-c", "trap 'echo interrupted' INT; echo up; until [ -e \"$1\" ]; do sleep 0.01; done; true", "sh", done)
	y.sees(`up\r\n`)
	for range 3 {
		y.types(ctrlC)
		y.sees(`interrupted`)
	}
	if err := os.WriteFile(done, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	y.sees(`execlogd: sh: ok after`)
	y.types(ctrlC) // now it is execlogd's
	y.ends(0)
}

func TestCtrlCTwiceKillsWhatIgnoresIt(t *testing.T) {
	y := atTerminal(t, "-grace", "1h", "--", "sh", "-c", "trap '' INT TERM; echo up; exec sleep 1000")
	y.sees(`up\r\n`)
	y.types(ctrlC)
	y.sees(`execlogd: waiting for sh \(pid \d+\) to end; press Ctrl-C again to kill it`)
	y.types(ctrlC)
	y.ends(0)
	// The same with a command that does not get the signal.
	y = atTerminal(t, "-grace", "1h", "-stdin", "none", "--", "sh", "-c", "trap '' INT TERM; echo up; exec sleep 1000")
	y.sees(`up\r\n`)
	y.types(ctrlC)
	y.sees(`execlogd: waiting for sh \(pid \d+\) to end; press Ctrl-C again to kill it`)
	y.types(ctrlC)
	y.ends(0)
}

func TestCtrlBackslashPrintsNoTrace(t *testing.T) {
	y := atTerminal(t, "-postpone", "true")
	y.sees(`watching 1 directory`)
	y.types(ctrlBackslash)
	y.sees(`execlogd: quit at once by SIGQUIT\r\n`)
	y.ends(128 + 3)
	if got := y.hasSeen(); strings.Contains(got, "goroutine") {
		t.Errorf("the screen has a trace: %q", got)
	}
	y.awaits("restored", func() bool { return y.modes().Lflag&unix.ICANON != 0 })
	y = atTerminal(t, "--", "sh", "-c", "ulimit -c 0; echo up; exec sleep 1000")
	y.sees(`up\r\n`)
	y.types(ctrlBackslash)
	y.ends(0)
	if got := y.hasSeen(); strings.Contains(got, "goroutine") {
		t.Errorf("the screen has a trace: %q", got)
	}
}

func TestKeys(t *testing.T) {
	y := atTerminal(t, "-stdin", "none", "--", "sh", "-c", `echo "ran for ${EXECLOGD_PATHS##*/}"`)
	y.sees(`; \? lists keys`)
	y.sees(`ran for`)
	y.sees(`execlogd: sh: ok`)
	y.types("?")
	y.sees(`Enter +run again\r\np +pause`)
	y.types("\n")
	y.sees(`ran for`)
	y.sees(`execlogd: sh: ok`)
	y.types("p")
	y.sees(`execlogd: paused; p goes on`)
	y.save("a.txt")
	y.types("p")
	y.sees(`execlogd: goes on`)
	y.sees(`ran for a.txt\r\n`)
	y.sees(`execlogd: sh: ok`)
	y.types("\r") // for the same file
	y.sees(`ran for a.txt\r\n`)
	y.types("q")
	y.ends(0)
	if y.modes().Lflag&unix.ICANON == 0 {
		t.Error("the terminal is left in the mode for keys")
	}
}

// A command that keeps running gets the terminal when it reads or changes the modes.
// Until then there are keys.
func TestKeysUntilTheCommandReads(t *testing.T) {
	y := atTerminal(t, "-restart", "--", "sh", "-c", `echo up; until [ -e .go ]; do sleep 0.01; done; rm .go; stty -echo; echo asks; read word; stty echo; echo "got $word"; exec sleep 1000`)
	y.sees(`up\r\n`)
	y.types("\n")
	y.sees(`up\r\n`)
	if err := os.WriteFile(filepath.Join(y.dir, ".go"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	y.sees(`asks\r\n`)
	y.types("q\n")
	y.sees(`got q\r\n`)
	y.save("x") // a restart, in which the keys are back
	y.sees(`up\r\n`)
	y.awaits("in the mode for keys", y.hasKeys)
	y.types("q")
	y.ends(0)
}

// With a command that cannot read there are keys also while it runs.
func TestKeysDuringARun(t *testing.T) {
	y := atTerminal(t, "-restart", "-stdin", "none", "--", "sh", "-c", "echo up; exec sleep 1000")
	y.sees(`up\r\n`)
	y.types("\n")
	y.sees(`up\r\n`)
	y.types("q")
	y.ends(0)
}

// Under a shell, Ctrl-Z stops the command and execlogd, and fg continues both.
func TestCtrlZUnderAShell(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip(err)
	}
	y := startTypist(t, bash, "--norc", "--noprofile", "--noediting", "-i")
	y.sees(`PROMPT>`)
	y.types(`"$EXECLOGD" run -- cat` + "\n")
	y.sees(`watching 1 directory`)
	y.types("one\n")
	y.sees(`one\r\none\r\n`)
	y.types(ctrlZ)
	y.sees(`Stopped[^\n]*\r\n(?s:.*)PROMPT>`)
	y.types("echo $((6*7))\n")
	y.sees(`42\r\n(?s:.*)PROMPT>`)
	y.types("fg\n")
	y.types("two\n")
	y.sees(`two\r\n(?s:.*)two\r\n`)
	y.types(ctrlD)
	y.sees(`execlogd: cat: ok`)
	y.types(ctrlZ) // while nothing runs
	y.sees(`Stopped[^\n]*\r\n(?s:.*)PROMPT>`)
	y.types("fg\n")
	y.awaits("in the mode for keys", y.hasKeys)
	y.types("\n")
	y.awaits("cat's", func() bool { return !y.hasKeys() })
	y.types("three\n")
	y.sees(`three\r\n(?s:.*)three\r\n`)
	y.types(ctrlC)
	y.sees(`PROMPT>`)
	y.types("exit 7\n")
	y.ends(7)
}

func TestRunKeepsStandardErrorApart(t *testing.T) {
	var stdout, stderr bytes.Buffer
	args := []string{"run", "-path", t.TempDir(), "-exit-on-failure", "--", "sh", "-c", "echo out; echo err >&2; exit 3"}
	if err := run(t.Context(), args, &stdout, &stderr); exitStatus(err) != 3 {
		t.Error(err)
	}
	if stdout.String() != "out\n" || !strings.HasSuffix(stderr.String(), "\nerr\n") {
		t.Errorf("standard output has %q, standard error %q", stdout.String(), stderr.String())
	}
}

// What is typed during a run, and is not read by the command, counts as keys.
func TestKeysTypedDuringARun(t *testing.T) {
	for _, keys := range []string{"q", "\nq", "?\n"} {
		y := atTerminal(t, "--", "sh", "-c", "echo up; until [ -e done ]; do sleep 0.01; done")
		y.sees(`up\r\n`)
		y.types(keys)
		y.save("done")
		if keys == "?\n" {
			y.sees(`this list`)
			y.sees(`up\r\n`)
			continue
		}
		y.ends(0)
	}
}

// Without a terminal, a stop that takes long names the command that it waits for, and a
// second signal kills the command. The daemon does the same.
func TestSecondSignalKillsTheCommand(t *testing.T) {
	dir := t.TempDir()
	script := "trap '' INT TERM; echo up >up; exec sleep 1000"
	file := filepath.Join(dir, ".execlogd.toml")
	text := "[[route]]\nname = 'stubborn'\nstart = true\ngrace = '1h'\nshell = \"" + script + "\"\n"
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"run", "-path", dir, "-grace", "1h", "--", "sh", "-c", script},
		{"-config", file},
	} {
		cmd := exec.Command("/proc/self/exe", args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), roleVariable+"=main")
		stderr, err := cmd.StderrPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(stderr)
		until := func(pattern string) string {
			for lines.Scan() {
				if m := regexp.MustCompile(pattern).FindStringSubmatch(lines.Text()); m != nil {
					return m[len(m)-1]
				}
			}
			t.Fatalf("%v: no line has %q", args, pattern)
			return ""
		}
		until("watching 1 directory")
		for _, err := os.Stat(dir + "/up"); err != nil; _, err = os.Stat(dir + "/up") {
			time.Sleep(time.Millisecond)
		}
		cmd.Process.Signal(syscall.SIGTERM)
		pid, _ := strconv.Atoi(until(`waiting for (?:sh|sleep) \(pid (\d+)\) to end; send SIGTERM again to kill it`))
		cmd.Process.Signal(syscall.SIGTERM)
		for lines.Scan() {
		}
		cmd.Wait()
		for begin := time.Now(); syscall.Kill(pid, 0) == nil; time.Sleep(time.Millisecond) {
			if time.Since(begin) > waitLimit {
				t.Fatalf("%v: the command goes on", args)
			}
		}
		os.Remove(dir + "/up")
	}
}

// When the shell dies, execlogd ends, whichever process has the terminal.
func TestTerminalHangsUp(t *testing.T) {
	if signal.Ignored(syscall.SIGHUP) {
		t.Skip("SIGHUP is ignored, as under nohup, and programs cannot undo that")
	}
	for _, args := range []string{
		`sh -c 'trap "" HUP; echo u""p; exec sleep 1000'`,
		`-grace 10ms -stdin none sh -c 'trap "" HUP; echo u""p; exec sleep 1000'`,
		`echo u""p`,
	} {
		y := startTypist(t, "sh", "-i")
		y.types(`"$EXECLOGD" run ` + args + "\n")
		y.sees(`\nup\r\n`)
		if err := y.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if left := inSession(y.cmd.Process.Pid); left != nil {
				t.Logf("%s: there are still %q", args, left)
			}
		})
		y.awaits("at the end of the session", func() bool { return inSession(y.cmd.Process.Pid) == nil })
	}
}

// inSession lists the processes of a session that are not dead.
func inSession(id int) (all []string) {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat") // the pattern is right
	for _, file := range stats {
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
		if len(fields) > 3 && fields[3] == strconv.Itoa(id) && fields[0] != "Z" && fields[0] != "X" {
			all = append(all, string(text))
		}
	}
	return all
}
