package inotify

import (
	"fmt"
	"os"
	"testing"
)

// BenchmarkEvent is the way of an event from the kernel's queue to the
// subscriber, with the write that causes it. It must not allocate.
func BenchmarkEvent(b *testing.B) {
	count := 0
	w, f := benchmarkFile(b, func(events []Event) { count += len(events) })
	text := []byte("text")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := f.WriteAt(text, 0); err != nil {
			b.Fatal(err)
		}
		n, err := w.read()
		if err != nil {
			b.Fatal(err)
		}
		if err := w.applyAll(w.buf[:n]); err != nil {
			b.Fatal(err)
		}
	}
	if count < b.N {
		b.Fatalf("%d events of %d writes", count, b.N)
	}
}

// BenchmarkApply is BenchmarkEvent without the kernel: a full buffer of
// records of 100 files.
func BenchmarkApply(b *testing.B) {
	w, _ := benchmarkFile(b, func([]Event) {})
	wd := w.tree.nodes[w.tree.byWd.get(2)].wd
	var buf []byte
	for i := range 2000 {
		buf = appendRecord(buf, record{wd: wd, mask: Modify, name: fmt.Appendf(nil, "file%02d.html", i%100)}, 16)
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := w.applyAll(buf); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/2000, "ns/event")
}

func TestEventsAllocateNothing(t *testing.T) {
	w, f := benchmarkFile(t, func([]Event) {})
	text := []byte("text")
	allocs := testing.AllocsPerRun(1000, func() {
		f.WriteAt(text, 0)
		n, _ := w.read()
		w.applyAll(w.buf[:n])
	})
	if allocs != 0 {
		t.Errorf("an event allocates %v times", allocs)
	}
}

// benchmarkFile watches a tree and opens a file some way down in it.
func benchmarkFile(tb testing.TB, deliver func([]Event)) (*Watcher, *os.File) {
	dir := tb.TempDir()
	if err := os.MkdirAll(dir+"/a/b/c", 0o755); err != nil {
		tb.Fatal(err)
	}
	w := newWatcher(tb)
	if err := w.Add(Subscription{Root: dir, Mask: Modify, Deliver: deliver}); err != nil {
		tb.Fatal(err)
	}
	f, err := os.Create(dir + "/a/b/c/file")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { f.Close() })
	n, err := w.read()
	if err != nil || w.applyAll(w.buf[:n]) != nil {
		tb.Fatal(err)
	}
	return w, f
}
