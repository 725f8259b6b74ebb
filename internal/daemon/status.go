package daemon

import (
	"fmt"
	"strings"

	"github.com/execlog/execlogd/internal/logging"
)

// announce tells the user and systemd that the daemon is ready: its sockets take
// connections and every directory is watched.
func (d *daemon) announce() {
	status := d.status()
	if d.cfg.LogFormat == "json" {
		d.log.Info(status)
	} else {
		d.say(status)
	}
	d.showToken()
	d.notify("READY=1\nSTATUS=" + status)
}

// showToken writes, once, the address at which the owner sees all of the status page, as
// soon as there is a socket. The token is in no later line of the log, and not in the
// status that systemd shows to every user.
func (d *daemon) showToken() {
	sockets := d.web.sockets()
	if d.tokenShown || !d.cfg.Reloads() || len(sockets) == 0 {
		return
	}

	d.tokenShown = true
	page := siteURL(sockets[0]) + ".execlogd/?token=" + d.token
	if d.cfg.LogFormat == "json" {
		d.log.Info("status page", "url", page)
	} else {
		d.say("status page " + page)
	}
}

// say writes a line to stderr that is no part of the log, in order with the log.
func (d *daemon) say(line string) { fmt.Fprintln(d.queue.Writer(d.stderr), "execlogd:", line) }

// status says in one line what the daemon does.
func (d *daemon) status() string {
	var parts []string
	if d.cfg.Serve {
		parts = append(parts, d.serving())
	}
	if n := len(d.cfg.Routes); n > 0 {
		parts = append(parts, logging.Count(n, "route", "routes"))
	}
	if p := d.pipeline; p != nil {
		parts = append(parts, "watching "+logging.WatchedCount(p.group.Watches(), p.now().Roots()))
	}
	return strings.Join(parts, ", ")
}

func (d *daemon) serving() string {
	what := "live reload for " + d.cfg.Root
	if d.cfg.Static {
		what = "serving " + d.cfg.Root
	}
	var addresses []string
	for _, ln := range d.web.sockets() {
		addresses = append(addresses, address(ln))
	}
	return what + " on " + strings.Join(addresses, " and ")
}
