package inotify

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/execlog/execlogd/internal/statelog"
)

// Each benchmark here has a floor to compare with: what the kernel alone takes
// for the same, in a bare loop of system calls. `make bench` prints both.

// benchTree makes 111,111 directories, ten in each down to a depth of five,
// on tmpfs where there is one, and lists them.
func benchTree(b *testing.B) (root string, dirs []string) {
	b.Helper()
	root = benchDir(b)
	dirs = []string{root}
	level := []string{root}
	for range 5 {
		var next []string
		for _, dir := range level {
			for i := range 10 {
				next = append(next, fmt.Sprintf("%s/dir%d", dir, i))
			}
		}
		for _, dir := range next {
			must(b, os.Mkdir(dir, 0o755))
		}
		dirs = append(dirs, next...)
		level = next
	}
	return root, dirs
}

func benchDir(b *testing.B) string {
	b.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "inotify-bench")
	if err != nil {
		dir = b.TempDir()
	}
	b.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// BenchmarkWatchTree is the time from nothing to a tree that is watched, and
// the memory that its directories take without their names.
func BenchmarkWatchTree(b *testing.B) {
	root, dirs := benchTree(b)
	names := 0
	for _, dir := range dirs {
		names += len(filepath.Base(dir))
	}
	b.Run("floor", func(b *testing.B) {
		for b.Loop() {
			fd, err := unix.InotifyInit1(unix.IN_CLOEXEC)
			must(b, err)
			for _, dir := range dirs {
				_, err = unix.InotifyAddWatch(fd, dir, uint32(internalMask|Modify|CloseWrite))
				must(b, err)
			}
			b.StopTimer()
			unix.Close(fd)
			b.StartTimer()
		}
		perDirectory(b, len(dirs))
	})
	b.Run("watcher", func(b *testing.B) {
		var before, after runtime.MemStats
		for b.Loop() {
			b.StopTimer()
			runtime.GC()
			runtime.ReadMemStats(&before)
			b.StartTimer()
			w, err := New(Options{})
			if err == nil {
				_, err = w.Add(Subscription{Root: root})
			}
			must(b, err)
			b.StopTimer()
			runtime.GC()
			runtime.ReadMemStats(&after)
			if w.Watches() != len(dirs) {
				b.Fatalf("%d watches for %d directories", w.Watches(), len(dirs))
			}
			w.Close()
			b.StartTimer()
		}
		perDirectory(b, len(dirs))
		b.ReportMetric((float64(after.HeapAlloc)-float64(before.HeapAlloc)-float64(names))/float64(len(dirs)), "B/dir")
	})
}

func perDirectory(b *testing.B, dirs int) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(dirs), "ns/dir")
}

// filled is how many events a queue is filled with to be drained.
const filled = 16000

// fill queues events of two files that take turns, so that the kernel merges
// none.
func fill(b *testing.B, dir string) {
	b.Helper()
	var files [2]*os.File
	for i := range files {
		f, err := os.Create(fmt.Sprintf("%s/file%d", dir, i))
		must(b, err)
		defer f.Close()
		files[i] = f
	}
	for i := range filled {
		_, err := files[i%2].WriteAt([]byte{'x'}, 0)
		must(b, err)
	}
}

// BenchmarkDrain is the time that a full queue takes.
func BenchmarkDrain(b *testing.B) {
	perEvent := func(b *testing.B) {
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/filled, "ns/event")
	}
	b.Run("floor", func(b *testing.B) {
		dir := benchDir(b)
		fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
		must(b, err)
		defer unix.Close(fd)
		_, err = unix.InotifyAddWatch(fd, dir, uint32(Modify))
		must(b, err)
		buf := make([]byte, 64<<10)
		for b.Loop() {
			b.StopTimer()
			fill(b, dir)
			b.StartTimer()
			for err = nil; err == nil; {
				_, err = unix.Read(fd, buf)
			}
		}
		perEvent(b)
	})
	eachState(b, func(b *testing.B, w *Watcher) {
		dir := benchDir(b)
		defer w.Close()
		events := 0
		count := func(batch []Event) { events += len(batch) }
		_, err := w.Add(Subscription{Root: dir, Mask: Modify, Deliver: count})
		must(b, err)
		b.ReportAllocs()
		for b.Loop() {
			b.StopTimer()
			fill(b, dir)
			b.StartTimer()
			must(b, w.drain(context.Background()))
		}
		if events < b.N*filled {
			b.Fatalf("%d events of %d", events, b.N*filled)
		}
		perEvent(b)
	})
}

// BenchmarkLatency is the time from before write(2) to the reader's code, in
// another goroutine, with pauses between.
func BenchmarkLatency(b *testing.B) {
	const pause = 200 * time.Microsecond
	measure := func(b *testing.B, dir string, seen <-chan time.Time) {
		f, err := os.Create(dir + "/file")
		must(b, err)
		defer f.Close()
		var took []time.Duration
		for b.Loop() {
			time.Sleep(pause)
			start := time.Now()
			_, err = f.WriteAt([]byte{'x'}, 0)
			must(b, err)
			took = append(took, (<-seen).Sub(start))
		}
		b.ReportMetric(float64(median(took).Nanoseconds()), "ns-median")
		b.ReportMetric(0, "ns/op")
	}
	for _, epoll := range []bool{false, true} {
		b.Run(map[bool]string{false: "floor", true: "floor with epoll"}[epoll], func(b *testing.B) {
			dir := benchDir(b)
			fd, err := unix.InotifyInit1(unix.IN_CLOEXEC)
			must(b, err)
			defer unix.Close(fd)
			waiter, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
			must(b, err)
			defer unix.Close(waiter)
			must(b, unix.EpollCtl(waiter, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN}))
			_, err = unix.InotifyAddWatch(fd, dir, uint32(Modify|Delete))
			must(b, err)
			seen := make(chan time.Time, 1)
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				buf := make([]byte, 64<<10)
				for {
					if epoll {
						var ready [1]unix.EpollEvent
						unix.EpollWait(waiter, ready[:], -1)
					}
					n, err := unix.Read(fd, buf)
					now := time.Now()
					if rec, _, _ := cutRecord(buf[:max(n, 0)]); err != nil || rec.mask&Delete != 0 {
						return
					}
					seen <- now
				}
			}()
			measure(b, dir, seen)
			os.Remove(dir + "/file")
			<-ended
		})
	}
	eachState(b, func(b *testing.B, w *Watcher) {
		dir := benchDir(b)
		seen := make(chan time.Time, 1)
		_, err := w.Add(Subscription{Root: dir, Mask: Modify, Deliver: func([]Event) { seen <- time.Now() }})
		must(b, err)
		ended := make(chan error)
		go func() { ended <- w.Run(context.Background()) }()
		measure(b, dir, seen)
		w.Close()
		<-ended
	})
}

// eachState measures a watcher without Options.State, and one with it.
func eachState(b *testing.B, measure func(*testing.B, *Watcher)) {
	for _, name := range []string{"watcher", "watcher with state"} {
		b.Run(name, func(b *testing.B) {
			var opts Options
			if name != "watcher" {
				state, err := statelog.Memory("state")
				must(b, err)
				defer state.Close()
				opts.State = state
			}
			w, err := New(opts)
			must(b, err)
			defer w.Close()
			measure(b, w)
		})
	}
}

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}

// BenchmarkRename is the time from a directory's rename to its event, empty
// and with 100,000 directories below it.
func BenchmarkRename(b *testing.B) {
	for _, below := range []int{0, 100_000} {
		b.Run(fmt.Sprintf("%d below", below), func(b *testing.B) {
			dir := benchDir(b)
			for i := range max(1, below/1000) {
				sub := fmt.Sprintf("%s/a/%d", dir, i)
				if below == 0 {
					sub = dir + "/a"
				}
				must(b, os.MkdirAll(sub, 0o755))
				for j := range min(999, below) {
					must(b, os.Mkdir(fmt.Sprintf("%s/%d", sub, j), 0o755))
				}
			}
			w, err := New(Options{})
			must(b, err)
			defer w.Close()
			_, err = w.Add(Subscription{Root: dir, Mask: MovedTo})
			must(b, err)
			from, to := dir+"/a", dir+"/b"
			for b.Loop() {
				must(b, os.Rename(from, to))
				from, to = to, from
				must(b, w.drain(context.Background()))
			}
		})
	}
}

// BenchmarkApply measures one record from the buffer to the subscriber, without the part of
// the kernel.
func BenchmarkApply(b *testing.B) {
	dir := benchDir(b)
	w, err := New(Options{})
	must(b, err)
	defer w.Close()
	must(b, os.MkdirAll(dir+"/some/where/below", 0o755))
	_, err = w.Add(Subscription{Root: dir, Mask: Modify})
	must(b, err)
	below := w.tree.Lookup(w.tree.Lookup(w.subs[0].dir, []byte("some")), []byte("where"))
	wd := w.tree.Node(w.tree.Lookup(below, []byte("below"))).WD
	var buf []byte
	const many = 1000
	for i := range many {
		buf = binary.NativeEndian.AppendUint32(buf, uint32(wd))
		buf = binary.NativeEndian.AppendUint32(buf, uint32(Modify))
		buf = binary.NativeEndian.AppendUint32(buf, 0)
		buf = binary.NativeEndian.AppendUint32(buf, 16)
		buf = append(buf, fmt.Sprintf("file%d\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", i%2)[:16]...)
	}
	b.ReportAllocs()
	for b.Loop() {
		_, err = w.applyBuffer(buf)
		must(b, err)
		w.deliver()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/many, "ns/event")
}
