package job

import (
	"bytes"
	"os"
	"reflect"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

var requests = []request{
	{path: "/bin/true", dir: "/", argv: []string{"true"}, grace: time.Second, leave: []string{"java", "*"}},
	{path: "/bin/\xff", dir: "/a b\n", argv: []string{"", "-x", "\xfe"}, env: []string{"A=", "B=\n"}},
	{argv: []string{strings.Repeat("x", 1<<20)}},
}

// What is asked of a keeper is what it reads, through a real socket, with the
// files that came along and nothing of the message after.
func TestRequests(t *testing.T) {
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
	k := &keeper{conn: conn}
	var sender sync.WaitGroup
	defer sender.Wait()
	sender.Go(func() {
		defer conn.Close()
		for _, r := range requests {
			if err := k.send(r.message(), null, null); err != nil {
				t.Errorf("send: %v", err)
			}
			k.stop()
		}
	})
	in := &inbox{socket: int(theirs.Fd())}
	for _, want := range requests {
		if ask, err := in.next(1); err != nil || ask[0] != askRun {
			t.Fatalf("got %q, %v, want a request", ask, err)
		}
		got, files, err := in.request()
		if err != nil || !reflect.DeepEqual(got, want) || len(files) != 2 {
			t.Errorf("got %.100v with %d files, %v\nwant %.100v with 2", got, len(files), err, want)
		}
		for _, fd := range files {
			syscall.Close(fd)
		}
		if ask, err := in.next(1); err != nil || ask[0] != askStop {
			t.Fatalf("got %q, %v, want a stop", ask, err)
		}
	}
	if _, err := in.next(1); err == nil {
		t.Error("there is no end")
	}
}

// A request that can be read is one that was written, byte by byte.
func FuzzRequest(f *testing.F) {
	for _, r := range requests[:2] {
		f.Add(r.message()[5:])
	}
	f.Add([]byte("\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := parseRequest(b)
		if err != nil {
			return
		}
		if again := r.message()[5:]; string(again) != string(b) {
			t.Errorf("%q is read as %+v, which is %q", b, r, again)
		}
	})
}

func TestReport(t *testing.T) {
	for _, want := range []report{
		{kind: started, value: 1<<32 - 1},
		{kind: failed, value: 2},
		{kind: ended, alive: 3},
		{kind: ended, ended: Processes{11, []Process{{1, "a b"}, {1 << 22, ""}}}, stay: Processes{1, []Process{{7, "7 \n"}}}},
	} {
		got, err := readReport(bytes.NewReader(append(want.message(), "next"...)))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, %v, want %+v", got, err, want)
		}
	}
	if _, err := readReport(strings.NewReader("too short")); err == nil {
		t.Error("half a report is one")
	}
}
