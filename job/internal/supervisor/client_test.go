package supervisor

import (
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// runner returns a function that has a supervisor process run a script, calls note as
// Wait does, and returns the report of the end. It fails the test if that does not come.
func runner(t *testing.T, withTerminal bool) func(script string, note func(Report)) Report {
	t.Helper()
	c, err := Start(withTerminal)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { null.Close() })

	return func(script string, note func(Report)) Report {
		t.Helper()
		late := time.AfterFunc(10*time.Second, func() { c.conn.Close() })
		defer late.Stop()
		request := Request{
			Path: "/bin/sh", Dir: "/", Argv: []string{"sh", "-c", script}, StopSignal: unix.SIGTERM, Grace: time.Second,
		}
		if err := c.Run(request, null, null, null); err != nil {
			t.Fatal(err)
		}
		var r Report
		for _, want := range []Kind{Started, Ended} {
			if r, err = c.Wait(note); err != nil || r.Kind != want {
				t.Fatalf("got %+v, %v, want kind %d", r, err, want)
			}
		}
		return r
	}
}

// What a program leaves behind is ended as soon as the program has ended.
func TestProgramEndsBeforeItsChildren(t *testing.T) {
	end := runner(t, false)("sleep 1000 & setsid sleep 1000 & exit 3", nil)
	if status := unix.WaitStatus(end.Value); status.ExitStatus() != 3 {
		t.Errorf("got %+v, want status 3", end)
	}
}

// Whoever hears of the end of a program knows of the signal of a key that has caused
// it.
func TestKeySignalsComeBeforeTheEnd(t *testing.T) {
	run := runner(t, true)
	for i := range 100 {
		signals := 0
		note := func(r Report) {
			if r.Kind == KeySignal && r.Value == int(unix.SIGINT) {
				signals++
			}
		}
		run("trap '' INT; kill -INT 0", note) // to its group, as a terminal does
		if signals == 0 {
			t.Fatalf("run %d: the signal did not come before the end", i)
		}
	}
}
