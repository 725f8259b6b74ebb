package e2e

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestCompletion types command lines in real shells, and presses Tab.
func TestCompletion(t *testing.T) {
	t.Parallel()
	site, completions := t.TempDir(), absolute(t, "../packaging/completions")
	const config = "[server]\n[[route]]\nname = \"build\"\nmatch = \"*.md\"\nrun = [\"true\"]\n[[route]]\nname = \"thumbnails\"\nmatch = \"*.png\"\nrun = [\"true\"]\n"
	write(t, site, map[string]string{"site.toml": config})
	if _, err := startDaemon(t, site, "-config", "site.toml", "-port", "0", "-control", "c.sock"); err != nil {
		t.Fatal(err)
	}

	shells := map[string]struct {
		args  []string
		files map[string]string // below its home directory
	}{
		"bash": {[]string{"--rcfile", ".rc", "-i"}, map[string]string{".rc": "source " + completions + "/execlogd.bash\n"}},
		"zsh": {[]string{"-i"}, map[string]string{
			".zshrc":              "fpath=($HOME/functions $fpath)\nautoload -Uz compinit\ncompinit -u -D\n",
			"functions/_execlogd": read(t, completions+"/execlogd.zsh"),
		}},
		"fish": {[]string{"-i"}, map[string]string{".config/fish/completions/execlogd.fish": read(t, completions+"/execlogd.fish")}},
	}
	for name, shell := range shells {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path, err := exec.LookPath(name)
			if err != nil {
				t.Skip(err)
			}
			home := t.TempDir()
			write(t, home, shell.files)
			write(t, home, map[string]string{"site.toml": ""})
			cmd := exec.Command(path, shell.args...)
			cmd.Dir = home
			cmd.Env = []string{"HOME=" + home, "TERM=xterm", "LC_ALL=C.UTF-8", "GORACE=atexit_sleep_ms=0", "PATH=" + filepath.Dir(execlogd) + ":/usr/bin:/bin"}
			keyboard, screen := onTerminal(t, cmd)

			for i, line := range [][2]string{
				{"execlogd tri", "execlogd trigger"},
				{"execlogd run -on-b", "execlogd run -on-busy"},
				{"execlogd run -on-busy res", "execlogd run -on-busy restart"},
				{"execlogd -log-format=js", "execlogd -log-format=json"},
				{"execlogd -editor vs", "execlogd -editor vscode"},
				{"execlogd run -restart mktem", "execlogd run -restart mktemp"},
				{"execlogd trigger -control " + site + "/c.sock th", "execlogd trigger -control " + site + "/c.sock thumbnails"},
				{"execlogd check -config si", "execlogd check -config site.toml"},
			} {
				// After Tab: Ctrl-A, Ctrl-E, and the line is written to a file.
				out := filepath.Join(home, fmt.Sprint("out", i))
				fmt.Fprintf(keyboard, "%s\t\x01echo \x05 >%s\r", line[0], out)
				var got string
				err := eventually(t.Context(), "what Tab made of "+line[0], func() bool {
					text, _ := os.ReadFile(out)
					got = strings.TrimSpace(string(text))
					return strings.HasSuffix(string(text), "\n")
				})
				if err != nil {
					t.Fatalf("%v\n%q", err, screen)
				}
				expect(t, line[0], got, line[1])
			}
		})
	}
}

// onTerminal starts a program at a terminal of its own, until the test ends.
func onTerminal(t *testing.T, cmd *exec.Cmd) (keyboard io.Writer, screen *syncBuffer) {
	t.Helper()
	ours, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Skip(err)
	}
	if err := unix.IoctlSetPointerInt(int(ours.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(int(ours.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := os.OpenFile(fmt.Sprint("/dev/pts/", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = theirs, theirs, theirs
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}

	screen = new(syncBuffer)
	read := make(chan struct{})
	go func() {
		defer close(read)
		io.Copy(screen, ours) // ends with an error when the last process has left the terminal
	}()
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		<-read
		ours.Close()
	})
	return ours, screen
}

// read returns the content of a file.
func read(t testing.TB, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
