package daemon

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	sd "github.com/coreos/go-systemd/v22/daemon"

	"github.com/execlog/execlogd/internal/logging"
)

// hungTimeout is how long a start that is stopped may take to end. If it takes longer, a
// system call hangs: a server of files is away.
const hungTimeout = time.Second

// startTimeout is how long systemd waits for the next sign of life of a scan at the start.
const startTimeout = time.Minute

// ErrStopped is the error of a start that its context has ended.
var ErrStopped = errors.New("stopped before it was ready")

// UnlessHung calls f, which may hang in a system call, and returns what it returns, or ErrStopped
// a moment after the end of ctx. Then f goes on in a goroutine that nobody waits for, and what it
// acquires must not be used: the process must end.
func UnlessHung[T any](ctx context.Context, f func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	returned := make(chan result, 1)
	go func() {
		value, err := f()
		returned <- result{value, err}
	}()

	var hung <-chan time.Time
	done := ctx.Done()
	for {
		select {
		case r := <-returned:
			return r.value, r.err
		case <-done:
			done, hung = nil, time.After(hungTimeout)
		case <-hung:
			return *new(T), ErrStopped
		}
	}
}

// A scanReport tells systemd, and a user at a terminal, how far a scan at the start is, and
// ends scans with a context.
type scanReport struct {
	ctx  context.Context
	show func(directories int)

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
		return ErrStopped
	}
	if s.done || directories == s.directories || time.Since(s.told) < statusInterval {
		return nil
	}

	s.directories, s.told = directories, time.Now()
	s.show(directories)
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
