package config

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/execlog/execlogd/httpd"
)

// ofSite are the keys of [server] that a [[site]] has as well.
var ofSite = map[string]bool{
	"root": true, "shared": true, "livereload": true, "inject": true, "sync": true, "delay": true, "debounce": true, "ignore": true,
	"allow_origin": true, "cors": true, "types": true, "cache_size": true, "cache_files": true,
	"compress": true, "precompressed": true, "proxy": true, "spa": true, "clean_urls": true, "error_pages": true, "redirects": true, "headers": true, "rule_files": true,
	"after": true, "editor": true, "follow_symlinks": true,
}

// siteKeys are the keys of a [[site]].
func (cfg *Config) siteKeys() []key {
	keys := []key{{"host", checked(&cfg.Hosts, `names, as in ["docs.example.com"]`, httpd.CheckHost), nil, ""}}
	for _, k := range cfg.serverKeys() {
		if ofSite[k.name] {
			keys = append(keys, k)
		}
	}
	return keys
}

// newSite returns what a site is without keys of its own. What decides which files are shown,
// and to whom, is the default; the rest is as in [server].
func (cfg *Config) newSite(table KeyPath) Config {
	site := defaultConfig("")
	site.table, site.namesRoot = table, true
	site.LiveReload, site.Inject, site.Sync, site.Delay, site.Debounce = cfg.LiveReload, cfg.Inject, cfg.Sync, cfg.Delay, cfg.Debounce
	site.Types, site.CacheSize, site.CacheFiles, site.Editor = cfg.Types, cfg.CacheSize, cfg.CacheFiles, cfg.Editor
	site.Compress, site.Precompressed = cfg.Compress, cfg.Precompressed

	site.File, site.Path, site.Text, site.Routes = cfg.File, cfg.Path, cfg.Text, cfg.Routes
	site.TLSKey, site.AccessLog, site.Metrics, site.StopGrace = cfg.TLSKey, cfg.AccessLog, cfg.Metrics, cfg.StopGrace
	return site
}

// decodeSites decodes the tables of sites, in place of the sites that there are.
func (cfg *Config) decodeSites(t *tables) {
	cfg.Sites = nil
	top := KeyPath{}.Key("site")
	if len(cfg.siteTables) > 0 && !cfg.Serve {
		t.Add(top.Element(0).key(), "a [[site]] is served at the address of [server], and there is no such table: add it")
	}
	owners := make(map[string]KeyPath) // of hosts
	for i, table := range cfg.siteTables {
		at := top.Element(i)
		if _, isTable := table.(map[string]any); !isTable {
			t.unwanted(value{is: table, label: "site", at: at}, "a table, as after [[site]]")
			continue
		}
		site := cfg.newSite(at)
		before := len(t.mistakes)
		t.table(value{is: table, label: "site", at: at}, site.siteKeys())
		site.AllowHosts = site.Hosts
		cfg.Sites = append(cfg.Sites, site)
		if len(t.mistakes) > before {
			continue
		}

		if len(site.Hosts) == 0 {
			t.Add(at.key(), "a site has no host: name the hosts by which browsers address it, as in host = \"docs.localhost\"")
		}
		if site.Root == "" {
			t.Add(at.key(), "a site has no root: name the directory to serve, as in root = \"docs\"")
		}
		t.checkHosts(cfg, &site, owners)
	}
}

// checkHosts reports hosts of a site that another site has: owners are those of the sites
// before it.
func (t *tables) checkHosts(cfg, site *Config, owners map[string]KeyPath) {
	for _, entry := range site.Hosts {
		at := site.table.Key("host").Text(entry)
		host, _ := httpd.ParseHost(entry)
		addr, err := netip.ParseAddr(host)
		inServer := func(other string) bool {
			allowed, _ := httpd.ParseHost(other)
			return allowed == host
		}
		switch before, known := owners[host]; {
		case known:
			line, _ := t.position(before)
			t.Add(at, "host %q: the site in line %d has it as well: take it out of one", entry, line)
		case host == "localhost" || host == ".localhost" || err == nil && addr.IsLoopback():
			t.Add(at, "host %q is a name of [server]: name another, as in \"docs.localhost\"", entry)
		case slices.ContainsFunc(append(cfg.AllowHosts, cfg.Host), inServer):
			t.Add(at, "host %q is in [server] as well: take it out of there", entry)
		default:
			owners[host] = at
		}
	}
}

// AllSites returns the site of [server] and the others. There are none if nothing is served.
func (cfg *Config) AllSites() (all []*Config) {
	if !cfg.Serve {
		return nil
	}
	all = append(all, cfg)
	for i := range cfg.Sites {
		all = append(all, &cfg.Sites[i])
	}
	return all
}

// SiteOf returns the site of the first pages that wait for a route.
func (cfg *Config) SiteOf(route string) *Config {
	for i := range cfg.Sites {
		if slices.Contains(cfg.Sites[i].After, route) && !slices.Contains(cfg.After, route) {
			return &cfg.Sites[i]
		}
	}
	return cfg
}

// HasPages reports whether a root is that of pages to refresh.
func (cfg *Config) HasPages(root string) bool {
	return slices.ContainsFunc(cfg.AllSites(), func(site *Config) bool { return site.Reloads() && site.Root == root })
}

// RouteName returns the name of ReloadRoute or NamesRoute for the pages of a site. No route of
// a file has a name with a space.
func (cfg *Config) RouteName(route string) string {
	if len(cfg.Hosts) == 0 {
		return route
	}
	return route + " " + cfg.Hosts[0]
}

// IsPageRoute reports whether a name is that of ReloadRoute, or of NamesRoute, for any site.
func IsPageRoute(name, route string) bool {
	first, _, _ := strings.Cut(name, " ")
	return first == route
}
