package job

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/execlog/execlogd/inotify"
	"github.com/execlog/execlogd/job/internal/supervisor"
	"github.com/execlog/execlogd/router"
)

func TestRunString(t *testing.T) {
	r := Run{ID: 7, Route: "build", Argv: []string{"make", "a b", "-j2"}, Took: 1234567 * time.Microsecond}
	failure := errors.New("exit status 2")
	tests := []struct {
		run  Run
		want string
	}{
		{Run{}, "running"},
		{Run{Ready: true}, "ready"},
		{Run{Outcome: router.Succeeded}, "ok"},
		{Run{Outcome: router.Stopped, Err: errStop}, "stopped"},
		{Run{Outcome: router.Restarted, Err: errReplaced}, "restarted"},
		{Run{Outcome: router.Failed, Err: failure}, "exit status 2"},
	}
	for _, tt := range tests {
		r := r
		r.Outcome, r.Err, r.Ready = tt.run.Outcome, tt.run.Err, tt.run.Ready
		if got, want := r.String(), `#7 build: make "a b" -j2: `+tt.want+" after 1.235s"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// The outcome depends on what the supervisor process reports, on why the run was
// stopped, and on whether it is a service that was ready.
func TestHowARunEnds(t *testing.T) {
	const exit3, sigterm = 3 << 8, int(syscall.SIGTERM)
	timeout := context.DeadlineExceeded
	tests := []struct {
		name    string
		report  supervisor.Report
		cause   error
		service string // "", "starting" or "ready"
		want    string // state: error
	}{
		{"it succeeds", supervisor.Report{}, nil, "", "ok"},
		{"it fails", supervisor.Report{Value: exit3}, nil, "", "failed: exit status 3"},
		{"it is killed", supervisor.Report{Value: sigterm}, nil, "", "failed: killed by SIGTERM"},
		{"it is stopped", supervisor.Report{Value: sigterm}, context.Canceled, "", "stopped: context canceled"},
		{"it is stopped for a reason of the caller's", supervisor.Report{Value: sigterm}, errors.New("why"), "", "stopped: why"},
		{"it is stopped and exits with an error", supervisor.Report{Value: exit3}, context.Canceled, "", "stopped: context canceled"},
		{"it is restarted", supervisor.Report{Value: sigterm}, router.ErrRestarted, "", "restarted: ended for newer events"},
		{"its time is up", supervisor.Report{Value: sigterm}, timeout, "", "failed: context deadline exceeded"},
		{"it cannot be stopped", supervisor.Report{Unkillable: 2}, context.Canceled, "", "failed: 2 of its processes cannot be ended: they are another user's, or wait for a device"},
		{"a service ends before it is ready", supervisor.Report{}, nil, "starting", "failed: ended before it was ready"},
		{"a service fails before it is ready", supervisor.Report{Value: exit3}, nil, "starting", "failed: exit status 3 before it was ready"},
		{"a service ends", supervisor.Report{}, nil, "ready", "died: ended by itself, with exit status 0"},
		{"a service fails", supervisor.Report{Value: exit3}, nil, "ready", "died: exit status 3"},
		{"a service is stopped", supervisor.Report{Value: sigterm}, errStop, "ready", "stopped: stopped: context canceled"},
		{"a service is replaced", supervisor.Report{Value: sigterm}, errReplaced, "ready", "restarted: stopped to be started again: ended for newer events"},
		{"a service cannot be stopped", supervisor.Report{Unkillable: 1}, errStop, "ready", "failed: 1 of its processes cannot be ended: they are another user's, or wait for a device"},
	}
	for _, tt := range tests {
		e := (&Log{size: 1}).begin(Run{Ready: tt.service == "ready"})
		judge := (*Run).end
		if tt.service != "" {
			judge = (*Run).endService
		}
		cause := tt.cause
		if cause != nil {
			cause = stopCause(cause)
		}

		r := e.end(func(r *Run) { judge(r, tt.report, cause) })

		got := r.State()
		if r.Err != nil {
			got += ": " + r.Err.Error()
		}
		if got != tt.want || tt.cause != nil && r.Outcome != router.Failed && !errors.Is(r.Err, tt.cause) {
			t.Errorf("%s: got %s\nwant %s", tt.name, got, tt.want)
		}
	}
}

func TestRunJSON(t *testing.T) {
	r := Run{
		ID: 3, Route: "build", Argv: []string{"make", "<x>"}, Dir: "/src", Batch: 7,
		Events: []inotify.Event{{Root: "/src", Path: "x/a.md"}, {Root: "/src", Path: "."}},
		Start:  time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC), Took: 1500 * time.Millisecond, PID: 12,
		Outcome: router.Failed, Err: errors.New("exit status 2"), Exit: 2, Output: []byte("no <rule>\n"), Written: 10,
		Left: Processes{2, []Process{{7, "java"}}},
	}
	const want = `{"id":3,"route":"build","command":["make","<x>"],"dir":"/src","paths":["/src/x/a.md","/src"],"count":7,` +
		`"start":"2026-05-01T12:00:00Z","seconds":1.5,"state":"failed","pid":12,"failure":"exit status 2","exit":2,` +
		`"output":"no <rule>\n","left":{"count":2,"first":[{"pid":7,"name":"java"}]}}`
	text, err := r.MarshalJSON()
	if got := strings.TrimSpace(string(text)); err != nil || got != want {
		t.Errorf("got  %s, %v\nwant %s", got, err, want)
	}

	states := map[string]func(*Run){
		"running":   func(r *Run) { r.Outcome = router.Running },
		"ready":     func(r *Run) { r.Outcome, r.Ready = router.Running, true },
		"ok":        func(r *Run) { r.Outcome = router.Succeeded },
		"restarted": func(r *Run) { r.Outcome = router.Restarted },
		"stopped":   func(r *Run) { r.Outcome = router.Stopped },
		"failed":    func(r *Run) { r.Outcome, r.Err = router.Failed, errors.New("why") },
		"died":      func(r *Run) { r.Outcome, r.Err, r.Ready = router.Failed, errors.New("why"), true },
	}
	for state, set := range states {
		r := r
		r.Err, r.Events = nil, []inotify.Event{{Path: "/src/x"}}
		set(&r)
		text, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		var got Run
		if err := json.Unmarshal(text, &got); err != nil || !reflect.DeepEqual(got, r) || !bytes.Contains(text, []byte(`"state":"`+state+`"`)) {
			t.Errorf("%s is read as %+v, %v\nwant %+v", text, got, err, r)
		}
	}
	if err := json.Unmarshal([]byte(`{"state":"odd"}`), new(Run)); err == nil {
		t.Error("an unknown state is one")
	}
}
