package bus

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"iter"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// What the stream of changes keeps. Whoever was away for longer compares.
const (
	maxStreamAge   = time.Hour
	maxStreamBytes = 64 << 20
	maxStreamSize  = 1 << 18 // messages
)

// What the streams of jobs and of reports keep. A queue that is full takes no more jobs, and the
// oldest of the dead ones and of the reports go first.
const (
	maxJobsBytes   = 1 << 30
	maxDeadAge     = 30 * 24 * time.Hour
	maxDeadBytes   = 64 << 20
	maxReportAge   = 24 * time.Hour
	maxReportBytes = 64 << 20
	maxReportCount = 10_000
)

// streamName is the name of a stream of the cluster.
func (b *Bus) streamName(kind string) string { return "execlogd-" + b.opts.Cluster + "-" + kind }

// subject is where a machine publishes the changes of a root, or with alive that it is
// there, and what is published of the jobs of a queue by their keys.
func (b *Bus) subject(kind, name, of string) string {
	return strings.Join([]string{"execlogd", b.opts.Cluster, kind, name, of}, ".")
}

// Kinds of subjects. That a machine is alive, or works on a job, is not in a stream.
const (
	changes     = "changes"
	alive       = "alive"
	jobsKind    = "jobs"
	deadKind    = "dead"
	doneKind    = "done" // what has become of a job
	runsKind    = "runs" // other runs that are over; also the stream of both
	workingKind = "working"
)

// changesStream is the stream of changes.
func (b *Bus) changesStream() jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:        b.streamName(changes),
		Description: "changes of the shared roots of execlogd",
		Subjects:    []string{b.subject(changes, "*", "*")},
		Discard:     jetstream.DiscardOld,
		MaxAge:      maxStreamAge, MaxBytes: maxStreamBytes, MaxMsgs: maxStreamSize, MaxMsgSize: maxMessageBytes,
	}
}

// jobsStream is the stream of the jobs that wait or are done. It has one for each key.
func (b *Bus) jobsStream() jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:        b.streamName(jobsKind),
		Description: "jobs of the queues of execlogd",
		Subjects:    []string{b.subject(jobsKind, "*", "*")},
		Retention:   jetstream.WorkQueuePolicy,
		Discard:     jetstream.DiscardNew,
		Duplicates:  2 * time.Minute, MaxMsgsPerSubject: 1, MaxBytes: maxJobsBytes, MaxMsgSize: maxMessageBytes,
	}
}

// deadStream is the stream of jobs that have failed for good.
func (b *Bus) deadStream() jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:        b.streamName(deadKind),
		Description: "jobs of the queues of execlogd that have failed",
		Subjects:    []string{b.subject(deadKind, "*", "*")},
		Discard:     jetstream.DiscardOld,
		MaxAge:      maxDeadAge, MaxMsgsPerSubject: 1, MaxBytes: maxDeadBytes, MaxMsgSize: maxMessageBytes,
	}
}

// runsStream is the stream of reports.
func (b *Bus) runsStream() jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:        b.streamName(runsKind),
		Description: "what the machines of execlogd have run",
		Subjects:    []string{b.subject(runsKind, "*", "*"), b.subject(doneKind, "*", "*")},
		Discard:     jetstream.DiscardOld,
		MaxAge:      maxReportAge, MaxBytes: maxReportBytes, MaxMsgs: maxReportCount, MaxMsgSize: maxMessageBytes,
	}
}

// openStream returns a stream, and makes it if there is none. One that an administrator
// has made, with other limits, is used as it is.
func (b *Bus) openStream(ctx context.Context, want jetstream.StreamConfig) (jetstream.Stream, error) {
	stream, err := b.js.Stream(ctx, want.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		stream, err = b.js.CreateStream(ctx, want)
		if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // another machine was first
			stream, err = b.js.Stream(ctx, want.Name)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("stream %s: %w", want.Name, err)
	}
	return stream, nil
}

// openQueues makes what the queues need on the server. It returns the streams of jobs, nil if there
// is no queue, and of reports.
func (b *Bus) openQueues(ctx context.Context) (jobs, runs jetstream.Stream, err error) {
	if len(b.queues) > 0 { // the server sets their room aside, and may not have so much
		if jobs, err = b.openStream(ctx, b.jobsStream()); err != nil {
			return nil, nil, err
		}
		if _, err := b.openStream(ctx, b.deadStream()); err != nil {
			return nil, nil, err
		}
	}
	if runs, err = b.openStream(ctx, b.runsStream()); err != nil {
		return nil, nil, err
	}
	b.runs.Store(runs)
	for _, q := range b.queues {
		if q.Work == nil {
			continue
		}
		consumer, err := jobs.CreateOrUpdateConsumer(ctx, jetstream.ConsumerConfig{
			Durable:       "work-" + q.Name,
			Description:   "machines that take jobs",
			FilterSubject: q.subject(jobsKind, "*"),
			AckPolicy:     jetstream.AckExplicitPolicy, AckWait: q.AckWait, MaxDeliver: -1, MaxAckPending: -1,
		})
		if err != nil {
			return nil, nil, fmt.Errorf("queue %q: %w", q.Name, err)
		}
		q.consumer.Store(consumer)
	}
	return jobs, runs, nil
}

// tls returns the configuration of TLS, or nil if nothing is asked for beyond what the URL
// does.
func (o *Options) tls() (*tls.Config, error) {
	if o.CA == "" && o.Cert == "" && o.Key == "" {
		return nil, nil
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if o.CA != "" {
		text, err := os.ReadFile(o.CA)
		if err != nil {
			return nil, fmt.Errorf("tls_ca: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("tls_ca: no certificate in PEM in %s", o.CA)
		}
	}
	if o.Cert != "" || o.Key != "" {
		pair, err := tls.LoadX509KeyPair(o.Cert, o.Key)
		if err != nil {
			return nil, fmt.Errorf("tls_cert, tls_key: %w", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

// readAgain has the files read for each connection, as certificates are renewed.
func (o *Options) readAgain(conn *nats.Options) error {
	if o.CA != "" {
		conn.RootCAsCB = func() (*x509.CertPool, error) {
			config, err := o.tls()
			if err != nil {
				return nil, err
			}
			return config.RootCAs, nil
		}
	}
	if o.Cert != "" {
		conn.TLSCertCB = func() (tls.Certificate, error) {
			config, err := o.tls()
			if err != nil {
				return tls.Certificate{}, err
			}
			return config.Certificates[0], nil
		}
	}
	return nil
}

// splitURLs yields the URLs of servers.
func splitURLs(s string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for part := range strings.SplitSeq(s, ",") {
			if !yield(strings.TrimSpace(part)) {
				return
			}
		}
	}
}

// redacted returns URLs without passwords, for logs.
func redacted(s string) string {
	var all []string
	for part := range splitURLs(s) {
		if u, err := url.Parse(part); err == nil {
			u.User = nil
			part = u.String()
		}
		all = append(all, part)
	}
	return strings.Join(all, ",")
}
