package job

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/execlog/execlogd/inotify"
	"github.com/execlog/execlogd/internal/diagnostic"
	"github.com/execlog/execlogd/job/internal/supervisor"
	"github.com/execlog/execlogd/router"
)

// maxEvents is how many events of a batch, and how many arguments, a Run has. A
// batch may have any number.
const maxEvents = 100

// A Run describes one run of a command, or of a service from its start to its end:
// what ran, for which events, and what came of it. A run that goes on is described
// as it was when the Run was made.
type Run struct {
	ID    uint64 // counts from 1, in the order of Start
	Route string // the name of the command

	// Machine is the name of the machine where it ran; empty for this one.
	Machine string

	Argv []string
	Dir  string

	// Events are the batch, or its first 100; Batch is how many there were.
	Events []inotify.Event
	Batch  int

	Start time.Time
	Took  time.Duration // so far, if it is running
	PID   int           // 0 if the program did not start
	Ready bool          // a service has been ready

	// Outcome is how the run ended, or that it is running. A run fails if its
	// program does not start, exits with another status than 0, is killed, or is
	// stopped because its time is up; a service also if it ends by itself with
	// status 0. A run that is stopped for another reason has not failed.
	Outcome router.Outcome

	// Err says in one line why the run failed, or why it was stopped. It is nil
	// if the run succeeded or is running. Of a run that was stopped it is the
	// cause of its context's end, or that of Server.Stop, Runner.Close or a
	// Server that starts anew, and context.DeadlineExceeded, router.ErrRestarted
	// or context.Canceled, as errors.Is has it, for the three reasons that there
	// are: its time was up, another run follows, or any other.
	Err error

	Exit   int            // the exit status; -1 without one
	Signal syscall.Signal // that ended the program; 0 if it exited

	// Problem is what is wrong, by the output of a run that has failed.
	Problem Problem

	// Ended and Left are the processes that the program left behind when it
	// ended by itself: those that were ended after it, and those that go on as
	// Command.Leave has it.
	Ended, Left Processes

	// Output is what was written to standard output and standard error, or
	// the last 64 KiB of it; Written is how many bytes there were.
	Output  []byte
	Written int64

	stopped bool // from outside, whatever the outcome
}

// A Problem is what is wrong, and where, as the output of a command has it. It is a guess:
// the usual compilers and site generators are known. The zero Problem is that of a run whose
// output is empty.
type Problem struct {
	Message string // in one line

	// File is the path as the output has it: absolute, or relative to a directory that is
	// mostly Run.Dir. It is empty if the output names no place, and may not exist.
	File         string
	Line, Column int // from 1; 0 if they are not known

	// BodyLine is the line for programs that count from the end of the file's front
	// matter. Line is 0 then.
	BodyLine int
}

// problemOf returns the Problem of a run that is over.
func problemOf(r *Run) Problem {
	if router.OutcomeOf(r.Err) != router.Failed || len(r.Output) == 0 {
		return Problem{}
	}
	return Problem(diagnostic.Find(string(r.Output), r.Dir))
}

// Place is the place in one word, as in "src/app.js:3:5", or "" if there is none. A path
// below dir is relative to it.
func (p Problem) Place(dir string) string {
	d := diagnostic.Diagnostic(p)
	return d.Place(dir)
}

// State is the outcome in one word. A service that runs is "ready" when it is, and
// one that was ready and ended by itself has "died".
func (r Run) State() string {
	switch {
	case r.Ready && r.Outcome == router.Running:
		return "ready"
	case r.Died():
		return "died"
	}
	return r.Outcome.String()
}

// Died reports whether this is a service that was ready and ended by itself.
func (r Run) Died() bool { return r.Ready && r.Outcome == router.Failed && !r.stopped }

// String is the run in one line, without its output.
func (r Run) String() string {
	how := r.State()
	if r.Outcome == router.Failed {
		how = r.Err.Error()
	}
	return fmt.Sprintf("#%d %s: %s: %s after %v", r.ID, r.Route, r.CommandLine(), how, r.Took.Round(time.Millisecond))
}

// CommandLine is Argv in one line, for people and not for a shell.
func (r Run) CommandLine() string {
	quoted := make([]string, len(r.Argv))
	for i, arg := range r.Argv {
		quoted[i] = inotify.Quote(arg)
	}
	return strings.Join(quoted, " ")
}

// runJSON is a Run in JSON.
type runJSON struct {
	ID      uint64    `json:"id"`
	Machine string    `json:"machine,omitempty"`
	Route   string    `json:"route"`
	Command []string  `json:"command"`
	Dir     string    `json:"dir"`
	Paths   []string  `json:"paths"` // the first 100
	Count   int       `json:"count"` // of all
	Start   time.Time `json:"start"`
	Seconds float64   `json:"seconds"`
	State   string    `json:"state"`
	PID     int       `json:"pid,omitempty"`
	Failure string    `json:"failure,omitempty"`
	Exit    int       `json:"exit"`
	Signal  int       `json:"signal,omitempty"`
	Output  string    `json:"output"`

	Problem *problemJSON `json:"problem,omitempty"`

	Ended Processes `json:"ended,omitzero"`
	Left  Processes `json:"left,omitzero"`
}

// problemJSON is a Problem in JSON.
type problemJSON struct {
	Message string `json:"message,omitempty"`
	File    string `json:"file,omitempty"`
	Line    int    `json:"line,omitempty"`
	Column  int    `json:"column,omitempty"`

	BodyLine int `json:"body_line,omitempty"`
}

// MarshalJSON has the paths of the events without the rest of them, the State, and
// Err if the run failed.
func (r Run) MarshalJSON() ([]byte, error) {
	j := runJSON{
		ID: r.ID, Machine: r.Machine, Route: r.Route, Command: r.Argv, Dir: r.Dir,
		Paths: []string{}, Count: r.Batch,
		Start: r.Start, Seconds: r.Took.Seconds(), State: r.State(), PID: r.PID,
		Exit: r.Exit, Signal: int(r.Signal), Output: string(r.Output), Ended: r.Ended, Left: r.Left,
	}
	for _, e := range r.Events {
		j.Paths = append(j.Paths, e.Name())
	}
	if r.Outcome == router.Failed {
		j.Failure = r.Err.Error()
	}
	if p := r.Problem; p != (Problem{}) {
		j.Problem = &problemJSON{p.Message, p.File, p.Line, p.Column, p.BodyLine}
	}

	// Whether <, > and & are escaped is for the encoder that calls this to say.
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(j)
	return text.Bytes(), err
}

// UnmarshalJSON reads what MarshalJSON has written. Events have their absolute
// paths alone.
func (r *Run) UnmarshalJSON(text []byte) error {
	var j runJSON
	if err := json.Unmarshal(text, &j); err != nil {
		return err
	}
	*r = Run{
		ID: j.ID, Machine: j.Machine, Route: j.Route, Argv: j.Command, Dir: j.Dir, Batch: j.Count,
		Start: j.Start, Took: time.Duration(j.Seconds * float64(time.Second)), PID: j.PID,
		Exit: j.Exit, Signal: syscall.Signal(j.Signal), Output: []byte(j.Output), Written: int64(len(j.Output)),
		Ended: j.Ended, Left: j.Left,
	}
	if p := j.Problem; p != nil {
		r.Problem = Problem{p.Message, p.File, p.Line, p.Column, p.BodyLine}
	}
	for _, path := range j.Paths {
		r.Events = append(r.Events, inotify.Event{Path: path})
	}

	switch j.State {
	case "ready":
		r.Outcome, r.Ready = router.Running, true
	case "died":
		r.Outcome, r.Ready = router.Failed, true
	default:
		for r.Outcome.String() != j.State {
			if r.Outcome == router.Cancelled {
				return fmt.Errorf("state %q: unknown", j.State)
			}
			r.Outcome++
		}
	}
	if r.Outcome == router.Failed {
		r.Err = errors.New(j.Failure)
	}
	return nil
}

// end notes what a supervisor process reports of the end of the run. The cause is why
// the run was stopped, or nil.
func (r *Run) end(report supervisor.Report, cause error) {
	status := syscall.WaitStatus(report.Value)
	r.stopped, r.Exit = cause != nil, status.ExitStatus()
	r.Ended, r.Left = processesOf(report.Killed), processesOf(report.Left)
	if status.Signaled() {
		r.Signal = status.Signal()
	}

	switch {
	case report.Unkillable > 0: // a failure, even of a run that was stopped
		r.Err = fmt.Errorf("%d of its processes cannot be ended: they are another user's, or wait for a device", report.Unkillable)
	case r.stopped:
		r.Err = cause
	case status.CoreDump():
		r.Err = fmt.Errorf("killed by %s (core dumped)", signalName(r.Signal))
	case r.Signal == unix.SIGKILL: // which did not come from us
		r.Err = errors.New("killed by SIGKILL, perhaps because memory ran out")
	case r.Signal != 0:
		r.Err = fmt.Errorf("killed by %s", signalName(r.Signal))
	case r.Exit != 0:
		r.Err = fmt.Errorf("exit status %d", r.Exit)
	}
}

// endService is end for a service. A service is to go on until it is stopped, so it has
// failed whatever its exit status is.
func (r *Run) endService(report supervisor.Report, cause error) {
	r.end(report, cause)
	switch {
	case r.stopped:
	case r.Ready && r.Err == nil:
		r.Err = errors.New("ended by itself, with exit status 0")
	case r.Ready:
	case r.Err == nil:
		r.Err = errEarly
	default:
		r.Err = fmt.Errorf("%w before it was ready", r.Err)
	}
}

// endBuilder is endService for one with Builds, of which each build says how it ended.
func (r *Run) endBuilder(report supervisor.Report, cause error) {
	r.end(report, cause)
	if r.Err == nil {
		r.Err = errors.New("ended by itself, with exit status 0")
	}
}

// signalName is the name of a signal, as in "SIGTERM".
func signalName(s syscall.Signal) string {
	if name := unix.SignalName(s); name != "" {
		return name
	}
	return fmt.Sprintf("signal %d", int(s)) // a real-time signal
}

// stopCause makes the cause of a stop the error of the run: one that OutcomeOf does
// not judge as a failure, unless the time of the run was up.
func stopCause(cause error) error {
	if router.OutcomeOf(cause) == router.Failed && !errors.Is(cause, context.DeadlineExceeded) {
		return endError{cause, context.Canceled}
	}
	return cause
}

// maxProcesses is how many processes a Run names.
const maxProcesses = 10

// A Process is a process that a program has left behind.
type Process struct {
	PID  int    `json:"pid"`
	Name string `json:"name"` // of its program, of which the kernel keeps 15 bytes
}

// String is "name (pid)".
func (p Process) String() string { return fmt.Sprintf("%s (%d)", p.Name, p.PID) }

// Processes are the first 10 of so many processes.
type Processes struct {
	Count int       `json:"count"`
	First []Process `json:"first"`
}

// String is "java (12), sh (13) and 2 more"; empty if there are none.
func (p Processes) String() string {
	names := make([]string, len(p.First))
	for i, one := range p.First {
		names[i] = one.String()
	}
	text := strings.Join(names, ", ")
	if more := p.Count - len(p.First); more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// processesOf returns how many processes a list has, with the first of them.
func processesOf(list []supervisor.Process) Processes {
	p := Processes{Count: len(list)}
	for _, one := range list[:min(len(list), maxProcesses)] {
		p.First = append(p.First, Process{one.PID, one.Name})
	}
	return p
}
