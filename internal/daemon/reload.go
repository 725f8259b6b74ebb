package daemon

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"slices"

	sd "github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"

	"github.com/execlog/execlogd/httpd"
	"github.com/execlog/execlogd/internal/accesslog"
	"github.com/execlog/execlogd/internal/logging"
	"github.com/execlog/execlogd/internal/runnable"
)

// handleHangups requests a reload at SIGHUP, until ctx ends. If the signal comes because
// the terminal is gone, it ends the daemon instead.
func (d *daemon) handleHangups(ctx context.Context) error {
	for {
		select {
		case <-d.hangups:
			switch {
			case hasHungUp(d.stderr):
				d.end(errors.New("the terminal is gone"))
			case d.active.Load().File == "":
				d.access.Reopen()
				d.log.Info("nothing to load again: no file is named by -config")
			default:
				d.requestReload()
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// hasHungUp reports whether w is a terminal that is gone.
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

// requestReload requests a reload, and does not wait for it.
func (d *daemon) requestReload() {
	select {
	case d.reloadRequests <- struct{}{}:
	default: // one is requested already
	}
}

// reloadOnRequest loads the configuration anew whenever that is requested.
func (d *daemon) reloadOnRequest(ctx context.Context) error {
	defer d.background.Wait()
	first := d.active.Load()
	d.background.Go(func() { d.noteUnmatched(ctx, first, nil) })
	select {
	case <-d.isReady: // which systemd must not be told by the first reload
	case <-ctx.Done():
		return nil
	}
	for {
		select {
		case <-d.reloadRequests:
			answer := d.reloadWaiters.take()
			d.access.Reopen() // also where the configuration is refused: the file was moved away
			d.notify("RELOADING=1\n" + sd.SdNotifyMonotonicUsec())
			end := d.activity.begin("loading the configuration")
			err := d.reload(ctx)
			end()
			if ctx.Err() != nil {
				continue // it is stopping, and that is said
			}
			d.last.noteReload(err)
			if err != nil {
				d.log.Error(logging.Refused, "err", err)
			} else {
				d.log.Info(logging.Loaded, "now", d.status())
			}
			d.tellStatus("READY=1\n", d.statusLine())
			answer(err)
		case <-ctx.Done():
			return nil
		}
	}
}

// reload replaces the active configuration by what the file has now. The new one is
// checked, then everything that it needs is acquired, then it is applied, and what is no
// longer used is released. What is as it was goes on: a command that runs, a service, a
// connection. An error leaves everything as it was.
func (d *daemon) reload(ctx context.Context) error {
	cfg, err := d.load()
	if err != nil {
		return err
	}
	found, wrong := runnable.Resolve(&cfg, d.runner, d.notices())
	if err := wrong.Err(); err != nil {
		return err
	}

	select {
	// What the last reload has replaced may hold a port that is needed, and new runnables
	// wait for that of the last configuration alone, not for those before it.
	case <-d.released:
	case <-ctx.Done():
		return nil
	}

	old := d.active.Load()
	next := &candidate{cfg: &resolvedConfig{Config: cfg, resolved: found}}
	unused := make(map[string]runnable.Route) // those of the old ones that have no place in the new
	for _, r := range old.resolved {
		unused[r.Name] = r
	}
	for i := range found {
		if r, ok := unused[found[i].Name]; ok {
			found[i].Inherit(r)
			if found[i].Kept {
				delete(unused, r.Name)
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
		for _, r := range old.resolved {
			if _, ok := unused[r.Name]; ok {
				r.Runnable.End()
			}
		}
	})
	d.background.Go(func() { d.noteUnmatched(ctx, next.cfg, old.resolved) })
	return nil
}

// A candidate is a configuration that is to take the place of the active one, and what
// was acquired for it.
type candidate struct {
	cfg           *resolvedConfig
	web, controls []net.Listener
	metrics       []net.Listener
	opened        []*httpd.Server // of sites that are new
	certs         *certificates
	access        *accesslog.Target // nil where the log stays as it is, or is off
	accessChanged bool
}

// prepare acquires all that the configuration needs. With an error the caller must
// discard the candidate.
func (c *candidate) prepare(d *daemon) (err error) {
	if c.cfg.State != d.active.Load().State {
		return stateError(&c.cfg.Config, errors.New("another directory takes a restart"))
	}
	if c.certs, err = d.openCertificates(c.cfg.Config); err != nil {
		return err
	}
	if c.web, err = d.webSockets(c.cfg.Config); err != nil {
		return err
	}
	if c.controls, err = d.controlSockets(c.cfg.Config); err != nil {
		return err
	}
	if now := d.active.Load(); c.cfg.Serve != now.Serve || c.cfg.AccessLog != now.AccessLog || c.cfg.AccessLogFormat != now.AccessLogFormat {
		c.accessChanged = true
		if c.access, err = d.accessTarget(&c.cfg.Config); err != nil {
			return err
		}
	}
	if c.metrics, err = d.metricsSockets(&c.cfg.Config); err != nil {
		return err
	}
	if c.cfg.sites, c.opened, err = d.openSites(&c.cfg.Config, d.sites()); err != nil {
		return err
	}
	if err = d.pipeline.prepare(c.cfg); err != nil {
		return err
	}
	// This comes last, as it changes the servers at once.
	return d.changeSites(d.sites(), c.cfg.sites)
}

// discard releases what was acquired for the candidate alone.
func (c *candidate) discard(d *daemon) {
	closeExcept(c.web, slices.Concat(d.web.sockets(), d.activated))
	closeExcept(c.controls, d.control.sockets())
	closeExcept(c.metrics, d.metricsServer.sockets())
	c.access.Close()
	closeServers(c.opened)
	d.pipeline.dropRoots()
}

// apply makes the configuration the active one. An error means that the daemon is
// ending.
func (c *candidate) apply(d *daemon) error {
	cfg := c.cfg.Config
	old := d.active.Load()
	d.forgetGone(old, c.cfg)
	d.active.Store(c.cfg)
	d.metricsServer.replace(c.metrics)
	select {
	case d.reloaded <- struct{}{}:
	default:
	}
	d.logs.Set(logging.NewHandler(d.out, d.queue, logOptions(&cfg)))
	d.logNotes(cfg)
	if c.accessChanged {
		d.access.Set(c.access, accesslog.Format(cfg.AccessLogFormat))
	}
	d.control.replace(c.controls)
	if c.certs != nil {
		d.certs.Store(c.certs)
	}
	if cfg.Serve {
		d.web.replace(c.web)
	} else {
		d.web.close()
	}
	d.storeSockets()
	d.showToken()
	d.errors.follow(c.cfg)
	if err := d.pipeline.replace(c.cfg); err != nil {
		return err
	}
	closeOldSites(old.sites, c.cfg.sites)
	return nil
}
