package main

import (
	"context"
	"errors"
	"flag"
	"io"
	"log/slog"
	"path/filepath"
	"sync"

	"github.com/execlog/execlogd/bus"
	"github.com/execlog/execlogd/inotify"
	"github.com/execlog/execlogd/internal/config"
	"github.com/execlog/execlogd/internal/logging"
	"github.com/execlog/execlogd/router"
)

const relayUsage = `Usage: execlogd relay [flags] [directory]

Tells the execlogd of other machines, or of containers, that share a directory what
changes in it, over a NATS server. It serves nothing and runs nothing. They need -shared
and -bus, or shared in [server] and url in [bus], with the same names.
`

// A relayConfig is the command line of execlogd relay, checked.
type relayConfig struct {
	root    string
	shared  string
	bus     config.Bus
	ignored func(path string) bool
}

func parseRelay(args []string) (cfg relayConfig, err error) {
	cfg = relayConfig{root: ".", shared: config.SharedName}
	hidden, ignore := router.DefaultIgnore(), []string(nil)
	flags := flag.NewFlagSet("execlogd relay", flag.ContinueOnError)
	flags.StringVar(&cfg.root, "root", cfg.root, "tell of changes in this `directory`")
	flags.StringVar(&cfg.shared, "shared", cfg.shared, "the `name` by which the others know the directory, as in shared of [server]")
	flags.StringVar(&cfg.bus.URL, "bus", "", "tell over the NATS server at this `URL`, as in nats://host:4222")
	flags.StringVar(&cfg.bus.Cluster, "cluster", bus.DefaultCluster, "the `name` of the cluster, as in [bus] of the others")
	flags.StringVar(&cfg.bus.Credentials, "credentials", "", "the `file` with the credentials of a user of the server")
	flags.StringVar(&cfg.bus.CA, "tls-ca", "", "the `file` with the authority that the server's certificate is of")
	flags.StringVar(&cfg.bus.Cert, "tls-cert", "", "the `file` with a certificate, for a server that asks for one")
	flags.StringVar(&cfg.bus.Key, "tls-key", "", "the `file` with the key of the certificate")
	flags.Func("ignore", "do not tell of what matches this `pattern` (may be repeated; in addition to hidden and\ntemporary files, which an empty pattern removes from the list)", func(s string) error {
		config.Patterns{Hidden: &hidden, List: &ignore}.Add(s)
		return nil
	})
	if err := config.ParseFlags(flags, relayUsage, args); err != nil {
		return cfg, err
	}
	switch rest := flags.Args(); {
	case len(rest) > 1:
		return cfg, config.Usagef("one directory is relayed, and %q is another: start a relay for each", rest[1])
	case len(rest) == 1:
		cfg.root = rest[0]
	}
	if cfg.bus.URL == "" {
		return cfg, config.Usagef("there is no bus to tell of changes: name a server with -bus")
	}
	if cfg.root, err = filepath.Abs(cfg.root); err != nil {
		return cfg, err
	}
	if err := config.CheckDir("root", cfg.root, "name another"); err != nil {
		return cfg, err
	}
	if err := config.CheckIgnore(ignore, cfg.root); err != nil {
		return cfg, err
	}
	r, err := router.New(router.Options{}, router.Route{Name: "relay", Ignore: ignore, Hidden: hidden, Callback: noCallback})
	if err != nil {
		return cfg, config.UsageError{Err: err}
	}
	cfg.ignored = func(path string) bool { return r.SkipDir("", path) }
	return cfg, nil
}

// relay publishes what changes in a directory until ctx ends.
func relay(ctx context.Context, args []string, _, stderr io.Writer) error {
	cfg, err := parseRelay(args)
	if err != nil {
		return err
	}
	queue := logging.NewQueue(nil)
	defer queue.Close()
	o := logging.SystemOptions()
	o.Format = logging.Auto
	log := slog.New(logging.NewHandler(stderr, queue, o))

	opts := cfg.bus.Options()
	opts.Logger = log
	sees := inotify.RemoteFS(cfg.root) == ""
	opts.Roots = []bus.Root{{Name: cfg.shared, Dir: cfg.root, Sees: func() bool { return sees }}}
	b, err := bus.New(opts)
	if err != nil {
		return config.UsageError{Err: err}
	}
	w, err := inotify.New(inotify.Options{
		Problem:  func(err error) { log.Warn("watch", "err", err) },
		Remote:   func(string, string) bool { return true }, // others tell of their changes
		Scanning: func(int) error { return ctx.Err() },
	})
	if err != nil {
		return err
	}
	defer w.Close()
	_, err = w.Add(inotify.Subscription{Root: cfg.root, SkipDir: cfg.ignored, Deliver: func(events []inotify.Event) {
		var told []inotify.Event
		for _, e := range events {
			if !cfg.ignored(e.Path) {
				told = append(told, e)
			}
		}
		b.Publish(cfg.root, told)
	}})
	if _, isLimit := errors.AsType[*inotify.LimitError](err); isLimit {
		log.Warn("watch", "err", err) // the rest is polled
	} else if err != nil {
		return err
	}
	log.Info("watching "+logging.WatchedCount(w.Watches(), []string{cfg.root}), "shared", cfg.shared)

	// The watcher stops first, so that what it has brought is published.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	publishing, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var published error
	var tasks sync.WaitGroup
	tasks.Go(func() {
		defer cancel()
		published = b.Run(publishing)
	})
	err = w.Run(ctx)
	stop()
	tasks.Wait()
	return errors.Join(err, published)
}
