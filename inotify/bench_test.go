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
			if err := os.Mkdir(dir, 0o755); err != nil {
				b.Fatal(err)
			}
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
			if err != nil {
				b.Fatal(err)
			}
			for _, dir := range dirs {
				if _, err := unix.InotifyAddWatch(fd, dir, uint32(internalMask|Modify|CloseWrite)); err != nil {
					b.Fatal(err)
				}
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
			if err != nil {
				b.Fatal(err)
			}
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
		if err != nil {
			b.Fatal(err)
		}
		defer f.Close()
		files[i] = f
	}
	for i := range filled {
		if _, err := files[i%2].WriteAt([]byte{'x'}, 0); err != nil {
			b.Fatal(err)
		}
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
		if err != nil {
			b.Fatal(err)
		}
		defer unix.Close(fd)
		if _, err := unix.InotifyAddWatch(fd, dir, uint32(Modify)); err != nil {
			b.Fatal(err)
		}
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
	b.Run("watcher", func(b *testing.B) {
		dir := benchDir(b)
		w, err := New(Options{})
		if err != nil {
			b.Fatal(err)
		}
		defer w.Close()
		events := 0
		count := func(batch []Event) { events += len(batch) }
		if _, err := w.Add(Subscription{Root: dir, Mask: Modify, Deliver: count}); err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		for b.Loop() {
			b.StopTimer()
			fill(b, dir)
			b.StartTimer()
			if err := w.drain(context.Background()); err != nil {
				b.Fatal(err)
			}
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
		if err != nil {
			b.Fatal(err)
		}
		defer f.Close()
		var took []time.Duration
		for b.Loop() {
			time.Sleep(pause)
			start := time.Now()
			if _, err := f.WriteAt([]byte{'x'}, 0); err != nil {
				b.Fatal(err)
			}
			took = append(took, (<-seen).Sub(start))
		}
		b.ReportMetric(float64(median(took).Nanoseconds()), "ns-median")
		b.ReportMetric(0, "ns/op")
	}
	b.Run("floor", func(b *testing.B) {
		dir := benchDir(b)
		fd, err := unix.InotifyInit1(unix.IN_CLOEXEC)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := unix.InotifyAddWatch(fd, dir, uint32(Modify|Delete)); err != nil {
			b.Fatal(err)
		}
		seen := make(chan time.Time, 1)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			buf := make([]byte, 64<<10)
			for {
				n, err := unix.Read(fd, buf)
				now := time.Now()
				if err != nil {
					return
				}
				for rec := range records(buf[:n]) {
					if rec.mask&Delete != 0 {
						return
					}
				}
				seen <- now
			}
		}()
		measure(b, dir, seen)
		os.Remove(dir + "/file")
		<-ended
		unix.Close(fd)
	})
	b.Run("floor with epoll", func(b *testing.B) {
		dir := benchDir(b)
		fd, err := unix.InotifyInit1(unix.IN_CLOEXEC)
		if err != nil {
			b.Fatal(err)
		}
		defer unix.Close(fd)
		epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
		if err == nil {
			err = unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN})
		}
		if err != nil {
			b.Fatal(err)
		}
		defer unix.Close(epoll)
		if _, err := unix.InotifyAddWatch(fd, dir, uint32(Modify|Delete)); err != nil {
			b.Fatal(err)
		}
		seen := make(chan time.Time, 1)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			buf := make([]byte, 64<<10)
			for {
				var ready [1]unix.EpollEvent
				unix.EpollWait(epoll, ready[:], -1)
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
	b.Run("watcher", func(b *testing.B) {
		dir := benchDir(b)
		w, err := New(Options{})
		if err != nil {
			b.Fatal(err)
		}
		seen := make(chan time.Time, 1)
		_, err = w.Add(Subscription{Root: dir, Mask: Modify, Deliver: func([]Event) { seen <- time.Now() }})
		if err != nil {
			b.Fatal(err)
		}
		ended := make(chan error)
		go func() { ended <- w.Run(context.Background()) }()
		measure(b, dir, seen)
		w.Close()
		<-ended
	})
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
				if err := os.MkdirAll(sub, 0o755); err != nil {
					b.Fatal(err)
				}
				for j := range min(999, below) {
					if err := os.Mkdir(fmt.Sprintf("%s/%d", sub, j), 0o755); err != nil {
						b.Fatal(err)
					}
				}
			}
			w, err := New(Options{})
			if err != nil {
				b.Fatal(err)
			}
			defer w.Close()
			if _, err := w.Add(Subscription{Root: dir, Mask: MovedTo}); err != nil {
				b.Fatal(err)
			}
			from, to := dir+"/a", dir+"/b"
			for b.Loop() {
				if err := os.Rename(from, to); err != nil {
					b.Fatal(err)
				}
				from, to = to, from
				if err := w.drain(context.Background()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkApply measures one record from the buffer to the subscriber, without the part of
// the kernel.
func BenchmarkApply(b *testing.B) {
	dir := benchDir(b)
	w, err := New(Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer w.Close()
	if err := os.MkdirAll(dir+"/some/where/below", 0o755); err != nil {
		b.Fatal(err)
	}
	if _, err := w.Add(Subscription{Root: dir, Mask: Modify}); err != nil {
		b.Fatal(err)
	}
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
		if _, err := w.applyBuffer(buf); err != nil {
			b.Fatal(err)
		}
		w.deliver()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/many, "ns/event")
}
