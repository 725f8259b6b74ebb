// Package accesslog writes a line for each request that was answered: to a file, to
// standard output or to the journal of systemd.
//
// Whoever answers a request does not wait for the line to be written. What waits is
// bounded (see [logging.Queue]); lines above that are dropped, and counted.
package accesslog

import (
	"fmt"
	"io"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/execlog/execlogd/httpd"
	"github.com/execlog/execlogd/internal/logging"
)

// A Log is an access log. It is off until Set is called.
type Log struct {
	queue   *logging.Queue
	problem func(error)
	format  atomic.Pointer[Format] // nil while the log is off

	// For the goroutine of the queue.
	to      *Target // nil while the log is off
	failing bool    // the last write has failed
}

// New returns a log that is off, and starts its goroutine, which ends after Close. When
// lines were dropped, dropped is called with their number. problem is called with what is
// wrong with writing, once until a line is written again.
func New(dropped func(lines int), problem func(error)) *Log {
	return &Log{queue: logging.NewQueue(dropped), problem: problem}
}

// A Target is what a log is written to.
type Target struct {
	path string // of a file, to open it again; empty for anything else
	w    io.Writer
}

// File opens a file, or makes it, for this user and its group. Lines are appended.
func File(path string) (*Target, error) {
	// A pipe that nobody reads must not hold anything up.
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|unix.O_NONBLOCK|unix.O_NOCTTY, 0o640)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is no regular file", path)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return &Target{path, f}, nil
}

// Writer returns a Target that is never opened again, nor closed unless it is an io.Closer.
func Writer(w io.Writer) *Target { return &Target{w: w} }

// Close closes a file. A nil Target is none.
func (t *Target) Close() {
	if t == nil {
		return
	}
	if c, ok := t.w.(io.Closer); ok {
		c.Close()
	}
}

// Set has later lines written to another target, which is closed with the log, or when it
// is replaced. Nil turns the log off.
func (l *Log) Set(to *Target, format Format) {
	l.queue.Add(0, func() {
		l.to.Close()
		l.to, l.failing = to, false
	})
	if to == nil {
		l.format.Store(nil)
		return
	}
	l.format.Store(&format)
}

// Reopen opens the file of the log again, as after it was renamed. An error is reported,
// and the old one is written to as before.
func (l *Log) Reopen() {
	l.queue.Add(0, func() {
		if l.to == nil || l.to.path == "" {
			return
		}
		to, err := File(l.to.path)
		if err != nil {
			l.problem(err)
			return
		}
		l.to.Close()
		l.to = to
	})
}

// Log writes the line of an answer, later. It does not block.
func (l *Log) Log(a httpd.Answer) {
	format := l.format.Load()
	if format == nil {
		return
	}
	line := format.appendLine(nil, a)
	l.queue.Add(len(line), func() { l.write(line) })
}

// write is called by the goroutine of the queue.
func (l *Log) write(line []byte) {
	if l.to == nil {
		return
	}
	_, err := l.to.w.Write(line)
	if err != nil && !l.failing {
		l.problem(err)
	}
	l.failing = err != nil
}

// Close writes what waits, for a second at most, and closes the target.
func (l *Log) Close() {
	l.Set(nil, "")
	l.queue.Close()
}
