package daemon

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	sd "github.com/coreos/go-systemd/v22/daemon"

	"github.com/execlog/execlogd/internal/config"
	"github.com/execlog/execlogd/internal/logging"
)

// hungTimeout is how long a start that is stopped may take to end. If it takes longer, a
// system call hangs: a server of files is away.
const hungTimeout = time.Second

// startTimeout is how long systemd waits for the next sign of life of a scan at the start.
const startTimeout = time.Minute

// errStopped is the error of a start that ctx has ended.
var errStopped = errors.New("stopped before it was ready")

// start is newDaemon, but returns early when ctx ends. A goroutine that hangs in a system
// call then is left behind, and nobody may use what it has acquired: the process must end.
func start(ctx context.Context, cfg config.Config, opts Options) (*daemon, error) {
	var d *daemon
	started := make(chan error, 1)
	go func() {
		var err error
		d, err = newDaemon(ctx, cfg, opts)
		started <- err
	}()

	select {
	case err := <-started:
		return d, err
	case <-ctx.Done():
	}
	select {
	case err := <-started:
		return d, err
	case <-time.After(hungTimeout):
		return nil, errStopped
	}
}

// A scanReport tells systemd how far a scan at the start is, and ends scans with a context.
type scanReport struct {
	ctx context.Context

	mu          sync.Mutex
	done        bool // the daemon is ready
	directories int
	told        time.Time
}

// scanning is the function Scanning of the options of a watcher. Systemd gets no sign of life
// from a scan that does not go on.
func (s *scanReport) scanning(directories int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx.Err() != nil {
		return errStopped
	}
	if s.done || directories == s.directories || time.Since(s.told) < statusInterval {
		return nil
	}

	s.directories, s.told = directories, time.Now()
	_, _ = sd.SdNotify(false, fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d\nSTATUS=starting: %s looked at so far",
		startTimeout.Microseconds(), logging.Count(directories, "directory", "directories"))) // that READY fails is logged
	return nil
}

// ready ends the reports.
func (s *scanReport) ready() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.done = true
}
