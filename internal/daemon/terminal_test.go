package daemon

import (
	"strings"
	"testing"

	"github.com/execlog/execlogd/internal/logging"
	"github.com/execlog/execlogd/internal/testenv"
	"github.com/execlog/execlogd/job"
	"github.com/execlog/execlogd/router"
)

// The key for the output shows that of this machine, whatever others have run since.
func TestOutputOfThisMachine(t *testing.T) {
	runner, err := job.New(job.Options{})
	testenv.Check(t, err)
	defer runner.Close()
	shown := func() string {
		var out strings.Builder
		d := &daemon{runner: runner, queue: logging.NewQueue(nil), out: &out}
		(&userTerminal{d: d}).showOutput()
		d.queue.Close()
		return out.String()
	}
	other := job.Run{Machine: "there", Route: "r", Outcome: router.Succeeded, Output: []byte("theirs\n")}
	runner.Log().Add(other)
	if got := shown(); !strings.Contains(got, "nothing that ran has written anything") {
		t.Errorf("before a run it shows %q", got)
	}
	command, err := runner.Command(job.Command{Name: "own", Argv: []string{"echo", "ours"}, Dir: t.TempDir()})
	testenv.Check(t, err)
	testenv.Check(t, command.Run(t.Context(), nil))
	for range 30 {
		runner.Log().Add(other)
	}
	if got := shown(); !strings.Contains(got, "\n  ours\n") || strings.Contains(got, "theirs") {
		t.Errorf("it shows %q", got)
	}
}
