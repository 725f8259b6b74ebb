package e2e

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// As docs/service.md says of instances, sockets, and what the sandbox allows.
func TestUnits(t *testing.T) {
	t.Parallel()
	h := bootHost(t)
	install(t, h)
	h.run("systemd-tmpfiles", "--create", "execlogd.conf")
	h.run("systemctl", "daemon-reload")
	write(t, h.path("srv"), map[string]string{"www/index.html": "<p>www\n", "docs/index.html": "<p>docs\n", "shop/index.html": "<p>shop\n"})

	t.Run("instances do not collide", func(t *testing.T) { testInstances(t, h.in(t)) })
	t.Run("sockets go by their names", func(t *testing.T) { testSocketNames(t, h.in(t)) })
	t.Run("a socket speaks TLS", func(t *testing.T) { testTLSSocket(t, h.in(t)) })
	t.Run("an idle service ends, and is started again", func(t *testing.T) { testIdle(t, h.in(t)) })
	t.Run("the service, and then its socket", func(t *testing.T) { testServiceThenSocket(t, h.in(t)) })
	t.Run("nothing gets out of the sandbox", func(t *testing.T) { testSandbox(t, h.in(t)) })
	t.Run("a drop-in lets a build write", func(t *testing.T) { testBuild(t, h.in(t)) })
	t.Run("a user has a service", func(t *testing.T) { testUser(t, h.in(t)) })
	t.Run("a drop-in shows a site in a private home", func(t *testing.T) { testHome(t, h.in(t)) })
}

// dropIn changes a unit until the test ends.
func dropIn(t *testing.T, h *host, unit, text string) {
	t.Helper()
	dir := "/etc/systemd/system/" + unit + ".d"
	write(t, h.path(dir), map[string]string{"test.conf": text})
	h.run("systemctl", "daemon-reload")
	h.atEnd(t, "systemctl", "daemon-reload")
	t.Cleanup(func() { os.RemoveAll(h.path(dir)) })
}

// instance makes the configuration of an instance, and removes it with the test, when
// its units have stopped.
func instance(t *testing.T, h *host, name, config string) {
	t.Helper()
	write(t, h.path("etc/execlogd"), map[string]string{name + ".toml": config})
	t.Cleanup(func() { os.Remove(h.path("etc/execlogd/" + name + ".toml")) })
	h.atEnd(t, "systemctl", "stop", "execlogd@"+name+".socket", "execlogd@"+name+".service")
}

// unixClient returns a client that connects to a unix socket of the host.
func (h *host) unixClient(socket string) *http.Client {
	return h.newClient(func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", h.path(socket))
	})
}

func testInstances(t *testing.T, h *host) {
	instance(t, h, "docs", "server.root = '/srv/docs'\n")
	instance(t, h, "shop", "server.root = '/srv/shop'\n")
	dropIn(t, h, "execlogd@shop.socket", "[Socket]\nListenStream=\nListenStream=80\nListenStream=[::1]:8001\n")
	h.run("systemctl", "enable", "--now", "execlogd@docs.socket", "execlogd@shop.socket")
	docs := h.unixClient("run/execlogd@docs.sock")
	expectPage(t, docs, "http://localhost/", "<p>docs\n")

	// A port for privileged programs, and PrivateUsers=yes.
	for _, url := range []string{"http://127.0.0.1/", "http://localhost/", "http://[::1]:8001/"} {
		expectPage(t, h.client(), url, "<p>shop\n")
	}
	expect(t, "network and users of its own", h.run("systemctl", "show", "--property=PrivateNetwork,PrivateUsers", "execlogd@shop"), "PrivateNetwork=yes\nPrivateUsers=yes")

	both := "that of /srv/docs is -control /run/execlogd@docs/control.sock; that of /srv/shop is -control /run/execlogd@shop/control.sock"
	if out, _ := h.command("execlogd", "log").CombinedOutput(); !strings.Contains(string(out), both) {
		t.Errorf("execlogd log says %s", out)
	}
	h.run("systemctl", "reload", "execlogd@docs", "execlogd@shop")
	h.run("systemctl", "stop", "execlogd@shop.socket", "execlogd@shop.service")
	h.run("execlogd", "log", "-control", "/run/execlogd@docs/control.sock")
	expectPage(t, docs, "http://localhost/", "<p>docs\n")
	h.run("systemctl", "disable", "execlogd@.socket")
	if out, _ := h.command("systemctl", "is-enabled", "execlogd@docs.socket").Output(); string(out) != "disabled\n" {
		t.Errorf("after the template was disabled, the instance is %s", out)
	}

	// In the other order, the service brings its socket.
	h.run("systemctl", "stop", "execlogd@docs.socket", "execlogd@docs.service")
	h.run("systemctl", "start", "execlogd@docs.service")
	h.run("systemctl", "enable", "--now", "execlogd@docs.socket")
	expectPage(t, docs, "http://localhost/", "<p>docs\n")
	h.run("systemctl", "disable", "execlogd@docs.socket")
}

func testSocketNames(t *testing.T, h *host) {
	const status = "[Socket]\nListenStream=/run/execlogd-status.sock\nSocketMode=0600\nFileDescriptorName=%s\nService=execlogd.service\n"
	write(t, h.path("etc/systemd/system"), map[string]string{"execlogd-status.socket": fmt.Sprintf(status, "status")})
	h.atEnd(t, "systemctl", "daemon-reload")
	t.Cleanup(func() { os.Remove(h.path("etc/systemd/system/execlogd-status.socket")) })
	dropIn(t, h, "execlogd.socket", "[Socket]\nListenStream=[::1]:8000\nListenStream=/run/execlogd-site.sock\n")
	h.run("systemctl", "start", "execlogd.socket", "execlogd-status.socket")
	expectPage(t, h.client(), address+"/", "<p>www\n")
	expectPage(t, h.client(), "http://[::1]:8000/", "<p>www\n")
	expectPage(t, h.unixClient("run/execlogd-site.sock"), "http://localhost/", "<p>www\n")
	// Root is the owner, who sees where the root is.
	expectPage(t, h.unixClient("run/execlogd-status.sock"), "http://localhost/.execlogd/", "/srv/<wbr>www")
	if body, err := fetch(t.Context(), h.unixClient("run/execlogd-status.sock"), "http://localhost/index.html"); err == nil {
		t.Errorf("the socket of the status page serves the site: %s", body)
	}
	if body, err := fetch(t.Context(), h.unixClient("run/execlogd-site.sock"), "http://evil.example/"); err == nil {
		t.Errorf("a unix socket lets every host in: %s", body)
	}
	h.run("systemctl", "stop", "execlogd.socket", "execlogd-status.socket", "execlogd.service")

	for name, want := range map[string]string{"https": "passed a socket for HTTPS, and there is no certificate", "htpp": `the name "htpp" is unknown: FileDescriptorName= is http or https, for the site, status`} {
		write(t, h.path("etc/systemd/system"), map[string]string{"execlogd-status.socket": fmt.Sprintf(status, name)})
		h.run("systemctl", "daemon-reload")
		h.run("systemctl", "start", "execlogd-status.socket")
		if h.command("systemctl", "start", "execlogd").Run() == nil {
			t.Errorf("a socket with the name %s is accepted", name)
		}
		h.run("systemctl", "stop", "execlogd-status.socket", "execlogd")
		h.run("journalctl", "--sync")
		h.run("journalctl", "--quiet", "--no-pager", "--unit=execlogd", "--grep="+want)
	}
}

// A service in its sandbox keeps the local authority in its state directory.
func testTLSSocket(t *testing.T, h *host) {
	write(t, h.path("etc/systemd/system"), map[string]string{
		"execlogd-tls.socket": "[Socket]\nListenStream=443\nFileDescriptorName=https\nService=execlogd.service\n",
	})
	h.atEnd(t, "systemctl", "daemon-reload")
	h.atEnd(t, "systemctl", "stop", "execlogd.socket", "execlogd-tls.socket", "execlogd.service")
	t.Cleanup(func() { os.Remove(h.path("etc/systemd/system/execlogd-tls.socket")) })
	dropIn(t, h, "execlogd.service", "[Service]\nEnvironment=EXECLOGD_OPTS=-tls\n")
	h.run("systemctl", "start", "execlogd.socket", "execlogd-tls.socket")
	expectPage(t, insecure(h.client()), "https://127.0.0.1/", "<p>www\n")
	expectPage(t, h.client(), address+"/", "<p>www\n")
	expect(t, "the key", h.run("stat", "--format=%a", "/var/lib/execlogd/authority/ca.key"), "600")

	// Files that root alone may read come by way of systemd, which mounts them in a process of
	// its own, and shares its mounts where it boots outside of containers.
	h.run("mount", "--make-rshared", "/")
	h.atEnd(t, "mount", "--make-rprivate", "/")
	h.run("systemctl", "stop", "execlogd.service")
	h.run("install", "-d", "-m", "700", "/etc/letsencrypt")
	h.run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
		"-subj", "/CN=example.com", "-keyout", "/etc/letsencrypt/privkey.pem", "-out", "/etc/letsencrypt/fullchain.pem")
	dropIn(t, h, "execlogd.service", "[Service]\nLoadCredential=cert.pem:/etc/letsencrypt/fullchain.pem\nLoadCredential=key.pem:/etc/letsencrypt/privkey.pem\n"+
		"Environment=\"EXECLOGD_OPTS=-tls-cert /run/credentials/execlogd.service/cert.pem -tls-key /run/credentials/execlogd.service/key.pem\"\n")
	expectPage(t, insecure(h.client()), "https://127.0.0.1/", "<p>www\n")
}

func testIdle(t *testing.T, h *host) {
	instance(t, h, "docs", "idle_exit = '200ms'\nserver.root = '/srv/docs'\n")
	h.run("systemctl", "start", "execlogd@docs.socket")
	for range 3 {
		expectPage(t, h.unixClient("run/execlogd@docs.sock"), "http://localhost/", "<p>docs\n")
		h.run("timeout", "60", "sh", "-c", "until systemctl show --property=ActiveState execlogd@docs.service | grep --quiet =inactive; do sleep 0.05; done")
		expect(t, "how it ended", h.run("systemctl", "show", "--property=Result,ExecMainStatus,ActiveState,NRestarts", "execlogd@docs.service"),
			"Result=success\nNRestarts=0\nExecMainStatus=0\nActiveState=inactive")
	}
}

// What docs/service.md says for a service that runs: stop it, and enable the socket.
func testServiceThenSocket(t *testing.T, h *host) {
	h.run("systemctl", "start", "execlogd")
	h.run("sh", "-c", "systemctl stop execlogd && systemctl enable --now execlogd.socket")
	expectPage(t, h.client(), address+"/", "<p>www\n")
	h.run("systemctl", "disable", "--now", "execlogd.socket")
	h.run("systemctl", "stop", "execlogd")

	h.run("systemctl", "enable", "--now", "execlogd.socket")
	h.run("systemctl", "start", "execlogd")
	expectPage(t, h.client(), address+"/", "<p>www\n")
	h.run("systemctl", "disable", "--now", "execlogd.socket")
	h.run("systemctl", "stop", "execlogd")
}

// probe tries what the sandbox has to prevent, and says what it could do.
const probe = `#!/bin/bash
try() {
	what=$1; shift
	if "$@" >/dev/null 2>&1; then echo "can $what"; else echo "cannot $what"; fi
}
for dir in / /etc /usr /usr/local/bin /var /var/lib /srv /srv/docs /home /root /run /opt /dev/shm; do
	try "write to $dir" touch $dir/probe
done
try "change a kernel setting" sh -c 'cat /proc/sys/kernel/panic >/proc/sys/kernel/panic'
try "make a cgroup" mkdir /sys/fs/cgroup/probe
try "mount" mount -t tmpfs tmpfs /mnt
try "make a namespace" unshare --user true
try "trace" sh -c 'exec 3</proc/1/environ'
try "connect to a port" bash -c '</dev/tcp/127.0.0.1/8000'
try "connect to another address" bash -c '</dev/tcp/192.0.2.9/8000'
try "connect over IPv6" bash -c '</dev/tcp/::1/8001'
try "see PID 1" test -e /proc/1
try "see journald" pgrep --exact systemd-journal
try "read what is private" cat /srv/private
`

func testSandbox(t *testing.T, h *host) {
	write(t, h.path("srv"), map[string]string{"probe": probe, "private": "secret"})
	if err := os.Chmod(h.path("srv/private"), 0o600); err != nil {
		t.Fatal(err)
	}
	h.run("ip", "address", "add", "192.0.2.9/32", "dev", "lo")
	dropIn(t, h, "execlogd.socket", "[Socket]\nListenStream=\nListenStream=8000\nListenStream=[::1]:8001\n")
	h.run("systemctl", "start", "execlogd.socket")
	h.atEnd(t, "systemctl", "stop", "execlogd.socket", "execlogd.service")

	// Outside, everything is possible, so that the probe could tell.
	outside := h.run("bash", "/srv/probe")
	if strings.Contains(outside, "cannot") {
		t.Errorf("outside of the sandbox the probe finds\n%s", outside)
	}

	// An instance has no network of its own.
	const route = "server.root = '/srv/docs'\n[[route]]\nname = 'probe'\nstart = true\nrun = ['bash', '/srv/probe']\n"
	instance(t, h, "docs", route)
	h.run("systemctl", "start", "execlogd@docs")
	inside := probed(t, h, "/run/execlogd@docs/control.sock")
	if strings.Contains(inside, "can ") || strings.Count(inside, "cannot ") != strings.Count(outside, "can ") {
		t.Errorf("inside of the sandbox of an instance the probe finds\n%s", inside)
	}

	// The plain service has the network.
	write(t, h.path("etc"), map[string]string{"execlogd.toml": strings.ReplaceAll(route, "/srv/docs", "/srv/www")})
	t.Cleanup(func() { os.Remove(h.path("etc/execlogd.toml")) })
	setOptions(t, h, "-config /etc/execlogd.toml")
	h.run("systemctl", "restart", "execlogd.service") // the first probe has started it
	inside = probed(t, h, "/run/execlogd/control.sock")
	var can []string
	for line := range strings.Lines(inside) {
		if what, ok := strings.CutPrefix(strings.TrimSpace(line), "can "); ok {
			can = append(can, what)
		}
	}
	expect(t, "what the plain service can", strings.Join(can, ", "), "connect to a port, connect to another address, connect over IPv6")
}

// probed returns what the probe has found in a daemon.
func probed(t *testing.T, h *host, control string) string {
	t.Helper()
	h.run("timeout", "30", "sh", "-c", "until execlogd log -control "+control+" 2>/dev/null | grep --quiet 'probe .* ok after'; do sleep 0.05; done")
	h.run("journalctl", "--sync")
	unit := filepath.Base(filepath.Dir(control))
	return h.run("journalctl", "--quiet", "--no-pager", "--output=cat", "--unit="+unit, "--grep=can", "EXECLOGD_ROUTE=probe")
}

// testBuild installs the drop-in for builds as its comment says.
func testBuild(t *testing.T, h *host) {
	const unit = "/etc/systemd/system/execlogd.service.d"
	h.run("useradd", "--system", "--home-dir", "/srv/build", "--create-home", "build")
	h.run("install", "-D", "-m", "644", "/usr/local/share/doc/execlogd/jobs.conf", unit+"/jobs.conf")
	h.atEnd(t, "systemctl", "daemon-reload")
	t.Cleanup(func() { os.RemoveAll(h.path(unit)) })
	h.atEnd(t, "systemctl", "stop", "execlogd")
	h.run("systemctl", "daemon-reload")

	var config strings.Builder
	config.WriteString("server.root = '/srv/www'\n")
	want := map[string]string{}
	for _, tool := range []struct{ name, source, text, command, out string }{
		// A hot function, so that the compiler is at work.
		{"node", "build.js", "let n = 0; for (let i = 0; i < 1e7; i++) n += i % 7; require('fs').writeFileSync('/srv/build/node.out', 'node ' + n)", "node build.js", "node.out"},
		{"make", "Makefile", "/srv/build/make.out:\n\techo made >$@\n", "make", "make.out"},
		{"hugo", "site/content/a.md", "---\ntitle: a\n---\n", "hugo --noBuildLock --source site --destination /srv/build/public", "public/sitemap.xml"},
	} {
		if h.command("which", tool.name).Run() != nil {
			t.Logf("%s is not installed", tool.name)
			continue
		}
		write(t, h.path("srv/src"), map[string]string{tool.source: tool.text, "site/config.toml": "title = 'a'\nresourceDir = '/srv/build/resources'\n"})
		fmt.Fprintf(&config, "[[route]]\nname = '%s'\nroot = '/srv/src'\ndir = '/srv/src'\nstart = true\nshell = 'touch /srv/src/leak || %s'\n", tool.name, tool.command)
		want[tool.name] = tool.out
	}
	h.run("chmod", "a+w", "/srv/src") // which the sandbox does not open, though
	write(t, h.path("etc"), map[string]string{"execlogd.toml": config.String()})
	t.Cleanup(func() { os.Remove(h.path("etc/execlogd.toml")) })
	setOptions(t, h, "-config /etc/execlogd.toml")
	h.run("systemctl", "start", "execlogd")
	for name, out := range want {
		run := h.run("timeout", "60", "sh", "-c", "until execlogd log | grep '^[^ ]* [^ ]* "+name+" .* after' | grep --invert-match running; do sleep 0.05; done")
		if !strings.Contains(run, "ok after") {
			t.Errorf("%s failed:\n%s", name, h.run("execlogd", "log"))
			continue
		}
		expect(t, "owner and mode of what "+name+" makes", h.run("stat", "--format=%U %a", "/srv/build/"+out), "build 644")
	}
	if _, err := os.Stat(h.path("srv/src/leak")); err == nil {
		t.Error("a build could write elsewhere")
	}
}

// A root that the sandbox hides is called that, and a drop-in shows it, of a home that
// is closed to all others.
func testHome(t *testing.T, h *host) {
	h.run("useradd", "--create-home", "ann")
	write(t, h.path("home/ann/site"), map[string]string{"index.html": "<p>home\n"})
	h.run("chmod", "700", "/home/ann")
	setOptions(t, h, "-root /home/ann/site")
	if h.command("systemctl", "start", "execlogd").Run() == nil {
		t.Error("a hidden root is served")
	}
	h.run("journalctl", "--sync")
	h.run("journalctl", "--quiet", "--no-pager", "--unit=execlogd", "--grep=the sandbox of the service hides root \"/home/ann/site\": show it with BindReadOnlyPaths=/home/ann/site")

	dropIn(t, h, "execlogd.service", "[Service]\nBindReadOnlyPaths=/home/ann/site\n")
	h.run("systemctl", "start", "execlogd")
	expectPage(t, h.client(), address+"/", "<p>home\n")
	p, err := dialStock(t.Context(), h.client(), address, "/", nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := replace(h.path("home/ann/site/index.html"), "<p>again\n"); err != nil {
		t.Fatal(err)
	}
	if message, err := p.next(maxWait); err != nil || !strings.Contains(message, `"reload"`) {
		t.Errorf("message %q, %v; want a reload", message, err)
	}
	h.run("systemctl", "stop", "execlogd")
}

// testUser tries the units of a user with the user's own service manager. Daemons that the
// user has started by hand keep their sockets when the service stops.
func testUser(t *testing.T, h *host) {
	h.run("useradd", "--create-home", "eve")
	uid := h.run("id", "--user", "eve")
	h.run("systemctl", "start", "user@"+uid)
	h.atEnd(t, "systemctl", "stop", "user@"+uid)
	as := func(args ...string) string {
		t.Helper()
		return h.run(append([]string{"setpriv", "--reuid=eve", "--regid=eve", "--init-groups", "env", "HOME=/home/eve", "XDG_RUNTIME_DIR=/run/user/" + uid}, args...)...)
	}
	as("sh", "-c", "cd && umask 077 && mkdir public_html site && echo '<p>eve' >public_html/index.html && echo '<p>site' >site/index.html")

	as("systemctl", "--user", "start", "execlogd")
	expectPage(t, h.client(), address+"/", "<p>eve\n")
	as("systemctl", "--user", "stop", "execlogd")

	// With a configuration, and by the socket.
	as("sh", "-c", `cd && mkdir -p .config/execlogd && echo "server.root = 'site'" >site.toml && echo EXECLOGD_OPTS=-config /home/eve/site.toml >.config/execlogd/options`)
	as("systemctl", "--user", "enable", "--now", "execlogd.socket")
	expectPage(t, h.client(), address+"/", "<p>site\n")
	as("execlogd", "log")
	as("systemctl", "--user", "reload", "execlogd")
	by := as("sh", "-c", `cd && { execlogd -config site.toml -port 8008 >/dev/null 2>log </dev/null & } && until grep --quiet --no-messages serving log; do sleep 0.05; done && ls $XDG_RUNTIME_DIR/execlogd`)
	as("systemctl", "--user", "stop", "execlogd.socket", "execlogd.service")
	expect(t, "sockets of other daemons", as("sh", "-c", "ls $XDG_RUNTIME_DIR/execlogd"), by)
	as("execlogd", "log")
	as("kill", strings.TrimSuffix(by, ".sock"))
}
