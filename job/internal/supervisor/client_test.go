package supervisor

import (
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Whoever hears of the end of a program knows of the signal of a key that has caused
// it.
func TestKeySignalsComeBeforeTheEnd(t *testing.T) {
	c, err := Start(true)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()

	// The program sends the signal to its group, as a terminal does.
	request := Request{
		Path: "/bin/sh", Dir: "/", Argv: []string{"sh", "-c", "trap '' INT; kill -INT 0"},
		StopSignal: unix.SIGTERM, Grace: time.Second,
	}
	for i := range 100 {
		signals := 0
		note := func(r Report) {
			if r.Kind == KeySignal && r.Value == int(unix.SIGINT) {
				signals++
			}
		}
		if err := c.Run(request, null, null, null); err != nil {
			t.Fatal(err)
		}
		for _, want := range []Kind{Started, Ended} {
			if r, err := c.Wait(note); err != nil || r.Kind != want {
				t.Fatalf("got %+v, %v, want kind %d", r, err, want)
			}
		}
		if signals == 0 {
			t.Fatalf("run %d: the signal did not come before the end", i)
		}
	}
}
