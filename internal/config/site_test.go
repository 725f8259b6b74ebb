package config

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/execlog/execlogd/httpd"
)

func TestTypes(t *testing.T) {
	cfg := mustParse(t, "[server]\ntypes = { '.md' = 'text/markdown', '.X' = 'application/x' }")
	if want := map[string]string{".md": "text/markdown", ".X": "application/x"}; !reflect.DeepEqual(cfg.HTTP(nil, nil).Types, want) {
		t.Errorf("got %q, want %q", cfg.Types, want)
	}
}

func TestProxies(t *testing.T) {
	tests := []struct {
		text string
		want []httpd.Proxy
		root string
	}{
		{"proxy = '127.0.0.1:3000'", []httpd.Proxy{{Path: "/", Upstream: "127.0.0.1:3000"}}, ""},
		{"proxy = 'unix:app.sock'", []httpd.Proxy{{Path: "/", Upstream: "unix:/dir/app.sock"}}, ""},
		{"proxy = { '/b' = 'https://b.example', '/a' = 'localhost:1' }", []httpd.Proxy{{Path: "/a", Upstream: "localhost:1"}, {Path: "/b", Upstream: "https://b.example"}}, "/dir"},
		{"static = false\nlivereload = false\nproxy = { '/a' = 'localhost:1' }", []httpd.Proxy{{Path: "/a", Upstream: "localhost:1"}}, ""},
		{"", nil, "/dir"},
	}
	for _, tt := range tests {
		cfg, wrong := parse("x.toml", "/dir", []byte("[server]\n"+tt.text))
		if got := cfg.HTTP(nil, nil); wrong != nil || !slices.Equal(got.Proxies, tt.want) || got.Root != tt.root {
			t.Errorf("%s: %v, root %q, %v; want %v, root %q", tt.text, got.Proxies, got.Root, wrong, tt.want, tt.root)
		}
	}
	cfg, _, err := Parse("execlogd", "", []string{"-proxy", "127.0.0.1:1", "-proxy", "/a=http://localhost:2", "-proxy", "127.0.0.1:3"})
	if want := []httpd.Proxy{{Path: "/a", Upstream: "http://localhost:2"}, {Path: "/", Upstream: "127.0.0.1:3"}}; err != nil || !slices.Equal(cfg.Proxies, want) {
		t.Errorf("flags: %v, %v, want %v", cfg.Proxies, err, want)
	}
}

func TestSite(t *testing.T) {
	cfg := mustParse(t, `
[server]
spa = true
clean_urls = true
rule_files = false
error_pages = { 403 = "403.html", 404 = "errors/404.html" }
[[server.redirects]]
from = "/old/*"
to = "/new/:splat"
[[server.redirects]]
from = "/store"
query = { id = ":id" }
to = "/blog/:id"
status = 302
force = true
[[server.headers]]
for = "/*"
values = { X-Frame-Options = "DENY", X-A = "" }
`)
	got := cfg.HTTP(nil, nil)
	want := httpd.Options{
		SPA: "index.html", CleanURLs: true, NoRuleFiles: true, ErrorPages: map[int]string{403: "403.html", 404: "errors/404.html"},
		Redirects: []httpd.Redirect{{From: "/old/*", To: "/new/:splat"}, {From: "/store", Query: map[string]string{"id": ":id"}, To: "/blog/:id", Status: 302, Force: true}},
		Headers:   []httpd.HeaderRule{{For: "/*", Values: map[string]string{"X-Frame-Options": "DENY", "X-A": ""}}},
	}
	same := httpd.Options{SPA: got.SPA, CleanURLs: got.CleanURLs, NoRuleFiles: got.NoRuleFiles, ErrorPages: got.ErrorPages, Redirects: got.Redirects, Headers: got.Headers}
	if !reflect.DeepEqual(same, want) {
		t.Errorf(" got %+v\nwant %+v", same, want)
	}
	bare := mustParse(t, "[server]")
	if plain := bare.HTTP(nil, nil); plain.SPA != "" || plain.CleanURLs || plain.NoRuleFiles {
		t.Errorf("by default %+v", plain)
	}
	for args, want := range map[string]string{"-spa": "index.html", "-spa=app.html": "app.html", "-spa=false": "", "-clean-urls": "", "-rule-files=false": ""} {
		cfg, _, err := Parse("execlogd", "", []string{args})
		if err != nil || cfg.SPA != want || cfg.CleanURLs != (args == "-clean-urls") || cfg.RuleFiles == (args == "-rule-files=false") {
			t.Errorf("%s: %q, %+v, %v", args, cfg.SPA, cfg, err)
		}
	}
}

// What is wrong in the files of rules is found beside the configuration.
func TestRuleMistakes(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"_redirects": "/a /b\n/c\n", "_headers": "x\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cfg := defaultConfig(dir)
	var places []string
	for _, m := range cfg.RuleMistakes() {
		place, _, _ := strings.Cut(m.Error(), ": ")
		places = append(places, place)
	}
	if want := []string{dir + "/_redirects:2:1", dir + "/_headers:1:1"}; !slices.Equal(places, want) {
		t.Errorf("got %q, want %q", places, want)
	}
	check := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	check(os.Truncate(filepath.Join(dir, "_redirects"), httpd.MaxRuleFile+1))
	check(os.Remove(filepath.Join(dir, "_headers")))
	check(unix.Mkfifo(filepath.Join(dir, "_headers"), 0o600)) // which has no writer
	if wrong := cfg.RuleMistakes(); len(wrong) != 1 || !strings.HasSuffix(wrong[0].Error(), "/_redirects:1:1: the file has more than 4194304 bytes") {
		t.Errorf("of a large file and a pipe: %v", wrong)
	}
	cfg.RuleFiles = false
	if wrong := cfg.RuleMistakes(); wrong != nil {
		t.Errorf("without rule_files: %v", wrong)
	}
}

// A page that is not there may come, and so is only noted.
func TestNotesOnPages(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "404.html"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	const text = "[server]\nspa = true\nerror_pages = { 404 = '404.html', 403 = 'no.html' }\n"
	cfg, wrong := parse("x.toml", dir, []byte(text))
	got := cfg.Notes().Error()
	if want := "x.toml:2:7: spa is index.html, and there is no such file in " + dir + " (and 1 more"; wrong != nil || !strings.HasPrefix(got, want) {
		t.Errorf("%v\n got %s\nwant %s", wrong, got, want)
	}
	if want := "x.toml:3:41: the page for 403 is no.html"; !strings.HasPrefix(cfg.Notes()[1].Error(), want) {
		t.Errorf("got %s, want %s", cfg.Notes()[1], want)
	}
	if cfg, _ = parse("x.toml", dir, []byte(text+"[[route]]\nname = 'x'\nrun = ['x']\nstart = true\n")); len(cfg.Notes()) > 0 {
		t.Errorf("of what a build makes: %v", cfg.Notes())
	}
}

func TestMistakesOfTheSite(t *testing.T) {
	tests := []struct{ text, want string }{
		{"types = 'text/plain'", "x.toml:2:9: types is a string: want a table, as in {"},
		{"types = { '.md' = 1 }", `x.toml:2:19: .md is 1: want a content type, as in "text/markdown`},
		{"types = { md = 'text/plain' }", `x.toml:2:16: extension "md": want one with its dot`},
		{"types = { '.md' = 'plain' }", `x.toml:2:19: type "plain" of ".md": want one as in`},
		{"spa = 1", "x.toml:2:7: spa is 1: want true, or the name of a file"},
		{"spa = '/a.html'", `x.toml:2:7: page "/a.html": want the name of a file in the directory`},
		{"clean_urls = 'yes'", `x.toml:2:14: clean_urls is "yes": write true, without quotes`},
		{"error_pages = '404.html'", "x.toml:2:15: error_pages is a string: want a table, as in { 404"},
		{"error_pages = { 404 = '../a' }", `x.toml:2:23: 404: page "../a"`},
		{"error_pages = { 418 = 'a' }", "x.toml:2:23: 418: status 418 has no page"},
		{"error_pages = { x = 'a' }", "x.toml:2:21: x: status 0 has no page"},
		{"proxy = 3000", `x.toml:2:9: proxy is 3000: want an address, as in "127.0.0.1:3000"`},
		{"proxy = '3000'", `x.toml:2:9: upstream "3000": want a host with its port`},
		{"proxy = '/api=127.0.0.1:3000'", `x.toml:2:9: upstream "/api=127.0.0.1:3000": want a host`},
		{"proxy = { '/' = '127.0.0.1:3000/v1' }", `x.toml:2:17: upstream "127.0.0.1:3000/v1": want a host and a port alone`},
		{"[server.proxy]\n'/api' = ''", `x.toml:3:10: /api is empty: want an address`},
		{"[server.proxy]\napi = '127.0.0.1:3000'", `x.toml:3:7: path "api": want one as in /api`},
		{"redirects = '/a /b'", "x.toml:2:1: redirects is a string: begin each of them with [[server.redirects]]"},
		{"[[server.redirects]]\nfrom = '/a'", "x.toml:2:10: a redirect has a from and a to"},
		{"[[server.redirects]]\nfrom = 'a'\nto = '/b'", `x.toml:3:8: "a": a pattern begins with a slash`},
		{"[[server.redirects]]\nfrom = '/a'\nto = '/b'\n[[server.redirects]]\nfrom = '/a'\nto = 'b'", `x.toml:7:6: "b": want a path`},
		{"[[server.redirects]]\nfrom = '/a'\nto = '/b'\nstatus = 299", "x.toml:5:10: status 299: want one of"},
		{"[[server.redirects]]\nfrom = '/a'\nto = 'https://b.example'\nstatus = 200", "x.toml:5:10: status 200 with another server would be a proxy"},
		{"[[server.redirects]]\nfrom = '/a'\nto = '/b'\ncode = 1", `x.toml:5:1: unknown key "code": `},
		{"redirects = [{ from = '/a', to = 1 }]", "x.toml:2:34: to is 1: want a path or a URL"},
		{"[[server.headers]]\nfor = 'a'\nvalues = { X = 'y' }", `x.toml:3:7: "a": a pattern begins with a slash`},
		{"[[server.headers]]\nfor = '/a'", "x.toml:2:10: headers have a for and values"},
		{"[[server.headers]]\nfor = '/a'\n[server.headers.values]\nX-A = 'b'\nDate = 'x'", "x.toml:6:8: Date is set by the server"},
		{"[[server.headers]]\nfor = '/a'\nvalues = { Access-Control-Allow-Origin = '*' }", "x.toml:4:42: Access-Control-Allow-Origin: which sites may read files is said by cors"},
		{"[server.types]\n'.md' = 'plain'", `x.toml:3:9: type "plain" of ".md"`},
	}
	for _, tt := range tests {
		_, wrong := parse("x.toml", "/dir", []byte("[server]\n"+tt.text))
		if len(wrong) != 1 || !strings.Contains(wrong[0].Error(), tt.want) {
			t.Errorf("%s\n got %v\nwant %s", tt.text, wrong, tt.want)
		}
	}
}
