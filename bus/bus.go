package bus

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"regexp"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/execlog/execlogd/inotify"
)

// DefaultCluster is the name of the cluster if Options name none.
const DefaultCluster = "default"

// Options say where the server is, and whose changes go over it.
type Options struct {
	URL         string // nats://host:4222, or tls://, ws:// or wss://; several with commas between them
	Credentials string // a file with a JWT and the key of a user; empty for none
	CA          string // a file with the certificates that the server's may be signed by; empty for those of the system
	Cert, Key   string // files, in PEM, for a server that asks for a certificate

	// Cluster is a name in all subjects. Machines of other clusters at the same server are
	// not heard. The default is DefaultCluster.
	Cluster string

	// Machine is the name of this machine for people. The default is that of the host.
	Machine string

	Roots  []Root
	Queues []Queue

	// Reported gets what the machines of the cluster report of their runs, this one as well,
	// in the order of the stream: first of the last 200, then of each. Calls come one at a
	// time. Nil is for who need not know.
	Reported func(Report)

	Logger *slog.Logger // nil discards
}

// A Root is a directory that machines share.
type Root struct {
	Name string // in the cluster; the same on each machine
	Dir  string // where it is on this machine, absolute

	// Sees reports whether the kernel of this machine sees all changes of the root, also those
	// that other machines make, because the file system is here. It is asked from time to
	// time, as another one may be mounted there. Nil says that it does not.
	Sees func() bool

	// Skip reports whether a directory is left out of a comparison. Nil leaves none out.
	Skip func(path string) bool

	// Deliver gets what other machines have changed, in the order in which each of them
	// has, with Dir as the root of the events. Calls come one at a time. An event of "." with
	// Overflow says that changes were lost: what has changed since, by ctime, follows. Nil
	// is for who only publishes.
	Deliver func([]inotify.Event)

	// Live is told when changes of others begin to come, and when they do not come any more,
	// because the server is away or no other machine is heard that sees the root; changes
	// since then may be missing. At first they do not come. It must not block. Nil is for who
	// need not know.
	Live func(live bool, since time.Time)
}

// Stats count what has happened since New.
type Stats struct {
	Published uint64 // messages
	Received  uint64 // messages of other machines
	Lost      uint64 // times that changes were lost on the way
	Done      uint64 // jobs that were done here
	Dead      uint64 // jobs that have failed here for good
	Junk      uint64 // messages, and events, that were dropped because no execlogd sends such
	Connected bool
}

// A Bus takes changes of shared roots to other machines, and brings theirs.
type Bus struct {
	opts    Options
	machine string // names this Bus in the cluster
	log     *slog.Logger
	roots   map[string]*root // by Root.Dir
	queues  map[string]*queue

	taking     context.Context // ends with StopTaking
	stopTaking context.CancelFunc

	waiters  waiters
	working  jobsUnderWay
	reports  reports
	followed followed     // of the goroutine that follows
	runs     atomic.Value // the stream of reports, a jetstream.Stream, while there is a session

	conn       atomic.Pointer[nats.Conn]
	js         jetstream.JetStream // while Run runs
	wake       chan struct{}       // holds one: the connection is there
	mu         sync.Mutex
	session    context.CancelFunc // ends the session under way; nil without one
	connection context.Context    // ends when the connection of the session is lost; nil without one
	ready      chan struct{}      // closed while there is a session, and everything on the server is
	there      bool               // it was logged last that the server is there
	away       bool               // or that it is not

	published, received, lost, junk, done, dead atomic.Uint64
	saidJunk                                    sync.Once
}

// New checks the options. It starts nothing.
func New(opts Options) (*Bus, error) {
	if opts.Cluster == "" {
		opts.Cluster = DefaultCluster
	}
	if opts.Machine == "" {
		opts.Machine, _ = os.Hostname()
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if err := errors.Join(CheckURL(opts.URL), CheckName(opts.Cluster), CheckFiles(opts)); err != nil {
		return nil, err
	}

	b := &Bus{
		opts: opts, machine: rand.Text()[:16], log: opts.Logger, roots: make(map[string]*root), queues: make(map[string]*queue),
		wake: make(chan struct{}, 1), ready: make(chan struct{}), reports: reports{filled: make(chan struct{}, 1)},
	}
	names := make(map[string]bool)
	b.taking, b.stopTaking = context.WithCancel(context.Background())
	for _, r := range opts.Roots {
		if err := CheckName(r.Name); err != nil {
			return nil, err
		}
		if names[r.Name] || b.roots[r.Dir] != nil {
			return nil, fmt.Errorf("shared root %q is there twice: give each directory a name of its own", r.Name)
		}
		names[r.Name] = true
		b.roots[r.Dir] = newRoot(b, r)
	}
	for _, q := range opts.Queues {
		if err := checkQueue(q); err != nil {
			return nil, err
		}
		if b.queues[q.Name] != nil {
			return nil, fmt.Errorf("queue %q is there twice: give each a name of its own", q.Name)
		}
		b.queues[q.Name] = newQueue(b, q)
	}
	return b, nil
}

// CheckURL says what is wrong with the URL of a server.
func CheckURL(s string) error {
	for part := range splitURLs(s) {
		u, err := url.Parse(part)
		if err != nil {
			return fmt.Errorf("url: %w", errors.Unwrap(err))
		}
		switch u.Scheme {
		case "nats", "tls", "ws", "wss":
		default:
			return fmt.Errorf("url %q: want nats://host:4222, or tls://, ws:// or wss://", u.Redacted())
		}
		if u.Hostname() == "" {
			return fmt.Errorf("url %q has no host: want nats://host:4222", u.Redacted())
		}
	}
	return nil
}

var nameRule = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// CheckName says what is wrong with the name of a cluster or of a shared root.
func CheckName(s string) error {
	if !nameRule.MatchString(s) {
		return fmt.Errorf("name %q: want at most 64 letters, digits, - and _", s)
	}
	return nil
}

// CheckFiles says what is wrong with the files that the options name.
func CheckFiles(opts Options) error {
	if opts.Credentials != "" {
		f, err := os.Open(opts.Credentials)
		if err != nil {
			return fmt.Errorf("credentials: %w", err)
		}
		f.Close()
	}
	_, err := opts.tls()
	return err
}

// Publish tells other machines of events of the root at Dir that the kernel has reported
// here. It never blocks. What comes while the server is away is kept, in order; if it becomes
// too much, other machines are told that changes were lost.
func (b *Bus) Publish(dir string, events []inotify.Event) {
	if r := b.roots[dir]; r != nil {
		r.outbox.add(events)
	}
}

// News returns those of the events of the root at Dir that are news: they were found by
// polling, and neither the kernel nor another machine has told of them. If one of these does
// so later, that is no news.
func (b *Bus) News(dir string, events []inotify.Event) []inotify.Event {
	if r := b.roots[dir]; r != nil {
		return r.news(events)
	}
	return events
}

// Compare delivers an Overflow of the root at Dir, and what may have changed there since a
// time, by ctime, and of which nobody has told. It returns early when ctx ends.
func (b *Bus) Compare(ctx context.Context, dir string, since time.Time) {
	if r := b.roots[dir]; r != nil && r.Deliver != nil {
		if opened, err := os.OpenRoot(dir); err == nil {
			defer opened.Close()
			r.compare(ctx, opened, since)
		}
	}
}

// Position says how far this machine is in the changes of the root at Dir, of all machines:
// what comes before was handed on. It is letters, digits and a dash, or empty if that is not
// known.
func (b *Bus) Position(dir string) string {
	if r := b.roots[dir]; r != nil {
		return r.places.position()
	}
	return ""
}

// Since returns when this machine knew first of a change of the root at Dir that does not
// come before a position of any machine. If there is none that is now. It is not ok if
// that is not known: the text is no position, or it is too long ago.
func (b *Bus) Since(dir, position string) (since time.Time, ok bool) {
	if r := b.roots[dir]; r != nil {
		return r.places.since(position, r.outbox.pending())
	}
	return time.Time{}, false
}

// StopTaking has this machine take no more jobs. Those that it does go on.
func (b *Bus) StopTaking() { b.stopTaking() }

// Stats returns what has happened.
func (b *Bus) Stats() Stats {
	conn := b.conn.Load()
	return Stats{
		Published: b.published.Load(), Received: b.received.Load(), Lost: b.lost.Load(), Junk: b.junk.Load(),
		Done: b.done.Load(), Dead: b.dead.Load(),
		Connected: conn != nil && conn.IsConnected(),
	}
}

// How the connection is kept.
const (
	connectTimeout = 2 * time.Second
	reconnectWait  = 250 * time.Millisecond
	pingInterval   = 2 * time.Second // after three of them without an answer the connection is lost
	maxBackoff     = 5 * time.Second // after a session that has failed
	maxCatchUp     = 2 * time.Second // for reports of jobs that are over, before more are put or taken
)

// Run connects to the server, and again whenever it was away, until ctx ends. Then what
// was told to Publish is still sent, for a second at most. It works once.
func (b *Bus) Run(ctx context.Context) error {
	closed := make(chan struct{})
	conn, err := b.connect(func(*nats.Conn) { close(closed) })
	if err != nil {
		return err
	}
	b.conn.Store(conn)
	defer func() {
		conn.Close()
		<-closed
	}()
	if b.js, err = jetstream.New(conn); err != nil {
		return err
	}
	var working sync.WaitGroup
	defer working.Wait()
	for _, q := range b.queues {
		for i := 0; q.Work != nil && i < q.Workers; i++ {
			working.Go(func() { q.work(ctx) })
		}
	}

	backoff := reconnectWait
	for ctx.Err() == nil {
		if conn.IsConnected() {
			began := time.Now()
			err := b.runSession(ctx, conn)
			if time.Since(began) > maxBackoff {
				backoff = reconnectWait
			}
			if err != nil && conn.IsConnected() {
				b.sayAway(err)
			}
		}
		again := time.NewTimer(backoff)
		backoff = min(2*backoff, maxBackoff)
		select {
		case <-b.wake:
			backoff = reconnectWait
		case <-again.C:
		case <-ctx.Done():
		}
		again.Stop()
	}
	return nil
}

// connect returns a connection that is made by and by.
func (b *Bus) connect(closed nats.ConnHandler) (*nats.Conn, error) {
	there := func(*nats.Conn) {
		select {
		case b.wake <- struct{}{}:
		default:
		}
	}
	opts := []nats.Option{
		nats.Name("execlogd " + b.machine), nats.NoEcho(),
		nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1), nats.IgnoreAuthErrorAbort(),
		nats.Timeout(connectTimeout), nats.ReconnectWait(reconnectWait), nats.ReconnectJitter(reconnectWait, reconnectWait),
		nats.PingInterval(pingInterval), nats.MaxPingsOutstanding(2),
		nats.ReconnectBufSize(-1), // the outbox is the buffer
		nats.ConnectHandler(there), nats.ReconnectHandler(there), nats.ClosedHandler(closed),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) { b.sayAway(err) }), // which says why, also at the start
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			b.endSession()
			if err != nil {
				b.sayAway(err)
			}
		}),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			if errors.Is(err, nats.ErrPermissionViolation) || errors.Is(err, nats.ErrAuthorization) {
				b.sayAway(err)
			}
		}),
	}
	if b.opts.Credentials != "" {
		opts = append(opts, nats.UserCredentials(b.opts.Credentials))
	}
	config, err := b.opts.tls()
	if err != nil {
		return nil, err
	}
	if config != nil {
		opts = append(opts, nats.Secure(config), b.opts.readAgain)
	}
	conn, err := nats.Connect(b.opts.URL, opts...)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	return conn, nil
}

// sayAway logs that the bus does not work, once until it does.
func (b *Bus) sayAway(err error) {
	b.mu.Lock()
	said := b.away
	b.there, b.away = false, true
	b.mu.Unlock()
	if !said {
		b.log.Warn("bus is away: changes are kept for it", "url", redacted(b.opts.URL), "err", err)
	}
}

// sayThere logs that the bus works, once until it does not.
func (b *Bus) sayThere() {
	b.mu.Lock()
	said := b.there
	b.there, b.away = true, false
	b.mu.Unlock()
	if !said {
		b.log.Info("bus is connected", "url", redacted(b.opts.URL), "cluster", b.opts.Cluster)
	}
}

// endSession ends the session under way.
func (b *Bus) endSession() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.session != nil {
		b.session()
	}
}

// runSession publishes, receives and works until ctx ends, which is no error, the connection is
// lost or something fails.
func (b *Bus) runSession(ctx context.Context, conn *nats.Conn) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	lost, lose := context.WithCancel(context.Background()) // not when ctx ends: what was done is still said then
	b.mu.Lock()
	b.session, b.connection = func() { lose(); cancel() }, lost
	b.mu.Unlock()

	var mu sync.Mutex // guards errs
	var errs []error
	var tasks sync.WaitGroup
	start := func(run func() error) {
		tasks.Go(func() {
			defer cancel()
			err := run()
			mu.Lock()
			defer mu.Unlock()
			errs = append(errs, err)
		})
	}
	err := b.startRoots(ctx, conn, start)
	if err == nil && (len(b.queues) > 0 || b.opts.Reported != nil) {
		err = b.startQueues(ctx, conn, start)
	}
	if err == nil {
		b.sayThere()
		b.setReady(true)
		<-ctx.Done()
		b.setReady(false)
	}
	cancel()
	tasks.Wait()
	return errors.Join(append(errs, err)...)
}

// startRoots starts what shares the roots.
func (b *Bus) startRoots(ctx context.Context, conn *nats.Conn, start func(func() error)) error {
	if len(b.roots) == 0 {
		return nil
	}
	stream, err := b.openStream(ctx, b.changesStream())
	if err != nil {
		return err
	}
	for _, r := range b.roots {
		start(func() error { return r.publish(ctx) })
		start(func() error { return r.receive(ctx, conn, stream) })
	}
	return nil
}

// startQueues starts what jobs and reports need. It returns when it is known which jobs are over,
// so that they are not done again.
func (b *Bus) startQueues(ctx context.Context, conn *nats.Conn, start func(func() error)) error {
	jobs, runs, err := b.openQueues(ctx)
	if err != nil {
		return err
	}
	hearing, err := conn.Subscribe(b.subject(workingKind, "*", "*"), b.hearWorking)
	if err != nil {
		return err
	}
	start(func() error {
		<-ctx.Done()
		_ = hearing.Unsubscribe() // the connection may be lost
		return nil
	})
	heard := make(chan struct{})
	start(func() error { return b.follow(ctx, runs, sync.OnceFunc(func() { close(heard) })) })
	start(func() error { return b.publishReports(ctx) })
	if jobs != nil {
		start(func() error { return b.checkJobs(ctx, jobs) })
	}

	select {
	case <-heard:
	case <-time.After(maxCatchUp):
	case <-ctx.Done():
	}
	return nil
}

// setReady notes that there is a session, or none any more.
func (b *Bus) setReady(is bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if is {
		close(b.ready)
	} else {
		b.ready = make(chan struct{})
	}
}

// awaitSession waits for a session. The error is the cause of ctx.
func (b *Bus) awaitSession(ctx context.Context) error {
	select {
	case <-b.readiness():
	case <-ctx.Done():
	}
	return context.Cause(ctx)
}

// whileConnected returns a context that ends with ctx, or when the connection is lost.
func (b *Bus) whileConnected(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	b.mu.Lock()
	connection := b.connection
	b.mu.Unlock()
	if connection == nil {
		return ctx, cancel
	}
	stop := context.AfterFunc(connection, cancel)
	return ctx, func() { stop(); cancel() }
}

// readiness returns a channel that is closed when there is a session.
func (b *Bus) readiness() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.ready
}

// hasSession reports whether there is a session.
func (b *Bus) hasSession() bool {
	select {
	case <-b.readiness():
		return true
	default:
		return false
	}
}

// dropJunk counts what no execlogd sends, and says so once.
func (b *Bus) dropJunk(subject string, err error) {
	b.junk.Add(1)
	b.saidJunk.Do(func() {
		b.log.Warn("message on the bus is not of execlogd, and was dropped; further ones are only counted", "subject", subject, "err", err)
	})
}
