package e2e

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// A machine that sees a change when the job for it is over, as one that polls, knows how that
// ended, and has it done no second time.
func TestQueueToldLate(t *testing.T) {
	t.Parallel()
	nats := startNATS(t)
	pictures, ran := t.TempDir(), filepath.Join(t.TempDir(), "ran")
	worker, _ := queueMachine(t, nats.url(), pictures, fmt.Sprintf("work = true\nshell = 'echo \"$EXECLOGD_PATH\" >>%s; grep -q right \"$EXECLOGD_PATH\"'", ran))
	late, _ := queueMachine(t, nats.url(), pictures, "delay = \"2s\"\nrun = [\"false\"]")
	write(t, pictures, map[string]string{"a.txt": "right", "b.txt": "wrong"})
	worker.says(t, "msg=(done|failed) route=thumbs", 2)
	if strings.Contains(late.stderr.String(), "route=thumbs path") {
		t.Fatal("it has not come late")
	}
	late.says(t, `msg=done route=thumbs path=.*a\.txt`, 1)
	late.says(t, `msg=failed route=thumbs path=.*b\.txt .*exit status 1`, 1)
	if got := contentOf(ran); strings.Count(got, "\n") != 2 {
		t.Errorf("jobs were done for\n%swant one for each file", got)
	}
}
