package e2e

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// files lists the files of a host where packages and make install put some, or those of
// them that find(1) selects. What dpkg, systemd and the journal keep for themselves is
// left out.
func files(h *host, selects ...string) []string {
	h.t.Helper()
	find := []string{
		"find", "/etc", "/usr", "/srv", "/var", "(", "-path", "/var/lib/dpkg", "-o", "-path", "/var/lib/systemd",
		"-o", "-path", "/var/log", "-o", "-path", "/var/cache", "-o", "-path", "/usr/local/go", ")", "-prune", "-o",
	}
	names := strings.Split(h.run(append(append(find, selects...), "-print")...), "\n")
	slices.Sort(names)
	return names
}

// expectAsBefore checks that all files are gone that were not there before.
func expectAsBefore(t *testing.T, now, before []string) {
	t.Helper()
	for _, name := range now {
		if _, found := slices.BinarySearch(before, name); !found {
			t.Errorf("left behind: %s", name)
		}
	}
}

func TestUninstallLeavesNothing(t *testing.T) {
	t.Parallel()
	if out, err := exec.Command("make", "--silent", "-C", "..", "build").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	h := bootHost(t)
	// Empty directories such as man1 may be anybody's.
	ours := []string{"(", "!", "-type", "d", "-o", "-name", "execlogd*", ")"}
	before := files(h, ours...)
	// What an archive has, and no Go.
	const root = "/run/execlogd-1.2.3"
	h.run("mkdir", root)
	cp := exec.Command("cp", "--recursive", "--parents", "Makefile", "bin/execlogd", "packaging", h.path(root))
	cp.Dir = ".."
	if out, err := cp.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}

	h.run("make", "--silent", "-C", root, "install")
	for _, page := range []string{"execlogd", "execlogd-run", "execlogd-why"} {
		h.run("test", "-e", "/usr/local/share/man/man1/"+page+".1")
	}
	h.run("systemctl", "enable", "execlogd.service", "execlogd.socket")
	h.run("systemctl", "start", "execlogd.socket")
	expectPage(t, h.client(), address+"/", "")
	h.run("make", "--silent", "-C", root, "uninstall")

	expect(t, "units", h.run("systemctl", "list-units", "--all", "--quiet", "--plain", "execlogd*"), "")
	expectAsBefore(t, files(h, ours...), before)
	h.run("test", "-d", "/srv/www")
	h.run("make", "--silent", "-C", root, "uninstall") // with nothing there
}
