package e2e

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// address is where the unmodified units make the service listen.
const address = "http://127.0.0.1:8000"

// After make install, systemctl start execlogd serves /srv/www.
func TestSystemd(t *testing.T) {
	t.Parallel()
	h := bootHost(t)
	install(t, h)
	h.run("systemd-tmpfiles", "--create", "execlogd.conf")
	h.run("systemctl", "daemon-reload")
	if err := os.WriteFile(h.path("srv/www/index.html"), []byte("<p>zero\n"), 0o644); err != nil {
		t.Fatal(err)
	}

	t.Run("the service serves and reloads", func(t *testing.T) { testService(t, h.in(t)) })
	t.Run("the socket starts the service", func(t *testing.T) { testSocket(t, h.in(t)) })
	t.Run("options open it to the network", func(t *testing.T) { testOptions(t, h.in(t)) })
	t.Run("routes run in the sandbox, and are found in the journal", func(t *testing.T) { testRoutes(t, h.in(t)) })
	t.Run("a wrong option fails once, in one line", func(t *testing.T) { testWrongOption(t, h.in(t)) })
}

// install runs make install and copies the result into the host.
func install(t *testing.T, h *host) {
	t.Helper()
	if _, err := exec.LookPath("make"); err != nil {
		t.Skip("make is not installed")
	}
	dest := t.TempDir()
	for _, cmd := range []*exec.Cmd{
		exec.Command("make", "--silent", "-C", "..", "install", "DESTDIR="+dest, "PREFIX=/usr/local"),
		exec.Command("cp", "--recursive", "--preserve=mode", dest+"/.", h.path("/")),
	} {
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", cmd, err, out)
		}
	}
}

func testService(t *testing.T, h *host) {
	h.run("systemctl", "start", "execlogd")
	h.run("systemctl", "is-active", "execlogd")
	expectPage(t, h.client(), address+"/", "<p>zero\n")

	p, err := dialStock(t.Context(), h.client(), address, "/", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, content := range []string{"<p>one\n", "<p>two\n"} {
		if err := replace(h.path("srv/www/index.html"), content); err != nil {
			t.Fatal(err)
		}
		message, err := p.next(maxWait)
		if err != nil || !strings.Contains(message, `"reload"`) {
			t.Fatalf("message %q, %v; want a reload", message, err)
		}
		expectPage(t, h.client(), address+"/", content)
	}

	status := h.run("systemctl", "--no-pager", "--full", "status", "execlogd")
	t.Logf("systemctl status execlogd:\n%s", status)
	if !strings.Contains(status, `Status: "`) || !strings.Contains(status, "/srv/www") {
		t.Error("the status does not say what is served")
	}
	expectUser(t, h)

	h.run("systemctl", "stop", "execlogd")
	if code, err := p.farewell(t.Context()); err != nil || code != 1001 {
		t.Errorf("close status %d, %v; want 1001", code, err)
	}
	expectCleanEnd(t, h)
}

func testSocket(t *testing.T, h *host) {
	h.run("systemctl", "enable", "--now", "execlogd.socket")
	if out, err := h.command("systemctl", "is-active", "execlogd.service").Output(); err == nil {
		t.Fatalf("the service is %s before the first request", out)
	}
	expectPage(t, h.client(), address+"/", "<p>two\n")
	// It answers before it says that it is ready.
	h.run("timeout", "30", "sh", "-c", "until systemctl --quiet is-active execlogd.service; do sleep 0.05; done")

	// While the service restarts, requests wait in the socket's queue.
	h.run("systemctl", "restart", "--no-block", "execlogd.service")
	expectPage(t, h.client(), address+"/", "<p>two\n")
	h.run("systemctl", "start", "execlogd.service") // waits for the end of the restart

	h.run("systemctl", "stop", "execlogd.socket", "execlogd.service")
	expectCleanEnd(t, h)
	h.run("systemctl", "disable", "execlogd.socket")
}

func testOptions(t *testing.T, h *host) {
	setOptions(t, h, "-host 0.0.0.0 -port 8080")
	h.run("ip", "address", "add", "192.0.2.7/32", "dev", "lo")
	h.run("systemctl", "start", "execlogd")
	expectPage(t, h.client(), "http://192.0.2.7:8080/", "<p>two\n")
	// A request through a forwarded port names another address of the machine than
	// the one it arrives at, so the service must be able to list them.
	expectPage(t, h.clientOf("127.0.0.1:8080"), "http://192.0.2.7:8080/", "<p>two\n")
	h.run("systemctl", "stop", "execlogd")
	expectCleanEnd(t, h)
}

func testRoutes(t *testing.T, h *host) {
	const route = "\n[[route]]\nname = \"build\"\nroot = \"/srv/www\"\nmatch = \"*.md\"\ndelay = \"300ms\"\nshell = 'echo \"built in $PWD for $EXECLOGD_PATHS\"'\n"
	config := func(text string) {
		write(t, h.path("etc"), map[string]string{"execlogd.toml": "[server]\nroot = \"/srv/www\"\n" + text})
	}
	t.Cleanup(func() { os.Remove(h.path("etc/execlogd.toml")) })
	ran := func(what string) {
		t.Helper()
		h.run("timeout", "30", "sh", "-c", "until execlogd log | grep --quiet '"+what+"'; do sleep 0.05; done")
	}
	config(route)
	setOptions(t, h, "-config /etc/execlogd.toml")
	h.run("systemctl", "start", "execlogd")
	expect(t, "mode of the control socket", h.run("stat", "--format=%a", "/run/execlogd/control.sock"), "600")
	write(t, h.path("srv/www"), map[string]string{"b.md": "x", "c d.md": "x"})
	ran("build .* ok after")
	h.run("journalctl", "--sync")
	entries := func(field string) string {
		return h.run("journalctl", "--quiet", "--no-pager", "--output=cat", "--unit=execlogd", field)
	}
	for _, field := range []string{"EXECLOGD_ROUTE=build", "EXECLOGD_PATH=/srv/www/b.md", "EXECLOGD_PATH=/srv/www/c d.md"} {
		if said := entries(field); !strings.Contains(said, "build: done ") {
			t.Errorf("%s finds\n%s", field, said)
		}
	}
	if said := entries("EXECLOGD_ROUTE=build"); !strings.Contains(said, "built in /etc for /srv/www/") {
		t.Errorf("the output is not in the journal:\n%s", said)
	}

	config(route + "\n[[route]]\nname = \"second\"\nroot = \"/srv/www\"\nstart = true\nshell = \"echo second\"\n")
	h.run("systemctl", "reload", "execlogd")
	ran("second .* ok after")
	h.run("systemctl", "is-active", "execlogd")
	h.run("systemctl", "stop", "execlogd")
	expectCleanEnd(t, h)
}

func testWrongOption(t *testing.T, h *host) {
	setOptions(t, h, "-no-such-flag")
	if err := h.command("systemctl", "start", "execlogd").Run(); err == nil {
		t.Error("systemctl start says that all is well")
	}
	expect(t, "status and restarts", h.run("systemctl", "show", "--property=ExecMainStatus,NRestarts,ActiveState", "execlogd"),
		"NRestarts=0\nExecMainStatus=64\nActiveState=failed")
	h.run("journalctl", "--sync")
	said := h.run("journalctl", "--quiet", "--no-pager", "--output=cat", "--unit=execlogd", "--grep=no-such-flag")
	if strings.Count(said, "\n") != 0 {
		t.Errorf("it said more than one line:\n%s", said)
	}
	h.run("systemctl", "reset-failed", "execlogd")
}

// setOptions adds flags to the service until the test ends.
func setOptions(t *testing.T, h *host, options string) {
	t.Helper()
	path := h.path("etc/default/execlogd")
	write(t, filepath.Dir(path), map[string]string{filepath.Base(path): "EXECLOGD_OPTS=" + options + "\n"})
	t.Cleanup(func() { os.Remove(path) })
}

// expectPage checks that a page contains content.
func expectPage(t *testing.T, client *http.Client, url, content string) {
	t.Helper()
	body, err := fetch(t.Context(), client, url)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(body, content) {
		t.Errorf("page %q, want one with %q", body, content)
	}
}

// expectUser checks that the daemon runs as a dynamic user without capabilities.
func expectUser(t *testing.T, h *host) {
	t.Helper()
	pid := h.run("systemctl", "show", "--property=MainPID", "--value", "execlogd")
	status := h.run("grep", "--extended-regexp", "^(Uid|CapEff|NoNewPrivs|Seccomp):", "/proc/"+pid+"/status")
	fields := strings.Fields(status)
	uid := fields[1]
	if len(uid) != 5 || uid < "61184" || uid > "65519" {
		t.Errorf("user %s is not one of those of DynamicUser:\n%s", uid, status)
	}
	for _, want := range []string{"CapEff:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"} {
		if !strings.Contains(status, want) {
			t.Errorf("no %q in\n%s", want, status)
		}
	}
}

// expectCleanEnd checks that the service has ended without failure and has logged no
// error.
func expectCleanEnd(t *testing.T, h *host) {
	t.Helper()
	expect(t, "how it ended", h.run("systemctl", "show", "--property=Result,ExecMainStatus,ActiveState", "execlogd.service"),
		"Result=success\nExecMainStatus=0\nActiveState=inactive")
	h.run("journalctl", "--sync")
	expect(t, "warnings in the journal", h.run("journalctl", "--quiet", "--no-pager", "--output=cat", "--priority=warning", "--unit=execlogd.*"), "")
}

func expect(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got\n%s\nwant\n%s", what, got, want)
	}
}
