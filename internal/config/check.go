package config

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// Check reports directories and files that the file names and that do not exist, and
// patterns that cannot be meant. It looks at the file system. It returns the routes
// whose commands are still to be checked; those of the others have a mistake already.
func (cfg *Config) Check(r *Report) (routes []*Route) {
	if cfg.Serve {
		if cfg.ServesFiles() && cfg.fromFile("root") && !cfg.namesRoot && !isWorkingDir(filepath.Dir(cfg.Path)) {
			r.Add(KeyPath{}.Key("server").key(), "[server] has no root, and would serve %s, where the file is: name the directory to serve, as in root = \"/srv/www\"", filepath.Dir(cfg.Path))
		} else if cfg.fromFile("root") {
			r.check(KeyPath{}.Key("server").Key("root"), cfg.CheckRoot("name another"))
		}
		r.checkPatterns(cfg.ignorePatterns(), cfg.Root)
		cfg.checkCertificates(r)
		for _, site := range cfg.Sites {
			if site.Root != "" {
				r.check(site.table.Key("root"), site.CheckRoot("name another"))
			}
			r.checkPatterns(site.ignorePatterns(), site.Root)
		}
	}

	cfg.checkBusFiles(r)
	if at, ok := cfg.StateKey(); ok {
		r.check(at, checkNewDir("state", cfg.State))
	}

	exists := filepath.Dir(cfg.Path) // the file is in it
	for i := range cfg.Routes {
		c := &cfg.Routes[i]
		if c.Reload && !slices.ContainsFunc(cfg.AllSites(), (*Config).Reloads) {
			r.Add(c.table, "route %q has reload = true, and no pages are served: add a [server] table, or take it out", c.Name)
		}
		r.checkPatterns(c.patterns(), c.Root)

		// The root of a builder is its dir, unless it has another.
		hasRoot := c.Root == exists || c.IsBuilder && c.Root == c.Service.Dir || r.check(c.At("root"), CheckRootOrFile("root", c.Root, "name another, or add wait = true", c.Wait))
		hasDir := c.Service.Dir == exists || r.check(c.At("dir"), CheckDir("dir", c.Service.Dir, "name another"))
		oneCommand := len(c.Service.Argv) == 0 || c.Service.Shell == ""
		leaves := c.IsService && len(c.Service.Leave) > 0
		if hasRoot && hasDir && c.Name != "" && oneCommand && !leaves {
			routes = append(routes, c)
		}
	}
	return routes
}

// isWorkingDir reports whether a directory is the working directory.
func isWorkingDir(dir string) bool {
	info, err := os.Stat(dir)
	here, wrong := os.Stat(".")
	return err == nil && wrong == nil && os.SameFile(info, here)
}

// check reports an error, if there is one. It returns whether there is none.
func (r *Report) check(at KeyPath, err error) bool {
	if err != nil {
		r.Add(at, "%v", err)
	}
	return err == nil
}

// fromFile reports whether a value is that of the file, and not of a flag.
func (cfg *Config) fromFile(flag string) bool {
	return cfg.File != "" && !slices.Contains(cfg.flags, flag)
}

// ControlKey returns the key of the control socket. It is false if the socket is not
// named in the file, or a flag names another.
func (cfg *Config) ControlKey() (at KeyPath, ok bool) {
	return KeyPath{}.Key("control"), cfg.Control != "" && cfg.fromFile("control")
}

// StateKey is ControlKey of the state directory.
func (cfg *Config) StateKey() (at KeyPath, ok bool) {
	return KeyPath{}.Key("state"), cfg.State != "" && cfg.fromFile("state")
}

// Notes returns what is, or may be, wrong with the patterns and the names of pages.
func (cfg *Config) Notes() Mistakes {
	r := cfg.NewReport()
	for _, site := range cfg.AllSites() {
		site.notePages(r)
		if site.Reloads() {
			r.notePatterns("", site.ignorePatterns(), site.Root)
		}
	}
	for i := range cfg.Routes {
		r.noteRoute(fmt.Sprintf("route %q: ", cfg.Routes[i].Name), &cfg.Routes[i])
	}
	return r.Mistakes()
}
