package config

import (
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/execlog/execlogd/bus"
)

// A Bus is the NATS server over which machines tell each other of changes.
type Bus struct {
	URL         string // empty for none
	Credentials string // a file, absolute
	CA          string // a file, absolute
	Cert, Key   string // files, absolute
	Cluster     string

	table bool // the file has a table for it
}

// SharedName is the name of a root with shared = true.
const SharedName = "site"

// keys are the keys of [bus].
func (b *Bus) keys() []key {
	return []key{
		{"url", busURL(&b.URL), nil, ""}, // -bus
		{"credentials", path(&b.Credentials, `a file, as in "nats.creds"`), nil, ""},
		{"tls_ca", path(&b.CA, `a file in PEM, as in "ca.pem"`), nil, ""},
		{"tls_cert", path(&b.Cert, `a file in PEM, as in "cert.pem"`), nil, ""},
		{"tls_key", path(&b.Key, `a file in PEM, as in "key.pem"`), nil, ""},
		{"cluster", busName(&b.Cluster), nil, ""},
	}
}

// urlFlag is -bus, for the key url.
func (b *Bus) urlFlag() key {
	return key{"bus", busURL(&b.URL), "none", "share changes over the NATS server at this `URL`, as in nats://host:4222"}
}

// busURL decodes the URL of a NATS server.
func busURL(to *string) decoder {
	const want = `the URL of a NATS server, as in "nats://host:4222"`
	return parsed(to, want, func(s string) (string, bool) { return s, bus.CheckURL(s) == nil })
}

// busName decodes the name of a cluster.
func busName(to *string) decoder {
	return parsed(to, `at most 64 letters, digits, - and _, as in "docs"`, func(s string) (string, bool) { return s, bus.CheckName(s) == nil })
}

// shared decodes whether a root is shared, or by which name.
func shared(to *string) decoder {
	name := busName(to)
	return func(t *tables, v value) {
		switch is, ok := as(v, strconv.ParseBool); {
		case !ok:
			name(t, v)
		case is:
			*to = SharedName
		default:
			*to = ""
		}
	}
}

// Options returns the options of package bus, without roots.
func (b *Bus) Options() bus.Options {
	return bus.Options{URL: b.URL, Credentials: b.Credentials, CA: b.CA, Cert: b.Cert, Key: b.Key, Cluster: b.Cluster}
}

// A SharedRoot is a root whose changes go over the bus.
type SharedRoot struct {
	Name    string // by which other machines know it
	Root    string
	Ignored []Ignored // by the pages and routes for anything in it; what all of them ignore is not shared

	table KeyPath // of what has it
}

// Ignored is what pages or a route ignore of their root, as in router.Route.
type Ignored struct {
	Root           string
	Hidden, Ignore []string
}

// SharedRoots returns the roots of pages and of routes that are shared, each once.
func (cfg *Config) SharedRoots() (all []SharedRoot) {
	add := func(r SharedRoot) {
		same := func(o SharedRoot) bool { return o.Name == r.Name && o.Root == r.Root }
		if r.Name != "" && !slices.ContainsFunc(all, same) {
			all = append(all, r)
		}
	}
	for _, site := range cfg.AllSites() {
		if site.Reloads() {
			add(SharedRoot{Name: site.Shared, Root: site.Root, table: site.table})
		}
	}
	for _, c := range cfg.Routes {
		add(SharedRoot{Name: c.Shared, Root: c.Root, table: c.table})
	}
	for i := range all {
		r := &all[i]
		note := func(o Ignored) {
			_, below := Below(r.Root, o.Root)
			_, above := Below(o.Root, r.Root)
			if below || above { // the whole of it, or a part
				r.Ignored = append(r.Ignored, o)
			}
		}
		for _, site := range cfg.AllSites() {
			if site.Reloads() {
				note(Ignored{site.Root, site.Hidden, site.Ignore})
			}
		}
		for _, c := range cfg.Routes {
			note(Ignored{c.Root, c.Hidden, c.Ignore})
		}
	}
	return all
}

// anyShared returns the table of something that is shared.
func (cfg *Config) anyShared() (table KeyPath, ok bool) {
	for _, site := range cfg.AllSites() {
		if site.Shared != "" {
			return site.table, true
		}
	}
	for _, c := range cfg.Routes {
		if c.Shared != "" {
			return c.table, true
		}
	}
	return KeyPath{}, false
}

// checkSharedRoots reports roots that are files, have the same name, or are one below another.
func (cfg *Config) checkSharedRoots(r *Report) {
	all := cfg.SharedRoots()
	for i, own := range all {
		at := own.table.Key("shared")
		if IsFile(own.Root) {
			r.Add(at, "the root %s is a file, and only directories are shared: name its directory as the root, and the file in match", own.Root)
		}
		for _, before := range all[:i] {
			_, below := Below(before.Root, own.Root)
			_, above := Below(own.Root, before.Root)
			switch {
			case own.Name == before.Name:
				r.Add(at, "the root %s is shared by the name %q, and so is %s: give it a name of its own, as in shared = \"docs\"", own.Root, own.Name, before.Root)
			case below || above:
				r.Add(at, "the root %s is shared, and so is %s, which has the same files: take shared out of one", own.Root, before.Root)
			}
		}
	}
}

// queueRoute returns the first route with a queue; nil if there is none.
func (cfg *Config) queueRoute() *Route {
	for i := range cfg.Routes {
		if cfg.Routes[i].Queue != "" {
			return &cfg.Routes[i]
		}
	}
	return nil
}

// checkBus says what does not go together. The error begins with the key.
func (cfg *Config) checkBus() error {
	_, isShared := cfg.anyShared()
	switch {
	case cfg.queueRoute() != nil && cfg.Bus.URL == "":
		return fmt.Errorf("queue: there is no bus for the queue of route %q: name a server with -bus, or by url in [bus]", cfg.queueRoute().Name)
	case cfg.Bus.table && cfg.Bus.URL == "":
		return errors.New("bus: there is no url: name the server, as in url = \"nats://host:4222\"")
	case isShared && cfg.Bus.URL == "":
		return errors.New("shared: there is no bus to share changes over: name a server with -bus, or by url in [bus]")
	case cfg.Shared != "" && !cfg.Reloads():
		return errors.New("shared: nothing of the root is watched: serve it with livereload, or take it out")
	case (cfg.Bus.Cert == "") != (cfg.Bus.Key == ""):
		return errors.New("bus: tls_cert and tls_key belong together: name both files")
	}
	return nil
}

// busFromFile reports whether all that is said of the bus is in the file.
func (cfg *Config) busFromFile() bool {
	return cfg.fromFile("bus") && cfg.fromFile("shared") || cfg.queueRoute() != nil && cfg.Bus.URL == ""
}

// checkBusFiles reports what is wrong with the keys of the bus in the file, and with the
// files that they name.
func (cfg *Config) checkBusFiles(r *Report) {
	cfg.checkSharedRoots(r)
	err := cfg.checkBus()
	if err == nil && cfg.Bus.URL != "" {
		err = bus.CheckFiles(cfg.Bus.Options())
	} else if err != nil && !cfg.busFromFile() {
		return // it is an error of the flags
	}
	if err == nil {
		return
	}
	at := KeyPath{}.Key("bus")
	if c := cfg.queueRoute(); c != nil && cfg.Bus.URL == "" {
		at = c.At("queue")
	} else if table, ok := cfg.anyShared(); ok && !cfg.Bus.table {
		at = table.Key("shared")
	}
	r.Add(at.key(), "%v", err)
}
