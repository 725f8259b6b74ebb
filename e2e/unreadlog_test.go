package e2e

import (
	"bufio"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// Nobody reads the log, and the pipe at stderr is full: requests are answered, commands
// run, and SIGTERM ends the daemon. If somebody reads again, the log says that messages
// are missing.
func TestLogThatNobodyReads(t *testing.T) {
	t.Parallel()
	for _, reads := range []bool{false, true} {
		t.Run(map[bool]string{false: "never", true: "later"}[reads], func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			write(t, dir, map[string]string{
				"site/index.html": document("<p>text"),
				"x.toml": `
					[server]
					root = "site"
					port = 0
					[[route]]
					name = "chatty"
					match = "*.txt"
					run = ["seq", "300000"]
					[[route]]
					name = "done"
					match = "*.txt"
					after = ["chatty"]
					shell = "date +%N >done"
					`,
			})
			out, stderr, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer out.Close()
			cmd := exec.Command(execlogd, "-config", "x.toml")
			cmd.Dir, cmd.Stderr = dir, stderr
			cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			stderr.Close()
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				cmd.Wait()
			}()
			defer func() {
				cmd.Process.Kill()
				<-ended
			}()
			lines := bufio.NewReader(out)
			ready, err := lines.ReadString('\n')
			if err != nil || !readyURL.MatchString(ready) {
				t.Fatalf("it said %q, %v", ready, err)
			}
			url := readyURL.FindStringSubmatch(ready)[1]

			write(t, dir, map[string]string{"site/a.txt": "x"})
			err = eventually(t.Context(), "the second job, after one that writes much to the log", func() bool {
				_, err := os.Stat(filepath.Join(dir, "done"))
				return err == nil
			})
			if err != nil {
				t.Fatal(err)
			}
			resp, err := http.Get(url + "/")
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != 200 {
				t.Errorf("GET /: %s", resp.Status)
			}
			if reads {
				for said := false; !said; {
					line, err := lines.ReadString('\n')
					if err != nil {
						t.Fatalf("it ended, and did not say that messages are missing: %v", err)
					}
					said = strings.Contains(line, "messages were dropped, as nobody read the log")
				}
			}
			if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			err = eventually(t.Context(), "execlogd to end at SIGTERM", func() bool {
				select {
				case <-ended:
					return true
				default:
					return false
				}
			})
			if err != nil {
				t.Fatal(err)
			}
			if !cmd.ProcessState.Success() {
				t.Errorf("it ended with %v", cmd.ProcessState)
			}
		})
	}
}
