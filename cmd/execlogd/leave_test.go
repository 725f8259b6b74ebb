package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/execlog/execlogd/internal/testenv"
	"github.com/execlog/execlogd/job"
)

// What a run leaves behind is in the log, on the status page and in what
// execlogd log prints, and what may stay is there after the daemon.
func TestLeftBehind(t *testing.T) {
	s := begin(t, `
-- x.toml --
control = "control.sock"

[[route]]
name = "ends"
match = "*.a"
shell = 'sleep 1000 & name=; until [ "$name" = sleep ]; do read name </proc/$!/comm; done'

[[route]]
name = "leaves"
match = "*.b"
shell = 'sleep 1000 & name=; until [ "$name" = sleep ]; do read name </proc/$!/comm; done'
leave = ["java", "sle*"]
`)
	pid := func(line string) int {
		t.Helper()
		m := regexp.MustCompile(`processes="sleep \((\d+)\)"`).FindStringSubmatch(line)
		if m == nil {
			t.Fatalf("no process in %s", line)
		}
		n, err := strconv.Atoi(m[1])
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	s.Write("x.a", "1")
	gone := pid(s.Await(`msg="ended what it left behind" route=ends`))
	s.Await("msg=done route=ends")
	s.Write("x.b", "1")
	stays := pid(s.Await(`msg="left running" route=leaves`))
	defer syscall.Kill(stays, syscall.SIGKILL)
	s.Await("msg=done route=leaves")

	var out bytes.Buffer
	testenv.Check(t, run(t.Context(), []string{"log", "-json", "-control", s.Dir + "/control.sock"}, &out, io.Discard))
	none := job.Processes{}
	want := map[string]job.Process{"ends": {PID: gone, Name: "sleep"}, "leaves": {PID: stays, Name: "sleep"}}
	for lines := json.NewDecoder(&out); lines.More(); {
		var r job.Run
		testenv.Check(t, lines.Decode(&r))
		is, other := r.Ended, r.Left
		if r.Route == "leaves" {
			is, other = other, is
		}
		if !reflect.DeepEqual(other, none) || is.Count != 1 || is.First[0] != want[r.Route] {
			t.Errorf("%s: ended %+v, left %+v", r.Route, r.Ended, r.Left)
		}
	}
	out.Reset()
	testenv.Check(t, run(t.Context(), []string{"log", "-control", s.Dir + "/control.sock"}, &out, io.Discard))
	for _, text := range []string{"/x.a; ended what it left behind: sleep (", "/x.b; left running: sleep ("} {
		if !strings.Contains(out.String(), text) {
			t.Errorf("no %s in\n%s", text, out.String())
		}
	}

	s.Stop()
	if syscall.Kill(gone, 0) == nil || syscall.Kill(stays, 0) != nil {
		t.Errorf("after the daemon: %v of the one that was ended, %v of the other", syscall.Kill(gone, 0), syscall.Kill(stays, 0))
	}
}

func TestLeaveSaysWhatIsWrong(t *testing.T) {
	for keys, want := range map[string]string{
		"run = ['true']\nleave = 1":                        `x.toml:4:9: leave is 1: want true, false, or names of processes, as in ["java", "sccache"]`,
		"run = ['true']\nleave = ['a', '[']":               `x.toml:4:15: leave: "[" is no pattern: close its bracket, or put a backslash before it`,
		"run = ['true']\nservice = true\nleave = ['java']": `x.toml:5:10: route "x" has leave, which is for commands that end: a service is started again with nothing left of it`,
	} {
		if out, err := checking(t, "[[route]]\nname = 'x'\n"+keys); !strings.Contains(out, want) || err == nil {
			t.Errorf("%s\n got %q and %v\nwant %q", keys, out, err, want)
		}
	}
}

// In a container nobody else reaps what is left running when it ends.
func TestFirstProcessReapsWhatWasLeft(t *testing.T) {
	namespace := []string{"--pid", "--fork", "--mount-proc", "--kill-child"}
	if os.Getuid() != 0 {
		namespace = append(namespace, "--user", "--map-root-user")
	}
	if out, err := exec.Command("unshare", append(namespace, "true")...).CombinedOutput(); err != nil {
		t.Skipf("no PID namespace can be made: %v: %s", err, out)
	}
	dir := t.TempDir()
	// The orphan is a zombie when it has closed the pipe. A later run of the
	// same route looks for it until it is not there any more.
	const script = `
if [ ! -e ran ]; then touch ran; mkfifo pipe; setsid sh -c 'exec 9>pipe; sleep 0.1' & exit; fi
cat pipe
i=0; while cat /proc/[0-9]*/stat | grep -q ') Z 1 ' && [ $i -lt 200 ]; do sleep 0.1; i=$((i+1)); done
[ $i -lt 200 ] && echo none is left
`
	cmd := exec.Command("unshare", append(namespace, os.Args[0], "run", "-match", "*.go", "-leave", "true", "-shell", script)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), roleVariable+"=main")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	testenv.Check(t, cmd.Start())
	lines := bufio.NewScanner(out)
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	await := func(text string) {
		t.Helper()
		var seen strings.Builder
		for lines.Scan() {
			if seen.WriteString(lines.Text() + "\n"); strings.Contains(lines.Text(), text) {
				return
			} else if strings.Contains(lines.Text(), "exit status") {
				break
			}
		}
		t.Fatalf("want %q, got\n%s", text, seen.String())
	}
	await("ok after")
	testenv.Check(t, os.WriteFile(filepath.Join(dir, "x.go"), nil, 0o600))
	await("none is left")
}
