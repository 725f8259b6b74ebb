package router

import (
	"context"
	"fmt"
	"os"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/execlog/execlogd/inotify"
)

// The burst: a hundred thousand events of fifty thousand files, as many at a
// time as one read of the kernel's queue brings.
const (
	burstFiles = 50_000
	burstRead  = 1000
)

// bursts are orders in which programs write many files.
var bursts = map[string][]inotify.Event{
	"file-by-file": slices.Concat(saves()...),
	"all-open":     slices.Concat(column(saves(), 0), column(saves(), 1)),
}

// saves is the events of each file.
func saves() [][]inotify.Event {
	all := make([][]inotify.Event, burstFiles)
	for i := range all {
		all[i] = word(fmt.Sprintf("dir%d/sub%d/file%d.html", i/1000, i/100, i))
	}
	return all
}

func column(rows [][]inotify.Event, i int) []inotify.Event {
	var all []inotify.Event
	for _, row := range rows {
		all = append(all, row[i])
	}
	return all
}

// What a burst costs from the first event to the end of the last run, with
// the callback that does nothing, a route that follows and one that wants
// nothing of it.
func BenchmarkBurst(b *testing.B) {
	for name, events := range bursts {
		for per, runs := range map[Per]int32{PerRoute: 1, PerFile: burstFiles} {
			b.Run(fmt.Sprintf("%s/%d-runs", name, runs), func(b *testing.B) {
				var cpu time.Duration
				b.ReportAllocs()
				for b.Loop() {
					cpu += burst(b, events, per, runs, nil)
				}
				b.ReportMetric(float64(cpu.Milliseconds())/float64(b.N), "cpu-ms/burst")
			})
		}
	}
}

// What it costs that everything outlives the process.
func BenchmarkBurstWithState(b *testing.B) {
	for per, runs := range map[Per]int32{PerRoute: 1, PerFile: burstFiles} {
		b.Run(fmt.Sprintf("%d-runs", runs), func(b *testing.B) {
			var cpu time.Duration
			for b.Loop() {
				cpu += burst(b, bursts["file-by-file"], per, runs, newState(b))
			}
			b.ReportMetric(float64(cpu.Milliseconds())/float64(b.N), "cpu-ms/burst")
		})
	}
}

// burst plays the events to new routes and returns what that cost. What they have to do outlives
// the process if there is a file for it.
func burst(b *testing.B, events []inotify.Event, per Per, runs int32, state *os.File) time.Duration {
	var calls, files, followed atomic.Int32
	done := make(chan struct{})
	r := mustNew(b, Options{State: state},
		Route{Name: "work", Durable: true, Patterns: []string{"*.html"}, Per: per, Delay: 2 * time.Second, Callback: func(_ context.Context, batch []inotify.Event) error {
			calls.Add(1)
			files.Add(int32(len(batch)))
			return nil
		}},
		Route{Name: "follow", Durable: true, After: []string{"work"}, Follow: true, Callback: func(_ context.Context, batch []inotify.Event) error {
			if followed.Add(int32(len(batch))) == burstFiles {
				close(done)
			}
			return nil
		}},
		Route{Name: "rest", Patterns: []string{"src/**/*.go"}, Callback: discard})
	stop := background(b, r)
	start := cpuTime(b)
	for read := range slices.Chunk(events, burstRead) {
		r.Events(read)
	}
	<-done
	cost := cpuTime(b) - start
	stop()
	if calls.Load() != runs || files.Load() != burstFiles || followed.Load() != burstFiles {
		b.Fatalf("%d runs with %d files, %d followed; want %d, %d, %[5]d", calls.Load(), files.Load(), followed.Load(), runs, burstFiles)
	}
	return cost
}

// cpuTime is what all threads have used so far.
func cpuTime(b *testing.B) time.Duration {
	var use syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &use); err != nil {
		b.Fatal(err)
	}
	return time.Duration(use.Utime.Nano() + use.Stime.Nano())
}

// What it costs a run that the watcher must be flushed before it is over.
func BenchmarkCatchUp(b *testing.B) {
	ran := make(chan struct{})
	r := mustNew(b, Options{Post: func(Run) { ran <- struct{}{} }}, Route{Name: "r", Delay: -1, Debounce: -1, Callback: discard})
	listen(b, Listener{Root: b.TempDir(), Router: r})
	start := cpuTime(b)
	n := 0
	for b.Loop() {
		r.Submit(inotify.Event{Path: "a"})
		<-ran
		n++
	}
	b.ReportMetric(float64((cpuTime(b)-start).Nanoseconds())/float64(n), "cpu-ns/op")
}
