package daemon

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/execlog/execlogd/internal/testenv"
)

const twoSites = `
-- www/index.html --
<p>www
-- docs/index.html --
<p>docs
-- src/ --
-- x.toml --
[server]
root = "www"
port = 0
debounce = "0s"

[[site]]
host = ["docs.localhost", "docs.example.com"]
root = "docs"
after = ["docs"]

[[route]]
name = "docs"
root = "src"
run = ["grep", "right", "src/a"]
`

// pageAt is page of a site with a host.
func (s *session) pageAt(host string) (told func() string) {
	s.t.Helper()
	_, port, _ := strings.Cut(strings.TrimPrefix(s.URL, "http://"), ":")
	host += ":" + port
	conn, _, err := websocket.Dial(s.t.Context(), s.URL+"/livereload", &websocket.DialOptions{Host: host})
	testenv.Check(s.t, err)
	s.t.Cleanup(func() { conn.CloseNow() })
	return s.introduce(conn, "http://"+host+"/")
}

// The status of an answer to a websocket of a page of an origin, at a host.
func (s *session) listen(host, origin string) int {
	s.t.Helper()
	conn, res, err := websocket.Dial(s.t.Context(), s.URL+"/livereload", &websocket.DialOptions{Host: host, HTTPHeader: http.Header{"Origin": {origin}}})
	if err == nil {
		conn.CloseNow()
	}
	if res == nil {
		s.t.Fatal(err)
	}
	return res.StatusCode
}

func TestSites(t *testing.T) {
	s := begin(t, twoSites)
	if line := s.Seen[0]; !strings.Contains(line, s.Dir+"/docs as docs.localhost, docs.example.com") {
		t.Errorf("the start is %s", line)
	}
	shows := func(host, want string) {
		t.Helper()
		if _, body := s.Get("/", host); !strings.Contains(body, want) {
			t.Errorf("%q has %s, want %s", host, body, want)
		}
	}
	shows("", "<p>www")
	shows("www.localhost:80", "<p>www")
	shows("docs.localhost", "<p>docs")
	shows("DOCS.example.com.:1", "<p>docs")
	shows("example.com", "does not go by the name")

	for _, tt := range []struct {
		host, origin string
		want         int
	}{
		{"docs.example.com", "http://docs.example.com", http.StatusSwitchingProtocols},
		{"docs.example.com", "http://other.example.com", http.StatusForbidden},
		{"docs.example.com", "http://localhost", http.StatusForbidden},
		{"localhost", "http://docs.example.com", http.StatusForbidden},
	} {
		if got := s.listen(tt.host, tt.origin); got != tt.want {
			t.Errorf("a page of %s at %s: %d, want %d", tt.origin, tt.host, got, tt.want)
		}
	}

	// What changes below a root is told to its pages alone: the first thing that a page is
	// told is of its own.
	docs, www := s.pageAt("docs.localhost"), s.page("/")
	s.Write("www/index.html", "<p>new")
	s.isTold(www, `"path":"/index.html"`)
	s.Write("docs/a.html", "<p>a") // which no page shows
	s.Write("src/a", "wrong")
	s.Await("msg=failed route=docs")
	for host, want := range map[string]bool{"docs.localhost": true, "localhost": false} {
		if _, status := s.Get("/.execlogd/", host); strings.Contains(status, "docs: grep: exit status 1") != want {
			t.Errorf("the failure is on the pages of %s: %v, want %v", host, !want, want)
		}
	}
	if _, status := s.Get("/.execlogd/", "localhost"); !strings.Contains(status, ": docs.localhost, docs.example.com.") {
		t.Error("the status page has no docs.example.com")
	}
	s.Write("src/a", "right")
	s.Await("msg=done route=docs")
	s.Write("www/index.html", "<p>newer")
	s.isTold(www, `"path":"/index.html"`)
	s.Write("docs/index.html", "<p>newer")
	s.isTold(docs, `"path":"/index.html"`)
}

// A site of files, an application, and one of both are side by side. Changes below the root
// of each are told to its pages alone, and no site shows the configuration of all.
func TestSitesWithApplications(t *testing.T) {
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprintf(w, "<!doctype html><p>%s at %s", r.URL, r.Host)
	}))
	defer app.Close()
	s := begin(t, strings.ReplaceAll(`
-- www/index.html --
<p>www
-- app/view.html --
<p>view
-- docs/index.html --
<p>docs
-- x.toml --
[server]
root = "www"
port = 0
debounce = "0s"

[[site]]
host = "app.localhost"
root = "app"
proxy = "UPSTREAM"

[[site]]
host = "docs.localhost"
root = "docs"
follow_symlinks = true
[site.proxy]
"/api" = "UPSTREAM"
`, "UPSTREAM", app.URL))
	if line := s.Seen[0]; !strings.Contains(line, "proxy of "+app.URL+" with live reload for "+s.Dir+"/app as app.localhost, serving "+s.Dir+"/docs as docs.localhost") {
		t.Errorf("the start is %s", line)
	}
	for _, tt := range []struct{ host, path, want string }{
		{"localhost", "/", "<p>www"},
		{"localhost", "/api/x", "not found"},
		{"app.localhost", "/view.html", "livereload.js"},
		{"app.localhost", "/view.html", "<p>/view.html at app.localhost"},
		{"docs.localhost", "/", "<p>docs"},
		{"docs.localhost", "/api/x", "<p>/api/x at docs.localhost"},
	} {
		if _, body := s.Get(tt.path, tt.host); !strings.Contains(strings.ToLower(body), tt.want) {
			t.Errorf("%s of %s has %s, want %s", tt.path, tt.host, body, tt.want)
		}
	}

	www, application, docs := s.page("/"), s.pageAt("app.localhost"), s.pageAt("docs.localhost")
	s.Write("app/view.html", "<p>new")
	s.isTold(application, `/view.html"`)
	s.Write("docs/index.html", "<p>new")
	s.isTold(docs, `"path":"/index.html"`)
	s.Write("www/index.html", "<p>new")
	s.isTold(www, `"path":"/index.html"`)

	link(t, s.Dir+"/x.toml", s.Dir+"/docs/x.html")
	if status, body := s.Get("/x.html", "docs.localhost"); status != http.StatusNotFound || strings.Contains(body, "site.proxy") {
		t.Errorf("a link to the configuration: %d %s", status, body)
	}
}

// A reload adds, changes and removes sites; the connections of pages go on.
func TestReloadOfSites(t *testing.T) {
	s := begin(t, twoSites)
	base, _, _ := strings.Cut(twoSites[strings.Index(twoSites, "[server]"):], "[[site]]")
	site := func(host, root string) string { return "[[site]]\nhost = '" + host + "'\nroot = '" + root + "'\n" }
	docs, www := s.pageAt("docs.localhost"), s.page("/")
	s.get("/") // so that www is kept by its connection

	// What is of the same name goes on, with another root.
	s.Write("other/index.html", "<p>other")
	s.Reload(base + site("docs.localhost", "other"))
	s.isTold(docs, `"command":"reload"`) // the root
	if _, body := s.Get("/", "docs.localhost"); !strings.Contains(body, "<p>other") {
		t.Errorf("docs.localhost has %s", body)
	}
	if status, _ := s.Get("/", "docs.example.com"); status != http.StatusForbidden {
		t.Errorf("a host that was taken away: %d", status)
	}
	s.isTold(www, `"command":"reload"`) // as the hosts have changed

	// The hosts change their sites.
	s.Reload(base + site("www.localhost", "docs"))
	s.isTold(docs, `"command":"reload"`)
	for host, want := range map[string]string{"docs.localhost": "<p>www", "www.localhost": "<p>docs", "": "<p>www"} {
		if _, body := s.Get("/", host); !strings.Contains(body, want) {
			t.Errorf("%q has %s, want %s", host, body, want)
		}
	}
	s.isTold(www, `"command":"reload"`)

	// A configuration that is refused changes nothing, and what stays as it is has no news.
	s.Load(base + site("www.localhost", "docs") + site("a.localhost", "none"))
	s.Await("configuration", "none")
	s.Reload(base + site("www.localhost", "docs"))
	s.Write("www/index.html", "<p>last")
	s.isTold(www, `"path":"/index.html"`)
}

// Requests are counted for their site.
func TestMetricsOfSites(t *testing.T) {
	s := begin(t, strings.Replace(twoSites, "[server]", "metrics = '127.0.0.1:0'\n[server]", 1))
	at := metricsAt(s.Seen[0])
	s.Get("/", "docs.example.com")
	s.get("/none")
	for _, want := range []string{`execlogd_http_requests_total{code="200",site="docs.localhost"} 1`, `execlogd_http_requests_total{code="404",site=""} 1`} {
		// A request is counted when its answer has been written.
		var text string
		for late := time.Now().Add(testenv.WaitLimit); !strings.Contains(text, want); {
			if _, text = askMetrics(t, at, "/metrics", ""); time.Now().After(late) {
				t.Fatalf("no %s in\n%s", want, text)
			}
		}
	}
	s.Reload("metrics = '127.0.0.1:0'\n[server]\nroot = 'www'\nport = 0\n[[route]]\nname = 'r'\nrun = ['true']\n")
	if _, text := askMetrics(t, at, "/metrics", ""); strings.Contains(text, "docs.localhost") {
		t.Errorf("a site that is gone is in\n%s", text)
	}
}
