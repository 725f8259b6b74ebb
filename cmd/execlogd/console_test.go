package main

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
	log := slog.New(newConsoleHandler(&out, slog.LevelInfo, true))
	log.Info("root is there again", "root", "/x")
	log.Info("compiling\x1b[2J \xff\tx", "route", "build")
	log.With("route", "build", "path", pathList{filepath.Join(dir, "a b"), "/c"}).Info("done", "took", 1234*time.Millisecond)
	log.Info("up", "route", "a-long-name")
	failed := &job.Error{Record: job.Record{Argv: []string{"make"}, Failure: "exit status 2", Output: []byte(strings.Repeat("x\n", 30) + "last\n")}}
	log.Error("failed", "route", "build", "path", pathList{"/c"}, "took", time.Second, "err", failed)
	log.Error("service has died", "route", "build", "err", errors.New("it ended"))
	log.Info(stopped, "route", "build", "path", pathList{"/c"}, "took", time.Second)
	log.Debug("not shown", "route", "build")

	got := regexp.MustCompile(`(?m)^\d\d:\d\d:\d\d `).ReplaceAllString(out.String(), "")
	want := `INF root is there again root=/x
build  │ compiling\x1b[2J \xff	x
build  ✓ done after 1.234s "a b" and 1 more
a-long-name │ up
build       ✗ make: exit status 2 after 1s /c
` + strings.Repeat("build       ┃ x\n", failedLines-1) + `build       ┃ last
build       ✗ service has died: it ended 
build       ■ stopped after 1s /c
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestConsoleHasColours(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(newConsoleHandler(&out, slog.LevelInfo, false))
	log.Error("failed", "route", "build", "took", time.Second, "err", &job.Error{Record: job.Record{Argv: []string{"make"}, Failure: "exit status 2", Output: []byte("why")}})
	if got := out.String(); !strings.Contains(got, bold+"make: exit status 2 after 1s"+reset) || !strings.Contains(got, red+"┃"+reset+" why\n") {
		t.Errorf("got %q", got)
	}
}
