package bus

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/execlog/execlogd/inotify"
)

// paths returns the paths of events in order.
func paths(events []inotify.Event) string {
	var all []string
	for _, e := range events {
		all = append(all, e.Path)
	}
	return strings.Join(all, " ")
}

func modified(paths ...string) (events []inotify.Event) {
	for _, p := range paths {
		events = append(events, inotify.Event{Root: "/r", Path: p, Mask: inotify.Modify})
	}
	return events
}

func TestOutboxKeepsTheOrder(t *testing.T) {
	o := newOutbox()
	o.add(modified("a", "a", "b"))
	o.add(modified("b", "a", "."))
	o.add([]inotify.Event{{Path: ".", Mask: inotify.Overflow}, {Path: "c", Mask: inotify.Open}})
	if events, lost := o.take(); paths(events) != "a b a" || !lost.IsZero() {
		t.Errorf("took %q, lost since %v; want a b a, and nothing lost", paths(events), lost)
	}
	if events, _ := o.take(); len(events) != 0 {
		t.Errorf("took %q again", paths(events))
	}
}

func TestOutboxFillsMessages(t *testing.T) {
	o := newOutbox()
	for i := range 3 * maxEvents {
		o.add(modified(fmt.Sprint(i)))
	}
	long := strings.Repeat("x", maxPath)
	for i := range 2 * fullMessage / maxPath {
		o.add(modified(long[:maxPath-8] + fmt.Sprintf("%08d", i)))
	}
	taken := 0
	for {
		events, lost := o.take()
		if len(events) == 0 {
			break
		}
		if data := encode(t, func(m *message) { m.Changes = changesFor(events) }); len(events) > maxEvents || len(data) > maxMessageBytes || !lost.IsZero() {
			t.Fatalf("a message of %d events and %d bytes, lost since %v", len(events), len(data), lost)
		}
		taken += len(events)
	}
	if want := 3*maxEvents + 2*fullMessage/maxPath; taken != want {
		t.Errorf("took %d events, want %d", taken, want)
	}
}

// changesFor returns changes with long versions.
func changesFor(events []inotify.Event) (all []change) {
	for _, e := range events {
		all = append(all, change{Path: []byte(e.Path), Mask: sentMask, Version: version{Size: 1 << 62, Modified: 1 << 62, Changed: 1 << 62}})
	}
	return all
}

// When an outbox has more than it may hold, what it had is lost, and that is said once,
// before what comes afterwards.
func TestOutboxBound(t *testing.T) {
	for name, path := range map[string]func(int) string{
		"events": func(i int) string { return fmt.Sprint(i) },
		"bytes":  func(i int) string { return fmt.Sprintf("%s%08d", strings.Repeat("x", maxPath-8), i) },
	} {
		t.Run(name, func(t *testing.T) {
			o := newOutbox()
			o.add(modified(path(0)))
			since := o.since
			for i := 1; o.lost.IsZero(); i++ {
				o.add(modified(path(i)))
				if i > maxWaiting+1 {
					t.Fatal("it has no bound")
				}
			}
			if pending := o.pending(); !pending.Equal(since) {
				t.Errorf("what was lost is pending since %v, want %v", pending, since)
			}
			o.add(modified("last"))
			if pending := o.pending(); !pending.Equal(since) {
				t.Errorf("with one more it is pending since %v, want %v", pending, since)
			}
			if events, lost := o.take(); paths(events) != "last" || !lost.Equal(since) {
				t.Errorf("took %d events, lost since %v; want the last, and %v", len(events), lost, since)
			}
			if pending := o.pending(); !pending.Equal(since) {
				t.Errorf("what was taken is pending since %v, want %v", pending, since)
			}
			o.note(func(noted time.Time) {
				if !noted.Equal(since) {
					t.Errorf("it is noted since %v, want %v", noted, since)
				}
			})
			if _, lost := o.take(); !lost.IsZero() {
				t.Error("it was lost twice")
			}
		})
	}
}
