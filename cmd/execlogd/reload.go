package main

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/signal"
	"slices"
	"sync"
	"syscall"

	sd "github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"

	"github.com/execlog/execlogd/internal/logging"
	"github.com/execlog/execlogd/internal/runnable"
)

// reloadOnRequest loads the configuration anew whenever that is requested.
func (d *daemon) reloadOnRequest(ctx context.Context) error {
	defer d.background.Wait()
	for {
		select {
		case <-d.reloadRequests:
			d.notify("RELOADING=1\n" + sd.SdNotifyMonotonicUsec())
			err := d.reload(ctx)
			if ctx.Err() != nil {
				continue // it is stopping, and that is said
			}
			if err != nil {
				d.log.Error("configuration refused, the old one stays", "err", err)
			} else {
				d.log.Info("configuration loaded", "now", d.status())
			}
			d.notify("READY=1\nSTATUS=" + d.status())
		case <-ctx.Done():
			return nil
		}
	}
}

// reload puts the configuration that the file has now in the place of the active
// one: it is checked, then everything is acquired that can fail, and then it is
// applied. What is as it was goes on: a job that runs, a service, a connection. An
// error leaves everything as it was.
func (d *daemon) reload(ctx context.Context) error {
	cfg, err := parseConfig(d.args)
	if err != nil {
		return err
	}
	found, wrong := runnable.Resolve(&cfg, d.runner, d.died, d.complain)
	if err := wrong.Err(); err != nil {
		return err
	}
	select {
	case <-d.released: // services of before may hold what the new ones need
	case <-ctx.Done():
		return nil
	}

	old := d.pipeline.now()
	next := &candidate{cfg: &resolvedConfig{cfg, found}}
	for i := range found {
		for _, o := range old.resolved {
			if o.Name == found[i].Name {
				found[i].Inherit(o)
			}
		}
	}
	if err := next.prepare(d); err != nil {
		next.discard(d)
		return err
	}
	if err := next.apply(d); err != nil {
		return err
	}

	d.released = make(chan struct{})
	d.background.Go(func() {
		defer close(d.released)
		for _, o := range old.resolved {
			if !next.cfg.has(o.Runnable) {
				o.Runnable.End()
			}
		}
	})
	d.background.Go(func() { d.pipeline.noteUnmatched(ctx, next.cfg, old.resolved) })
	return nil
}

// A candidate is a configuration that is to take the place of the active one, and what
// was acquired for it.
type candidate struct {
	cfg           *resolvedConfig
	web, controls []net.Listener
	listening     bool
}

// prepare acquires all that the configuration needs. With an error the caller must
// discard the candidate.
func (c *candidate) prepare(d *daemon) (err error) {
	if c.web, err = d.webSockets(c.cfg.Config); err != nil {
		return err
	}
	if c.controls, err = d.controlSockets(c.cfg.Config); err != nil {
		return err
	}
	if err = d.pipeline.check(c.cfg); err != nil {
		return err
	}
	if err = d.pipeline.listen(c.cfg); err != nil {
		return err
	}
	c.listening = true

	// This is the last that can fail: the server goes by it at once.
	if err = d.server.Change(d.serverOptions(c.cfg.Config)); err != nil {
		return explainServer(err)
	}
	return nil
}

// discard gives up what was acquired, where that is not in use.
func (c *candidate) discard(d *daemon) {
	for _, ln := range c.web {
		if !slices.Contains(d.web.sockets(), ln) && !slices.Contains(d.activated, ln) {
			ln.Close()
		}
	}
	for _, ln := range c.controls {
		if !slices.Contains(d.control.sockets(), ln) {
			ln.Close()
		}
	}
	if c.listening {
		d.pipeline.dropRoots()
	}
}

// apply makes the configuration the active one. An error means that the daemon is
// ending.
func (c *candidate) apply(d *daemon) error {
	cfg := c.cfg.Config
	d.cfg = cfg
	d.logs.Set(logging.NewHandler(d.stderr, d.queue, logOptions(&cfg)))
	d.logNotes(cfg)
	d.control.replace(c.controls)
	if cfg.Serve {
		d.web.replace(c.web)
	} else {
		d.web.close()
	}
	d.tellOwner()
	d.errors.follow(d.server, c.cfg)
	return d.pipeline.replace(c.cfg)
}

// requestReload has the configuration loaded once more. It does not wait.
func (d *daemon) requestReload() {
	select {
	case d.reloadRequests <- struct{}{}:
	default: // there is a request that was not taken yet
	}
}

// handleHangups has the configuration loaded at SIGHUP, until stop. When it is
// the terminal that hung up, the daemon ends.
func (d *daemon) handleHangups(stderr io.Writer, end context.CancelCauseFunc) (stop func()) {
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-hangups:
				if hasHungUp(stderr) {
					end(errors.New("the terminal is gone"))
				}
				d.requestReload()
			case <-done:
				return
			}
		}
	})
	return func() {
		signal.Stop(hangups)
		close(done)
		wg.Wait()
	}
}

// hasHungUp says whether w is a terminal that is gone.
func hasHungUp(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	conn, err := f.SyscallConn()
	if err != nil {
		return false
	}
	var asked error
	err = conn.Control(func(fd uintptr) { _, asked = unix.IoctlGetTermios(int(fd), unix.TCGETS) })
	return err == nil && errors.Is(asked, unix.EIO)
}
