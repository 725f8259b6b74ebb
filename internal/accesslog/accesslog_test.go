package accesslog

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"go.uber.org/goleak"

	"github.com/execlog/execlogd/httpd"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var example = httpd.Answer{
	Begun: time.Date(2026, 11, 29, 14, 5, 9, 250e6, time.FixedZone("", 3600)), Took: 1500 * time.Microsecond,
	Remote: "192.0.2.1:4711", Method: "GET", Target: "/a?b=c", Proto: "HTTP/1.1", Host: "localhost", Status: 200, Bytes: 12,
}

func TestFormats(t *testing.T) {
	hostile := example
	hostile.Remote = "@"
	hostile.Target = "/\"\\\n\x1b[2J\xff\u0085\U0001F600"
	hostile.Referer, hostile.UserAgent = `a" 200 "`, "x\r\n1.2.3.4 - -"
	tests := []struct {
		format Format
		answer httpd.Answer
		want   string
	}{
		{Combined, example, `192.0.2.1 - - [29/Nov/2026:14:05:09 +0100] "GET /a?b=c HTTP/1.1" 200 12 "-" "-"`},
		{VHostCombined, example, `localhost:80 192.0.2.1 - - [29/Nov/2026:14:05:09 +0100] "GET /a?b=c HTTP/1.1" 200 12 "-" "-"`},
		{Combined, hostile, `- - - [29/Nov/2026:14:05:09 +0100] "GET /\"\\\x0a\x1b[2J\xff\xc2\x85\xf0\x9f\x98\x80 HTTP/1.1" 200 12 "a\" 200 \"" "x\x0d\x0a1.2.3.4 - -"`},
		{JSON, example, `{"time":"2026-11-29T14:05:09.25+01:00","remote":"192.0.2.1:4711","method":"GET","host":"localhost","target":"/a?b=c","proto":"HTTP/1.1","status":200,"bytes":12,"seconds":0.001500,"referer":"","user_agent":""}`},
		{JSON, hostile, `{"time":"2026-11-29T14:05:09.25+01:00","remote":"@","method":"GET","host":"localhost","target":"/\"\\\u000a\u001b[2J\ufffd\u0085\ud83d\ude00","proto":"HTTP/1.1","status":200,"bytes":12,"seconds":0.001500,"referer":"a\" 200 \"","user_agent":"x\u000d\u000a1.2.3.4 - -"}`},
	}
	for _, tt := range tests {
		if got := string(tt.format.appendLine(nil, tt.answer)); got != tt.want+"\n" {
			t.Errorf("%s\ngot  %swant %s", tt.format, got, tt.want)
		}
	}
}

// Whatever a client sends, there is one line of printable ASCII, and JSON says what it was.
func FuzzLine(f *testing.F) {
	f.Add("/a", "http://a/", `"\`+"\n\xff")
	f.Add(strings.Repeat("ä", maxField), "\u2028", "\x7f")
	f.Fuzz(func(t *testing.T, target, referer, agent string) {
		a := example
		a.Target, a.Referer, a.UserAgent = target, referer, agent
		for _, format := range []Format{Combined, JSON} {
			line := format.appendLine(nil, a)
			text, ends := bytes.CutSuffix(line, []byte("\n"))
			if i := bytes.IndexFunc(text, func(c rune) bool { return c < ' ' || c > '~' }); !ends || i >= 0 {
				t.Fatalf("%s: %q", format, line)
			}
		}
		var got map[string]any
		if err := json.Unmarshal(JSON.appendLine(nil, a), &got); err != nil {
			t.Fatal(err)
		}
		if want := agent; len(want) <= maxField && utf8.ValidString(want) && got["user_agent"] != want {
			t.Errorf("%q became %q", want, got["user_agent"])
		}
	})
}

func logTo(t *testing.T, to *Target) *Log {
	l := New(func(lines int) { t.Error("dropped", lines) }, func(err error) { t.Error(err) })
	l.Set(to, Combined)
	t.Cleanup(l.Close)
	return l
}

func file(t *testing.T, path string) *Target {
	t.Helper()
	to, err := File(path)
	if err != nil {
		t.Fatal(err)
	}
	return to
}

func lines(t *testing.T, path string) int {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(text), "\n")
}

// A file that was renamed is written to until it is opened again. Lines come in order, and
// none is lost.
func TestReopen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	l := logTo(t, file(t, path))
	l.Log(example)
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	l.Log(example)
	l.Reopen()
	l.Log(example)
	other := filepath.Join(t.TempDir(), "other")
	l.Set(file(t, other), JSON)
	l.Log(example)
	l.Close()
	l.Log(example)
	for path, want := range map[string]int{path + ".1": 2, path: 1, other: 1} {
		if n := lines(t, path); n != want {
			t.Errorf("%s has %d lines, want %d", path, n, want)
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm()&0o007 != 0 {
		t.Errorf("others may use it: %v, %v", info.Mode(), err)
	}
}

func TestNoRegularFile(t *testing.T) {
	for _, path := range []string{t.TempDir(), "/dev/full", filepath.Join(t.TempDir(), "none", "x")} {
		if to, err := File(path); err == nil {
			to.Close()
			t.Errorf("%s can be opened", path)
		}
	}
}

// Nobody waits for a reader. What does not fit is counted, and the count is reported when
// somebody reads again.
func TestNobodyReads(t *testing.T) {
	const sent = 20_000
	out, in := io.Pipe()
	dropped := make(chan int, sent)
	l := New(func(lines int) { dropped <- lines }, func(err error) { t.Error(err) })
	defer l.Close()
	l.Set(Writer(in), Combined)
	for range sent {
		l.Log(example)
	}
	read := make(chan int)
	go func() {
		text, _ := io.ReadAll(out)
		read <- bytes.Count(text, []byte("\n"))
	}()
	lost := <-dropped
	l.Close()
	if n := <-read; n+lost != sent || lost == 0 {
		t.Errorf("%d lines were read, %d dropped, of %d", n, lost, sent)
	}
}

// A failure is reported once, and again after a line was written.
func TestFailureIsReportedOnce(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	var problems []error
	l := New(nil, func(err error) { problems = append(problems, err) })
	l.Set(Writer(full), Combined)
	for range 10 {
		l.Log(example)
	}
	l.Close()
	if len(problems) != 1 || !strings.Contains(problems[0].Error(), "no space left") {
		t.Errorf("got %v", problems)
	}
}
