package bus

import (
	"testing"
)

// result returns the number of the job whose report a waiter has got, or 0.
func (w *waiter) result() uint64 {
	select {
	case r := <-w.done:
		return r.Number
	default:
		return 0
	}
}

// A waiter gets the first result of its job, or of a later one for the same key.
func TestWaiterIsTold(t *testing.T) {
	tests := []struct {
		name     string
		before   []uint64 // numbers of results that come before its own is known
		after    []uint64
		want     uint64 // the result that it gets; its own number is 5
		otherKey bool
	}{
		{name: "its result", after: []uint64{5}, want: 5},
		{name: "that of a later job, which has done what it was for", after: []uint64{7}, want: 7},
		{name: "not that of an earlier one", after: []uint64{4}},
		{name: "the first that counts", after: []uint64{4, 6, 7}, want: 6},
		{name: "its result before its number", before: []uint64{5}, want: 5},
		{name: "that of a later job before its number", before: []uint64{6}, want: 6},
		{name: "not that of an earlier one before its number", before: []uint64{4}},
		{name: "its result, and that of an earlier one, before its number", before: []uint64{4, 5}, want: 5},
		{name: "that of an earlier one after its result, before its number", before: []uint64{5, 4}, want: 5},
		{name: "not that of another key", after: []uint64{5}, otherKey: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var ws waiters
			w := ws.add("q", "key", nil)
			key := "key"
			if tt.otherKey {
				key = "other"
			}
			for _, n := range tt.before {
				ws.finish("q", key, jobReport{Number: n, State: jobDone})
				ws.finish("r", "key", jobReport{Number: 100, State: jobDone})
				if got := w.result(); got != 0 {
					t.Fatalf("it got the result of %d before its number was known", got)
				}
			}
			ws.setNumber(w, 5)
			for _, n := range tt.after {
				ws.finish("q", key, jobReport{Number: n, State: jobDone})
			}
			if got := w.result(); got != tt.want {
				t.Errorf("it got the result of %d, want %d", got, tt.want)
			}
		})
	}
}

// Whoever has put the same job there twice is told twice; whoever is gone is not.
func TestWaitersOfOneKey(t *testing.T) {
	var ws waiters
	early, late, gone := ws.add("q", "key", nil), ws.add("q", "key", nil), ws.add("q", "key", nil)
	ws.setNumber(early, 1)
	ws.setNumber(late, 2)
	ws.setNumber(gone, 1)
	ws.remove([]*waiter{gone})
	ws.finish("q", "key", jobReport{Number: 1})
	if early.result() != 1 || late.result() != 0 || gone.result() != 0 {
		t.Error("the result of job 1 was not for the first one alone")
	}
	if !ws.awaited("q") || ws.awaited("r") {
		t.Error("it is not known for which queue somebody waits")
	}
	ws.remove([]*waiter{early, late})
	if ws.awaited("q") || len(ws.all) != 0 {
		t.Errorf("it is kept who does not wait any more: %v", ws.all)
	}
}

// Jobs wait until a machine has begun them, or a later one for the same key.
func TestAllWait(t *testing.T) {
	var ws waiters
	one, two := ws.add("q", "one", nil), ws.add("q", "two", nil)
	ws.setNumber(one, 5)
	ws.setNumber(two, 6)
	both := []*waiter{one, two}
	for _, begun := range []uint64{1, 4} { // an earlier version
		ws.begin("q", "one", begun)
	}
	ws.begin("r", "one", 5)
	if !ws.allWait(both) {
		t.Error("none was begun, and they do not wait")
	}
	ws.begin("q", "two", 8)
	ws.begin("q", "two", 3) // said late
	if ws.allWait(both) || !ws.allWait(both[:1]) {
		t.Error("one was begun, and it is not the second")
	}
}

// A job that is not in the stream at two looks, and of which nobody has said what came of it,
// is lost.
func TestWaiterIsLost(t *testing.T) {
	isLost := func(w *waiter) bool {
		select {
		case <-w.lost:
			return true
		default:
			return false
		}
	}
	var ws waiters
	there, gone, unknown := ws.add("q", "there", nil), ws.add("q", "gone", nil), ws.add("q", "unknown", nil)
	ws.setNumber(there, 1)
	ws.setNumber(gone, 2)
	back := true
	look := func() {
		ws.look("r", func(string) bool { return false })
		ws.look("q", func(key string) bool { return key == "there" || key == "gone" && back })
	}
	for _, is := range []bool{true, false, true, false} { // never missing twice in a row
		back = is
		look()
		if isLost(there) || isLost(gone) || isLost(unknown) {
			t.Fatal("a job is lost that may be there")
		}
	}
	look()
	if isLost(there) || !isLost(gone) || isLost(unknown) {
		t.Error("want the job lost that is missing for the second time, and no other")
	}
}
