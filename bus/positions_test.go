package bus

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestPositions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		created, began := time.Now().Add(-time.Hour), time.Now()
		at := func(since time.Time) int { return int(since.Sub(began) / time.Second) }
		var a, b positions
		if a.position() != "" {
			t.Errorf("position %q before there is a stream", a.position())
		}
		for _, ps := range []*positions{&a, &b} {
			ps.begin(created, 5)
		}
		served := a.position() // second 0
		want := func(ps *positions, position string, pending time.Time, second int) {
			t.Helper()
			if since, ok := ps.since(position, pending); !ok || at(since) != second {
				t.Errorf("since second %d, %v; want %d", at(since), ok, second)
			}
		}

		time.Sleep(time.Second)
		want(&b, served, time.Time{}, 1) // nothing has come: now
		b.come(7, 0)
		b.handedOn(8)
		time.Sleep(time.Second)
		want(&b, served, time.Time{}, 1)
		want(&b, b.position(), time.Time{}, 2)

		// What this machine has changed itself counts from when it was reported.
		reported := time.Now()
		time.Sleep(time.Second)
		want(&b, b.position(), reported, 2)
		b.send(1, reported)
		time.Sleep(time.Second)
		want(&b, b.position(), time.Time{}, 2)
		before := b.position()
		b.come(8, 1)
		b.handedOn(9)
		want(&b, before, time.Time{}, 2)
		want(&b, b.position(), time.Time{}, 4)
		want(&b, served, time.Time{}, 1)

		// A session goes on where the last has ended, unless something was lost.
		b.begin(created, 9)
		want(&b, served, time.Time{}, 1)
		b.begin(created, 20)
		if _, ok := b.since(served, time.Time{}); ok {
			t.Error("it knows of what was lost")
		}
		b.begin(created.Add(time.Second), 20)
		for _, position := range []string{served, "", "-", "x-1", b.position() + "x"} {
			if _, ok := b.since(position, time.Time{}); ok {
				t.Errorf("it knows of %q", position)
			}
		}
		for i := range uint64(2 * maxPositions) {
			b.come(20+i, 0)
		}
		if _, ok := b.since(b.position(), time.Time{}); ok || len(b.known) != maxPositions {
			t.Errorf("it remembers %d messages", len(b.known))
		}
	})
}
