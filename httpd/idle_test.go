package httpd

import (
	"testing"
	"time"
)

// A server that answers, or has a page, is not idle; after that it is, from then on.
func TestIdle(t *testing.T) {
	var s *Server
	asked := false
	s = newServer(t, Options{Root: t.TempDir(), Watches: func() []Watch {
		asked = true
		if idle := s.Idle(); idle != 0 {
			t.Errorf("while it answers it is idle for %v", idle)
		}
		return nil
	}})
	time.Sleep(time.Millisecond)
	if idle := s.Idle(); idle < time.Millisecond {
		t.Errorf("after a millisecond it is idle for %v", idle)
	}

	begin := time.Now()
	s.answer("/.execlogd/")
	if idle := s.Idle(); !asked || idle == 0 || idle > time.Since(begin) {
		t.Errorf("%v after the request it is idle for %v", time.Since(begin), idle)
	}

	run := serveOn(t, s, "127.0.0.1:0")
	page := run.dial(t)
	if idle := s.Idle(); idle != 0 {
		t.Errorf("with a page it is idle for %v", idle)
	}
	begin = time.Now()
	page.conn.CloseNow()
	for s.Idle() == 0 {
		if time.Since(begin) > time.Minute {
			t.Fatal("the page does not leave")
		}
		time.Sleep(time.Millisecond)
	}
	if idle := s.Idle(); idle > time.Since(begin) {
		t.Errorf("%v after the page has left it is idle for %v", time.Since(begin), idle)
	}
}
