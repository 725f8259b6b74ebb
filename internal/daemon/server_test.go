package daemon

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/execlog/execlogd/httpd"
	"github.com/execlog/execlogd/inotify"
	"github.com/execlog/execlogd/job"
	"github.com/execlog/execlogd/router"
)

func TestRunsInWords(t *testing.T) {
	start := time.Now()
	run := job.Run{
		ID: 3, Route: "build", Argv: []string{"make", "a b"}, Start: start, Took: time.Second, Batch: 7, Output: []byte("out"),
		Events: []inotify.Event{{Root: "/src", Path: "x/a.md"}, {Root: "/src", Path: "."}}, Outcome: router.Succeeded,
	}
	want := httpd.Run{
		ID: 3, Route: "build", Command: `make "a b"`, Start: start, Took: time.Second, Batch: 7, Output: []byte("out"),
		Paths: []string{"x/a.md", "/src"}, State: httpd.RunDone, Outcome: "done",
	}
	if got := statusOfRun(run); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	failure := errors.New("exit status 7")
	tests := []struct {
		outcome router.Outcome
		ready   bool
		state   httpd.RunState
		words   string
	}{
		{router.Running, false, httpd.RunRunning, "running"},
		{router.Running, true, httpd.RunRunning, "ready"},
		{router.Failed, false, httpd.RunFailed, "exit status 7"},
		{router.Failed, true, httpd.RunFailed, "died: exit status 7"},
		{router.Stopped, false, httpd.RunStopped, "stopped"},
		{router.Restarted, true, httpd.RunStopped, "restarted"},
	}
	for _, tt := range tests {
		run.Outcome, run.Ready, run.Err = tt.outcome, tt.ready, failure
		if got := statusOfRun(run); got.State != tt.state || got.Outcome != tt.words {
			t.Errorf("%v, ready %v: got %s, %s; want %s, %s", tt.outcome, tt.ready, got.State, got.Outcome, tt.state, tt.words)
		}
	}
	leaves := job.Run{Left: job.Processes{First: []job.Process{{PID: 7, Name: "java"}}, Count: 2}}
	if got := statusOfRun(leaves).LeftBehind; got != "left running: java (7) and 1 more" {
		t.Errorf("the status page has %q", got)
	}
}
