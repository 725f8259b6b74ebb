package logging

import (
	"bytes"
	"errors"
	"log/slog"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/execlog/execlogd/job"
)

func TestConsoleAlignsJobs(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	var out bytes.Buffer
	log := slog.New(newConsoleHandler(&out, Options{NoColor: true}))
	log.Info("root is there again", "root", "/x")
	log.Info("compiling\x1b[2J \xff\tx", "route", "build")
	log.With("route", "build", "path", Paths{filepath.Join(dir, "a b"), "/c"}).Info("done", "took", 1234*time.Millisecond)
	log.Info("up", "route", "a-long-name")
	failed := &job.Error{Run: job.Run{Argv: []string{"make"}, Err: errors.New("exit status 2"), Output: []byte(strings.Repeat("x\n", 30) + "last\n")}}
	log.Error("failed", "route", "build", "path", Paths{"/c"}, "took", time.Second, "err", failed)
	failed = &job.Error{Run: job.Run{
		Argv: []string{"make"}, Dir: "/src", Err: errors.New("exit status 2"), Output: []byte("last\n"),
		Problem: job.Problem{Message: "no\x1bend", File: "/src/a.c", Line: 3, Column: 5},
	}}
	log.Error("failed", "route", "build", "path", Paths{"/c"}, "took", time.Second, "err", failed)
	log.Error(Died, "route", "build", "err", errors.New("it ended"))
	log.Info("stopped", "route", "build", "path", Paths{"/c"}, "took", time.Second)
	log.Error("failed", "route", "build", "path", Paths{"/c"}, "took", time.Second, "err", errors.New("no"), AgainKey, 2*time.Second)
	log.Info("ended what it left behind", "route", "build", "processes", job.Processes{First: []job.Process{{PID: 7, Name: "sl\x1beep"}}, Count: 3})
	log.Info("waiting for a.md, which cp (7) is writing", "route", "build", "file", "/x/a.md")
	log.Debug("not shown", "route", "build")

	got := regexp.MustCompile(`(?m)^\d\d:\d\d:\d\d `).ReplaceAllString(out.String(), "")
	want := `INF root is there again root=/x
build  │ compiling\x1b[2J \xff	x
build  ✓ done after 1.234s "a b" and 1 more
a-long-name │ up
build       ✗ make: exit status 2 after 1s /c
` + strings.Repeat("build       ┃ x\n", maxErrorLines-1) + `build       ┃ last
build       ✗ a.c:3:5: no\x1bend: make: exit status 2 after 1s /c
build       ┃ last
build       ✗ service has died: it ended 
build       ■ stopped after 1s /c
build       ✗ no after 1s /c; again in 2s
build       • ended what it left behind: sl\x1beep (7) and 2 more
build       • waiting for a.md, which cp (7) is writing 
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestStripControls(t *testing.T) {
	for written, want := range map[string]string{
		"plain":                                 "plain",
		"of Windows\r":                          "of Windows",
		"10%\r50%\r100%":                        "100%",
		"10%\r100%\r":                           "100%",
		"\x1b[1;31merror\x1b[0m: no\x1b[K":      "error: no",
		"a\r\nb\n\nc\rd\n":                      "a\nb\n\nd\n",
		"\x1b[2J and \x1b]0;title\a are orders": "\x1b[2J and \x1b]0;title\a are orders",
	} {
		if got := StripControls(written); got != want {
			t.Errorf("%q: got %q, want %q", written, got, want)
		}
	}
	var out bytes.Buffer
	log := slog.New(newConsoleHandler(&out, Options{NoColor: true}))
	log.Info("1%\r\x1b[32m2%\x1b[0m", "route", "build")
	log.Error("failed", "route", "build", "err", &job.Error{Run: job.Run{Argv: []string{"make"}, Err: errors.New("exit status 2"), Output: []byte("1\r2\nwhy\r\n")}})
	got := regexp.MustCompile(`(?m)^\d\d:\d\d:\d\d `).ReplaceAllString(out.String(), "")
	if want := "build  │ 2%\nbuild  ✗ make: exit status 2 \nbuild  ┃ 2\nbuild  ┃ why\n"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestConsoleHasColours(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(newConsoleHandler(&out, Options{}))
	log.Error("failed", "route", "build", "took", time.Second, "err", &job.Error{Run: job.Run{Argv: []string{"make"}, Err: errors.New("exit status 2"), Output: []byte("why")}})
	if got := out.String(); !strings.Contains(got, boldRed+"make: exit status 2 after 1s"+reset) || !strings.Contains(got, red+"┃"+reset+" why\n") {
		t.Errorf("got %q", got)
	}
}
