package ratelimit

import (
	"testing"
	"testing/synctest"
	"time"
)

// A bucket gives what it holds at once, and after that no more than comes back.
func TestBucket(t *testing.T) {
	const cost, capacity = time.Second, 3 * time.Second
	synctest.Test(t, func(t *testing.T) {
		var b Bucket
		take := func(want time.Duration) {
			t.Helper()
			if wait := b.Take(cost, capacity); wait != want {
				t.Errorf("Take = %v, want %v", wait, want)
			}
		}

		for range 3 {
			take(0)
		}
		take(time.Second)
		take(time.Second) // what was refused has taken nothing

		time.Sleep(300 * time.Millisecond)
		take(700 * time.Millisecond)
		time.Sleep(700 * time.Millisecond)
		take(0)

		// It is never more than full.
		time.Sleep(time.Hour)
		for range 3 {
			take(0)
		}
		take(time.Second)
	})
}
