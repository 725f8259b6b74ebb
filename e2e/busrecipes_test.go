package e2e

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const machinesDocument = "../docs/machines.md"

// found returns what an expression finds in the document, and fails without it.
func foundInDocument(t *testing.T, expression string) string {
	t.Helper()
	found := regexp.MustCompile(expression).FindStringSubmatch(read(t, machinesDocument))
	if found == nil {
		t.Fatalf("%s has no %s", machinesDocument, expression)
	}
	return found[1]
}

// The first recipe of docs/machines.md: two machines behind a load balancer, whose
// visitors get pages from one and live reload from the other.
func TestRecipeLoadBalancer(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("nginx"); err != nil {
		t.Skip("no nginx: install it with apt-get install nginx")
	}
	nats := startNATS(t)
	files := t.TempDir()
	write(t, files, map[string]string{"index.html": document("<p>zero")})
	config := strings.ReplaceAll(foundInDocument(t, "(?s)```toml\n(.*?)```"), "nats://10.0.0.1:4222", nats.url())
	balancer := foundInDocument(t, `(?s)\n(    upstream docs .*?\n    \}\n)`)

	var sites []string
	for _, upstream := range []string{"10.0.0.11:8000", "10.0.0.12:8000"} {
		dir := t.TempDir()
		write(t, dir, map[string]string{"execlogd.toml": config, "public/x": ""})
		site := mountRemoteAt(t, files, filepath.Join(dir, "public"), 0)
		d, err := startDaemon(t, dir, "-port", "0", "-log-format", "text")
		if err != nil {
			t.Fatal(err)
		}
		d.says(t, "bus is connected", 1)
		_, port, _ := net.SplitHostPort(strings.TrimPrefix(d.URL, "http://"))
		balancer = strings.ReplaceAll(balancer, upstream, "127.0.0.1:"+port)
		sites = append(sites, site)
	}
	front := startNginxHTTP(t, func(addr string) string {
		return strings.ReplaceAll(balancer, "listen 80;", "listen "+addr+";")
	})

	// Nginx takes the machines in turns.
	host := http.Header{"Host": {"docs.example.com"}}
	var pages []*liveClient
	for range 2 {
		p, err := dialStock(t.Context(), nil, "http://"+front, "/", host)
		if err != nil {
			t.Fatal(err)
		}
		pages = append(pages, p)
	}
	for i, site := range sites {
		save(t, site, "index.html", document(fmt.Sprint("<p>", i)))
		for _, p := range pages {
			if message, err := p.next(maxWait); err != nil || !strings.Contains(message, `"reload"`) {
				t.Errorf("message %q, %v; want a reload", message, err)
			}
		}
	}
	wantNothing(t, pages...)
}

// The second recipe of docs/machines.md, with the commands as they are there.
func TestRecipeContainer(t *testing.T) {
	t.Parallel()
	nats := startNATS(t)
	files := t.TempDir()
	write(t, files, map[string]string{"index.html": document("<p>zero")})
	site := mountRemote(t, files)
	command := func(expression string) []string {
		words := strings.Fields(foundInDocument(t, expression))
		for i, word := range words {
			switch {
			case strings.HasPrefix(word, "nats://"):
				words[i] = nats.url()
			case word == "/site":
				words[i] = site
			}
		}
		return words
	}
	r, err := launch(t, files, command(`\n    execlogd (relay .*)\n`)...)
	if err != nil {
		t.Fatal(err)
	}
	r.says(t, "bus is connected", 1)
	elsewhere, err := os.MkdirTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	d, err := startDaemon(t, elsewhere, append(command(`\n    execlogd (-root /site .*)\n`), "-port", "0", "-log-format", "text")...)
	if err != nil {
		t.Fatal(err)
	}
	awaitShared(t, d)
	_, port, _ := strings.Cut(strings.TrimPrefix(d.URL, "http://"), ":")
	d.URL = "http://127.0.0.1:" + port
	page := sharePage(t, d, "/")
	for i := range 3 {
		save(t, files, "index.html", document(fmt.Sprint("<p>", i)))
		wantReload(t, page, "/index.html")
	}
	if said := d.stderr.String(); strings.Contains(said, "root is polled") {
		t.Errorf("it polls:\n%s", said)
	}
}

// The third recipe of docs/machines.md: an upload at one machine is done by one of two. What
// fails is done again when somebody says so.
func TestRecipeThumbnails(t *testing.T) {
	if _, err := exec.LookPath("pamscale"); err != nil {
		t.Skip("no pamscale: install it with apt-get install netpbm")
	}
	t.Parallel()
	const example = "../examples/thumbnails/"
	nats := startNATS(t)
	config := strings.ReplaceAll(foundInDocument(t, "(?s)\n## Thumbnails .*?```toml\n(.*?)```"), "nats://10.0.0.1:4222", nats.url())
	files := t.TempDir()
	var dirs, photos []string
	for range 2 {
		dir := t.TempDir()
		write(t, dir, map[string]string{"execlogd.toml": config, "photos/x": ""})
		photos = append(photos, mountRemoteAt(t, files, filepath.Join(dir, "photos"), 0))
		dirs = append(dirs, dir)
		d, err := launch(t, dir, "-control", "control.sock", "-log-format", "text")
		if err != nil {
			t.Fatal(err)
		}
		d.says(t, "bus is connected", 1)
	}
	// ask has the first machine do a command of the document.
	ask := func(expression string) (out string, status int) {
		t.Helper()
		return askDaemon(t, dirs[0], strings.Fields(foundInDocument(t, `\n    execlogd (`+expression+`) +#`))...)
	}

	// The script is missing at first.
	picture := read(t, example+"photos/sea.jpg")
	save(t, photos[0], "sea.jpg", picture)
	var id, out string
	err := eventually(t.Context(), "a dead job", func() bool {
		out, _ = ask("log -dead")
		id = deadID(out)
		return id != ""
	})
	if err != nil || !strings.Contains(out, "failed 3 times") || !strings.Contains(out, "sea.jpg") {
		t.Fatalf("dead jobs: %s", out)
	}
	for _, dir := range dirs {
		write(t, dir, map[string]string{"thumbnail.sh": read(t, example+"thumbnail.sh")})
	}
	retry := strings.Fields(foundInDocument(t, `\n    execlogd (retry \d+) +#`))
	if out, status := askDaemon(t, dirs[0], retry[0], id); status != 0 {
		t.Errorf("retry: status %d: %s", status, out)
	}
	for name, at := range map[string]string{"sea.jpg": photos[0], "sky.jpg": photos[1]} {
		if name != "sea.jpg" {
			save(t, at, name, picture)
		}
		err := eventually(t.Context(), "a thumbnail", func() bool {
			made := contentOf(filepath.Join(files, "thumbnails", name))
			return made != "" && len(made) < len(picture)
		})
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	err = eventually(t.Context(), "the runs of both machines in the log", func() bool {
		out, _ = ask("log -cluster")
		return strings.Contains(out, "sky.jpg")
	})
	if err != nil {
		t.Errorf("%v: %s", err, out)
	}
	if out, status := ask("log -dead"); status != 0 || out != "" {
		t.Errorf("dead jobs are left: %s", out)
	}
}
