package schedule

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// Random timers come in the order of their times, and for one time in the order in
// which they were set.
func TestOrder(t *testing.T) {
	type set struct {
		at    time.Time
		order int
	}
	start := time.Now()
	for seed := range uint64(100) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		var s Schedule[int]
		timers, want := make([]Timer[int], 50), make(map[int]set)
		for order := range 300 {
			i := rnd.IntN(len(timers))
			timers[i].Item = i
			if rnd.IntN(4) == 0 {
				s.Stop(&timers[i])
				delete(want, i)
				continue
			}
			at := start.Add(time.Duration(rnd.IntN(40)) * time.Second)
			s.Set(&timers[i], at)
			if old, ok := want[i]; !ok || !old.at.Equal(at) {
				want[i] = set{at, order}
			}
		}

		var inOrder []int
		for i := range want {
			inOrder = append(inOrder, i)
		}
		slices.SortFunc(inOrder, func(a, b int) int {
			if c := want[a].at.Compare(want[b].at); c != 0 {
				return c
			}
			return want[a].order - want[b].order
		})
		for _, i := range inOrder {
			if _, early := s.Next(want[i].at.Add(-1)); early {
				t.Fatalf("seed %d: a timer comes before its time", seed)
			}
			if got, ok := s.Next(want[i].at); !ok || got != i {
				t.Fatalf("seed %d: got timer %d, %v, want %d", seed, got, ok, i)
			}
		}
		if !s.Idle() {
			t.Fatalf("seed %d: a timer is set that was stopped", seed)
		}
	}
}

// The runtime's timer is early, and the rest of the time goes to Sleep, which ends more
// precisely. wake is called when a timer is due, and not for one that was stopped.
func TestWakeAfterSleep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var (
			mu    sync.Mutex
			s     *Schedule[string]
			slept []time.Duration
			due   []string
		)
		start := time.Now()
		s = New[string](&mu, func(now time.Time) {
			for item, ok := s.Next(now); ok; item, ok = s.Next(now) {
				due = append(due, fmt.Sprint(item, now.Sub(start)))
			}
		})
		s.Sleep = func(d time.Duration) {
			slept = append(slept, d)
			time.Sleep(d)
		}

		a, b, c := Timer[string]{Item: "a"}, Timer[string]{Item: "b"}, Timer[string]{Item: "c"}
		mu.Lock()
		s.Set(&a, start.Add(20*time.Millisecond))
		s.Set(&b, start.Add(50*time.Millisecond))
		s.Set(&c, start.Add(30*time.Millisecond))
		s.Arm(start)
		mu.Unlock()
		time.Sleep(25 * time.Millisecond)
		mu.Lock()
		s.Stop(&c)
		s.Arm(time.Now())
		mu.Unlock()
		time.Sleep(time.Second)
		synctest.Wait()

		mu.Lock()
		defer mu.Unlock()
		if !s.Idle() {
			t.Error("something is set when all have been due")
		}
		if want := []time.Duration{early, early}; !slices.Equal(slept, want) {
			t.Errorf("slept for %v, want %v", slept, want)
		}
		if want := []string{"a20ms", "b50ms"}; !slices.Equal(due, want) {
			t.Errorf("timers at %v, want %v", due, want)
		}
	})
}

// If the runtime's timer goes off although it was set anew for later, or stopped, nothing
// sleeps until then, nor is anything lost.
func TestFireTooSoonDoesNotSleep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var (
			mu   sync.Mutex
			woke []time.Duration
		)
		start := time.Now()
		var s *Schedule[int]
		s = New[int](&mu, func(now time.Time) {
			if _, ok := s.Next(now); ok {
				woke = append(woke, now.Sub(start))
			}
		})
		s.Sleep = func(d time.Duration) { t.Errorf("slept for %v", d) }
		s.fire()

		var later Timer[int]
		mu.Lock()
		s.Set(&later, start.Add(early+1))
		s.Arm(start)
		mu.Unlock()
		s.fire()
		time.Sleep(time.Second)
		synctest.Wait()
		if want := []time.Duration{early + 1}; !slices.Equal(woke, want) {
			t.Errorf("woke at %v, want %v", woke, want)
		}
	})
}

func TestPreciseSleep(t *testing.T) {
	start := time.Now()
	preciseSleep(early)
	if took := time.Since(start); took < early {
		t.Errorf("slept for %v, want %v", took, early)
	}
}

func TestNothingIsAllocated(t *testing.T) {
	var s Schedule[int]
	timers, now := make([]Timer[int], 100), time.Now()
	for i := range timers {
		s.Set(&timers[i], now)
	}
	i := 0
	if n := testing.AllocsPerRun(1000, func() {
		i++
		s.Set(&timers[i%len(timers)], now.Add(time.Duration(i*7919%1000)))
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
