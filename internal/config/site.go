package config

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/execlog/execlogd/httpd"
	"github.com/execlog/execlogd/inotify"
)

// members returns the members of a table, in the order of their names, and calls decode
// for each.
func (t *tables) members(v value, want string, decode func(name string, m value)) {
	is, ok := v.is.(map[string]any)
	if !ok {
		t.unwanted(v, want)
		return
	}
	for _, name := range slices.Sorted(maps.Keys(is)) {
		decode(name, value{is: is[name], label: inotify.Quote(name), at: v.at.Key(name)})
	}
}

// contentTypes decodes a table of content types by extension.
func contentTypes(to *map[string]string) decoder {
	return func(t *tables, v value) {
		types := make(map[string]string)
		t.members(v, `a table, as in { ".md" = "text/markdown; charset=utf-8" }`, func(extension string, m value) {
			contentType, ok := t.text(m, `a content type, as in "text/markdown; charset=utf-8"`, false)
			if !ok {
				return
			}
			if err := httpd.CheckType(extension, contentType); err != nil {
				t.Add(m.at, "%v", err)
				return
			}
			types[extension] = contentType
		})
		*to = types
	}
}

// proxies decodes the upstream of the whole site, or a table of those of paths. A flag has one
// of a path.
func proxies(to *[]httpd.Proxy) decoder {
	const want = `an address, as in "127.0.0.1:3000" or "unix:/run/app.sock"`
	return func(t *tables, v value) {
		add := func(path string, v value) {
			upstream, ok := t.text(v, want, false)
			if !ok {
				return
			}
			if socket, ok := strings.CutPrefix(upstream, "unix:"); ok && !filepath.IsAbs(socket) {
				upstream = "unix:" + filepath.Join(t.dir, socket)
			}
			p := httpd.Proxy{Path: path, Upstream: upstream}
			if !t.check(v.at, httpd.CheckProxy(p)) {
				return
			}
			*to = append(slices.DeleteFunc(*to, func(before httpd.Proxy) bool { return before.Path == path }), p)
		}
		switch is := v.is.(type) {
		case map[string]any:
			t.members(v, "", add)
		case string:
			path, upstream, hasPath := strings.Cut(is, "=")
			if v.flag && hasPath && strings.HasPrefix(is, "/") {
				v.is = upstream
			} else {
				path = "/"
			}
			add(path, v)
		default:
			t.unwanted(v, want+`, or a table, as in { "/api" = "127.0.0.1:3000" }`)
		}
	}
}

// ServesFiles reports whether files of the root are served, and not all handed on.
func (cfg *Config) ServesFiles() bool { return cfg.Static && cfg.Application() == "" }

// Application returns the upstream of the whole site, or "".
func (cfg *Config) Application() string {
	for _, p := range cfg.Proxies {
		if p.Path == "/" {
			return p.Upstream
		}
	}
	return ""
}

// hasContent reports whether there is anything to serve.
func (cfg *Config) hasContent() bool {
	return cfg.Static || cfg.LiveReload || len(cfg.Proxies) > 0 || len(cfg.Sites) > 0
}

// fallbackPage decodes the file that is shown where there is none: true is the usual one.
func fallbackPage(to *string) decoder {
	return func(t *tables, v value) {
		if is, ok := as(v, strconv.ParseBool); ok {
			*to = ""
			if is {
				*to = "index.html"
			}
			return
		}
		if name, ok := t.text(v, `true, or the name of a file below the root, as in "app.html"`, false); ok && t.check(v.at, httpd.CheckPage(name)) {
			*to = name
		}
	}
}

// errorPages decodes a table of files by status.
func errorPages(to *map[int]string) decoder {
	return func(t *tables, v value) {
		pages := make(map[int]string)
		t.members(v, `a table, as in { 404 = "404.html" }`, func(status string, m value) {
			name, ok := t.text(m, `the name of a file below the root, as in "404.html"`, false)
			if !ok {
				return
			}
			code, _ := strconv.Atoi(status)
			if err := httpd.CheckErrorPage(code, name); err != nil {
				t.Add(m.at, "%s: %v", m.label, err)
				return
			}
			pages[code] = name
		})
		*to = pages
	}
}

// redirects decodes an array of redirects.
func redirects(to *[]httpd.Redirect) decoder {
	return func(t *tables, v value) {
		*to = nil
		t.each(v, func(e value) {
			var r httpd.Redirect
			before := len(t.mistakes)
			t.table(e, []key{
				{"from", text(&r.From, `a pattern of paths, as in "/old/*"`), nil, ""},
				{"query", stringTable(&r.Query, `a table, as in { id = ":id" }`), nil, ""},
				{"to", text(&r.To, `a path or a URL, as in "/new/:splat"`), nil, ""},
				{"status", number(&r.Status, 200, 410, 302), nil, ""},
				{"force", boolean(&r.Force), nil, ""},
			})
			switch {
			case len(t.mistakes) > before:
			case r.From == "" || r.To == "":
				t.Add(e.at.key(), "a redirect has a from and a to: add what is missing")
			case !t.check(e.at.Key("from"), httpd.CheckRedirect(httpd.Redirect{From: r.From, To: "/"})):
			case !t.check(e.at.Key("to"), httpd.CheckRedirect(httpd.Redirect{From: r.From, To: r.To})):
			case t.check(e.at.Key("status"), httpd.CheckRedirect(r)):
				*to = append(*to, r)
			}
		})
	}
}

// headers decodes an array of headers.
func headers(to *[]httpd.HeaderRule) decoder {
	return func(t *tables, v value) {
		*to = nil
		t.each(v, func(e value) {
			var h httpd.HeaderRule
			before := len(t.mistakes)
			t.table(e, []key{
				{"for", text(&h.For, `a pattern of paths, as in "/assets/*"`), nil, ""},
				{"values", stringTable(&h.Values, `a table, as in { X-Frame-Options = "DENY" }`), nil, ""},
			})
			switch {
			case len(t.mistakes) > before:
				return
			case h.For == "" || len(h.Values) == 0:
				t.Add(e.at.key(), "headers have a for and values: add what is missing")
				return
			case !t.check(e.at.Key("for"), httpd.CheckHeaders(httpd.HeaderRule{For: h.For})):
				return
			}
			for _, name := range slices.Sorted(maps.Keys(h.Values)) {
				t.check(e.at.Key("values").Key(name), httpd.CheckHeaders(httpd.HeaderRule{For: h.For, Values: map[string]string{name: h.Values[name]}}))
			}
			*to = append(*to, h)
		})
	}
}

// each calls decode for each element of an array of tables.
func (t *tables) each(v value, decode func(e value)) {
	elements, isArray := v.elements()
	if !isArray {
		t.Add(v.at.key(), "%s is %v: begin each of them with [[%[3]s.%[1]s]]", v.label, v, v.at.top())
	}
	for _, e := range elements {
		decode(e)
	}
}

// stringTable decodes a table of strings.
func stringTable(to *map[string]string, want string) decoder {
	return func(t *tables, v value) {
		all := make(map[string]string)
		t.members(v, want, func(name string, m value) {
			if s, ok := t.text(m, "a string, in quotes", true); ok {
				all[name] = s
			}
		})
		*to = all
	}
}

// notePages reports pages that the root does not have, unless a build makes it.
func (cfg *Config) notePages(r *Report) {
	if !cfg.Serve || !cfg.ServesFiles() || cfg.MakesRoot() {
		return
	}
	note := func(at KeyPath, what, name string) {
		if name != "" && !IsFile(filepath.Join(cfg.Root, name)) {
			r.Add(at, "%s is %s, and there is no such file in %s", what, name, cfg.Root)
		}
	}
	note(cfg.table.Key("spa"), "spa", cfg.SPA)
	for _, status := range slices.Sorted(maps.Keys(cfg.ErrorPages)) {
		code := strconv.Itoa(status)
		note(cfg.table.Key("error_pages").Key(code), "the page for "+code, cfg.ErrorPages[status])
	}
}

// RuleMistakes returns what is wrong in the files of rules that the roots have.
func (cfg *Config) RuleMistakes() (all Mistakes) {
	for _, site := range cfg.AllSites() {
		all = append(all, site.ruleMistakes()...)
	}
	return all
}

func (cfg *Config) ruleMistakes() (all Mistakes) {
	if !cfg.Serve || !cfg.ServesFiles() || !cfg.RuleFiles {
		return nil
	}
	for _, name := range httpd.RuleFiles() {
		file := filepath.Join(cfg.Root, name)
		info, err := os.Stat(file)
		if err != nil || !info.Mode().IsRegular() {
			continue // mostly there is none
		}
		if info.Size() > httpd.MaxRuleFile {
			all = append(all, Mistake{file, 1, 1, fmt.Sprintf("the file has more than %d bytes", httpd.MaxRuleFile)})
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		for _, m := range httpd.CheckRuleFile(name, string(text)) {
			all = append(all, Mistake{file, m.Line, 1, m.Text})
		}
	}
	return all
}
