package daemon

import (
	"context"
	"reflect"
	"slices"
	"time"

	"github.com/execlog/execlogd/httpd"
	"github.com/execlog/execlogd/inotify"
	"github.com/execlog/execlogd/internal/config"
	"github.com/execlog/execlogd/router"
)

// A servedSite is a site of a configuration, with the server of its pages. The first of a
// configuration is that of [server]: its server has the sockets, and the others answer at
// them.
type servedSite struct {
	*config.Config
	server *httpd.Server
}

// name is by which sites of two configurations are the same.
func (s servedSite) name() string { return siteName(s.Config) }

// siteName is the first host of a site; "" for that of [server].
func siteName(site *config.Config) string {
	if len(site.Hosts) == 0 {
		return ""
	}
	host, _ := httpd.ParseHost(site.Hosts[0])
	return host
}

// openSites returns the sites of a configuration, with servers of the active one where they
// are the same, and servers of their own that are new.
func (d *daemon) openSites(cfg *config.Config, old []servedSite) (sites []servedSite, opened []*httpd.Server, err error) {
	sites = append(sites, servedSite{cfg, d.server})
	if !cfg.Serve {
		return sites, nil, nil
	}
	for i := range cfg.Sites {
		s := servedSite{&cfg.Sites[i], nil}
		if at := slices.IndexFunc(old, func(o servedSite) bool { return o.name() == s.name() }); at >= 0 {
			s.server = old[at].server
		} else if s.server, err = httpd.New(d.serverOptions(s.Config)); err != nil {
			closeServers(opened)
			return nil, nil, explainServer(err)
		} else {
			opened = append(opened, s.server)
		}
		sites = append(sites, s)
	}
	return sites, opened, nil
}

// changeSites has the servers that a new configuration shares with the active one go by the
// new one, or with an error by the active one.
func (d *daemon) changeSites(old, next []servedSite) error {
	var changed []servedSite // as they were
	change := func(to servedSite, all []servedSite) error {
		opts := d.serverOptions(to.Config)
		if to.server == d.server {
			opts.Sites = withHosts(all)
		}
		return to.server.Change(opts)
	}
	// The first comes last, so that others answer as they are to when it leads to them.
	for _, s := range slices.Backward(next) {
		at := slices.IndexFunc(old, func(o servedSite) bool { return o.server == s.server })
		if at < 0 {
			continue
		}
		if err := change(s, next); err != nil {
			for _, was := range changed {
				_ = change(was, old) // as it was a moment ago
			}
			return explainServer(err)
		}
		changed = append(changed, old[at])
	}
	return nil
}

// withHosts returns sites as the first of them has them.
func withHosts(sites []servedSite) (others []httpd.Site) {
	for _, s := range sites[1:] {
		others = append(others, httpd.Site{Hosts: s.Hosts, Server: s.server})
	}
	return others
}

// closeOldSites closes the servers of sites that there are no more. When hosts lead to other
// sites than before, pages load again: they belong to another server now.
func closeOldSites(old, now []servedSite) {
	hosts := func(sites []servedSite) (all [][]string) {
		for _, s := range sites {
			all = append(all, s.Hosts)
		}
		return all
	}
	moved := !reflect.DeepEqual(hosts(old), hosts(now))
	for _, was := range old {
		isKept := slices.ContainsFunc(now, func(s servedSite) bool { return s.server == was.server })
		if moved {
			was.server.Refresh(everything)
		}
		if !isKept {
			was.server.Close()
		}
	}
}

// sites are those of the active configuration.
func (d *daemon) sites() []servedSite { return d.active.Load().sites }

// openPages counts the pages of all sites.
func (d *daemon) openPages() (pages int) {
	for _, s := range d.sites() {
		pages += s.server.OpenPages()
	}
	return pages
}

// refreshAll has all pages of all sites load again.
func (d *daemon) refreshAll() {
	for _, s := range d.sites() {
		s.server.Refresh(everything)
	}
}

// idle returns for how long no site had anything to do.
func (d *daemon) idle() (idle time.Duration) {
	idle = d.server.Idle()
	for _, s := range d.sites()[1:] {
		idle = min(idle, s.server.Idle())
	}
	return idle
}

// pagesChanged are the channels of httpd.Server.Changed of all sites.
func (d *daemon) pagesChanged() (all []<-chan struct{}) {
	for _, s := range d.sites() {
		all = append(all, s.server.Changed())
	}
	return all
}

// waitForAny returns when one of the channels is closed or has a value, or a time is over, or
// ctx ends. Nil channels, and a zero time, are left out.
func waitForAny(ctx context.Context, after time.Duration, channels ...<-chan struct{}) {
	cases := []reflect.SelectCase{{Dir: reflect.SelectRecv, Chan: reflect.ValueOf(ctx.Done())}}
	if after > 0 {
		cases = append(cases, reflect.SelectCase{Dir: reflect.SelectRecv, Chan: reflect.ValueOf(time.After(after))})
	}
	for _, c := range channels {
		cases = append(cases, reflect.SelectCase{Dir: reflect.SelectRecv, Chan: reflect.ValueOf(c)})
	}
	reflect.Select(cases)
}

// pageRoutes are the routes that tell the pages of a site of changes.
func (d *daemon) pageRoutes(s servedSite) []router.Route {
	refresh := func(_ context.Context, batch []inotify.Event) error {
		d.refresh(s.server, batch)
		return nil
	}
	recheck := func(_ context.Context, batch []inotify.Event) error {
		d.recheck(s.server, batch)
		if s.FollowSymlinks && slices.ContainsFunc(batch, mayChangeLinks) {
			d.pipeline.followNewLinks()
		}
		return nil
	}
	return s.PageRoutes(refresh, recheck, s.server.Concerns)
}

// anyReloads reports whether there are pages to refresh.
func (c *resolvedConfig) anyReloads() bool {
	return slices.ContainsFunc(c.sites, func(s servedSite) bool { return s.Reloads() })
}

// anyWaits reports whether pages wait for a route, or for one that comes after it.
func (c *resolvedConfig) anyWaits(route string) bool {
	return slices.ContainsFunc(c.sites, func(s servedSite) bool { return slices.Contains(s.BeforePages(), route) })
}

func closeServers(servers []*httpd.Server) {
	for _, s := range servers {
		s.Close()
	}
}
