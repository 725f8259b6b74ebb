package e2e

import (
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

const containerfile = "../packaging/Containerfile"

// TestEmptyRoot runs the program as the container does: in an empty root with /proc, as
// nobody, for a site that is mounted.
func TestEmptyRoot(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can change the root")
	}
	root, site := t.TempDir(), t.TempDir()
	for _, dir := range []string{root, site} {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command("make", "--silent", "-C", "..", "build", "OUT="+root+"/execlogd").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	} // before the parallel tests, which find it in the cache
	write(t, site, map[string]string{"index.html": "<p>zero\n"})

	found := regexp.MustCompile(`(?m)^ENTRYPOINT (.*)$`).FindStringSubmatch(read(t, containerfile))
	var entry []string
	if err := json.Unmarshal([]byte(found[1]), &entry); err != nil {
		t.Fatal(err)
	}
	script := `cd "$1" && mkdir proc site && mount -t proc proc proc && mount --bind "$2" site && shift 2 && exec unshare --root=. --wd=/site --setgid=65534 --setuid=65534 "$@"`
	args := append([]string{"--mount", "sh", "-c", script, "sh", root, site}, append(entry, "-port", "0")...)
	d, err := launchCommand(t, site, exec.Command("unshare", args...))
	if err != nil {
		t.Skip(err)
	}
	if err := d.waitReady(t.Context()); err != nil {
		t.Fatal(err)
	}

	_, port, _ := strings.Cut(strings.TrimPrefix(d.URL, "http://"), ":")
	url := "http://localhost:" + port
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	expectPage(t, client, url+"/", "<p>zero\n")
	p, err := dialStock(t.Context(), client, url, "/", nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := replace(site+"/index.html", "<p>one\n"); err != nil {
		t.Fatal(err)
	}
	if message, err := p.next(maxWait); err != nil || !strings.Contains(message, `"reload"`) {
		t.Errorf("message %q, %v; want a reload", message, err)
	}
	expectPage(t, client, url+"/", "<p>one\n")

	if err := d.signal("TERM"); err != nil {
		t.Fatal(err)
	}
	if status, err := d.wait(t.Context()); err != nil || status != "0" {
		t.Errorf("exit status %s, %v; want 0", status, err)
	}
}

// TestContainer builds the image, where something is there that builds images.
func TestContainer(t *testing.T) {
	builder := ""
	for _, program := range []string{"podman", "docker"} {
		if exec.Command(program, "info").Run() == nil {
			builder = program
		}
	}
	if builder == "" {
		t.Skip("neither podman nor docker works here")
	}
	dir := t.TempDir()
	for _, cmd := range []*exec.Cmd{
		exec.Command("make", "--silent", "-C", "..", "build", "OUT="+dir+"/execlogd"),
		exec.Command(builder, "build", "--tag", "execlogd-e2e", "--file", containerfile, dir),
		exec.Command(builder, "run", "--rm", "execlogd-e2e", "-version"),
		exec.Command(builder, "image", "rm", "execlogd-e2e"),
	} {
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", cmd, err, out)
		}
	}
}
