package main

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A stoppable is a reader who may stop reading: until it goes on, a Write waits.
type stoppable struct {
	goOn chan struct{}
	text strings.Builder
}

func (s *stoppable) Write(p []byte) (int, error) {
	<-s.goOn
	return s.text.Write(p)
}

// Who logs never waits, however much it is; what was dropped is counted, and said
// in its place when somebody reads again.
func TestLogNeverBlocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &stoppable{goOn: make(chan struct{})}
		q := newLogQueue()
		log := slog.New(slog.NewTextHandler(q.writer(out), nil))
		q.dropped = func(n int) { log.Warn("dropped", "messages", n) }
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
		close(out.goOn)
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

// A slowReader takes its time for each line.
type slowReader struct{ lines int }

func (s *slowReader) Write(p []byte) (int, error) {
	time.Sleep(time.Millisecond)
	s.lines++
	return len(p), nil
}

// Who has much to say is slowed down by a slow reader, and nothing is dropped; by
// a reader who stops it is held up for a moment, once.
func TestMuchOutputIsSlowedDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := new(slowReader)
		q := newLogQueue()
		q.dropped = func(n int) { t.Errorf("%d messages were dropped", n) }
		w := q.writer(out)
		const many = 3 * maxQueued / 1000
		line := strings.Repeat("x", 1000)
		for range many {
			q.waitForRoom()
			io.WriteString(w, line)
		}
		q.close(time.Hour)
		if out.lines != many {
			t.Errorf("%d lines of %d were written", out.lines, many)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		out := &stoppable{goOn: make(chan struct{})}
		q := newLogQueue()
		w := q.writer(out)
		start := time.Now()
		for range 3 * maxQueued / 1000 {
			q.waitForRoom()
			io.WriteString(w, strings.Repeat("x", 1000))
		}
		if waited := time.Since(start); waited != stallTimeout {
			t.Errorf("it was held up for %v, want %v", waited, stallTimeout)
		}
		close(out.goOn)
		q.close(time.Minute)
	})
}

// The end of the daemon waits for the log to be written, and not for ever.
func TestLogQueueCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &stoppable{goOn: make(chan struct{})}
		q := newLogQueue()
		w := q.writer(out)
		io.WriteString(w, "one\n")
		io.WriteString(w, "two\n")
		start := time.Now()
		q.close(flushTimeout)
		if took := time.Since(start); took != flushTimeout {
			t.Errorf("the end took %v while nobody read, want %v", took, flushTimeout)
		}
		io.WriteString(w, "too late\n")
		close(out.goOn)
		q.close(time.Minute)
		if got := out.text.String(); got != "one\ntwo\n" {
			t.Errorf("got %q", got)
		}
	})
}

// A journal that does not read its socket, as one that was stopped, holds nobody
// up.
func TestFrozenJournal(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "journal")
	frozen, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	q := newLogQueue()
	h := newJournalHandler(io.Discard, &slog.HandlerOptions{Level: slog.LevelInfo}, socket, q)
	log := slog.New(h)
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
	if h.out.conn != nil {
		h.out.conn.Close()
	}
}

func BenchmarkLog(b *testing.B) {
	for _, bench := range []struct {
		name string
		to   func(q *logQueue) io.Writer
	}{
		{"at-once", func(*logQueue) io.Writer { return io.Discard }},
		{"by-the-queue", func(q *logQueue) io.Writer { return q.writer(io.Discard) }},
	} {
		b.Run(bench.name, func(b *testing.B) {
			q := newLogQueue()
			defer q.close(time.Minute)
			log := slog.New(slog.NewTextHandler(bench.to(q), nil))
			b.ReportAllocs()
			for b.Loop() {
				log.Info("request refused", "host", "example.com", "remote", "127.0.0.1:1234")
			}
		})
	}
}
