package config

// Check reports what the file names that is not there, and patterns that cannot be
// meant. It looks at the file system. What a route runs is for the caller to check,
// for the routes that it returns: the others are wrong already.
func (cfg *Config) Check(r *Report) (routes []*Route) {
	if cfg.Serve {
		if cfg.fromFile("root") {
			r.check(Place{}.Key("server").Key("root"), CheckDir("root", cfg.Root, "name another"))
		}
		r.checkPatterns(cfg.serverPatterns(), cfg.Root)
	}
	for i := range cfg.Routes {
		c := &cfg.Routes[i]
		if c.Reload && !cfg.Reloads() {
			r.Add(c.place, "route %q has reload = true, and no pages are served: add a [server] table, or take it out", c.Name)
		}
		r.checkPatterns(c.patterns(), c.Root)
		isThere := r.check(c.At("root"), CheckRootOrFile("root", c.Root, "name another, or add wait = true", c.Wait)) &&
			r.check(c.At("dir"), CheckDir("dir", c.Service.Dir, "name another"))
		if isThere && c.Name != "" && (len(c.Service.Argv) == 0 || c.Service.Shell == "") {
			routes = append(routes, c)
		}
	}
	return routes
}

// fromFile reports whether a value is that of the file, and not of a flag above it.
func (cfg *Config) fromFile(flag string) bool { return cfg.File != "" && !cfg.flags[flag] }

// ControlPlace is where the file names the control socket. It is false if the file
// does not, or a flag names another.
func (cfg *Config) ControlPlace() (at Place, ok bool) {
	return Place{}.Key("control"), cfg.Control != "" && cfg.fromFile("control")
}

// check adds an error, if it is one, and reports whether it is none.
func (r *Report) check(at Place, err error) bool {
	if err != nil {
		r.Add(at, "%v", err)
	}
	return err == nil
}

// CheckWhy reports all that is wrong with the patterns of routes, or may be, as
// texts. Roots are those of all routes; nil for each route's own.
func (cfg *Config) Remarks(roots []string) []string {
	r := cfg.NewReport()
	for i := range cfg.Routes {
		c := &cfg.Routes[i]
		own := roots
		if own == nil {
			own = []string{c.Root}
		}
		r.checkPatterns(c.patterns(), own...)
		r.noteRoute(c.Name, c, own...)
	}
	return r.texts()
}
