package httpd

import (
	"testing"
	"time"
)

// returns waits for Serve to return nil, without being told to stop.
func (r *running) returns(t testing.TB) {
	t.Helper()
	select {
	case <-r.done:
		if r.err != nil {
			t.Errorf("Serve returned %v", r.err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("Serve does not return")
	}
}
