package main

import (
	"context"
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/execlog/execlogd/httpd"
	"github.com/execlog/execlogd/inotify"
	"github.com/execlog/execlogd/job"
	"github.com/execlog/execlogd/router"
)

func TestRunsInWords(t *testing.T) {
	start := time.Now()
	rec := job.Record{
		ID: 3, Route: "build", Argv: []string{"make", "a b"}, Start: start, Took: time.Second, Batch: 7, Output: []byte("out"),
		Events: []inotify.Event{{Root: "/src", Path: "x/a.md"}, {Root: "/src", Path: "."}},
	}
	want := httpd.Run{
		ID: 3, Route: "build", Command: `make "a b"`, Start: start, Took: time.Second, Batch: 7, Output: []byte("out"),
		Paths: []string{"x/a.md", "/src"}, Outcome: "done",
	}
	if got := toRun(rec); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	tests := []struct {
		change          func(r *job.Record)
		outcome         string
		running, failed bool
	}{
		{func(r *job.Record) { r.Running = true }, "running", true, false},
		{func(r *job.Record) { r.Running, r.Ready = true, true }, "ready", true, false},
		{func(r *job.Record) { r.Failure = "exit status 1" }, "exit status 1", false, true},
		{func(r *job.Record) { r.Ready, r.Failure = true, "exit status 7" }, "died: exit status 7", false, true},
		{func(r *job.Record) { r.Failure = "killed by SIGTERM" }, "killed by SIGTERM", false, true},
		{func(r *job.Record) { r.Failure, r.Cause = "stopped at its timeout", context.DeadlineExceeded }, "stopped at its timeout", false, true},
		{func(r *job.Record) { r.Cause = context.Canceled }, "stopped", false, false},
		{func(r *job.Record) { r.Cause = job.ErrReplaced }, "restarted", false, false},
		{func(r *job.Record) { r.Cause = fmt.Errorf("x: %w", router.ErrRestarted) }, "restarted", false, false},
	}
	for _, tt := range tests {
		rec := rec
		tt.change(&rec)
		if got := toRun(rec); got.Outcome != tt.outcome || got.Running != tt.running || got.Failed != tt.failed || got.Stopped != (rec.Cause != nil && !tt.failed) {
			t.Errorf("got %s, running %v, failed %v, want %+v", got.Outcome, got.Running, got.Failed, tt)
		}
	}
}

func TestStatusPageShowsWhatRan(t *testing.T) {
	s := begin(t, `
-- site/ --
-- src/ --
-- x.toml --
server.root = "site"
server.port = 0
[[route]]
name = "build"
root = "src"
shell = 'echo "see ${EXECLOGD_PATH##*/}"; exit 3'
`)
	if body := s.get("/.execlogd/"); !strings.Contains(body, `<ol id="runs" reversed hidden></ol>`) {
		t.Errorf("at first %s", body)
	}
	s.write("src/a.md", "text\n")
	s.await("msg=failed")
	body := s.get("/.execlogd/")
	for _, want := range []string{`class="name">build</span> <span class="outcome">exit status 3 after \d`, `<code data-key="a.md">`, `see a.md\n</pre>`} {
		if !regexp.MustCompile(want).MatchString(body) {
			t.Errorf("no %s in %s", want, body)
		}
	}
}

func TestPagesShowOutputWithoutColours(t *testing.T) {
	failed := &job.Error{Record: job.Record{Argv: []string{"make"}, Failure: "exit status 2", Output: []byte("\x1b[31mwhy\x1b[m\r\n")}}
	if got := pageError("build", failed).Text; got != "why\n" {
		t.Errorf("got %q", got)
	}
}
