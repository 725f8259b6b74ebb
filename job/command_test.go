package job

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/execlog/execlogd/inotify"
)

// hostile are names that some program reads as code, options or ends of lines.
var hostile = []string{
	"-rf", "--help", "$(touch pwned)", "`touch pwned`", "; touch pwned", "a b", "a\nb", "'\"", "*",
	"\xff\xfe", "{path}", "{paths}", "{root}", "%s", "\\n", "ü", "=", "\r", "\x1b[31m", "&&", "<>|",
}

func TestHostileNamesAreData(t *testing.T) {
	jobs := newTestRunner(t)
	for _, name := range hostile {
		write(t, filepath.Join(jobs.dir, name), "content of "+name)
	}
	commands := []struct {
		name string
		c    Command
	}{
		{"an argument", Command{Argv: []string{"cat", "{path}"}}},
		{"a part of an argument", Command{Argv: []string{"dd", "if={path}", "status=none"}}},
		{"many arguments", Command{Argv: []string{"cat", "{paths}"}}},
		{"an argument of a script", Command{Argv: []string{"sh", "-c", `cat "$1"`, "sh", "{path}"}}},
		{"a variable", Command{Shell: `cat "$EXECLOGD_PATH"`}},
		{"a variable without quotes that goes no further", Command{Shell: `IFS=; set -f; cat $EXECLOGD_PATH`}},
		{"NUL-terminated input", Command{Argv: []string{"xargs", "-0", "cat"}, Input: NULPaths}},
	}
	for _, tt := range commands {
		t.Run(tt.name, func(t *testing.T) {
			for _, name := range hostile {
				if r := jobs.run(tt.c, name); string(r.Output) != "content of "+name || r.Err != nil {
					t.Errorf("%q: got %q, %v", name, r.Output, r)
				}
			}
		})
	}
	if _, err := os.Stat(filepath.Join(jobs.dir, "pwned")); err == nil {
		t.Error("a name was run as code")
	}
}

// A command can get all names at once, in any of the lists.
func TestLists(t *testing.T) {
	jobs := newTestRunner(t)
	var all, lines []string
	for _, name := range hostile {
		all = append(all, filepath.Join(jobs.dir, name))
		if !strings.Contains(name, "\n") {
			lines = append(lines, filepath.Join(jobs.dir, name))
		}
	}
	zero := func(list []string) string { return strings.Join(list, "\x00") + "\x00" }
	tests := []struct {
		name string
		c    Command
		want string
	}{
		{"NUL-terminated on stdin", Command{Argv: []string{"cat"}, Input: NULPaths}, zero(all)},
		{"arguments", Command{Argv: []string{"printf", `%s\0`, "{paths}"}}, zero(all)},
		{"lines of a variable", Command{Shell: `printf %s "$EXECLOGD_PATHS"`}, strings.Join(lines, "\n")},
		{"the first", Command{Shell: `printf %s "$EXECLOGD_PATH"`}, all[0]},
		{"the root", Command{Argv: []string{"printf", "%s %s", "{root}", "{root}/x"}}, jobs.dir + " " + jobs.dir + "/x"},
		{
			"a part of an argument",
			Command{Argv: []string{"printf", "%s ", "--out={path}.gz", "@{path}", "file://{path}", "{root}/a/{root}", "{root}:/x:ro"}},
			"--out=" + all[0] + ".gz @" + all[0] + " file://" + all[0] + " " + jobs.dir + "/a/" + jobs.dir + " " + jobs.dir + ":/x:ro ",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if r := jobs.run(tt.c, hostile...); string(r.Output) != tt.want || r.Err != nil {
				t.Errorf("got %q, %v\nwant %q", r.Output, r, tt.want)
			}
		})
	}
}

func TestJSONLines(t *testing.T) {
	jobs := newTestRunner(t)
	batch := jobs.events(hostile...)
	batch[0].From, batch[0].Mask = "\xfe", inotify.MovedTo|inotify.IsDir
	j := jobs.job(Command{Argv: []string{"cat"}, Input: JSONLines})
	if err := j.Run(t.Context(), batch); err != nil {
		t.Fatal(err)
	}
	r := jobs.lastRun()
	var got []inotify.Event
	for line := range bytes.Lines(r.Output) {
		var l eventLine
		if err := json.Unmarshal(line, &l); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		mask, err := inotify.ParseMask(strings.Join(l.Events, "|"))
		if err != nil {
			t.Fatal(err)
		}
		e := inotify.Event{Root: l.Root, Path: l.Path, From: l.From, Mask: mask}
		if l.PathBytes != nil {
			e.Path = string(l.PathBytes)
		}
		if l.FromBytes != nil {
			e.From = string(l.FromBytes)
		}
		got = append(got, e)
	}
	if !slices.Equal(got, batch) {
		t.Errorf("got %v\nwant %v", got, batch)
	}
}

func TestEnvironment(t *testing.T) {
	for _, v := range []string{
		"NOTIFY_SOCKET=/run/x", "WATCHDOG_USEC=1", "WATCHDOG_PID=1", "LISTEN_FDS=1", "LISTEN_PID=1", "LISTEN_FDNAMES=http",
		"EXECLOGD_PATH=old", "EXECLOGD_OPTS=kept", "KEPT=kept", "SET=inherited",
	} {
		key, value, _ := strings.Cut(v, "=")
		t.Setenv(key, value)
	}
	jobs := newTestRunner(t)
	r := jobs.run(Command{Name: "build", Argv: []string{"env"}, Env: []string{"SET=first", "SET=last", "EXECLOGD_ROUTE=mine", "PWD=/"}}, "a", "b")
	got := make(map[string]string)
	for line := range strings.Lines(string(r.Output)) {
		key, value, _ := strings.Cut(line, "=")
		if _, twice := got[key]; twice {
			t.Errorf("%s is there twice", key)
		}
		got[key] += value
	}
	for key, want := range map[string]string{
		"NOTIFY_SOCKET": "", "WATCHDOG_USEC": "", "WATCHDOG_PID": "", "LISTEN_FDS": "", "LISTEN_PID": "", "LISTEN_FDNAMES": "",
		"EXECLOGD_ROUTE": "build\n", "EXECLOGD_ROOT": jobs.dir + "\n", "EXECLOGD_PATH": jobs.dir + "/a\n",
		"EXECLOGD_OPTS": "kept\n", "KEPT": "kept\n", "SET": "last\n", "PWD": jobs.dir + "\n",
	} {
		if got[key] != want {
			t.Errorf("%s=%q, want %q", key, got[key], want)
		}
	}
}

// A program has its own process group and session, no descriptor but its three, the
// signals as they were, and no terminal.
func TestSurroundings(t *testing.T) {
	jobs := newTestRunner(t)
	r := jobs.run(Command{Argv: []string{"python3", "-c", `
import os, signal, fcntl
assert os.getpid() == os.getpgrp() == os.getsid(0), "group"
fds = [int(f) for f in os.listdir("/proc/self/fd")]
assert sorted(fds)[:-1] == [0, 1, 2], fds
assert os.read(0, 1) == b"", "input"
assert not any(fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_NONBLOCK for fd in (0, 1, 2)), "blocking"
try: os.open("/dev/tty", os.O_RDWR); assert False, "terminal"
except OSError: pass
status = dict(l.split(":\t") for l in open("/proc/self/status").read().splitlines() if ":\t" in l)
assert int(status["SigBlk"], 16) == 0, status["SigBlk"]
`}})
	if r.Err != nil {
		t.Errorf("%v\n%s", r, r.Output)
	}
}

// The daemon ignores SIGPIPE. A program whose reader has gone still ends.
func TestSIGPIPEIsNotIgnored(t *testing.T) {
	startDaemon(t, exec.Command(os.Args[0], `ignored=$(sed -n 's/^SigIgn:[[:space:]]*//p' /proc/$$/status); [ $((0x$ignored >> 12 & 1)) = 0 ] && echo up || echo "$ignored"`))
}

func TestDirectory(t *testing.T) {
	jobs := newTestRunner(t)
	sub := filepath.Join(jobs.dir, "sub dir")
	writeProgram(t, filepath.Join(sub, "here.sh"), "#!/bin/sh\npwd\n")
	tests := []struct {
		name string
		c    Command
		want string
	}{
		{"the root, by default", Command{Argv: []string{"pwd"}}, jobs.dir},
		{"another", Command{Argv: []string{"pwd"}, Dir: sub}, sub},
		{"a program in it", Command{Argv: []string{"./here.sh"}, Dir: sub}, sub},
		{"a program in the root", Command{Argv: []string{"./sub dir/here.sh"}}, jobs.dir},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if r := jobs.run(tt.c); string(r.Output) != tt.want+"\n" {
				t.Errorf("got %q, %v, want %q", r.Output, r, tt.want)
			}
		})
	}
}

// A relative directory of PATH could be in a watched tree, and is not looked into.
func TestRelativeDirectoriesOfPATHDoNotCount(t *testing.T) {
	jobs := newTestRunner(t)
	t.Chdir(jobs.dir)
	for _, dir := range []string{".", "bin", "absolute"} {
		writeProgram(t, filepath.Join(jobs.dir, dir, "tool"), "#!/bin/sh\necho "+dir+"\n")
	}

	const relative = ":.:bin:./bin"
	c := Command{Name: "test", Argv: []string{"tool"}, Env: []string{"PATH=" + relative}}
	for _, dir := range []string{"", jobs.dir} {
		c.Dir = dir
		if _, err := jobs.Command(c); err == nil || !strings.Contains(err.Error(), "is in no directory of PATH") {
			t.Errorf("in %q: got %v", dir, err)
		}
	}
	c.Env = []string{"PATH=" + relative + ":" + filepath.Join(jobs.dir, "absolute")}
	if r := jobs.run(c); string(r.Output) != "absolute\n" {
		t.Errorf("it ran %q, %v", r.Output, r)
	}
}

// A program that a build makes is looked for when it is to run.
func TestProgramIsBuiltLater(t *testing.T) {
	jobs := newTestRunner(t)
	j := jobs.job(Command{Argv: []string{"./made"}, Dir: jobs.dir, BuiltLater: true})
	if err := j.Run(t.Context(), jobs.events("a")); err == nil || !strings.Contains(err.Error(), jobs.dir+`/made" is not there`) {
		t.Errorf("without it: %v", err)
	}
	writeProgram(t, filepath.Join(jobs.dir, "made"), "#!/bin/sh\n")
	if err := j.Run(t.Context(), jobs.events("a")); err != nil {
		t.Error(err)
	}
}

// A command that cannot run is refused at once, and the error says what to do.
func TestCommandErrors(t *testing.T) {
	jobs := newTestRunner(t)
	plain := filepath.Join(jobs.dir, "plain")
	write(t, plain, "")
	tests := []struct {
		c    Command
		want string
	}{
		{Command{}, `there is no command: name a program, or write a shell script`},
		{Command{Argv: []string{""}}, `there is no command: name a program, or write a shell script`},
		{Command{Argv: []string{"true"}, Shell: "true"}, `there are both a command and a shell script: drop one of them`},
		{Command{Argv: []string{"no-such-program"}, Env: []string{"PATH=/bin:bin"}}, `command "no-such-program" is in no directory of PATH (/bin:bin): install it, or give its path`},
		{Command{Argv: []string{"make && cp x y"}}, `command "make && cp x y" is one word, and the name of no program: give each word by itself, or a line for the shell`},
		{Command{Argv: []string{"plain"}, Env: []string{"PATH=.:" + jobs.dir}, Dir: jobs.dir}, `command "plain" is in no directory of PATH (.:` + jobs.dir + `): install it, or give its path`},
		{Command{Argv: []string{"./none"}, Dir: jobs.dir}, `command "` + jobs.dir + `/none" is not there: give the path of a program, or a name that is in PATH: stat ` + jobs.dir + `/none: no such file or directory`},
		{Command{Argv: []string{"no-such-program"}, BuiltLater: true, Env: []string{"PATH=/bin"}}, `command "no-such-program" is in no directory of PATH (/bin): install it, or give its path`},
		{Command{Argv: []string{plain}, BuiltLater: true}, `command "` + plain + `" is not executable: chmod +x it, or name its interpreter before it`},
		{Command{Argv: []string{jobs.dir}}, `command "` + jobs.dir + `" is a directory: give the path of a program`},
		{Command{Argv: []string{plain}}, `command "` + plain + `" is not executable: chmod +x it, or name its interpreter before it`},
		{Command{Argv: []string{"true"}, Dir: "/none"}, `directory "/none" is not there: create it, or name another`},
		{Command{Argv: []string{"true"}, Env: []string{"X"}}, `environment "X": want KEY=value without a NUL byte`},
		{Command{Argv: []string{"echo", "a\x00"}}, `argument "a\x00" has a NUL byte, which no argument can hold: take it out`},
		{Command{Argv: []string{"echo", "x{paths}"}}, `argument "x{paths}" has more than {paths}, which stands for any number of arguments: let it stand alone`},
		{Command{Argv: []string{"{path}"}}, `command "{path}" would run the file that has changed: name a program, and give it the path as an argument`},
		{Command{Shell: "cat {path}"}, `script "cat {path}" would run the names of files as code: write "$EXECLOGD_PATH" instead of {path}`},
		{Command{Argv: []string{"bash", "-euc", "cat {path}"}}, `script "cat {path}" would run the names of files as code: write "$EXECLOGD_PATH" instead of {path}`},
		{Command{Argv: []string{"env", "sh", "-c", "cat {root}"}}, `script "cat {root}" would run the names of files as code: write "$EXECLOGD_ROOT" instead of {root}`},
		{Command{Argv: []string{"echo", "is {path}"}}, `argument "is {path}" may be read as code, and with it what a file is called: let {path} stand alone, follow key= or be part of a path; a script has it as "$EXECLOGD_PATH", or as an argument, as in sh -c 'echo "$1"' sh {path}`},
		{Command{Argv: []string{"perl", "-e", "{path}"}}, `argument "{path}" is code for perl, and with it what a file is called: write "$EXECLOGD_PATH" in a script, or have it read the name as another argument`},
		{Command{Argv: []string{"make", "SRC={path}"}}, `argument "SRC={path}" is code for make, and with it what a file is called: write "$$EXECLOGD_PATH" in a recipe of the makefile, with both $`},
		{Command{Argv: []string{"true"}, Leave: []string{"["}}, `leave: "[" is no pattern: close its bracket, or put a backslash before it`},
		{Command{Argv: []string{"true"}, Leave: []string{""}}, `leave: "" is no name: want that of a program, as in "java"`},
		{Command{Argv: []string{"true"}, Leave: []string{"bin/java"}}, `leave: "bin/java" has a slash, which the name of a process has not: write "java"`},
		{Command{Argv: []string{"true"}, Input: 9}, `there is no input 9: take NoInput, JSONLines, NULPaths or TerminalInput`},
	}
	for _, tt := range tests {
		tt.c.Name = "test"
		_, err := jobs.Command(tt.c)
		if want := `route "test": ` + tt.want; err == nil || err.Error() != want {
			t.Errorf("%+v:\n got %v\nwant %s", tt.c, err, want)
		}
	}
	if _, err := jobs.Command(Command{Argv: []string{"true"}}); err == nil {
		t.Error("a command without a name is no error")
	}
}

// The error of a run is one line.
func TestFailures(t *testing.T) {
	jobs := newTestRunner(t)
	script := filepath.Join(jobs.dir, "script")
	writeProgram(t, script, "#!/no/interpreter\n")
	binary := filepath.Join(jobs.dir, "binary")
	writeProgram(t, binary, "\x00\x01")
	long := strings.Repeat("x", maxVariable)
	tests := []struct {
		c    Command
		want string
	}{
		{Command{Argv: []string{"true"}}, ""},
		{Command{Argv: []string{"false"}}, "false: exit status 1"},
		{Command{Argv: []string{"sh", "-c", "exit 42"}}, `sh -c "exit 42": exit status 42`},
		{Command{Shell: "set -e\nfalse"}, `sh -c "set -e…": exit status 1`},
		{Command{Shell: "kill -SEGV $$"}, `sh -c "kill -SEGV $$": killed by SIGSEGV`},
		{Command{Shell: "kill -KILL $$"}, `sh -c "kill -KILL $$": killed by SIGKILL, perhaps because memory ran out`},
		{Command{Argv: []string{script}}, `script: "` + script + `" needs an interpreter that is not there: look at its first line: no such file or directory`},
		{Command{Argv: []string{binary}}, `binary: "` + binary + `" is no program for this machine: a script begins with a line such as #!/bin/sh: exec format error`},
		{Command{Argv: []string{"echo", long}}, `echo: its arguments and environment are too long (`},
		{Command{Argv: []string{"true"}, Env: []string{"X=" + long}}, `true: its arguments and environment are too long (`},
	}
	for _, tt := range tests {
		err := jobs.job(tt.c).Run(t.Context(), jobs.events())
		got := ""
		if err != nil {
			// The core dump is the machine's decision.
			got = strings.TrimSuffix(err.Error(), " (core dumped)")
		}
		if got != tt.want && (!strings.HasSuffix(tt.want, "(") || !strings.HasPrefix(got, tt.want) || !strings.HasSuffix(got, "shorten them: argument list too long")) {
			t.Errorf("got %s\nwant %s", got, tt.want)
		}
	}
}

// A program or directory may be gone since the command was checked.
func TestGoneSince(t *testing.T) {
	jobs := newTestRunner(t)
	program := filepath.Join(jobs.dir, "bin", "program")
	writeProgram(t, program, "#!/bin/sh\n")
	j := jobs.job(Command{Argv: []string{program}, Dir: filepath.Dir(program)})
	for _, step := range []struct{ remove, want string }{
		{program, `program: "` + program + `" is not there any more: install it again: no such file or directory`},
		{filepath.Dir(program), `program: directory "` + filepath.Dir(program) + `" is not there any more: create it, or name another: no such file or directory`},
	} {
		if err := os.Remove(step.remove); err != nil {
			t.Fatal(err)
		}
		if err := j.Run(t.Context(), jobs.events()); err == nil || err.Error() != step.want {
			t.Errorf("got %v\nwant %s", err, step.want)
		}
	}
}

// A command runs with 10,000 long paths, unless it wants them as arguments or in a
// variable.
func TestManyPaths(t *testing.T) {
	jobs := newTestRunner(t)
	var paths []string
	for i := range 10_000 {
		paths = append(paths, fmt.Sprintf("%s/%d", strings.Repeat("a long name ", 20), i))
	}
	const instead = `: have them on standard input (stdin nul, as xargs -0 reads it), or a run for each file (per file)`
	tests := []struct {
		c    Command
		want string // of the failure
		out  string
	}{
		{Command{Shell: `echo ${E-none}`}, "", "none\n"},
		{Command{Argv: []string{"sh", "-c", `echo ${EXECLOGD_PATHS-none}`}}, "", "none\n"},
		{Command{Argv: []string{"sh", "-c", `tr -cd '\000' | wc -c`}, Input: NULPaths}, "", "10000\n"},
		{Command{Argv: []string{"sh", "-c", `wc -l`}, Input: JSONLines}, "", "10000\n"},
		{Command{Argv: []string{"head", "-c1"}, Input: JSONLines}, "", "{"}, // leaves the rest
		{Command{Shell: `for p in $EXECLOGD_PATHS; do :; done`}, "the 10000 paths are too long for EXECLOGD_PATHS (a variable has 128 KiB at most)" + instead, ""},
		{Command{Argv: []string{"echo", "{paths}"}}, " variables)" + instead, ""},
	}
	for _, tt := range tests {
		r := jobs.run(tt.c, paths...)
		if (r.Err == nil) != (tt.want == "") || r.Err != nil && !strings.HasSuffix(r.Err.Error(), tt.want) || string(r.Output) != tt.out {
			t.Errorf("%+v: got %q, %v", tt.c, r.Output, r)
		}
		if err := jobs.job(tt.c).Run(t.Context(), jobs.events(paths...)); errors.Is(err, ErrTooLong) != (tt.want != "") {
			t.Errorf("%+v: got %v", tt.c, err)
		}
		if len(r.Events) != maxEvents || r.Batch != len(paths) || len(r.Argv) > maxEvents {
			t.Errorf("the run has %d events of %d and %d arguments", len(r.Events), r.Batch, len(r.Argv))
		}
	}
}

// Nothing starts with a context that has ended.
func TestEndedContext(t *testing.T) {
	jobs := newTestRunner(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("changed my mind")
	cancel(why)
	err := jobs.job(Command{Shell: "touch ran"}).Run(ctx, jobs.events())
	if !errors.Is(err, why) {
		t.Errorf("got %v, want %v", err, why)
	}
	if _, err := os.Stat(filepath.Join(jobs.dir, "ran")); err == nil {
		t.Error("it has run")
	}
}

// Jobs run side by side, each with a supervisor process of its own.
func TestSideBySide(t *testing.T) {
	jobs := newTestRunner(t)
	j := jobs.job(Command{Shell: `echo up; read line`})
	slow := jobs.job(Command{Shell: `echo slow; sleep 1000 & wait`})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- slow.Run(ctx, jobs.events()) }()
	jobs.expect("slow")
	for range 5 {
		if err := j.Run(t.Context(), jobs.events()); err == nil || !strings.HasSuffix(err.Error(), "exit status 1") {
			t.Errorf("got %v, want the exit status of read at the end of its input", err)
		}
		jobs.expect("up")
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
}

// writeProgram is write for a file that can be executed.
func writeProgram(t *testing.T, path, content string) {
	t.Helper()
	write(t, path, content)
	if err := os.Chmod(path, 0o700); err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}
