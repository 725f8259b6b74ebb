package daemon

import (
	"testing"
	"time"

	"github.com/execlog/execlogd/job"
)

func TestOutputLimit(t *testing.T) {
	start := time.Now()
	const noService, service = false, true
	// write has a run write lines of 9 bytes and a newline, and returns how many are logged
	// and how many are said to be missing before them.
	write := func(o *outputLimit, id uint64, lines int, isService bool, after time.Duration) (logged, missing int) {
		for range lines {
			before, ok := o.admit(job.Line{ID: id, Text: "123456789"}, isService, start.Add(after))
			missing += before.lines
			if ok {
				logged++
			}
		}
		return logged, missing
	}
	is := func(what string, got, want any) {
		t.Helper()
		if got != want {
			t.Errorf("%s: got %v, want %v", what, got, want)
		}
	}

	var o outputLimit
	logged, _ := write(&o, 1, 900, noService, 0)
	is("lines of a job", logged, 900)
	logged, _ = write(&o, 1, 900, noService, time.Second)
	is("further lines of it", logged, 100)
	logged, missing := write(&o, 1, 900, noService, time.Hour)
	is("lines of it an hour later", logged, 0)
	is("missing lines before those", missing, 0)
	is("what is left out", o.end(1), leftOutput{1700, 17000})
	is("what is left out of a run that wrote nothing", o.end(7), leftOutput{})
	is("runs that are remembered", len(o.runs), 0)

	logged, _ = write(&o, 2, 1500, service, 2*time.Hour)
	is("lines of a service", logged, 1000)
	logged, missing = write(&o, 2, 10, service, 2*time.Hour+outputWindow)
	is("lines of it in another window", logged, 10)
	is("missing lines before those", missing, 500)
	is("what is left out", o.end(2), leftOutput{})

	total := 0
	for id := range uint64(10) {
		logged, _ := write(&o, 10+id, 600, noService, 3*time.Hour)
		total += logged
	}
	is("lines of all together", total, maxLines)
	is("what is left out of the last", o.end(19), leftOutput{600, 6000})
}
