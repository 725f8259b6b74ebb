package e2e

import (
	"context"
	"crypto/tls"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// serveTLS is serve with a certificate of a local authority. It returns the certificate of
// that as well.
func serveTLS(t *testing.T, files map[string]string, flags ...string) (site string, d *daemon, ca string) {
	t.Helper()
	site = t.TempDir()
	write(t, site, files)
	state := t.TempDir()
	cmd := exec.Command(execlogd, append([]string{"-root", site, "-port", "0", "-tls"}, flags...)...)
	cmd.Env = append(os.Environ(), "XDG_STATE_HOME="+state)
	d, err := launchCommand(t, site, cmd)
	if err == nil {
		err = d.waitReady(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	return site, d, filepath.Join(state, "execlogd/authority/ca.pem")
}

// Pages come by HTTP/2, and are refreshed by a websocket over HTTP/1.1: with our client, and
// with livereload-js.
func TestPagesOverTLS(t *testing.T) { inBrowsers(t, testPagesOverTLS) }

func testPagesOverTLS(t *testing.T, browser browser) {
	site, d, _ := serveTLS(t, map[string]string{"index.html": document("<p>zero"), "style.css": paint(1)})
	p := open(t, browser, d.URL+"/")
	p.shows("location.protocol + performance.getEntriesByType('navigation')[0].nextHopProtocol", "https:h2")
	p.repaint(site, 2)
	p.sameLoads(1)
	p.edit(site, "index.html", document("<p>one"), "document.body.innerText.trim()", "one")

	client, err := os.ReadFile("node_modules/livereload-js/dist/livereload.js")
	if err != nil {
		t.Skipf("livereload-js is not installed (npm ci in e2e, or make test): %v", err)
	}
	stock := func(text string) string {
		return document("<p>" + text + `<script src="/stock/livereload.js"></script>`)
	}
	write(t, site, map[string]string{"stock/livereload.js": string(client), "stock.html": stock("zero")})
	p = open(t, browser, d.URL+"/stock.html")
	p.repaint(site, 3)
	p.edit(site, "stock.html", stock("one"), "document.body.innerText.trim()", "one")
}

// Chromium takes the certificate once the authority is among those that it trusts, as
// execlogd(1) says, and not before.
func TestChromiumTrustsTheAuthority(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"chromium", "certutil"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skip(err)
		}
	}
	_, d, ca := serveTLS(t, map[string]string{"index.html": document("<p>trusted")})
	home := t.TempDir()
	database := filepath.Join(home, ".pki/nssdb")
	if err := os.MkdirAll(database, 0o700); err != nil {
		t.Fatal(err)
	}
	certutil := func(args ...string) {
		t.Helper()
		if out, err := exec.Command("certutil", append([]string{"-d", "sql:" + database}, args...)...).CombinedOutput(); err != nil {
			t.Fatalf("certutil %q: %v\n%s", args, err, out)
		}
	}
	certutil("-N", "--empty-password")

	for _, tt := range []struct {
		trusts bool
		host   string
	}{{false, "127.0.0.1"}, {true, "127.0.0.1"}, {true, "a.localhost"}} {
		if tt.trusts && tt.host == "127.0.0.1" {
			certutil("-A", "-t", "C,,", "-n", "execlogd", "-i", ca)
		}
		ctx, stop := context.WithTimeout(t.Context(), maxWait)
		url := strings.Replace(d.URL, "127.0.0.1", tt.host, 1) + "/"
		cmd := exec.CommandContext(ctx, "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--user-data-dir="+t.TempDir(), "--dump-dom", url)
		cmd.Env = append(os.Environ(), "HOME="+home, "XDG_CONFIG_HOME=", "XDG_DATA_HOME=")
		out, err := cmd.Output()
		stop()
		if shown := strings.Contains(string(out), "<p>trusted"); err != nil || shown != tt.trusts {
			t.Errorf("%s, trusted: %v: %v, it shows %.500s", url, tt.trusts, err, out)
		}
	}
}

// insecure has a client take any certificate.
func insecure(c *http.Client) *http.Client {
	c.Transport.(*http.Transport).TLSClientConfig = &tls.Config{InsecureSkipVerify: true}
	return c
}
