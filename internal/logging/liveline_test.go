package logging

import (
	"io"
	"os"
	"strings"
	"testing"
	"time"
)

// A pipe stands for the terminal: what is written is the same, and 80 columns wide.
func TestLiveLine(t *testing.T) {
	screen, file, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer screen.Close()
	defer file.Close()
	q := NewQueue(nil)
	l := NewLiveLine(file, q)
	log := q.Writer(l)

	next := func(want string) {
		t.Helper()
		got := make([]byte, len(want))
		if _, err := io.ReadFull(screen, got); err != nil || string(got) != want {
			t.Errorf("the terminal got %q (%v), want %q", got, err, want)
		}
	}

	const erased = "\r\x1b[J"
	l.Set(" one")
	next("\x1b[?7l one\x1b[?7h\r")
	l.Hide()
	next(erased)
	l.Set(" two")
	_, _ = io.WriteString(log, "in the background\n")
	next("in the background\n")
	l.Show()
	next("\x1b[?7l two\x1b[?7h\r")
	_, _ = io.WriteString(log, "a line\n")
	next(erased + "a line\n\x1b[?7l two\x1b[?7h\r")
	l.Set("")
	next(erased)
	q.Close()
}

// A terminal that takes nothing holds up neither Set nor, for long, Hide; and what is drawn
// meanwhile does not pile up.
func TestLiveLineOfAStoppedTerminal(t *testing.T) {
	screen, file, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	q := NewQueue(nil)
	l := NewLiveLine(file, q)
	_, _ = q.Writer(l).Write([]byte(strings.Repeat("x", 1<<17) + "\n")) // more than a pipe takes
	begun := time.Now()
	for i := range 1000 {
		l.Set(strings.Repeat("y", i+1))
	}
	l.Hide()
	if took := time.Since(begun); took > 20*time.Second {
		t.Errorf("it was waited for %v", took)
	}
	l.Show()

	if _, err := io.CopyN(io.Discard, screen, 1<<17+1); err != nil {
		t.Fatal(err)
	}
	q.Close()
	file.Close()
	rest, err := io.ReadAll(screen)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(rest), wrapOff); n > 4 {
		t.Errorf("drawn %d times", n)
	}
	if !strings.HasSuffix(string(rest), strings.Repeat("y", 79)+"…"+reset+wrapOn+"\r") {
		t.Errorf("the last state is not there: %q", rest)
	}
}

func TestCut(t *testing.T) {
	for _, tt := range []struct {
		text    string
		columns int
		want    string
	}{
		{"abc", 3, "abc"},
		{"abcd", 3, "ab…" + reset},
		{"äöü", 2, "ä…" + reset},
		{red + "abc" + reset + "d", 4, red + "abc" + reset + "d"},
		{red + "abc" + reset + "de", 4, red + "abc" + reset + "…" + reset},
		{red + "abc" + reset, 1, red + "…" + reset},
		{"abc", 0, "…" + reset},
	} {
		if got := cut(tt.text, tt.columns); got != tt.want {
			t.Errorf("cut(%q, %d) is %q, want %q", tt.text, tt.columns, got, tt.want)
		}
	}
}
