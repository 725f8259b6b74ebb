package job

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

func TestLines(t *testing.T) {
	long := strings.Repeat("x", maxLine)
	tests := []struct {
		name, output string
		lines        []string
	}{
		{"nothing", "", nil},
		{"a line", "a\n", []string{"a"}},
		{"no newline at the end", "a\nb", []string{"a", "b"}},
		{"empty lines", "\n\na\n", []string{"", "", "a"}},
		{"a longest line", long + "\n", []string{long}},
		{"a longer line", long + "y\n", []string{long + "+", "y"}},
		{"a longest line without an end", long, []string{long}},
		{"a very long line", long + long + "y", []string{long + "+", long + "+", "y"}},
		{"bytes that are no text", "\xff\x00\r\n\xfe", []string{"\xff\x00\r", "\xfe"}},
	}
	for _, tt := range tests {
		for _, size := range []int{1, 3, maxLine, 1 << 20} {
			t.Run(fmt.Sprintf("%s by %d", tt.name, size), func(t *testing.T) {
				var lines []string
				w := lineWriter{emit: func(text string, cut bool) {
					if cut {
						text += "+"
					}
					lines = append(lines, text)
				}}
				for chunk := range slices.Chunk([]byte(tt.output), size) {
					w.write(chunk)
				}
				w.end()
				if !slices.Equal(lines, tt.lines) {
					t.Errorf("got %.40q\nwant %.40q", lines, tt.lines)
				}
			})
		}
	}
}

// Output is cut into lines without a byte more or less, in whatever pieces it comes.
func FuzzLines(f *testing.F) {
	f.Add([]byte("a\nb"), uint16(1))
	f.Add(bytes.Repeat([]byte("x"), 2*maxLine+1), uint16(maxLine))
	f.Fuzz(func(t *testing.T, output []byte, size uint16) {
		var got []byte
		w := lineWriter{emit: func(text string, cut bool) {
			if len(text) > maxLine || strings.Contains(text, "\n") {
				t.Errorf("no line: %.40q", text)
			}
			got = append(got, text...)
			if !cut {
				got = append(got, '\n')
			}
		}}
		for chunk := range slices.Chunk(output, max(1, int(size))) {
			w.write(chunk)
		}
		w.end()
		want := output
		if len(want) > 0 && want[len(want)-1] != '\n' {
			want = append(bytes.Clone(want), '\n')
		}
		if !bytes.Equal(got, want) {
			t.Errorf("got %.40q\nwant %.40q", got, want)
		}
	})
}

func TestTail(t *testing.T) {
	var all []byte
	var kept tail
	for i := range 3000 {
		piece := fmt.Appendf(nil, "%d ", i*i)
		if i%1000 == 999 {
			piece = bytes.Repeat(piece, maxOutput/5) // more than is kept
		}
		all = append(all, piece...)
		kept.write(piece)
		for _, n := range []int{0, 1, i * 20, maxOutput - 1, maxOutput, maxOutput + 1} {
			want := all[max(0, len(all)-min(n, maxOutput)):]
			if got := kept.last(n); !bytes.Equal(got, want) {
				t.Fatalf("after %d bytes: the last %d are %d others", len(all), n, len(got))
			}
		}
	}
	if kept.written != int64(len(all)) {
		t.Errorf("written is %d, want %d", kept.written, len(all))
	}
}

func TestOutput(t *testing.T) {
	seq := func(from, to int) string {
		var b strings.Builder
		for i := from; i <= to; i++ {
			fmt.Fprintln(&b, i)
		}
		return b.String()
	}
	tests := []struct {
		name, script, want string
		written            int
	}{
		{"none", `:`, "", 0},
		{"as it is written, to whichever", `echo a; echo b >&2; echo c; printf d >&2; printf 'e\n'`, "a\nb\nc\nde\n", 9},
		{"by name", `echo a >/dev/stdout; echo b >/dev/stderr`, "a\nb\n", 4},
		{"no newline at the end", `printf 'a\nb'`, "a\nb", 3},
		{"what is no text", `printf '\377\000\n'`, "\xff\x00\n", 3},
		{"much: the end of it", `seq 1 200000`, seq(1, 200_000)[len(seq(1, 200_000))-maxOutput:], len(seq(1, 200_000))},
		{"closed by a job that goes on", `echo a; exec >&- 2>&-; sleep 0.05; exit 0`, "a\n", 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			jobs := newTestRunner(t)
			jobs.lines = make(chan string, 300_000)
			r := jobs.run(Command{Shell: tt.script})
			if string(r.Output) != tt.want || r.Written != int64(tt.written) || r.Err != nil {
				t.Errorf("got %.40q of %d, %v\nwant %.40q of %d", r.Output, r.Written, r, tt.want, tt.written)
			}
		})
	}
}

// Output that goes to a file is not in the log.
func TestOutputToAFile(t *testing.T) {
	file, err := os.Create(filepath.Join(t.TempDir(), "terminal"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	jobs := newTestRunnerWith(t, Options{Stdout: file, Stderr: file})
	for range 2 {
		r := jobs.run(Command{Shell: `echo a; echo b >&2; exit 3`})
		if r.Output != nil || r.Written != 0 || r.Err.Error() != "exit status 3" || len(jobs.lines) > 0 {
			t.Errorf("got %v with %d bytes of output", r, r.Written)
		}
	}
	if got, err := os.ReadFile(file.Name()); err != nil || string(got) != "a\nb\na\nb\n" {
		t.Errorf("it was written %q %v", got, err)
	}
}

// Standard error is told apart with Separate, or where one of the two is a file.
func TestOutputsAreKeptApart(t *testing.T) {
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	for _, tt := range []struct {
		opts Options
		want []string
	}{
		{Options{}, []string{"out false", "err false"}},
		{Options{Separate: true}, []string{"out false", "err true"}},
		{Options{Stdout: null}, []string{"err true"}},
		{Options{Stderr: null}, []string{"out false"}},
	} {
		var mu sync.Mutex
		var got []string
		tt.opts.Output = func(l Line) {
			mu.Lock()
			defer mu.Unlock()
			got = append(got, fmt.Sprint(l.Text, " ", l.Stderr))
		}
		newTestRunnerWith(t, tt.opts).run(Command{Shell: "echo out; echo err >&2"})
		slices.Sort(got)
		slices.Sort(tt.want)
		if !slices.Equal(got, tt.want) {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
}

// Lines come while the program is running.
func TestOutputComesAtOnce(t *testing.T) {
	jobs := newTestRunner(t)
	gate := filepath.Join(jobs.dir, "gate")
	if err := syscall.Mkfifo(gate, 0o600); err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	j := jobs.job(Command{Shell: `echo up; read word <gate; echo "$word" >&2`})
	go func() { done <- j.Run(t.Context(), jobs.events()) }()
	jobs.expect("up")
	if err := os.WriteFile(gate, []byte("go on\n"), 0); err != nil {
		t.Fatal(err)
	}
	jobs.expect("go on")
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// What a program has written is read to the end, however slow Options.Output is.
func TestSlowOutputLosesNothing(t *testing.T) {
	const lines = 10_000 // more than one read takes, and less than a pipe holds
	got := 0
	jobs := newTestRunnerWith(t, Options{Output: func(Line) {
		if got++; got == 1 {
			time.Sleep(outputTimeout + 500*time.Millisecond)
		}
	}})
	if r := jobs.run(Command{Argv: []string{"seq", strconv.Itoa(lines)}}); r.Err != nil || got != lines {
		t.Errorf("Output got %d lines, want %d", got, lines)
	}
}
