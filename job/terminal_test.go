package job

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// onTerminal runs a script with the terminal that is standard input, and says what has
// become of both.
func onTerminal() error {
	t, err := OpenTerminal(os.Stdin)
	if err != nil {
		return err
	}
	lent, returned := 0, 0
	t.Lending, t.Returned = func() { lent++ }, func() { returned++ }
	t.OnDemand = os.Getenv("ON_DEMAND") != ""
	before, err := t.Modes()
	if err != nil {
		return err
	}

	r, err := New(Options{
		Terminal: t, Stdout: os.Stdout, Stderr: os.Stderr,
		KeySignal: func(_ Run, s syscall.Signal) { fmt.Println("key:", signalName(s)) },
	})
	if err != nil {
		return err
	}
	defer r.Close()
	j, err := r.Command(Command{Name: "test", Shell: os.Args[1], Dir: "/", Input: TerminalInput})
	if err != nil {
		return err
	}
	err = j.Run(context.Background(), nil)

	after, modesErr := t.Modes()
	if modesErr != nil {
		return modesErr
	}
	fmt.Printf("ended: %v, in foreground: %v, modes as before: %v, lent %d, returned %d\n", err, t.InForeground(), *after == *before, lent, returned)
	return nil
}

// A program has the terminal, its keys and its modes, and the process has it back when
// the program has ended.
func TestTerminal(t *testing.T) {
	const back = ", in foreground: true, modes as before: true, lent %d, returned %[1]d"
	tests := []struct {
		name, script string
		onDemand     bool
		typed        string // when the script has written "up"
		want         []string
	}{
		{"it reads", `stty -echo; echo up; read word; echo "got $word"`, false, "hello\n", []string{"got hello", fmt.Sprintf("ended: <nil>"+back, 1)}},
		{"it is interrupted", `echo up; exec sleep 1000`, false, "\x03", []string{"^Ckey: SIGINT", fmt.Sprintf("ended: sh -c \"echo up; exec sleep 1000\": killed by SIGINT"+back, 1)}},
		{"it is stopped, and no shell is there to continue it", `stty -echo; echo up; kill -TSTP $$; stty | grep -o -e -echo`, false, "", []string{"-echo", "ended: <nil>, in foreground: true, modes as before: true, lent 2, returned 1"}},
		{"it reads, and gets it only then", `echo up; read word; echo "got $word"`, true, "hello\n", []string{"hello", "got hello", fmt.Sprintf("ended: <nil>"+back, 1)}},
		{"it does not read", `echo up`, true, "", []string{fmt.Sprintf("ended: <nil>"+back, 0)}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			screen, program := pseudoTerminal(t)
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			cmd := exec.CommandContext(ctx, os.Args[0], tt.script)
			cmd.Env = append(os.Environ(), "JOB_TEST=terminal")
			if tt.onDemand {
				cmd.Env = append(cmd.Env, "ON_DEMAND=1")
			}
			cmd.Stdin, cmd.Stdout, cmd.Stderr = program, program, program
			cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			program.Close()

			var got []string
			for lines := bufio.NewScanner(screen); lines.Scan(); { // until nobody has the terminal
				line := strings.TrimRight(lines.Text(), "\r")
				if line != "up" {
					got = append(got, line)
				} else if _, err := screen.WriteString(tt.typed); err != nil {
					t.Error(err)
				}
			}
			if err := cmd.Wait(); err != nil {
				t.Error(err)
			}
			if strings.Join(got, "\n") != strings.Join(tt.want, "\n") {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
			}
		})
	}
}

// pseudoTerminal opens both ends of a pseudo-terminal.
func pseudoTerminal(t *testing.T) (screen, program *os.File) {
	t.Helper()
	open := func(path string) *os.File {
		f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY, 0)
		if err != nil {
			t.Skip(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	screen = open("/dev/ptmx")
	number, err := unix.IoctlGetInt(int(screen.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(screen.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Skip(err)
	}
	return screen, open(fmt.Sprintf("/dev/pts/%d", number))
}
