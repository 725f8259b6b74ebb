package supervisor

import (
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

func TestParseStat(t *testing.T) {
	rest := " 1 2 3" + strings.Repeat(" 0", 15) + " 999 5\n"
	tests := []struct {
		stat string
		want Process
		ok   bool
	}{
		{"7 (sh) S" + rest, Process{PID: 7, Parent: 1, Group: 2, Start: 999, Name: "sh"}, true},
		{"7 (a) R 9 (b)) Z" + rest, Process{PID: 7, Parent: 1, Group: 2, Start: 999, Name: "a) R 9 (b)", Zombie: true}, true},
		{"7 ( (\n) S" + rest, Process{PID: 7, Parent: 1, Group: 2, Start: 999, Name: " (\n"}, true},
		{"7 (sh) S 1 2 3", Process{}, false},
		{"", Process{}, false},
		{"7 (", Process{}, false},
		{") (", Process{}, false},
	}
	for _, tt := range tests {
		if got, ok := parseStat([]byte(tt.stat)); got != tt.want || ok != tt.ok {
			t.Errorf("%q: got %+v, %v, want %+v, %v", tt.stat, got, ok, tt.want, tt.ok)
		}
	}
}

// A program may call itself anything.
func FuzzStat(f *testing.F) {
	f.Add("sh")
	f.Add(") R 9 (")
	f.Fuzz(func(t *testing.T, name string) {
		stat := "7 (" + name + ") S 1 2 3" + strings.Repeat(" 0", 15) + " 999 5\n"
		want := Process{PID: 7, Parent: 1, Group: 2, Start: 999, Name: name}
		if got, ok := parseStat([]byte(stat)); !ok || got != want {
			t.Errorf("%q: got %+v, %v, want %+v", stat, got, ok, want)
		}
	})
}

func TestLookup(t *testing.T) {
	p, ok := Lookup(os.Getpid())
	if !ok || p.PID != os.Getpid() || p.Parent != os.Getppid() || p.Zombie || p.Start == 0 {
		t.Errorf("got %+v, %v for %d, child of %d", p, ok, os.Getpid(), os.Getppid())
	}
}

// sleep starts a process that sleeps.
func sleep(t *testing.T) (Process, *exec.Cmd) {
	t.Helper()
	cmd := exec.Command("sleep", "20")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	end := sync.OnceFunc(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	t.Cleanup(end)
	p, ok := Lookup(cmd.Process.Pid)
	if !ok {
		t.Fatal("the process is not there")
	}
	return p, cmd
}

// A signal is for a process, and not for another one that has got its number since.
func TestSignalIsForOneProcess(t *testing.T) {
	p, cmd := sleep(t)

	before := p
	before.Start--
	before.signal(unix.SIGKILL)
	p.signal(unix.SIGTERM)

	if err := cmd.Wait(); err == nil || err.Error() != "signal: terminated" {
		t.Errorf("it ended with %v, want that of the signal for it", err)
	}
}

// A zombie is left to whoever has started it, also if another that had its number was
// there before.
func TestReapingLeavesNewZombies(t *testing.T) {
	p, cmd := sleep(t)
	if err := cmd.Process.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := unix.Waitid(unix.P_PID, p.PID, nil, unix.WEXITED|unix.WNOWAIT, nil); err != nil {
		t.Fatal(err)
	}

	other := processID{p.PID, p.Start - 1}
	if zombies := reapZombies(map[processID]bool{other: true}); !zombies[p.id()] {
		t.Errorf("%v is not among the zombies %v", p, zombies)
	}

	if err := cmd.Wait(); err == nil || err.Error() != "signal: terminated" {
		t.Errorf("it ended with %v, want its own exit status", err)
	}
}

// A process that has got the number of one that was asked to end is asked as well.
func TestEachProcessIsAskedToEnd(t *testing.T) {
	p, cmd := sleep(t)
	tr := &tree{reaped: true, asked: map[processID]bool{{p.PID, p.Start - 1}: true}}
	if outside := tr.terminate(unix.SIGTERM); len(outside) != 1 || outside[0].PID != p.PID {
		t.Fatalf("it asked %v", outside)
	}
	if again := tr.terminate(unix.SIGINT); len(again) > 0 {
		t.Errorf("it asked %v again", again)
	}
	if err := cmd.Wait(); err == nil || err.Error() != "signal: terminated" {
		t.Errorf("it ended with %v", err)
	}
}
