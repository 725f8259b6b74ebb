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
	log.Info("compiling\x1b[2J \xff\a\tx", "route", "build")
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
build  │ compiling \xff\a	x
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

// Of what a command has drawn several times, the last version is shown.
func TestConsoleShowsTheLastVersionOfALine(t *testing.T) {
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

// The output of a failed run is shown once more only if it is not right above.
func TestOutputIsShownOnce(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(newConsoleHandler(&out, Options{NoColor: true}))
	fails := func(output string) {
		log.Error("failed", "route", "site", "err", &job.Error{Run: job.Run{Argv: []string{"gen"}, Err: errors.New("no"), Output: []byte(output)}})
	}
	log.Info("building", "route", "site")
	log.Info("\x1b[31mwhy\x1b[0m", "route", "site")
	log.Info("waiting", "route", "site")
	fails("building\n\x1b[31mwhy\x1b[0m\n")
	log.Info("building", "route", "site")
	log.Info("beside it", "route", "other")
	log.Info("why", "route", "site")
	fails("building\nwhy\n")
	log.Info("why", "route", "site")
	log.Info("done", "route", "other", "took", time.Second)
	fails("why\n")

	got := regexp.MustCompile(`(?m)^\d\d:\d\d:\d\d `).ReplaceAllString(out.String(), "")
	want := `site   │ building
site   │ why
site   │ waiting
site   ✗ gen: no 
site   │ building
other  │ beside it
site   │ why
site   ✗ gen: no 
site   ┃ building
site   ┃ why
site   │ why
other  ✓ done after 1s 
site   ✗ gen: no 
site   ┃ why
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
