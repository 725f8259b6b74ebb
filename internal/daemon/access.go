package daemon

import (
	"fmt"
	"io"

	"github.com/execlog/execlogd/internal/accesslog"
	"github.com/execlog/execlogd/internal/config"
	"github.com/execlog/execlogd/internal/logging"
	"github.com/execlog/execlogd/internal/tty"
)

// newAccessLog returns the access log, which is off.
func (d *daemon) newAccessLog() *accesslog.Log {
	return accesslog.New(
		func(lines int) { d.log.Warn("requests not logged: nobody reads the access log", "requests", lines) },
		func(err error) { d.log.Warn("access log", "err", err) },
	)
}

// accessTarget opens what a configuration has requests logged to; nil for nothing.
func (d *daemon) accessTarget(cfg *config.Config) (to *accesslog.Target, err error) {
	switch {
	case cfg.AccessLog == "" || !cfg.Serve:
		return nil, nil
	case cfg.AccessLog == config.AccessToStdout && tty.SameFile(d.stdout, d.stderr):
		return accesslog.Writer(terminalLog{d}), nil // which may have the line of state
	case cfg.AccessLog == config.AccessToStdout:
		return accesslog.Writer(noClose{d.stdout}), nil
	case cfg.AccessLog == config.AccessToJournal:
		j, err := logging.NewJournalWriter(logging.SystemOptions(), "execlogd-access")
		if err != nil {
			return nil, fmt.Errorf("access log: %w", err)
		}
		return accesslog.Writer(j), nil
	}
	if to, err = accesslog.File(cfg.AccessLog); err != nil {
		return nil, fmt.Errorf("access log: %w", err)
	}
	return to, nil
}

// noClose is a writer that others use as well.
type noClose struct{ io.Writer }

// A terminalLog writes lines in order with the log, and waits for each, so that those of
// many requests leave room for the log. What the terminal does not take is no error.
type terminalLog struct{ d *daemon }

func (l terminalLog) Write(line []byte) (int, error) {
	l.d.queue.WriteLine(l.d.out, string(line))
	return len(line), nil
}
