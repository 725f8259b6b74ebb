package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"syscall"
	"unsafe"

	sd "github.com/coreos/go-systemd/v22/daemon"

	"github.com/execlog/execlogd/inotify"
	"github.com/execlog/execlogd/router"
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

// follow says what follows the routing that works when that is drained.
func (s *shift) follow(next *routing) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next = next
	s.routing.group.Drain()
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
	for {
		err := d.shift.now().group.Run(ctx)
		old, next := d.shift.change()
		if next == nil {
			return err
		}
		old.end(next)
		close(next.begun)
		if err != nil || ctx.Err() != nil {
			return err
		}
	}
}

// end releases a routing and what the next one does not take over.
func (r *routing) end(next *routing) {
	r.group.Close()
	for _, f := range r.found {
		if !next.has(f) {
			f.work.drop()
			f.work.stop()
		}
	}
	r.faults.clear()
}

// has says whether the work of a route goes on in another routing.
func (r *routing) has(f finding) bool {
	for _, other := range r.found {
		if other.work == f.work {
			return true
		}
	}
	return false
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
			d.notify("READY=1\nSTATUS=" + d.status())
		case <-ctx.Done():
			return nil
		}
	}
}

// reload puts the routes of the file as it is now in the place of those that
// there are. What is as it was goes on: a job that runs, a service. An error
// leaves everything as it was.
func (d *daemon) reload(ctx context.Context) error {
	cfg, err := parseConfig(d.args)
	if err != nil {
		return err
	}
	if fixed := d.cfg.fixedChanges(&cfg); len(fixed) > 0 {
		return fmt.Errorf("%s: a change of %s takes a restart", cfg.file, strings.Join(fixed, " and "))
	}
	found, wrong := cfg.look(d.runner, d.died)
	if err := wrong.sorted(); err != nil {
		return err
	}
	old := d.shift.now()
	for i := range found {
		found[i].takeOver(old.found)
	}
	next, err := d.route(cfg, found)
	if err != nil {
		return err
	}
	for _, f := range old.found {
		if !next.has(f) {
			f.work.drop()
		}
	}
	d.shift.follow(next)
	select {
	case <-next.begun:
		d.cfg = cfg
		return nil
	case <-ctx.Done():
		return next.group.Close()
	}
}

// takeOver lets the work of a route go on that is as it was.
func (f *finding) takeOver(old []finding) {
	for _, o := range old {
		if reflect.DeepEqual(o.essence(), f.essence()) {
			f.work, f.kept = o.work, true
		}
	}
}

// essence is what a route's work depends on. What says when it works is not of
// it, nor where it stands in the file.
func (c *routeConfig) essence() any {
	if c.service {
		return c.serviceOf(nil)
	}
	return c.command()
}

// fixedChanges names the settings that cannot change while the daemon runs.
func (cfg *config) fixedChanges(to *config) (names []string) {
	for _, s := range []struct {
		name string
		same bool
	}{
		{"whether there is a server", cfg.serve == to.serve},
		{"root", cfg.root == to.root},
		{"host", cfg.host == to.host},
		{"port", cfg.port == to.port},
		{"static", cfg.static == to.static},
		{"livereload", cfg.livereload == to.livereload},
		{"inject", cfg.inject == to.inject},
		{"allow_host", reflect.DeepEqual(cfg.allowHosts, to.allowHosts)},
		{"allow_origin", reflect.DeepEqual(cfg.allowOrigins, to.allowOrigins)},
		{"log_level", cfg.logLevel == to.logLevel},
		{"log_format", cfg.logFormat == to.logFormat},
		{"control", cfg.control == to.control},
	} {
		if !s.same {
			names = append(names, s.name)
		}
	}
	return names
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

// watchFile calls changed when a file does, until ctx ends.
func watchFile(ctx context.Context, file string, changed func()) error {
	abs, err := filepath.Abs(file)
	if err != nil {
		return err
	}
	name := strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `{`, `\{`).Replace(filepath.Base(abs))
	r, err := router.New(router.Options{}, router.Route{
		Name: "config", Patterns: []string{"/" + name}, Ignore: []string{}, Mask: router.Reload | inotify.Create,
		Callback: func(context.Context, []inotify.Event) error {
			changed()
			return nil
		},
	})
	if err != nil {
		return err
	}
	return router.Listen(ctx, router.Listener{Root: filepath.Dir(abs), Router: r})
}
