package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/execlog/execlogd/bus"
	"github.com/execlog/execlogd/inotify"
	"github.com/execlog/execlogd/internal/config"
	"github.com/execlog/execlogd/router"
)

// A sharedRoot tells other machines what changes in a root, and has what they
// tell go through the router as what the watcher reports. Where other machines can change
// the root without the kernel's knowledge it is polled as long as nobody tells.
type sharedRoot struct {
	d    *daemon
	bus  *bus.Bus
	root string
	skip func(path string) bool // what is ignored of the root, and not shared
	key  string                 // stands for skip

	remote  atomic.Bool   // the root was on a remote file system
	lives   chan liveness // holds the last
	polling atomic.Bool
}

// A liveness is whether changes of others come, and otherwise since when they may be
// missing.
type liveness struct {
	live  bool
	since time.Time
}

// newSharedRoot returns a shared root of a configuration.
func (d *daemon) newSharedRoot(r config.SharedRoot) (*sharedRoot, error) {
	s := &sharedRoot{d: d, root: r.Root, lives: make(chan liveness, 1)}
	var routes []router.Route
	roots := map[string]bool{}
	for i, ignored := range r.Ignored {
		roots[ignored.Root] = true
		routes = append(routes, router.Route{
			Name: fmt.Sprint("shared", i), Roots: []string{ignored.Root}, Ignore: ignored.Ignore, Hidden: ignored.Hidden,
			Callback: func(context.Context, []inotify.Event) error { return nil },
		})
	}
	ignored, err := router.New(router.Options{}, routes...)
	if err != nil {
		return nil, err
	}
	s.skip = func(path string) bool {
		name := filepath.Join(r.Root, path)
		for root := range roots {
			if _, leads := config.Below(name, root); leads {
				return false
			}
			if rel, ok := config.Below(root, name); ok && !ignored.SkipDir(root, rel) {
				return false
			}
		}
		return true
	}
	s.key = fmt.Sprintf("shared %q", r.Ignored)

	return s, nil
}

// busRoot is the root for the bus.
func (s *sharedRoot) busRoot(name string) bus.Root {
	return bus.Root{
		Name: name, Dir: s.root, Sees: s.sees, Skip: s.skip,
		Deliver: func(events []inotify.Event) { s.d.pipeline.group.Deliver(events) },
		Live:    s.setLive,
	}
}

// sees reports whether the kernel sees all changes of the root, which need not exist yet. A remote
// file system may be mounted there later. From then on nobody asks, as its server may be away.
func (s *sharedRoot) sees() bool {
	if s.remote.Load() {
		return false
	}
	root := s.root
	for root != "/" {
		if _, err := os.Stat(root); err == nil {
			break
		}
		root = filepath.Dir(root)
	}
	if inotify.RemoteFS(root) != "" {
		s.remote.Store(true)
	}
	return !s.remote.Load()
}

// watch has the watcher of a group report to other machines.
func (s *sharedRoot) watch(g *router.Group, wait bool) error {
	_, err := g.Watch(inotify.Subscription{
		Root: s.root, Wait: wait, SkipDir: s.skip, SkipKey: s.key,
		Deliver: func(events []inotify.Event) {
			var told []inotify.Event
			for _, e := range events {
				if !s.skip(e.Path) {
					told = append(told, e)
				}
			}
			s.bus.Publish(s.root, told)
			if s.polling.Load() {
				s.bus.News(s.root, nil) // it looks at them before others change the same files
			}
		},
	})
	if _, isLimit := errors.AsType[*inotify.LimitError](err); isLimit {
		return nil // the group has reported it
	}
	return err
}

// setLive is bus.Root.Live.
func (s *sharedRoot) setLive(live bool, since time.Time) {
	select {
	case <-s.lives:
	default:
	}
	s.lives <- liveness{live, since}
}

// pollAfter is how long changes of others must not come before the root is polled, and how
// long it is polled when they come again.
const pollAfter = 3 * time.Second

// pollWhenSilent polls the root while changes of others do not come, and the kernel does not see
// them.
func (s *sharedRoot) pollWhenSilent(ctx context.Context) {
	now := liveness{since: time.Now()}
	decide := time.NewTimer(pollAfter)
	defer decide.Stop()
	stop := func() {} // ends the polling
	polls := false
	defer func() { stop() }()
	for {
		select {
		case now = <-s.lives:
			decide.Reset(pollAfter)
		case <-decide.C:
			decide.Reset(pollAfter)
			if should := !now.live && !s.sees(); should == polls {
				break
			}
			stop()
			stop, polls = func() {}, !polls
			s.polling.Store(polls)
			if polls {
				stop = s.poll(ctx, now.since)
			}
		case <-ctx.Done():
			return
		}
	}
}

// poll polls the root until the function that it returns is called. First it reports what
// has changed since a time.
func (s *sharedRoot) poll(ctx context.Context, since time.Time) (stop func()) {
	d := s.d
	stopped := ctx.Done()
	ctx, cancel := context.WithCancel(ctx)
	var round time.Duration // how long it takes to look at everything, about
	compared := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() {
		end := sync.OnceFunc(func() { close(compared) })
		defer end()
		w, err := inotify.New(inotify.Options{Scanning: func(int) error { return ctx.Err() }})
		if err == nil {
			defer w.Close()
			_, err = w.Add(inotify.Subscription{Root: s.root, Wait: true, SkipDir: s.skip, Deliver: func(events []inotify.Event) {
				if news := s.bus.News(s.root, events); len(news) > 0 {
					d.pipeline.group.Deliver(news)
				}
			}})
		}
		if err == nil {
			d.log.Info("root is polled, as no other machine tells of its changes", "root", s.root)
			began := time.Now()
			s.bus.Compare(ctx, s.root, since)
			round = time.Since(began)
			end()
			err = w.Run(ctx)
		}
		if err != nil && ctx.Err() == nil {
			d.log.Warn("poll root", "root", s.root, "err", err)
		}
	})
	return func() {
		// What has changed before others could tell of it is found by the comparison, or by the
		// next round of the polling, before which one may be under way.
		select {
		case <-compared:
			select {
			case <-time.After(2 * round):
			case <-stopped:
			}
		case <-stopped:
		}
		cancel()
		running.Wait()
		d.log.Info("root is not polled any more", "root", s.root)
	}
}
