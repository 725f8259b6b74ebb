package supervisor

import (
	"bytes"
	"os"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

var requests = []Request{
	{Path: "/bin/true", Dir: "/", Argv: []string{"true"}, Env: []string{}, Grace: time.Second, StopSignal: unix.SIGTERM, Leave: []string{"java", "*"}},
	{Path: "/bin/\xff", Dir: "/a b\n", Argv: []string{"", "-x", "\xfe", ""}, Env: []string{"A=", "B=\n"}, Leave: []string{}},
	{Argv: []string{strings.Repeat("x", 1<<20)}, Env: []string{}, Leave: []string{}},
}

// What is asked of a supervisor process is what it reads, through a real socket,
// with the files that came along and nothing of the message after.
func TestRequestsOverASocket(t *testing.T) {
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

	c := &Client{conn: conn}
	var sender sync.WaitGroup
	defer sender.Wait()
	sender.Go(func() {
		defer conn.Close()
		for _, r := range requests {
			if err := c.Run(r, null, null, null); err != nil {
				t.Errorf("send: %v", err)
			}
			c.Stop()
		}
	})

	in := &inbox{socket: int(theirs.Fd())}
	for _, want := range requests {
		kind, body, err := in.next()
		if err != nil || kind != runProgram {
			t.Fatalf("got %q, %v, want a request", kind, err)
		}
		got, err := decodeRequest(body)
		files := in.takeFiles()
		if err != nil || !reflect.DeepEqual(got, want) || len(files) != 3 {
			t.Errorf("got %.100v with %d files, %v\nwant %.100v with 3", got, len(files), err, want)
		}
		for _, fd := range files {
			unix.Close(fd)
		}
		if kind, body, err := in.next(); err != nil || kind != stopTree || len(body) > 0 {
			t.Fatalf("got %q, %v, want a stop", kind, err)
		}
	}
	if _, _, err := in.next(); err == nil {
		t.Error("there is no end")
	}
}

// A request that can be read stays the same when it is written and read again.
func FuzzRequest(f *testing.F) {
	for _, r := range requests[:2] {
		f.Add(r.encode()[headerSize:])
	}
	f.Add([]byte("/x\x00/\x00-1\x00+7\x001000000000\x00"))
	f.Fuzz(func(t *testing.T, body []byte) {
		want, err := decodeRequest(body)
		if err != nil {
			return
		}
		if got, err := decodeRequest(want.encode()[headerSize:]); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q is read as %+v, and then as %+v, %v", body, want, got, err)
		}
	})
}

func TestMalformedRequests(t *testing.T) {
	whole := string(requests[0].encode()[headerSize:])
	for i := range len(whole) {
		if r, err := decodeRequest([]byte(whole[:i])); err == nil {
			t.Errorf("%q is read as %+v", whole[:i], r)
		}
	}
	if r, err := decodeRequest([]byte(whole + "x\x00")); err == nil {
		t.Errorf("with a field more it is read as %+v", r)
	}
}

func TestReports(t *testing.T) {
	for _, want := range []Report{
		{Kind: Started, Value: 1 << 22},
		{Kind: Failed, Value: 2},
		{Kind: Ended, Value: 1<<32 - 1, Unkillable: 3},
		{Kind: Ended, Killed: []Process{{PID: 1, Name: "a b"}, {PID: 1 << 22}}, Left: []Process{{PID: 7, Name: "7 \n"}}},
	} {
		message := want.encode()
		got, err := readReport(bytes.NewReader(append(message, "next"...)))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, %v, want %+v", got, err, want)
		}
		for i := range len(message) {
			if _, err := readReport(bytes.NewReader(message[:i])); err == nil {
				t.Errorf("%d of %d bytes are a report", i, len(message))
			}
		}
	}
}
