package main

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/signal"
	"reflect"
	"slices"
	"sync"
	"syscall"
	"unsafe"

	sd "github.com/coreos/go-systemd/v22/daemon"

	"github.com/execlog/execlogd/internal/config"
	"github.com/execlog/execlogd/internal/logging"
)

// A shift is the routing that works, and the one that is to follow it.
type shift struct {
	mu      sync.Mutex
	routing *routing
	next    *routing
}

func (s *shift) now() *routing {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.routing
}

// of is the routing that a run is of which r began: the one that works, if that is
// not still the one before r.
func (s *shift) of(r *routing) *routing {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.next == r {
		return r
	}
	return s.routing
}

// follow has next relieve the routing that works.
func (s *shift) follow(next *routing) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next = next
	next.group.Relieve(s.routing.group)
}

// change puts the next routing in the place of the one that works, and returns
// both; next is nil if there is none.
func (s *shift) change() (old, next *routing) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old, next = s.routing, s.next
	if next != nil {
		s.routing, s.next = next, nil
	}
	return old, next
}

// watch runs one routing after the other, until ctx ends.
func (d *daemon) watch(ctx context.Context) error {
	defer d.ending.Wait()
	var before []finding
	for {
		r := d.shift.now()
		known := before
		d.ending.Go(func() { r.noteUnmatched(ctx, known) })
		err := r.group.Run(ctx)
		before = r.found
		old, next := d.shift.change()
		if next == nil {
			return err
		}
		d.ending.Go(func() {
			defer close(next.alone)
			old.end(next)
		})
		close(next.begun)
		if err != nil {
			return err
		}
	}
}

// end releases a routing and what the next one does not take over.
func (r *routing) end(next *routing) {
	r.group.Close()
	for _, f := range r.found {
		if !next.has(f.work) {
			f.work.end()
		}
	}
}

// keeps says whether a route is as it was before.
func (r *routing) keeps(route string) bool {
	return slices.ContainsFunc(r.found, func(f finding) bool { return f.kept && f.Name == route })
}

// has says whether the routing goes on with a work.
func (r *routing) has(w *work) bool {
	return slices.ContainsFunc(r.found, func(f finding) bool { return f.work == w })
}

// reloadOnDemand loads the configuration anew whenever somebody asks for it.
func (d *daemon) reloadOnDemand(ctx context.Context) error {
	for {
		select {
		case <-d.demand:
			d.notify("RELOADING=1\n" + sd.SdNotifyMonotonicUsec())
			if err := d.reload(ctx); err != nil && ctx.Err() == nil {
				d.log.Error("configuration refused, the old one stays", "err", err)
			} else if ctx.Err() == nil {
				d.log.Info("configuration loaded", "now", d.status())
			}
			if ctx.Err() == nil { // else it is stopping, and that is said
				d.notify("READY=1\nSTATUS=" + d.status())
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// reload puts the configuration that the file has now in the place of the one
// that there is. What is as it was goes on: a job that runs, a service, a
// connection. An error leaves everything as it was.
func (d *daemon) reload(ctx context.Context) error {
	cfg, err := parseConfig(d.args)
	if err != nil {
		return err
	}
	found, wrong := look(&cfg, d.runner, d.died, d.complain)
	if err := wrong.Err(); err != nil {
		return err
	}
	select {
	case <-d.shift.now().alone: // what the last one ended may be in the way of what begins
	case <-ctx.Done():
		return nil
	}
	next, err := d.prepare(cfg, found)
	if err != nil {
		return err
	}
	d.cfg = cfg
	d.logs.Set(logging.NewHandler(d.stderr, d.queue, logOptions(&cfg)))
	d.logNotes(cfg)
	d.control.move(next.controls)
	if cfg.Serve {
		d.web.move(next.web)
	} else {
		d.web.close()
	}
	d.tellOwner()
	d.faults.follow(next.routing)
	d.shift.follow(next.routing)
	select {
	case <-next.routing.begun:
	case <-ctx.Done():
	}
	return nil
}

// A prospect is what a configuration takes that is to follow.
type prospect struct {
	routing       *routing
	web, controls []net.Listener
}

// prepare acquires all that a configuration takes, or nothing. With its return
// the server goes by it.
func (d *daemon) prepare(cfg config.Config, found []finding) (p prospect, err error) {
	defer func() {
		if err != nil {
			d.discard(p)
		}
	}()
	old := d.shift.now()
	before := make(map[string]finding)
	for _, o := range old.found {
		before[o.Name] = o
	}
	for i := range found {
		if o, was := before[found[i].Name]; was {
			found[i].takeOver(o)
		}
	}
	if p.web, err = d.webSockets(cfg); err != nil {
		return p, err
	}
	if p.controls, err = d.controlSockets(cfg); err != nil {
		return p, err
	}
	if p.routing, err = d.route(cfg, found, old); err != nil {
		return p, err
	}
	if err = d.server.Change(d.serverOptions(cfg)); err != nil {
		err = explainServer(err)
	}
	return p, err
}

// discard gives up what was acquired for a configuration that is refused.
func (d *daemon) discard(p prospect) {
	for _, ln := range p.web {
		if !slices.Contains(d.web.sockets(), ln) && !slices.Contains(d.handed, ln) {
			ln.Close()
		}
	}
	for _, ln := range p.controls {
		if !slices.Contains(d.control.sockets(), ln) {
			ln.Close()
		}
	}
	if p.routing != nil {
		p.routing.group.Close()
	}
}

// takeOver lets the work of a route go on that is as it was, and makes that of
// one that is not wait for the end of the old.
func (f *finding) takeOver(o finding) {
	if f.goesOnAs(o) {
		f.work, f.kept = o.work, true
	} else {
		f.work.follow(o.work)
	}
}

// goesOnAs says whether a route is to have the work of the one before. A service
// that is down for a reason that is none any more is to begin anew.
func (f *finding) goesOnAs(o finding) bool {
	freed := o.work.down.Load() && (f.OnFailure != o.OnFailure || !slices.Equal(f.After, o.After))
	return !freed && f.Per == o.Per && reflect.DeepEqual(essence(o.Route), essence(f.Route))
}

// essence is what a route's work depends on. What says when it works is not of
// it, nor where it stands in the file.
func essence(c *config.Route) any {
	var work any = c.Command()
	if c.Service {
		work = c.Daemon(nil)
	}
	return []any{work, c.Notify, c.OnSuccess, c.OnFailRun}
}

// ask has the configuration loaded once more. It does not wait.
func (d *daemon) ask() {
	select {
	case d.demand <- struct{}{}:
	default: // somebody has asked, and it was not done yet
	}
}

// heedHangups has the configuration loaded at SIGHUP, until stop. When it is
// the terminal that hung up, what that means by it is to end.
func (d *daemon) heedHangups(stderr io.Writer, end context.CancelCauseFunc) (stop func()) {
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
				d.ask()
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
	var errno syscall.Errno
	err = conn.Control(func(fd uintptr) {
		var t syscall.Termios
		_, _, errno = syscall.Syscall(syscall.SYS_IOCTL, fd, syscall.TCGETS, uintptr(unsafe.Pointer(&t)))
	})
	return err == nil && errno == syscall.EIO
}
