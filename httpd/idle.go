package httpd

import (
	"sync"
	"time"
)

// An activity is whether anything goes on, and since when not.
type activity struct {
	mu    sync.Mutex
	count int
	since time.Time // when count was 0 for the last time, or when it began
}

func (a *activity) begin() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.count++
}

func (a *activity) end() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.count--
	a.since = time.Now()
}

// Idle returns for how long no request was answered and no page was open; 0 while one is.
func (s *Server) Idle() time.Duration {
	s.requests.mu.Lock()
	busy, since := s.requests.count > 0, s.requests.since
	s.requests.mu.Unlock()

	pages, left := s.hub.Pages()
	if busy || pages > 0 {
		return 0
	}
	if left.After(since) {
		since = left
	}
	return time.Since(since)
}
