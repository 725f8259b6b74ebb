package e2e

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

var packaging sync.Mutex

// makePackage makes the Debian package of a version for this machine.
func makePackage(t *testing.T, version string) string {
	t.Helper()
	for _, program := range []string{"make", "dpkg"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip(err)
		}
	}
	dir := t.TempDir()
	packaging.Lock() // what a package consists of is put together in one place
	defer packaging.Unlock()
	if out, err := exec.Command("make", "--silent", "-C", "..", "deb", "VERSION="+version, "DATE=2026-11-28", "ARCHS="+runtime.GOARCH, "RELEASE="+dir).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	files, err := filepath.Glob(dir + "/*.deb")
	if err != nil || len(files) != 1 {
		t.Fatalf("packages %q, %v; want one", files, err)
	}
	return files[0]
}

// TestPackageLife installs the Debian package, upgrades it while requests and changes of
// files go on, removes and purges it.
func TestPackageLife(t *testing.T) {
	requireHost(t)
	t.Parallel()
	first, second := makePackage(t, "v1.9.0"), makePackage(t, "v1.10.0")
	if lintian, err := exec.LookPath("lintian"); err != nil {
		t.Log(err)
	} else if out, err := exec.Command(lintian, "--allow-root", "--fail-on", "error,warning", second).CombinedOutput(); err != nil {
		t.Errorf("lintian: %v\n%s", err, out)
	}

	h := bootHost(t)
	before := files(h)
	dpkg := func(action string, of string) {
		t.Helper()
		if strings.HasSuffix(of, ".deb") {
			name := "/tmp/" + filepath.Base(of)
			if err := os.WriteFile(h.path(name), []byte(read(t, of)), 0o644); err != nil {
				t.Fatal(err)
			}
			of = name
		}
		h.run("dpkg", action, of)
	}
	links := func() string { return h.run("find", "/etc/systemd/system", "-name", "execlogd*") }

	dpkg("--install", first)
	expect(t, "links of a new package", links(), "")
	const options = "EXECLOGD_OPTS=\"-config /etc/execlogd.toml\"\n"
	write(t, h.path("etc"), map[string]string{
		"default/execlogd": options,
		"execlogd.toml":    "[server]\nroot = \"/srv/www\"\n[[route]]\nname = \"build\"\nroot = \"/srv/www\"\nmatch = \"*.md\"\nper = \"file\"\nstart = true\nrun = [\"echo\", \"built\", \"{path}\"]\n",
	})
	write(t, h.path("srv/www"), map[string]string{"index.html": "<p>0\n"})
	h.run("systemctl", "enable", "--now", "execlogd.socket")
	expectPage(t, h.client(), address+"/", "<p>0\n")
	pid := h.run("systemctl", "show", "--property=MainPID", "--value", "execlogd")

	stop := underLoad(t, h)
	dpkg("--install", second)
	requests, changes := stop()
	t.Logf("%d requests and %d changes during the upgrade", requests, changes)

	if again := h.run("systemctl", "show", "--property=MainPID", "--value", "execlogd"); again == pid || again == "0" {
		t.Errorf("the service was process %s, and is process %s", pid, again)
	}
	if version := h.run("execlogd", "-version"); !strings.HasPrefix(version, "execlogd v1.10.0 (commit ") {
		t.Errorf("version %q", version)
	}
	expect(t, "configuration", read(t, h.path("etc/default/execlogd")), options)
	expectPage(t, h.client(), address+"/", fmt.Sprintf("<p>%d\n", changes))
	var missing string
	if err := eventually(t.Context(), "each file to be built", func() bool {
		journal := h.run("journalctl", "--quiet", "--no-pager", "--output=cat", "--unit=execlogd") + "\n"
		for i := range changes {
			if missing = fmt.Sprintf("built /srv/www/%d.md\n", i+1); !strings.Contains(journal, missing) {
				return false
			}
		}
		return true
	}); err != nil {
		t.Errorf("%v; not %s", err, missing)
	}

	dpkg("--remove", "execlogd")
	expect(t, "links of a removed package", links(), "")
	expect(t, "units of a removed package", h.run("systemctl", "list-units", "--all", "--quiet", "--plain", "execlogd*"), "")
	expect(t, "configuration of a removed package", read(t, h.path("etc/default/execlogd")), options)
	h.run("rm", "-r", "/etc/execlogd.toml", "/srv/www/index.html")
	h.run("find", "/srv/www", "-name", "*.md", "-delete")
	dpkg("--purge", "execlogd")
	expectAsBefore(t, files(h), before)
}

// underLoad requests a page of a host again and again, each time over a new connection,
// and saves it and a new file, until stop is called. Every request must be answered.
func underLoad(t *testing.T, h *host) (stop func() (requests, changes int)) {
	t.Helper()
	client := h.client()
	client.Transport.(*http.Transport).DisableKeepAlives = true
	var requests, changes int
	done := make(chan struct{})
	var load sync.WaitGroup
	load.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
			}
			if _, err := fetch(t.Context(), client, address+"/"); err != nil {
				t.Errorf("request %d: %v", requests, err)
				return
			}
			requests++
		}
	})
	load.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
			}
			n := changes + 1
			if err := replace(h.path("srv/www/index.html"), fmt.Sprintf("<p>%d\n", n)); err != nil {
				t.Error(err)
				return
			}
			if err := os.WriteFile(h.path(fmt.Sprintf("srv/www/%d.md", n)), []byte("x"), 0o644); err != nil {
				t.Error(err)
				return
			}
			changes = n
		}
	})
	return func() (int, int) {
		close(done)
		load.Wait()
		return requests, changes
	}
}
