package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A server that writes below its root when it has started is started a few times
// and no more, and then it is said what to do about it.
func TestServersThatWriteWhatStartsThem(t *testing.T) {
	const most = 12
	// What has ended is counted as well.
	starts := func(t *testing.T, file string) int {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return bytes.Count(text, []byte("\n"))
	}
	await := func(t *testing.T, lines <-chan string, want string) {
		t.Helper()
		var seen []string
		for late := time.After(4 * patience); ; {
			select {
			case line := <-lines:
				seen = append(seen, line)
				if strings.Contains(line, "a loop: ") && strings.Contains(line, want) {
					return
				}
			case <-late:
				t.Fatalf("no loop that says %q in:\n%s", want, strings.Join(seen, "\n"))
			}
		}
	}

	t.Run("a service, at once", func(t *testing.T) {
		t.Parallel()
		file := filepath.Join(t.TempDir(), "starts")
		s := begin(t, `-- in/ --
-- x.toml --
[[route]]
name = "server"
root = "in"
service = true
run = ["sh", "-c", "echo >>\"$STARTS\"; date +%N >in/.out; mv in/.out in/out; sleep 100"]
env = { STARTS = "`+file+`" }
`)
		await(t, s.lines, "lastly out: name it in outputs or ignore")
		if n := starts(t, file); n > most {
			t.Errorf("started %d times, want at most %d", n, most)
		}
	})
	t.Run("run -restart, after more than a second", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		file := filepath.Join(dir, "starts")
		r := runLine(t, "-restart", "-shell", `echo >>`+file+`; sleep 1.2; cd "$EXECLOGD_ROOT"; date +%N >.out; mv .out out; sleep 100`)
		await(t, r.out, "lastly out: name it with -outputs or -ignore")
		if n := starts(t, file); n > most {
			t.Errorf("started %d times, want at most %d", n, most)
		}
	})
}
