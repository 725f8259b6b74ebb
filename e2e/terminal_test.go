package e2e

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// A tmux is a real terminal: a window of tmux(1) in which a shell runs.
type tmux struct {
	t      *testing.T
	socket string
	dir    string // in which the shell is
}

// openTmux opens a window of so many columns, with $EXECLOGD in the environment.
func openTmux(t *testing.T, columns int) *tmux {
	t.Helper()
	for _, program := range []string{"tmux", "bash"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip(err)
		}
	}
	dir, err := os.MkdirTemp("", "tmux") // whose name is short enough for a socket
	if err != nil {
		t.Fatal(err)
	}
	x := &tmux{t: t, socket: filepath.Join(dir, "socket"), dir: t.TempDir()}
	x.do("-f", "/dev/null", "new-session", "-d", "-x", fmt.Sprint(columns), "-y", "50",
		"-e", "EXECLOGD="+execlogd, "-e", "LC_ALL=C.UTF-8", "-e", "BROWSER=touch opened", "-e", "PS1=PROMPT>", "-c", x.dir,
		"bash", "--norc", "--noprofile", "--noediting")
	t.Cleanup(func() {
		x.do("kill-server")
		os.RemoveAll(dir)
	})
	x.sees("PROMPT>")
	return x
}

// do runs a command of tmux, and returns its output.
func (x *tmux) do(args ...string) string {
	x.t.Helper()
	cmd := exec.Command("tmux", append([]string{"-u", "-S", x.socket}, args...)...)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8")
	out, err := cmd.CombinedOutput()
	if err != nil {
		x.t.Fatalf("tmux %q: %v\n%s", args, err, out)
	}
	return string(out)
}

// screen returns the lines of the window, without empty ones at its end.
func (x *tmux) screen() []string {
	x.t.Helper()
	return strings.Split(strings.TrimRight(x.do("capture-pane", "-p"), "\n"), "\n")
}

// sees waits until the last lines of the window match a pattern.
func (x *tmux) sees(pattern string) {
	x.t.Helper()
	re := regexp.MustCompile(`(?:` + pattern + `)\s*\z`)
	var text string
	err := eventually(x.t.Context(), "the screen", func() bool {
		text = strings.Join(x.screen(), "\n")
		return re.MatchString(text)
	})
	if err != nil {
		x.t.Fatalf("%v: no %q at the end of\n%s", err, pattern, text)
	}
}

// count counts the lines of the window that have a text.
func (x *tmux) count(text string) (n int) {
	x.t.Helper()
	for _, line := range x.screen() {
		if strings.Contains(line, text) {
			n++
		}
	}
	return n
}

// types presses keys, which have names as in Enter and C-c.
func (x *tmux) types(keys ...string) {
	x.t.Helper()
	x.do(append([]string{"send-keys"}, keys...)...)
}

// isRestored fails unless the terminal has the modes that a shell's programs expect.
func (x *tmux) isRestored() {
	x.t.Helper()
	x.types("clear; stty -a | grep -Eo ' -?(icanon|echo)\\b' | tr -d '\\n'; echo", "Enter")
	x.sees(`icanon echo\nPROMPT>`)
}

const terminalConfig = `[server]
port = 0
[[route]]
name = "build"
match = ["*.md"]
start = true
shell = "until [ -e go ]; do sleep 0.05; done; echo built $EXECLOGD_PATHS; test ! -e broken"
[[route]]
name = "other"
match = ["*.txt"]
run = ["true"]
`

// TestTerminal has a user at a terminal look at the line of state and press keys.
func TestTerminal(t *testing.T) {
	t.Parallel()
	x := openTmux(t, 100)
	write(t, x.dir, map[string]string{"site.toml": terminalConfig, "index.html": "<p>one"})
	x.types("$EXECLOGD -config site.toml", "Enter")
	x.sees(`\n 0 pages open · build runs for [12]s · \? lists keys`)
	write(t, x.dir, map[string]string{"go": ""})
	x.sees(`build +│ built .*\n.*build +✓ done after .*\n 0 pages open · ✓ build took [0-9.ms]+, [0-9:]+ · \? lists keys`)

	site := regexp.MustCompile(`this machine +http://([0-9.:]+)/\n +status page +http://[^\n]*token=`).FindStringSubmatch(strings.Join(x.screen(), "\n"))
	if site == nil {
		t.Fatalf("no address in\n%s", strings.Join(x.screen(), "\n"))
	}
	page, err := dialOurs(t.Context(), "http://"+site[1], "/", []string{"/"})
	if err != nil {
		t.Fatal(err)
	}
	defer page.conn.CloseNow()
	x.sees(` 1 page open · .*`)
	x.types("r")
	x.sees(`execlogd: reloading 1 page\n 1 page open.*`)
	for m := ""; !strings.Contains(m, `"reload"`); { // after its position
		if m, err = page.next(maxWait); err != nil {
			t.Fatal(err)
		}
	}

	write(t, x.dir, map[string]string{"broken": ""})
	x.types("b")
	x.sees(`execlogd: running build\n(?s:.*)✗ (?s:.*)· ✗ build failed after [0-9.ms]+, [0-9:]+ · \? lists keys`)
	x.types("l")
	x.sees(`build: (?s:.*)\n  built [^\n]+\n\n 1 page open.*`)
	x.types("?")
	x.sees(`\n  o  open the site(?s:.*)  q  quit\n(?s:.*) 1 page open.*`)
	x.types("a")
	x.sees(`  Other devices reach no address of these: -host 0\.0\.0\.0 is for them too\.\n\n 1 page open.*`)
	x.types("o")
	if err := eventually(t.Context(), "the browser", func() bool { _, err := os.Stat(filepath.Join(x.dir, "opened")); return err == nil }); err != nil {
		t.Error(err)
	}
	x.types("q")
	x.sees(`INF stopping cause="the key q"\nPROMPT>`)
	if n := x.count("lists keys"); n != 0 {
		t.Errorf("the line of state is left %d times", n)
	}
	x.isRestored()
}

// TestTerminalResized makes the window narrower than the line of state, and wider again.
// A file has a name that would clear the screen.
func TestTerminalResized(t *testing.T) {
	t.Parallel()
	x := openTmux(t, 80)
	write(t, x.dir, map[string]string{"index.html": "<p>one"})
	x.types("$EXECLOGD -port 0", "Enter")
	x.sees(`execlogd: serving (?s:.*)\n 0 pages open · \? lists keys`)
	site := regexp.MustCompile(`this machine +http://([0-9.:]+)/`).FindStringSubmatch(strings.Join(x.screen(), "\n"))
	const name = "\x1b[2J\r界界界.html"
	write(t, x.dir, map[string]string{name: "<p>one"})
	page, err := dialStock(t.Context(), nil, "http://"+site[1], "/%1B%5B2J%0D%E7%95%8C%E7%95%8C%E7%95%8C.html", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer page.conn.CloseNow()
	save(t, x.dir, name, "<p>two")
	x.sees(`execlogd: serving (?s:.*)\n 1 page open · last change [0-9:]+ "\\x1b\[2J\\r界界界\.html" · \? lists keys`)

	// What was above may have gone into the terminal's history.
	x.do("resize-window", "-x", "40")
	x.sees(`(^|\n) 1 page open · last change [0-9:]+ "[^"]*…`)
	x.do("resize-window", "-x", "61") // in the middle of wide characters
	x.sees(`(^|\n) 1 page open · last change [0-9:]+ .*\.html".*`)
	x.do("resize-window", "-x", "12")
	x.sees(`(^|\n) 1 page ope…`)
	x.do("resize-window", "-x", "100")
	x.sees(`(^|\n) 1 page open · last change [0-9:]+ "\\x1b\[2J\\r界界界\.html" · \? lists keys`)
	if n := x.count("last change"); n != 1 {
		t.Errorf("the line of state is there %d times:\n%s", n, strings.Join(x.screen(), "\n"))
	}
}

// TestTerminalJobControl stops and continues the daemon under a shell.
func TestTerminalJobControl(t *testing.T) {
	t.Parallel()
	x := openTmux(t, 80)
	x.types("$EXECLOGD -port 0", "Enter")
	x.sees(`\n 0 pages open · .*`)
	x.types("C-z")
	x.sees(`\n\[1\]\+ +Stopped .*\nPROMPT>`)
	x.isRestored()

	x.types("bg", "Enter")
	x.sees(`\[1\]\+ .*&\nPROMPT>`)
	x.types("clear; echo 4$((1+1))", "Enter")
	x.sees(`42\nPROMPT>`)
	x.isRestored()
	x.types("fg", "Enter")
	x.sees(`\n 0 pages open · .*`)
	x.types("C-c")
	x.sees(`stopping cause=.*\nPROMPT>`)
	x.isRestored()
}

// TestTerminalIsRestored ends the daemon in other ways than by keys.
func TestTerminalIsRestored(t *testing.T) {
	t.Parallel()
	x := openTmux(t, 80)
	for name, end := range map[string]string{"SIGTERM": `stopping cause=(?s:.*)\n`, "SIGQUIT": `execlogd: quit at once by SIGQUIT\n`} {
		x.types("clear; $EXECLOGD -port 0", "Enter")
		x.sees(`\n 0 pages open · .*`)
		if out, err := exec.Command("pkill", "-"+strings.TrimPrefix(name, "SIG"), "-P", strings.TrimSpace(x.do("display-message", "-p", "#{pane_pid}"))).CombinedOutput(); err != nil {
			t.Fatalf("%v %s", err, out)
		}
		x.sees(end + `(?s:.*)PROMPT>`)
		if n := x.count("pages open"); n != 0 {
			t.Errorf("%s: the line of state is left %d times:\n%s", name, n, strings.Join(x.screen(), "\n"))
		}
		x.isRestored()
	}
}

// TestNoLineOfState has a log that is not for people alone.
func TestNoLineOfState(t *testing.T) {
	t.Parallel()
	x := openTmux(t, 80)
	for _, command := range []string{
		"$EXECLOGD -port 0 2>&1 | cat",
		"TERM=dumb $EXECLOGD -port 0",
		"$EXECLOGD -port 0 -log-format text",
		"$EXECLOGD -port 0 </dev/null",
	} {
		x.types("clear; rm -f index.html; "+command, "Enter")
		x.sees(`status page http(?s:.*)token=[A-Z0-9\n]+`)
		// A line that was broken at the space does not have it.
		site := regexp.MustCompile(`on ?http://([0-9.:]+)/`).FindStringSubmatch(strings.ReplaceAll(strings.Join(x.screen(), "\n"), "\n", ""))
		res, err := http.Get("http://" + site[1] + "/") // it serves
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if n := x.count("pages open") + x.count("lists keys"); n != 0 {
			t.Errorf("%s: there is a line of state:\n%s", command, strings.Join(x.screen(), "\n"))
		}
		x.types("C-c")
		x.sees(`PROMPT>`)
		x.isRestored()
	}
}
