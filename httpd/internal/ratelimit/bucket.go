// Package ratelimit limits how often, or how much, somebody may ask for something.
package ratelimit

import "time"

// A Bucket is a token bucket that fills up as time passes. Its content is measured
// in the time that it takes to come back. The zero Bucket is full. A Bucket is not
// safe for concurrent use.
type Bucket struct {
	full time.Time // when it is full again
}

// Take takes cost from a bucket that holds capacity, and returns 0. If the bucket
// holds less than cost, Take takes nothing and returns how long it will be until
// there is enough. A cost must not be larger than the capacity.
func (b *Bucket) Take(cost, capacity time.Duration) (wait time.Duration) {
	now := time.Now()
	missing := max(b.full.Sub(now), 0) + cost
	if missing > capacity {
		return missing - capacity
	}
	b.full = now.Add(missing)
	return 0
}
