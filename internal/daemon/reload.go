package daemon

import (
	"context"
	"net"
	"slices"

	sd "github.com/coreos/go-systemd/v22/daemon"

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
	cfg, err := d.load()
	if err != nil {
		return err
	}
	found, wrong := runnable.Resolve(&cfg, d.runner, d.serviceDied, d.logProblem)
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
	d.showToken()
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
