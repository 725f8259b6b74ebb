package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"time"

	sd "github.com/coreos/go-systemd/v22/daemon"

	"github.com/execlog/execlogd/inotify"
	"github.com/execlog/execlogd/internal/config"
	"github.com/execlog/execlogd/internal/logging"
)

// notify tells systemd the state of the service (sd_notify(3)). Without NOTIFY_SOCKET it
// does nothing. An error is only logged: systemd decides what it means for the service.
func (d *daemon) notify(state string) {
	if _, err := sd.SdNotify(false, state); err != nil {
		d.log.Warn("systemd not told", "err", err)
	}
}

// announce tells the user that the daemon is ready: its sockets take connections and every
// directory is watched.
func (d *daemon) announce() {
	if d.terminal != nil {
		d.terminal.banner()
		return
	}
	d.say(logging.Started, d.status())
	d.showToken()
}

// addressLines has the addresses of the daemon for people, one a line.
func (d *daemon) addressLines() string {
	var b strings.Builder
	line := func(what, address string) { fmt.Fprintf(&b, "  %-13s %s\n", what, address) }
	for _, ln := range d.web.sockets() {
		if isForOthersAlone := slices.Contains(networkURLs(ln), siteURL(ln)); !isForOthersAlone {
			line("this machine", strings.TrimSuffix(address(ln), everyAddress))
		}
		for _, at := range networkURLs(ln) {
			line("network", at)
		}
	}
	if at := d.tokenURL(); at != "" {
		line("status page", at)
	}
	return b.String()
}

// showToken writes, once, the address at which the owner sees all of the status page, as
// soon as there is a socket: of TCP if there is one, to which browsers can connect. The
// token is in no later line of the log, and not in the status that systemd shows to
// every user.
func (d *daemon) showToken() {
	if at := d.tokenURL(); at != "" && !d.tokenShown {
		d.tokenShown = true
		d.say("status page", at)
	}
}

// tokenURL is the address at which the owner sees all of the status page; "" without a
// socket.
func (d *daemon) tokenURL() string {
	sockets := d.statusPage.sockets()
	if d.active.Load().anyReloads() {
		sockets = slices.Concat(d.web.sockets(), sockets)
	}
	if len(sockets) == 0 {
		return ""
	}
	at := max(slices.IndexFunc(sockets, func(ln net.Listener) bool { return siteURL(ln) != "/" }), 0)
	return siteURL(sockets[at]) + ".execlogd/?token=" + d.token
}

// say writes what does not depend on the level of the log, in order with the log: an entry
// where the log is made of entries, and a line elsewhere.
func (d *daemon) say(message, now string) {
	switch {
	case d.logEntry(message, slog.String(logging.NowKey, now)):
	case message == logging.Started:
		fmt.Fprintln(d.queue.Writer(d.out), "execlogd:", now)
	default:
		fmt.Fprintln(d.queue.Writer(d.out), "execlogd:", message, now)
	}
}

// logEntry logs an entry whatever the level of the log, if the log is made of entries. It
// reports whether it is.
func (d *daemon) logEntry(message string, attrs ...slog.Attr) bool {
	if !d.toJournal && d.active.Load().LogFormat != string(logging.JSON) {
		return false
	}
	r := slog.NewRecord(time.Now(), slog.LevelInfo, message, 0)
	r.AddAttrs(attrs...)
	_ = d.logs.Handle(context.Background(), r) // which only queues it
	return true
}

// whatOf says what a site is.
func whatOf(site *config.Config) string {
	root := inotify.Quote(site.Root)
	switch application := site.Application(); {
	case application != "" && !site.LiveReload:
		return "proxy of " + application + ", beside " + root
	case application != "":
		return "proxy of " + application + " with live reload for " + root
	case site.Static:
		return "serving " + root
	}
	return "live reload for " + root
}

// status says in one line what the daemon does.
func (d *daemon) status() string {
	return d.statusOf(func(lns []net.Listener) string { return " on " + addresses(lns) })
}

// statusOf is status with a text for sockets.
func (d *daemon) statusOf(on func([]net.Listener) string) string {
	cfg := d.active.Load()
	var parts []string
	if cfg.Serve {
		parts = append(parts, whatOf(&cfg.Config)+on(d.web.sockets()))
		for _, s := range cfg.sites[1:] {
			parts = append(parts, whatOf(s.Config)+" as "+strings.Join(s.Hosts, ", "))
		}
	}
	if sockets := d.statusPage.sockets(); len(sockets) > 0 {
		parts = append(parts, "status page"+on(sockets))
	}
	if n := len(cfg.Routes); n > 0 {
		parts = append(parts, logging.Count(n, "route", "routes"))
	}
	if p := d.pipeline; p != nil {
		parts = append(parts, "watching "+logging.WatchedCount(p.group.Watches(), cfg.Roots()))
	}
	return strings.Join(parts, ", ")
}
