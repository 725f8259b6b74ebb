package logging

import (
	"bytes"
	"io/fs"
	"os"
	"strings"
	"sync"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// What a LiveLine sends to the terminal (ECMA-48 and DEC private modes). The cursor rests
// at the begin of the line: when the terminal gets narrower and breaks the line in two, it
// is still there, and all of the line is below it.
const (
	eraseLine = "\r\x1b[J" // the line, and what is below it
	wrapOff   = "\x1b[?7l" // so that wide characters do not make it two lines
	wrapOn    = "\x1b[?7h"
)

// A LiveLine is a terminal that has a line of state below what is written to it. Lines
// that are written push it down.
//
// Write must be called by the goroutine of one Queue alone, as by the writers of that
// Queue, with whole lines. The other methods may be called by any goroutine. None of them
// waits for the terminal, but Hide.
type LiveLine struct {
	file  *os.File
	queue *Queue

	mu     sync.Mutex // guards what follows; nothing is written under it
	text   string
	hidden bool
	queued bool // a draw

	shown bool // on the screen; for Write alone
}

// NewLiveLine returns a LiveLine without text for a terminal that is written to by way of
// q.
func NewLiveLine(terminal *os.File, q *Queue) *LiveLine {
	return &LiveLine{file: terminal, queue: q}
}

// Stat makes a LiveLine the file that it writes to for NewHandler and IsTerminal.
func (l *LiveLine) Stat() (fs.FileInfo, error) { return l.file.Stat() }

// Set replaces the text. It may have colours, and nothing else that a terminal acts upon:
// see Printable. An empty text removes the line.
func (l *LiveLine) Set(text string) {
	l.mu.Lock()
	changed := l.text != text
	l.text = text
	l.mu.Unlock()
	if changed {
		l.Draw()
	}
}

// Draw draws the line again, as for another size of the terminal.
func (l *LiveLine) Draw() {
	l.mu.Lock()
	queued := l.queued
	l.queued = true
	l.mu.Unlock()
	if !queued {
		_, _ = l.queue.Writer(l).Write(nil) // which only queues it
	}
}

// Hide removes the line before it returns, until Show is called. It does not wait for a
// terminal that takes nothing.
func (l *LiveLine) Hide() {
	l.mu.Lock()
	l.hidden = true
	l.mu.Unlock()
	l.queue.WriteLine(l, "")
}

// Show ends Hide.
func (l *LiveLine) Show() {
	l.mu.Lock()
	l.hidden = false
	l.mu.Unlock()
	l.Draw()
}

// Write writes lines above the line of state.
func (l *LiveLine) Write(lines []byte) (int, error) {
	l.mu.Lock()
	text := l.text
	if l.hidden {
		text = ""
	}
	l.queued = false
	l.mu.Unlock()

	var b bytes.Buffer
	if l.shown {
		b.WriteString(eraseLine)
	}
	b.Write(lines)
	l.shown = text != ""
	if l.shown {
		b.WriteString(wrapOff + cut(text, l.Width()) + wrapOn + "\r")
	}
	if b.Len() == 0 {
		return 0, nil
	}
	if _, err := l.file.Write(b.Bytes()); err != nil {
		return 0, err
	}
	return len(lines), nil
}

// Width returns how many columns the terminal has.
func (l *LiveLine) Width() int {
	conn, err := l.file.SyscallConn()
	if err != nil {
		return 80
	}
	width := 80 // of a terminal that does not know
	_ = conn.Control(func(fd uintptr) {
		if size, err := unix.IoctlGetWinsize(int(fd), unix.TIOCGWINSZ); err == nil && size.Col > 0 {
			width = int(size.Col)
		}
	})
	return width
}

// cut shortens a text to so many characters, besides sequences that set colours, and ends
// a colour that it has cut off.
func cut(text string, columns int) string {
	if utf8.RuneCountInString(colourSequences.ReplaceAllLiteralString(text, "")) <= columns {
		return text
	}

	var b strings.Builder
	for columns--; ; columns-- {
		for at := colourSequences.FindStringIndex(text); at != nil && at[0] == 0; at = colourSequences.FindStringIndex(text) {
			b.WriteString(text[:at[1]])
			text = text[at[1]:]
		}
		if columns <= 0 {
			return b.String() + "…" + reset
		}
		_, size := utf8.DecodeRuneInString(text)
		b.WriteString(text[:size])
		text = text[size:]
	}
}
