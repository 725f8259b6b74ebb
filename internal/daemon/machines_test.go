package daemon

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/execlog/execlogd/bus"
	"github.com/execlog/execlogd/inotify"
	"github.com/execlog/execlogd/job"
	"github.com/execlog/execlogd/router"
)

// encodeRun returns a run in JSON.
func encodeRun(t *testing.T, r job.Run) json.RawMessage {
	t.Helper()
	body, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// What other machines report is in the log as theirs, and nothing else is.
func TestNoteReport(t *testing.T) {
	runner, err := job.New(job.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer runner.Close()
	m := &machines{d: &daemon{runner: runner}}
	over := job.Run{Route: "r", Start: time.Now().Add(-time.Hour), Took: time.Second, Outcome: router.Succeeded}
	running := over
	running.Outcome = router.Running
	early := over
	early.Start = time.Now().Add(24 * time.Hour)
	for _, r := range []bus.Report{
		{Machine: "there", Body: encodeRun(t, over)},
		{Machine: "a clock", Body: encodeRun(t, early)},
		{Machine: "", Body: encodeRun(t, over)},
		{Machine: `"`, Body: encodeRun(t, over)},
		{Machine: "a\x1b[31m\n", Body: encodeRun(t, over)},
		{Machine: strings.Repeat("x", 1000), Body: encodeRun(t, over)},

		{Machine: "own", Own: true, Body: encodeRun(t, over)},
		{Machine: "running", Body: encodeRun(t, running)},
		{Machine: "junk", Body: json.RawMessage(`{"state":"won"}`)},
		{Machine: "junk", Body: json.RawMessage(`7`)},
		{Machine: "junk"},
	} {
		m.noteReport(r)
	}

	var got []string
	for _, r := range runner.Log().Runs() {
		if r.Start.Add(r.Took).After(time.Now()) || r.Took != time.Second {
			t.Errorf("the run on %s is from %v, and took %v", r.Machine, r.Start, r.Took)
		}
		got = append(got, fmt.Sprintf("%s:%s", r.Machine, r.Route))
	}
	want := `there:r a clock:r ?:r ":r a\x1b[31m\n:r ` + strings.Repeat("x", 64) + ":r"
	if text := strings.Join(got, " "); text != want {
		t.Errorf("got  %s\nwant %s", text, want)
	}
}

// The run of a job goes with the report of the job, and not by itself.
func TestEndedJobs(t *testing.T) {
	var e endedJobs
	run := func(route, path string) job.Run {
		return job.Run{Route: route, Events: []inotify.Event{{Root: "/r", Path: path}}}
	}
	a, b := e.await("r", inotify.Event{Root: "/r", Path: "a"}), e.await("r", inotify.Event{Root: "/r", Path: "b"})
	for _, other := range []job.Run{{Route: "r"}, run("s", "a"), run("r", "c")} {
		if e.note(other, json.RawMessage("other")) {
			t.Errorf("%+v is the run of a job", other)
		}
	}
	if !e.note(run("r", "b"), json.RawMessage("1")) || !e.note(run("r", "b"), json.RawMessage("2")) {
		t.Error("the run of a job is not known")
	}
	if gotA, gotB := e.take(a), e.take(b); gotA != nil || string(gotB) != "2" {
		t.Errorf("the runs are %s and %s, want none and the last one", gotA, gotB)
	}
	if e.note(run("r", "b"), nil) || len(e.awaited) != 0 {
		t.Error("what was taken is awaited")
	}
}

// The error of a job has the run, if the machine has said what it was.
func TestJobError(t *testing.T) {
	failed := job.Run{Route: "r", Argv: []string{"make"}, Outcome: router.Failed, Err: errors.New("exit status 2"), Exit: 2, Output: []byte("a.c:1:2: no")}
	done := failed
	done.Outcome, done.Err = router.Succeeded, nil
	for _, tt := range []struct {
		name   string
		report json.RawMessage
		want   string
		hasRun bool
	}{
		{"with its run", encodeRun(t, failed), "on there: ", true},
		{"without one", nil, "text, on there", false},
		{"with one that has not failed", encodeRun(t, done), "text, on there", false},
		{"with junk", json.RawMessage("7"), "text, on there", false},
	} {
		err := jobError(&bus.JobError{Machine: "there", Text: "text", Report: tt.report})
		run, ok := errors.AsType[*job.Error](err)
		if !strings.Contains(err.Error(), tt.want) || ok != tt.hasRun {
			t.Errorf("%s: %v, with a run: %v", tt.name, err, ok)
		}
		if ok && (string(run.Run.Output) != "a.c:1:2: no" || run.Run.Exit != 2) {
			t.Errorf("%s: the run is %+v", tt.name, run.Run)
		}
	}
}
