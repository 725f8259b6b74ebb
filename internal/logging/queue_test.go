package logging

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// A blockedWriter is a pipe that nobody reads: Write blocks until resume is closed.
type blockedWriter struct {
	resume chan struct{}
	text   strings.Builder
}

func (s *blockedWriter) Write(p []byte) (int, error) {
	<-s.resume
	return s.text.Write(p)
}

// Logging never blocks, however many messages there are. When somebody reads again,
// the number of dropped messages is logged where they are missing.
func TestLogNeverBlocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &blockedWriter{resume: make(chan struct{})}
		var log *slog.Logger
		q := NewQueue(func(n int) { log.Warn("dropped", "messages", n) })
		log = slog.New(slog.NewTextHandler(q.Writer(out), nil))
		const many = 100_000
		start := time.Now()
		for i := range many {
			log.Info("m", "i", i)
		}
		if waited := time.Since(start); waited > 0 {
			t.Fatalf("logging waited %v for who reads the log", waited)
		}
		q.mu.Lock()
		if q.size > maxQueued {
			t.Errorf("%d bytes wait, want %d at most", q.size, maxQueued)
		}
		q.mu.Unlock()
		close(out.resume)
		synctest.Wait()
		log.Info("after")
		q.close(time.Minute)

		lines := strings.Split(strings.TrimSuffix(out.text.String(), "\n"), "\n")
		written := 0
		for ; strings.HasSuffix(lines[written], fmt.Sprint(" msg=m i=", written)); written++ {
		}
		said := regexp.MustCompile(`level=WARN msg=dropped messages=(\d+)$`).FindStringSubmatch(lines[written])
		if said == nil {
			t.Fatalf("line %d is %q, and does not say how many were dropped", written, lines[written])
		}
		if n, _ := strconv.Atoi(said[1]); written+n != many {
			t.Errorf("%d were written and %d dropped, of %d", written, n, many)
		}
		if rest := lines[written+1:]; len(rest) != 1 || !strings.HasSuffix(rest[0], "msg=after") {
			t.Errorf("then come %q", rest)
		}
	})
}

// A slowWriter takes a millisecond for each line.
type slowWriter struct{ lines int }

func (s *slowWriter) Write(p []byte) (int, error) {
	time.Sleep(time.Millisecond)
	s.lines++
	return len(p), nil
}

// A caller of WaitForRoom is slowed down by a slow reader, so that nothing is dropped.
// A reader who stops delays it once, for stallTimeout.
func TestWaitForRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := new(slowWriter)
		q := NewQueue(func(n int) { t.Errorf("%d messages were dropped", n) })
		w := q.Writer(out)
		const many = 3 * maxQueued / 1000
		line := strings.Repeat("x", 1000)
		for range many {
			q.WaitForRoom()
			io.WriteString(w, line)
		}
		q.close(time.Hour)
		if out.lines != many {
			t.Errorf("%d lines of %d were written", out.lines, many)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		out := &blockedWriter{resume: make(chan struct{})}
		q := NewQueue(nil)
		w := q.Writer(out)
		start := time.Now()
		for range 3 * maxQueued / 1000 {
			q.WaitForRoom()
			io.WriteString(w, strings.Repeat("x", 1000))
		}
		if waited := time.Since(start); waited != stallTimeout {
			t.Errorf("it was held up for %v, want %v", waited, stallTimeout)
		}
		close(out.resume)
		q.close(time.Minute)
	})
}

// A hesitantWriter blocks for a second at first, and then takes a millisecond for each
// line.
type hesitantWriter struct{ slowWriter }

func (w *hesitantWriter) Write(p []byte) (int, error) {
	if w.lines == 0 {
		time.Sleep(time.Second)
	}
	return w.slowWriter.Write(p)
}

// After a stall WaitForRoom waits again, as soon as somebody reads.
func TestWaitForRoomAfterAStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := NewQueue(func(n int) { t.Errorf("%d messages were dropped", n) })
		w := q.Writer(new(hesitantWriter))
		line := strings.Repeat("x", 1000)
		fill := func(bytes int) {
			for range bytes / len(line) {
				q.WaitForRoom()
				io.WriteString(w, line)
			}
		}

		fill(maxQueued * 3 / 4) // which takes longer than stallTimeout
		time.Sleep(time.Second)
		fill(3 * maxQueued)
		time.Sleep(time.Minute) // until everything is written, and dropped was called
		q.close(time.Hour)
	})
}

// Close waits for the log to be written, for flushTimeout at most.
func TestQueueCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &blockedWriter{resume: make(chan struct{})}
		q := NewQueue(nil)
		w := q.Writer(out)
		io.WriteString(w, "one\n")
		io.WriteString(w, "two\n")
		start := time.Now()
		q.close(flushTimeout)
		if took := time.Since(start); took != flushTimeout {
			t.Errorf("the end took %v while nobody read, want %v", took, flushTimeout)
		}
		io.WriteString(w, "too late\n")
		close(out.resume)
		q.close(time.Minute)
		if got := out.text.String(); got != "one\ntwo\n" {
			t.Errorf("got %q", got)
		}
	})
}

// A WaitingWriter waits until its context ends, and then for flushTimeout in all.
// WriteLine waits for stallTimeout.
func TestWritersThatWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, w := io.Pipe()
		ctx, cancel := context.WithCancel(t.Context())
		q := NewQueue(nil)
		out := q.WaitingWriter(ctx, w)
		start := time.Now()
		time.AfterFunc(time.Hour, func() { _, _ = io.ReadFull(r, make([]byte, 2)) })
		if _, err := fmt.Fprintln(out, "a"); err != nil || time.Since(start) != time.Hour {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		start = time.Now()
		for range 100 {
			q.WriteLine(w, "b")
		}
		if took := time.Since(start); took != stallTimeout {
			t.Errorf("our own lines took %v, want %v", took, stallTimeout)
		}
		cancel()
		start = time.Now()
		for range 100 {
			if _, err := fmt.Fprintln(out, "c"); !errors.Is(err, ErrNotRead) {
				t.Errorf("nobody reads, and it is %v", err)
			}
		}
		if took := time.Since(start); took > flushTimeout {
			t.Errorf("at the end it took %v, want %v", took, flushTimeout)
		}
		go func() { _, _ = io.Copy(io.Discard, r) }()
		q.Close()
		w.Close()
	})
}

// A WaitingWriter returns the error of the writer.
func TestWaitingWriterFails(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	q := NewQueue(nil)
	defer q.Close()
	if _, err := fmt.Fprintln(q.WaitingWriter(t.Context(), full), "x"); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("a full disk is %v", err)
	}
}

// A journald that does not read its socket, because it was stopped, does not block
// logging.
func TestFrozenJournal(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "journal")
	frozen, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	q := NewQueue(nil)
	log := slog.New(newJournalHandler(io.Discard, q, Options{JournalSocket: socket}))
	logged := make(chan struct{})
	go func() {
		defer close(logged)
		for range 20_000 {
			log.Info("m", "text", strings.Repeat("x", 100))
		}
	}()
	select {
	case <-logged:
	case <-time.After(30 * time.Second):
		t.Error("logging waits for the journal")
	}
	frozen.Close() // ends the send that waits
	<-logged
	q.close(time.Minute)
}

func BenchmarkLog(b *testing.B) {
	for _, bench := range []struct {
		name string
		to   func(q *Queue) io.Writer
	}{
		{"at-once", func(*Queue) io.Writer { return io.Discard }},
		{"by-the-queue", func(q *Queue) io.Writer { return q.Writer(io.Discard) }},
	} {
		b.Run(bench.name, func(b *testing.B) {
			q := NewQueue(nil)
			defer q.close(time.Minute)
			log := slog.New(slog.NewTextHandler(bench.to(q), nil))
			b.ReportAllocs()
			for b.Loop() {
				log.Info("request refused", "host", "example.com", "remote", "127.0.0.1:1234")
			}
		})
	}
}
