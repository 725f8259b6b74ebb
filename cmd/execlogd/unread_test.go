package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// unreadPipe is a pipe that is full and that nobody reads.
func unreadPipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	raw, err := w.SyscallConn() // w.Fd would have the pipe block
	if err != nil {
		t.Fatal(err)
	}
	err = raw.Control(func(fd uintptr) {
		for err := error(nil); err == nil; {
			_, err = syscall.Write(int(fd), []byte("\n"))
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return r, w
}

// prompt is how long something may take that must not wait for a reader: far from
// what a busy machine needs.
const prompt = 30 * time.Second

// Commands do not hang when nobody reads what they write: run works without a
// reader of its own lines, a command is held up by its reader alone, and Ctrl-C
// ends each of them.
func TestCommandsWithoutAReader(t *testing.T) {
	tests := []struct {
		name, unread string // the stream
		args         []string
	}{
		{"run's own lines", "stderr", []string{"run", "-path", "DIR", "--", "sh", "-c", "echo; touch DIR/begun; exec sleep 1000"}},
		{"what a command prints", "stdout", []string{"run", "-path", "DIR", "--", "sh", "-c", "touch DIR/begun; exec yes"}},
		{"what a command prints that ends slowly", "stdout", []string{"run", "-path", "DIR", "--", "sh", "-c", "trap 'touch DIR/trapped' INT TERM; touch DIR/begun; while :; do echo; done"}},
		{"what a command complains", "stderr", []string{"run", "-path", "DIR", "--", "sh", "-c", "touch DIR/begun; exec yes >&2"}},
		{"events", "stdout", []string{"watch", "DIR"}},
		{"an error", "stderr", []string{"watch", "/no/such"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			_, w := unreadPipe(t)
			var args []string
			for _, arg := range tt.args {
				args = append(args, strings.ReplaceAll(arg, "DIR", dir))
			}
			cmd := exec.Command(os.Args[0], args...)
			cmd.Env = append(os.Environ(), roleVariable+"=main")
			cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
			var said *bufio.Scanner // nil where that is what nobody reads
			if tt.unread == "stdout" {
				cmd.Stdout = w
				pipe, err := cmd.StderrPipe()
				if err != nil {
					t.Fatal(err)
				}
				said = bufio.NewScanner(pipe)
			} else {
				cmd.Stderr = w
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			kill := time.AfterFunc(prompt, func() { cmd.Process.Kill() })
			defer func() {
				kill.Stop()
				cmd.Process.Kill()
				_ = cmd.Wait()
			}()
			if said != nil && !said.Scan() {
				t.Fatal("it does not say that it watches")
			}
			begun := filepath.Join(dir, "begun")
			switch tt.args[0] + tt.name {
			case "watchevents":
				for i := range 100 {
					if err := os.WriteFile(begun+fmt.Sprint(i), []byte("x"), 0o644); err != nil {
						t.Fatal(err)
					}
				}
			case "watchan error":
			default:
				for late := time.Now().Add(prompt); ; time.Sleep(10 * time.Millisecond) {
					if _, err := os.Stat(begun); err == nil {
						break
					}
					if time.Now().After(late) {
						t.Fatal("the command has not begun, as nobody reads what is written")
					}
				}
			}
			want := 1
			if tt.name != "an error" {
				want = 0
				if err := cmd.Process.Signal(os.Interrupt); err != nil {
					t.Fatal(err)
				}
			}
			if said != nil {
				for said.Scan() { // to its end, which is that of the process
				}
			}
			err := cmd.Wait()
			if status := cmd.ProcessState.ExitCode(); status != want {
				t.Errorf("exit status %d, want %d: %v; killed, it did not end by itself, as nobody reads", status, want, err)
			}
		})
	}
}
