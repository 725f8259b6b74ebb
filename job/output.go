package job

import (
	"bytes"
	"slices"
)

// maxLine is where a line of output is cut, in bytes. Nobody reads longer ones.
const maxLine = 8 << 10

// maxOutput is how much of the end of a run's output is kept, in bytes.
const maxOutput = 64 << 10

// A Line is a line that a program wrote to its standard output or its standard
// error. Lines of both are in the order in which they were written, unless Options
// keeps the two apart.
type Line struct {
	Route string // the name of the command
	ID    uint64 // of the run
	Text  string // the bytes that were written, without the newline
	Cut   bool   // the line is long and goes on in the next Line

	// Stderr says that the line is from standard error, where that is kept apart.
	Stderr bool
}

// A lineWriter cuts what is written to it into lines.
type lineWriter struct {
	emit    func(text string, cut bool)
	partial []byte // a line whose end has not come
}

func (w *lineWriter) write(p []byte) {
	for len(p) > 0 {
		line, rest, whole := bytes.Cut(p, []byte{'\n'})
		if room := maxLine - len(w.partial); len(line) > room {
			w.flush(p[:room], true)
			p = p[room:]
			continue
		}

		if !whole {
			w.partial = append(w.partial, line...)
			return
		}
		w.flush(line, false)
		p = rest
	}
}

// end emits a last line that has no newline.
func (w *lineWriter) end() {
	if len(w.partial) > 0 {
		w.flush(nil, false)
	}
}

func (w *lineWriter) flush(end []byte, cut bool) {
	w.emit(string(append(w.partial, end...)), cut)
	w.partial = w.partial[:0]
}

// A tail keeps the last maxOutput bytes of what is written to it.
type tail struct {
	buf     []byte
	oldest  int   // where the oldest byte is, once buf is full
	written int64 // in all
}

func (t *tail) write(p []byte) {
	t.written += int64(len(p))
	if len(p) > maxOutput {
		p = p[len(p)-maxOutput:]
	}
	if room := maxOutput - len(t.buf); room > 0 {
		n := min(room, len(p))
		t.buf, p = append(t.buf, p[:n]...), p[n:]
	}

	// The rest takes the place of the oldest bytes.
	for len(p) > 0 {
		n := copy(t.buf[t.oldest:], p)
		t.oldest, p = (t.oldest+n)%maxOutput, p[n:]
	}
}

// last returns a copy of the last n bytes that are kept, or of all.
func (t *tail) last(n int) []byte {
	older, newer := t.buf[t.oldest:], t.buf[:t.oldest]
	newer = newer[max(0, len(newer)-n):]
	older = older[max(0, len(older)-(n-len(newer))):]
	return slices.Concat(older, newer)
}
