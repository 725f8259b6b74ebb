package runnable

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/execlog/execlogd/job"
)

func TestMain(m *testing.M) {
	job.Supervise()
	goleak.VerifyTestMain(m)
}
