package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/execlog/execlogd/internal/testenv"
)

// A server that writes below its root when it has started is started a few times
// and no more, and then it is said what to do about it.
func TestServersThatWriteWhatStartsThem(t *testing.T) {
	const most = 60 // some 10; more on a busy machine, where the times of writes vary
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
		for late := time.After(4 * testenv.WaitLimit); ; {
			select {
			case line := <-lines:
				seen = append(seen, line)
				if strings.Contains(line, "a loop: ") && strings.HasSuffix(line, want) {
					return
				}
			case <-late:
				t.Fatalf("no loop that says %q in:\n%s", want, strings.Join(seen, "\n"))
			}
		}
	}

	t.Run("a service, at once", func(t *testing.T) {
		t.Parallel()
		file := filepath.Join(t.TempDir(), "starts") // a line each: the paths that led to it
		s := begin(t, `-- in/ --
-- x.toml --
[[route]]
name = "server"
root = "in"
service = true
run = ["sh", "-c", "echo $EXECLOGD_PATHS >>\"$STARTS\"; date +%N >in/.out; mv in/.out in/out; sleep 100"]
env = { STARTS = "`+file+`" }
`)
		await(t, s.Log, `lastly out: name it in outputs or ignore"`)
		if n := starts(t, file); n > most {
			t.Errorf("started %d times, want at most %d", n, most)
		}

		// What it goes on to write does not start it again by itself.
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		known := len(text)
		for i := range 5 {
			save := fmt.Sprintf("in/save%d", i)
			s.Write(save, "")
			for late := time.Now().Add(testenv.WaitLimit); !bytes.Contains(text[known:], []byte(save)); time.Sleep(10 * time.Millisecond) {
				if text, err = os.ReadFile(file); err != nil || time.Now().After(late) {
					t.Fatalf("%s starts nothing: %v, %q", save, err, text[known:])
				}
			}
			time.Sleep(200 * time.Millisecond) // as nothing says that a start did not come
		}
		for line := range strings.Lines(string(text[known:])) {
			if !strings.Contains(line, "save") {
				t.Errorf("the service was started again by %s", line)
			}
		}
	})
	t.Run("run -restart, after more than a second", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		file := filepath.Join(dir, "starts")
		r := startRun(t, "-restart", "-shell", `echo >>`+file+`; sleep 1.2; cd "$EXECLOGD_ROOT"; date +%N >.out; mv .out out; sleep 100`)
		await(t, r.out, "lastly out: name it with -outputs or -ignore")
		if n := starts(t, file); n > most {
			t.Errorf("started %d times, want at most %d", n, most)
		}
	})
}
