package httpd

import (
	"bytes"
	"fmt"
	"time"
	"unicode/utf8"
)

// The status page shows so many runs, with so much of each.
const (
	maxRuns      = 20
	maxRunPaths  = 20
	maxRunOutput = 4 << 10 // bytes, the last
	maxRunLine   = 1 << 10 // bytes of its command, and of how it ended
)

// A RunState is how far a Run has come.
type RunState string

const (
	RunRunning RunState = "running"
	RunDone    RunState = "done"
	RunFailed  RunState = "failed"
	RunStopped RunState = "stopped" // it was ended from outside, which is no failure
)

// A Run is a command that was run on changes, or that runs. To whoever is not
// the owner the status page shows no command, path or output, nor why a run
// failed.
type Run struct {
	ID      uint64 // no other run has it
	Route   string // the name of what runs the command
	Command string // in one line
	Paths   []string
	Batch   int // how many paths there were, of which Paths may be the first
	Start   time.Time
	Took    time.Duration // does not count while it runs
	State   RunState
	Outcome string // the state in words: "ready", "done", "restarted", "exit status 1"
	Output  []byte // the end of what it has written so far

	// LeftBehind says in words which processes it has left behind, and what
	// became of them; empty if there were none.
	LeftBehind string
}

type runRow struct {
	Key       string   `json:"key"`
	Start     int64    `json:"start"`
	Route     string   `json:"route"`
	State     RunState `json:"state"`
	Outcome   string   `json:"outcome"`
	Command   string   `json:"command"`
	Paths     []string `json:"paths"` // the first of them
	PathsRest string   `json:"pathsRest"`
	Output    string   `json:"output"`
}

// runRows puts into words what has run.
func (s *service) runRows(owner bool) []runRow {
	rows := []runRow{}
	if s.runs == nil {
		return rows
	}
	runs := s.runs(maxRuns, maxRunOutput)
	for _, r := range runs[:min(len(runs), maxRuns)] {
		if !owner {
			r = r.public()
		}
		rows = append(rows, r.row())
	}
	return rows
}

// public is what others may know of a run. Commands, paths and output tell of
// the machine, and so may why something failed.
func (r Run) public() Run {
	if r.State == RunFailed {
		r.Outcome = "failed"
	}
	r.Command, r.Paths, r.Output, r.LeftBehind = "", nil, nil, ""
	return r
}

func (r Run) row() runRow {
	row := runRow{
		Key:   fmt.Sprint(r.ID, " ", r.Start.UnixMilli()), // a daemon that starts again counts from 1
		Start: r.Start.UnixMilli(), Route: printable(clip(r.Route)), State: r.State,
		Outcome: printable(r.Outcome[:min(len(r.Outcome), maxRunLine)]),
		Command: printable(r.Command[:min(len(r.Command), maxRunLine)]),
		Paths:   []string{},
		Output:  endOf(r.Output),
	}
	if r.State != RunRunning {
		row.Outcome += " after " + r.Took.Round(time.Millisecond).String()
	}
	if r.LeftBehind != "" {
		row.Outcome += "; " + printable(r.LeftBehind[:min(len(r.LeftBehind), maxRunLine)])
	}
	for _, p := range r.Paths[:min(len(r.Paths), maxRunPaths)] {
		row.Paths = append(row.Paths, printable(clip(p)))
	}
	switch rest := r.Batch - len(row.Paths); {
	case rest <= 0:
	case len(row.Paths) == 0:
		row.PathsRest = count(rest, "file", "files")
	default:
		row.PathsRest = "and " + count(rest, "more file", "more files")
	}
	return row
}

// endOf is the end of what was written. Where it has to be cut it begins with
// a line, or at least a character.
func endOf(output []byte) string {
	if len(output) > maxRunOutput {
		output = output[len(output)-maxRunOutput:]
		if _, lines, found := bytes.Cut(output, []byte{'\n'}); found && len(lines) > 0 {
			output = lines
		}
		for len(output) > 0 && !utf8.RuneStart(output[0]) {
			output = output[1:]
		}
	}
	return printable(string(output))
}
