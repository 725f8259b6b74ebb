package main

import (
	"context"
	"io"
	"os"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/execlog/execlogd/internal/testenv"
	"github.com/execlog/execlogd/job"
)

func TestMain(m *testing.M) {
	job.Supervise()
	// A supervisor process is this program, which the race detector keeps for a second.
	os.Setenv("GORACE", strings.Join([]string{os.Getenv("GORACE"), "atexit_sleep_ms=0"}, " "))
	playRole()
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

const waitLimit = testenv.WaitLimit

// begin starts a daemon as testenv.Begin does.
func begin(t *testing.T, archive string, args ...string) *testenv.Session {
	t.Helper()
	daemon := func(ctx context.Context, args []string, stderr io.Writer) error {
		return run(ctx, args, io.Discard, stderr)
	}
	return testenv.Begin(t, daemon, archive, args...)
}

// oneRoute is a configuration for tests to which routes do not matter.
const oneRoute = "[[route]]\nname = 'r'\nmatch = '*.r'\nrun = ['true']\n"
