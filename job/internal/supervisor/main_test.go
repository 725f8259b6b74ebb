package supervisor

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// The tests run this program again as their supervisor processes.
func TestMain(m *testing.M) {
	Main()
	os.Setenv("GORACE", "atexit_sleep_ms=0") // for supervisor processes
	goleak.VerifyTestMain(m)
}
