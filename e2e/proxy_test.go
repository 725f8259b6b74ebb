package e2e

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"
)

// Pages are refreshed through a proxy: by another host name, below a path, over TLS, and
// on the default ports.
func TestBehindAProxy(t *testing.T) { inBrowsers(t, testBehindAProxy) }

func testBehindAProxy(t *testing.T, browser browser) {
	site, d := serve(t, map[string]string{
		"index.html":     document(`<p><script src="app.js"></script>`),
		"a/b/index.html": document(`<base href="/elsewhere/"><p><script src="../preview/app.js"></script>`),
		"app.js":         "",
		"style.css":      "",
	}, "-allow-host", ".example.com")
	keepHost := func(r *httputil.ProxyRequest) { r.Out.Host = r.In.Host }
	rewriteHost := func(r *httputil.ProxyRequest) { r.SetXForwarded() }
	plain, tls := startProxy(t, d, rewriteHost, httptest.NewServer), startProxy(t, d, rewriteHost, httptest.NewTLSServer)
	kept := startProxy(t, d, keepHost, httptest.NewTLSServer)

	browser.mapName("plain.example.com:80", plain.Host)
	browser.mapName("tls.example.com:443", tls.Host)
	browser.mapName("kept.example.com:443", kept.Host)
	tests := []struct{ name, url string }{
		{"port 80", "http://plain.example.com/"},
		{"port 80, a prefix", "http://plain.example.com/preview/"},
		{"port 443, a prefix", "https://tls.example.com/preview/"},
		{"port 443, Host unchanged", "https://kept.example.com/preview/index.html"},
		{"another port, TLS", tls.String() + "/preview/index.html?x=/y"},
		{"a base element", "https://tls.example.com/preview/a/b/"},
		{"empty segments", "https://tls.example.com/preview//a//b/"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			text := "document.querySelector('p').title"
			save(t, site, "app.js", "document.querySelector('p').title = 'old'")
			p := open(t, browser, tt.url)
			p.shows(text, "old")
			save(t, site, "app.js", "document.querySelector('p').title = 'new'")
			p.shows(text, "new")
		})
	}
}

// startProxy runs a proxy that shows d at the top and below /preview/, until the
// test ends.
func startProxy(t *testing.T, d *daemon, rewrite func(*httputil.ProxyRequest), start func(http.Handler) *httptest.Server) *url.URL {
	t.Helper()
	to := proxyHandler(t, d, rewrite)
	server := start(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/preview/") {
			http.StripPrefix("/preview", to).ServeHTTP(w, r)
		} else {
			to.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(server.Close)
	u, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// proxyWith runs a proxy in front of d that calls handle for each request, and
// returns its address. It keeps the Host of requests.
func proxyWith(t *testing.T, d *daemon, handle func(w http.ResponseWriter, r *http.Request, next http.Handler)) string {
	t.Helper()
	next := proxyHandler(t, d, func(r *httputil.ProxyRequest) { r.Out.Host = r.In.Host })
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handle(w, r, next) }))
	t.Cleanup(server.Close)
	return server.URL
}

func proxyHandler(t *testing.T, d *daemon, rewrite func(*httputil.ProxyRequest)) http.Handler {
	t.Helper()
	target, err := url.Parse(d.URL)
	if err != nil {
		t.Fatal(err)
	}
	return &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		rewrite(r)
	}}
}
