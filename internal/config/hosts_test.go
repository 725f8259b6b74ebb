package config

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/execlog/execlogd/httpd"
)

// withSite is a [server], and a [[site]] with text that begins in line 5.
func withSite(text string) string {
	return "[server]\n[[site]]\nhost = 'docs.localhost'\nroot = 'docs'\n" + text
}

func TestSites(t *testing.T) {
	file := filepath.Join(t.TempDir(), "x.toml")
	const text = `
[server]
root = "www"
delay = "1s"
spa = true
compress = true
proxy = {"/api" = "127.0.0.1:3000"}
ignore = "a"
allow_host = "example.com"
allow_origin = "https://a.example"
after = ["build", "other"]
[[route]]
name = "build"
run = ["x"]
reload = true
[[route]]
name = "docs"
run = ["x"]
reload = true
[[route]]
name = "other"
run = ["x"]
[[site]]
host = ["Docs.Example.com.", ".docs.localhost"]
root = "docs"
after = ["docs", "other"]
ignore = "b"
clean_urls = true
[[site.redirects]]
from = "/a"
to = "/b"
[[site]]
host = "api.localhost"
root = "/api"
livereload = true
delay = "2s"
compress = false
precompressed = true
[site.proxy]
"/" = "unix:app.sock"
"/x" = "127.0.0.1:3001"
`
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	cfg, _, err := Parse("execlogd", "", []string{"-config", file, "-livereload=false", "-inject=false"})
	if err != nil {
		t.Fatal(err)
	}
	if len(cfg.Sites) != 2 {
		t.Fatalf("%d sites", len(cfg.Sites))
	}

	docs, api := &cfg.Sites[0], &cfg.Sites[1]
	if docs.Root != filepath.Join(filepath.Dir(file), "docs") || api.Root != "/api" || docs.SPA != "" || !docs.CleanURLs || len(docs.Redirects) != 1 || cfg.CleanURLs {
		t.Errorf("what is served: %+v", docs)
	}
	if !slices.Equal(docs.Ignore, []string{"b"}) || len(docs.AllowOrigins) > 0 || !slices.Equal(docs.HTTP(nil, nil).AllowHosts, docs.Hosts) {
		t.Errorf("what is of [server] alone: ignore %q, allow_origin %q, hosts %q", docs.Ignore, docs.AllowOrigins, docs.AllowHosts)
	}
	if docs.LiveReload || !api.LiveReload || docs.Inject || docs.Delay != time.Second || api.Delay != 2*time.Second {
		t.Errorf("what is inherited: live reload %v and %v, delay %v and %v", docs.LiveReload, api.LiveReload, docs.Delay, api.Delay)
	}
	socket := "unix:" + filepath.Join(filepath.Dir(file), "app.sock")
	if !docs.Compress || docs.Precompressed || api.Compress || !api.Precompressed || len(cfg.Proxies) != 1 || docs.Proxies != nil || !slices.Equal(api.Proxies, []httpd.Proxy{{Path: "/", Upstream: socket}, {Path: "/x", Upstream: "127.0.0.1:3001"}}) {
		t.Errorf("compression and proxies: %+v", cfg.Sites)
	}
	if own := api.HTTP(nil, nil); own.Root != "" || own.Compress || !own.Precompressed || len(own.Proxies) != 2 || docs.HTTP(nil, nil).Root == "" {
		t.Errorf("options of an application: %+v", own)
	}
	for i, want := range [][]string{{"build", "other", "build"}, {"docs", "other"}, nil} {
		if got := cfg.AllSites()[i].PagesAfter(); !slices.Equal(got, want) {
			t.Errorf("pages of site %d come after %q, want %q", i, got, want)
		}
	}
	if want := []string{cfg.Routes[0].Root, "/api"}; !slices.Equal(cfg.Roots(), sorted(want)) {
		t.Errorf("roots %q, want %q", cfg.Roots(), want)
	}
	var names []string
	for _, r := range api.PageRoutes(nil, nil, nil) {
		names = append(names, r.Name)
	}
	if !slices.Equal(names, []string{"reload api.localhost", "names api.localhost"}) || !IsPageRoute(names[1], NamesRoute) || IsPageRoute("names2", NamesRoute) {
		t.Errorf("routes %q", names)
	}
}

func sorted(s []string) []string { return slices.Sorted(slices.Values(s)) }

func TestMistakesInSites(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"[[site]]\nhost = 'a.localhost'\nroot = 'a'", `x.toml:1:3: a [[site]] is served at the address of [server]`},
		{"[server]\n[site]\nhost = 'a'", `x.toml:2:2: site is a table: begin each site with [[site]]`},
		{"[server]\nsite = 1", `x.toml:2:1: unknown key "site": site belongs to the top of the file`},
		{"site = [1]\n[server]", `x.toml:1:9: site is 1: want a table, as after [[site]]`},
		{"[server]\n[[site]]\nroot = 'a'", `x.toml:2:3: a site has no host: name the hosts`},
		{"[server]\n[[site]]\nhost = 'a'", `x.toml:2:3: a site has no root: name the directory`},
		{withSite("port = 1"), `x.toml:5:1: unknown key "port": port belongs to [server]; here is host, root, `},
		{withSite("max_connections = 1"), `x.toml:5:1: unknown key "max_connections": max_connections belongs to [server]`},
		{withSite("proxy = 'x'"), `x.toml:5:9: upstream "x": want a host with its port`},
		{withSite("run = ['x']"), `x.toml:5:1: unknown key "run": run belongs to a [[route]]`},
		{withSite("after = 'x'"), `x.toml:5:9: after names a route "x" that is not there`},
		{withSite("redirects = 1"), `x.toml:5:1: redirects is 1: begin each of them with [[site.redirects]]`},
		{withSite("[[site.redirects]]\nfrom = '/a'"), `x.toml:5:8: a redirect has a from and a to`},
		{withSite("[[site]]\nhost = ['b.localhost', 'b:80']\nroot = 'b'"), `x.toml:6:24: host: host "b:80": want a name or an address without a port`},
		{withSite("[[site]]\nhost = ['b.localhost', 'Docs.localhost.']\nroot = 'b'"), `x.toml:6:24: host "Docs.localhost.": the site in line 3 has it as well: take it out of one`},
		{"[server]\n[[site]]\nhost = ['a', 'b', 'a']\nroot = 'a'", `x.toml:3:9: host "a": the site in line 3 has it as well`},
		{"[server]\n[[site]]\nhost = '127.0.0.2'\nroot = 'a'", `x.toml:3:8: host "127.0.0.2" is a name of [server]: name another`},
		{"[server]\n[[site]]\nhost = 'LOCALHOST'\nroot = 'a'", `x.toml:3:8: host "LOCALHOST" is a name of [server]: name another`},
		{"[server]\nhost = '192.0.2.1'\n[[site]]\nhost = '192.0.2.1'\nroot = 'a'", `x.toml:4:8: host "192.0.2.1" is in [server] as well: take it out of there`},
		{"[server]\nallow_host = ['.Example.com']\n[[site]]\nhost = '.example.com'\nroot = 'a'", `x.toml:4:8: host ".example.com" is in [server] as well`},
	} {
		_, wrong := parse("x.toml", "/dir", []byte(tt.text))
		if len(wrong) != 1 || !strings.HasPrefix(wrong.Error(), tt.want) {
			t.Errorf("%s\n got %q\nwant %s", tt.text, wrong, tt.want)
		}
	}
}

// What is wrong outside the file is reported of each site.
func TestCheckOfSites(t *testing.T) {
	dir := t.TempDir()
	text := withSite("ignore = 'docs/x'\nspa = true\n")
	for _, sub := range []string{"docs", "docs/docs"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	text = strings.Replace(text, "[server]\n", "[server]\nroot = '.'\n", 1) + "[[site]]\nhost = 'b.localhost'\nroot = 'none'\n"
	cfg, wrong := parse("x.toml", dir, []byte(text))
	if len(wrong) > 0 {
		t.Fatal(wrong)
	}
	r := cfg.NewReport()
	cfg.Check(r)
	if got := r.Mistakes(); len(got) != 1 || !strings.HasPrefix(got[0].Error(), `x.toml:10:8: root "`+dir+`/none" does not exist`) {
		t.Errorf("mistakes %q", got)
	}
	if notes := cfg.Notes(); len(notes) != 1 || !strings.HasPrefix(notes[0].Error(), "x.toml:7:7: spa is index.html, and there is no such file in "+dir+"/docs") {
		t.Errorf("notes %q", notes)
	}
}
