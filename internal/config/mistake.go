package config

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
)

// MaxMistakes is how many mistakes of a file are reported at most. With as many it
// is not a configuration, and to find more would take long.
const MaxMistakes = 100

// A Mistake is one thing that is wrong in a file, or of a note that may be wrong,
// and what would be right.
type Mistake struct {
	File         string
	Line, Column int // from 1, in bytes; 0 for the file as a whole
	Text         string
}

func (m Mistake) Error() string {
	if m.Line == 0 {
		return fmt.Sprintf("%s: %s", m.File, m.Text)
	}
	return fmt.Sprintf("%s:%d:%d: %s", m.File, m.Line, m.Column, m.Text)
}

// Mistakes is everything that is wrong in a file, in the order of the file. As an
// error it is one line.
type Mistakes []Mistake

func (ms Mistakes) Error() string {
	if len(ms) == 1 {
		return ms[0].Error()
	}
	return fmt.Sprintf("%v (and %d more: execlogd check -config %s lists them)", ms[0], len(ms)-1, ShellWord(ms[0].File))
}

// Err is the mistakes as an error; nil if there are none.
func (ms Mistakes) Err() error {
	if len(ms) == 0 {
		return nil
	}
	return ms
}

// Sort puts the mistakes into the order of the file.
func (ms Mistakes) Sort() {
	slices.SortStableFunc(ms, func(a, b Mistake) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
}

// A Report collects mistakes by the paths of their keys. The zero Report is for flags,
// which are in no file.
type Report struct {
	file     string
	source   []byte
	found    locations // in the source; nil while there is no mistake
	mistakes Mistakes
}

// NewReport returns a Report on what is wrong in the configuration's file.
func (cfg *Config) NewReport() *Report { return &Report{file: cfg.File, source: withoutBOM(cfg.Text)} }

// withoutBOM returns a text without the byte order mark that some editors put
// before it.
func withoutBOM(text []byte) []byte { return bytes.TrimPrefix(text, []byte("\ufeff")) }

// Add adds a mistake, unless there are MaxMistakes.
func (r *Report) Add(at KeyPath, format string, args ...any) {
	if !r.full() {
		line, column := r.position(at)
		r.mistakes = append(r.mistakes, Mistake{r.file, line, column, fmt.Sprintf(format, args...)})
	}
}

func (r *Report) full() bool { return len(r.mistakes) >= MaxMistakes }

// position returns where a value is; zero if neither the value nor a table around it is
// in the file.
func (r *Report) position(at KeyPath) (line, column int) {
	if r.found == nil {
		r.found = locate(r.source)
	}

	where := r.found.find(at)
	if where.Length == 0 {
		return 0, 0
	}
	before := r.source[:where.Offset]
	return bytes.Count(before, []byte("\n")) + 1, len(before) - bytes.LastIndexByte(before, '\n')
}

// Mistakes returns what was added, in the order of the file.
func (r *Report) Mistakes() Mistakes {
	r.mistakes.Sort()
	return r.mistakes
}

// usageError returns the first mistake, of a flag.
func (r *Report) usageError() error {
	if len(r.mistakes) == 0 {
		return nil
	}
	return Usagef("%s", r.mistakes[0].Text)
}
