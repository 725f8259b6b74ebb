package job

import (
	"bytes"
	"slices"
)

// maxLine is where a line of output is cut: more is no line for people.
const maxLine = 8 << 10

// maxOutput is how much of a job's output is kept, from its end.
const maxOutput = 64 << 10

// A Line is a line of a job's output, from its standard output or its
// standard error, which are one pipe and so in the order in which they were
// written unless Options keeps them apart.
type Line struct {
	Route string // the name of the command
	ID    uint64 // of the record
	Text  string // the bytes that were written, without the newline
	Cut   bool   // the line is long and goes on in the next Line

	// Stderr says that it is from standard error, where that is kept apart.
	Stderr bool
}

// A lineWriter cuts what is written to it into lines.
type lineWriter struct {
	emit func(text string, cut bool)
	part []byte // of a line whose end has not come
}

func (w *lineWriter) write(p []byte) {
	for len(p) > 0 {
		line, rest, whole := bytes.Cut(p, []byte{'\n'})
		if room := maxLine - len(w.part); len(line) > room {
			w.flush(p[:room], true)
			p = p[room:]
			continue
		}
		if !whole {
			w.part = append(w.part, line...)
			return
		}
		w.flush(line, false)
		p = rest
	}
}

// end emits a last line that has no newline.
func (w *lineWriter) end() {
	if len(w.part) > 0 {
		w.flush(nil, false)
	}
}

func (w *lineWriter) flush(end []byte, cut bool) {
	w.emit(string(append(w.part, end...)), cut)
	w.part = w.part[:0]
}

// A tail keeps the last maxOutput bytes of what is written to it.
type tail struct {
	buf     []byte
	at      int   // where the oldest byte is, once buf is full
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
	for len(p) > 0 {
		n := copy(t.buf[t.at:], p)
		t.at, p = (t.at+n)%maxOutput, p[n:]
	}
}

// last is a copy of the last n bytes that are kept, or of all.
func (t *tail) last(n int) []byte {
	older, newer := t.buf[t.at:], t.buf[:t.at]
	newer = newer[max(0, len(newer)-n):]
	older = older[max(0, len(older)-(n-len(newer))):]
	return slices.Concat(older, newer)
}
