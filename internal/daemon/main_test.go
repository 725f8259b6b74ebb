package daemon

import (
	"os"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/execlog/execlogd/job"
)

func TestMain(m *testing.M) {
	job.Supervise()
	// A supervisor process is this program, which the race detector keeps for a second.
	os.Setenv("GORACE", strings.Join([]string{os.Getenv("GORACE"), "atexit_sleep_ms=0"}, " "))
	// Daemons have their control sockets here, and not among the user's.
	dir, err := os.MkdirTemp("", "execlogd-test-")
	if err != nil {
		panic(err)
	}
	os.Setenv("RUNTIME_DIRECTORY", dir)
	goleak.VerifyTestMain(m, goleak.Cleanup(func(status int) {
		os.RemoveAll(dir)
		os.Exit(status)
	}))
}
