package job

import (
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/execlog/execlogd/job/internal/supervisor"
	"github.com/execlog/execlogd/router"
)

// sleeping returns a script that starts n processes of sleep in the background. It
// waits until each has executed that.
func sleeping(n int) string {
	return fmt.Sprintf(`for i in $(seq %d); do sleep 1000 & name=; until [ "$name" = sleep ]; do read name </proc/$!/comm; done; done; `, n)
}

// A Run says what was ended after it, and names the first processes.
func TestWhatIsEndedIsTold(t *testing.T) {
	jobs := newTestRunner(t)
	r := jobs.run(Command{Shell: sleeping(1) + "echo $!"})
	if want := "sleep (" + strings.TrimSpace(string(r.Output)) + ")"; r.Ended.String() != want || r.Ended.Count != 1 {
		t.Errorf("it ended %q, want %q", r.Ended, want)
	}
	r = jobs.run(Command{Shell: sleeping(12)})
	if r.Ended.Count != 12 || len(r.Ended.First) != 10 || !strings.HasSuffix(r.Ended.String(), ") and 2 more") {
		t.Errorf("of 12 it ended %v", r.Ended)
	}
	if r = jobs.run(Command{Shell: "sleep 0 & wait"}); r.Ended.String() != "" || r.Left.Count != 0 {
		t.Errorf("it ended %v and left %v, want none", r.Ended, r.Left)
	}
}

// endLeft kills what a run has left behind.
func endLeft(t *testing.T, r Run) {
	for _, p := range r.Left.First {
		if err := syscall.Kill(p.PID, syscall.SIGKILL); err != nil {
			t.Errorf("%v: %v", p, err)
		}
	}
}

// buildServer makes a program "buildserver" that starts another, and returns its
// directory.
func buildServer(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	writeProgram(t, filepath.Join(dir, "buildserver"), "#!/bin/sh\n"+sleeping(1)+"\necho >"+dir+"/up\nwait\n")
	if err := syscall.Mkfifo(filepath.Join(dir, "up"), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestLeave(t *testing.T) {
	tests := []struct {
		name        string
		leave       []string
		ended, left string
	}{
		{"nobody", nil, "buildserver sleep sleep", ""},
		{"all", []string{"*"}, "", "buildserver sleep sleep"},
		{"by name, with what it has started", []string{"java", "build*"}, "sleep", "buildserver sleep"},
		{"by a name of which there is none", []string{"java"}, "buildserver sleep sleep", ""},
	}
	const grace = 15 * time.Second
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := buildServer(t)
			jobs := newTestRunner(t)
			r := jobs.run(Command{Shell: "echo begins; setsid " + dir + "/buildserver & read up <" + dir + "/up; " + sleeping(1) + "echo ends", Leave: tt.leave, Grace: grace})
			defer endLeft(t, r)
			if string(r.Output) != "begins\nends\n" || r.Err != nil {
				t.Errorf("got %v\n%s", r, r.Output)
			}
			if r.Took >= grace {
				t.Errorf("it took %v after all had ended that must", r.Took)
			}
			if ended, left := sortedNames(r.Ended), sortedNames(r.Left); ended != tt.ended || left != tt.left {
				t.Errorf("it ended %q and left %q, want %q and %q", ended, left, tt.ended, tt.left)
			}
			// Later runs have nothing to do with it.
			for range 3 {
				if next := jobs.run(Command{Shell: "sleep 1000 & echo next"}); next.Err != nil || next.Ended.Count != 1 {
					t.Errorf("the next run: %v, which ended %v", next, next.Ended)
				}
			}
			if err := jobs.Close(); err != nil {
				t.Error(err)
			}
			for _, p := range r.Left.First {
				if now, ok := supervisor.Lookup(p.PID); !ok || now.Zombie {
					t.Errorf("%v is not there any more", p)
				}
			}
		})
	}
}

// sortedNames returns the names of processes, or says that there are others.
func sortedNames(p Processes) string {
	counts := make(map[string]int)
	for _, one := range p.First {
		counts[one.Name]++
	}
	var names []string
	for _, name := range []string{"buildserver", "sleep"} {
		for range counts[name] {
			names = append(names, name)
		}
	}
	if len(names) != p.Count {
		return fmt.Sprintf("%s, in all %d", p, p.Count)
	}
	return strings.Join(names, " ")
}

// A process gets a moment to execute the program that may be left.
func TestLeaveWaitsForPrograms(t *testing.T) {
	jobs := newTestRunner(t)
	r := jobs.run(Command{Argv: []string{"python3", "-c", `
import os
parent = os.getpid()
if os.fork() == 0:
    while os.getppid() == parent: pass
    os.execlp("sleep", "sleep", "1000")
`}, Leave: []string{"sleep"}})
	defer endLeft(t, r)
	if got := sortedNames(r.Left); got != "sleep" || r.Ended.Count > 0 {
		t.Errorf("it left %q and ended %v", got, r.Ended)
	}
}

// Processes that ignore SIGTERM are killed, while others may stay.
func TestLeaveEndsOthersBySIGKILL(t *testing.T) {
	dir := buildServer(t)
	jobs, w := newTestRunner(t), newLivenessPipe(t)
	r := jobs.run(Command{
		Shell: "setsid " + dir + "/buildserver & read up <" + dir + "/up; " + w.script(`sh -c 'trap "" TERM; echo deaf; while :; do sleep 1000; done' & echo`),
		Leave: []string{"buildserver"}, Grace: 50 * time.Millisecond,
	})
	defer endLeft(t, r)
	w.expectNobody(0)
	if got := sortedNames(r.Left); got != "buildserver sleep" || r.Err != nil {
		t.Errorf("it left %q, %v", got, r)
	}
}

// A run that is stopped leaves nothing.
func TestStopLeavesNothing(t *testing.T) {
	jobs, w := newTestRunner(t), newLivenessPipe(t)
	r := jobs.stopAt("up", Command{Shell: w.script("setsid sleep 1000 & echo up; sleep 1000"), Leave: []string{"*"}})
	w.expectNobody(0)
	if r.Outcome != router.Stopped || r.Left.Count != 0 {
		t.Errorf("got %v, which left %v", r, r.Left)
	}
}
