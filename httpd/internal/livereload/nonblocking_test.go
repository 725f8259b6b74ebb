package livereload

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/execlog/execlogd/httpd/internal/waitgroup"
)

// pipe is a line and its peer, over a real connection.
func pipe(t *testing.T, timeout time.Duration) (*nonblockingConn, *waitgroup.Group, net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	peer, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	conn, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	var c waitgroup.Group
	l := newNonblockingConn(conn, &c, timeout)
	t.Cleanup(func() {
		peer.Close()
		l.Close()
		c.Wait(context.Background())
	})
	return l, &c, peer
}

// What the peer does not take at once comes later, in order, and whoever waits
// for it is told.
func TestBacklogIsSentInOrder(t *testing.T) {
	for _, direct := range []bool{true, false} {
		t.Run(fmt.Sprint("direct=", direct), func(t *testing.T) {
			l, c, peer := pipe(t, time.Minute)
			if !direct {
				l.fd = -1
			}
			var want []byte
			for i := 0; len(want) < 8<<20; i++ {
				part := bytes.Repeat([]byte{byte(i)}, 800<<10)
				want = append(want, part...)
				if n, err := l.Write(part); n != len(part) || err != nil {
					t.Fatalf("wrote %d bytes: %v", n, err)
				}
				taken := make(chan struct{})
				l.onIdle(func() { close(taken) })
				got := make([]byte, len(part))
				if _, err := io.ReadFull(peer, got); err != nil || !bytes.Equal(got, part) {
					t.Fatalf("part %d: %v", i, err)
				}
				<-taken
			}
			c.Wait(context.Background())
			if l.isBusy() {
				t.Error("a goroutine is left")
			}
		})
	}
}

func TestConnIsClosedWhenThePeerDoesNotRead(t *testing.T) {
	l, c, _ := pipe(t, 20*time.Millisecond)
	for !l.isBusy() {
		if _, err := l.Write(make([]byte, 64<<10)); err != nil {
			t.Fatal(err)
		}
	}
	c.Wait(t.Context())
	if why := l.close(nil); why == nil || !strings.Contains(why.Error(), "i/o timeout") {
		t.Errorf("cut because %v", why)
	}
	if _, err := l.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a write afterwards: %v", err)
	}
}

func (c *nonblockingConn) isBusy() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.flushing
}

// Nothing follows a close frame but what belongs to it.
func TestNoMessageFollowsACloseFrame(t *testing.T) {
	l, _, _ := pipe(t, time.Minute)
	if err := l.send([]byte("message")); err != nil {
		t.Fatal(err)
	}
	l.endMessages()
	if _, err := l.Write([]byte("close frame")); err != nil {
		t.Errorf("the close frame: %v", err)
	}
	if err := l.send([]byte("message")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a message behind the close frame: %v, want %v", err, net.ErrClosed)
	}
}

func TestBacklogIsBounded(t *testing.T) {
	l, _, _ := pipe(t, time.Minute)
	for n := 0; ; n++ {
		_, err := l.Write(make([]byte, 64<<10))
		if errors.Is(err, errPeerBehind) {
			return
		}
		if err != nil || n > 1000 {
			t.Fatalf("after %d writes: %v", n, err)
		}
	}
}

func TestThrottle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		defer far.Close()
		b := &conn{net: newNonblockingConn(near, new(waitgroup.Group), time.Second)}
		spend := func(cost int, want time.Duration) {
			t.Helper()
			start := time.Now()
			if err := b.throttle(cost); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(start); (took - want).Abs() > time.Millisecond {
				t.Errorf("%d bytes took %v, want %v", cost, took, want)
			}
		}
		for range burstBytes / maxMessage {
			spend(maxMessage, 0)
		}
		spend(bytesPerSecond, time.Second)
		spend(maxMessage, 4*time.Second)
		time.Sleep(2 * time.Second)
		spend(2*bytesPerSecond, 0)
		spend(bytesPerSecond, time.Second)
		time.Sleep(time.Hour)
		spend(burstBytes, 0)
		spend(3*burstBytes, burstBytes/bytesPerSecond*time.Second) // no more than there ever is

		time.AfterFunc(time.Second, func() { b.net.close(nil) })
		start := time.Now()
		if err := b.throttle(burstBytes); err == nil || time.Since(start) != time.Second {
			t.Errorf("a pause on a line that was cut after a second ended after %v with %v", time.Since(start), err)
		}
	})
}
