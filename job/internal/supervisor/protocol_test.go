package supervisor

import (
	"encoding/gob"
	"os"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// What is asked of a supervisor process is what it reads, through a real socket, with
// the files of each request and none of another.
func TestOrdersOverASocket(t *testing.T) {
	requests := []Request{
		{Path: "/bin/true", Dir: "/", Argv: []string{"true"}, Grace: time.Second, StopSignal: unix.SIGTERM, Leave: []string{"java", "*"}},
		{Path: "/bin/\xff", Dir: "/a b\n", Argv: []string{"", "-x", "\xfe", ""}, Env: []string{"A=", "B=\n"}},
		{Argv: []string{strings.Repeat("x", 1<<20)}},
	}
	conn, theirs, err := socketPair()
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()

	c := newClient(conn, nil)
	var sender sync.WaitGroup
	defer sender.Wait()
	sender.Go(func() {
		defer conn.Close()
		for _, r := range requests {
			if err := c.Run(r, null, null, null); err != nil {
				t.Errorf("send: %v", err)
			}
			if err := c.Signal(unix.SIGHUP); err != nil {
				t.Errorf("send: %v", err)
			}
		}
	})

	in := &fileReader{socket: int(theirs.Fd())}
	orders := gob.NewDecoder(in)
	for _, want := range requests {
		var got, signal order
		if err := orders.Decode(&got); err != nil || got.Kind != runProgram || !reflect.DeepEqual(got.Request, want) {
			t.Fatalf("got %.100v, %v\nwant %.100v", got, err, want)
		}
		files := in.takeFiles(3)
		if len(files) != 3 {
			t.Errorf("%d files came along, want 3", len(files))
		}
		for _, fd := range files {
			unix.Close(fd)
		}
		if err := orders.Decode(&signal); err != nil || signal.Kind != signalProgram || signal.Signal != unix.SIGHUP {
			t.Fatalf("got %v, %v, want a signal", signal, err)
		}
	}
	if err := orders.Decode(new(order)); err == nil {
		t.Error("there is no end")
	}
}
