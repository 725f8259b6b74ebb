package e2e

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// wantMessage waits for the next message to a page, which has all of these.
func wantMessage(t *testing.T, p *liveClient, parts ...string) string {
	t.Helper()
	message, err := p.next(maxWait)
	for _, part := range append(parts, "") {
		if err != nil || !strings.Contains(message, part) {
			t.Fatalf("message %q, %v; want %q", message, err, parts)
		}
	}
	return message
}

// Pages wait for a job as for a run of their own machine, and show why it has failed, until it
// succeeds.
func TestPagesWaitForQueue(t *testing.T) {
	t.Parallel()
	nats := startNATS(t)
	site, pictures, gate := t.TempDir(), t.TempDir(), t.TempDir()
	write(t, site, map[string]string{"index.html": document("<p>zero"), "a.js": "0"})
	machine := func(server, route string) (d *daemon, dir string) {
		dir = t.TempDir()
		write(t, dir, map[string]string{"execlogd.toml": fmt.Sprintf(`
[server]
port = 0
%s

[bus]
url = %q

[[route]]
name = "thumbs"
root = %q
match = "*.txt"
per = "file"
queue = "thumbs"
ack_wait = "1s"
%s
`, server, nats.url(), pictures, route)})
		d, err := startDaemon(t, dir, "-config", "execlogd.toml", "-control", "control.sock", "-log-format", "text")
		if err != nil {
			t.Fatal(err)
		}
		d.says(t, "bus is connected", 1)
		return d, dir
	}
	server, at := machine(fmt.Sprintf("root = %q\nafter = [\"thumbs\"]", site), `run = ["false"]`)
	machine("root = '.'", fmt.Sprintf("work = true\nshell = '''%s'''", strings.NewReplacer("GATE", gate, "SITE", site).Replace(`
[ -e GATE/broken ] && { echo "there is no licence for it"; exit 3; }
echo half >SITE/a.js
touch GATE/begun
while [ ! -e GATE/open ]; do sleep 0.05; done
cp "$EXECLOGD_PATH" SITE/a.js
`)))
	load := func() *liveClient {
		t.Helper()
		page, err := dialOurs(t.Context(), server.URL, "/", []string{"/a.js"})
		if err != nil {
			t.Fatal(err)
		}
		wantMessage(t, page, `"at"`)
		return page
	}
	page := load()

	// What changes meanwhile waits with it, and both are one reload.
	write(t, pictures, map[string]string{"a.txt": "one"})
	if err := eventually(t.Context(), "the job to begin", func() bool { return contentOf(filepath.Join(site, "a.js")) == "half\n" }); err != nil {
		t.Fatal(err)
	}
	save(t, site, "index.html", document("<p>one"))
	wantNothing(t, page)
	write(t, gate, map[string]string{"open": ""})
	wantMessage(t, page, `"reload"`)
	if got := contentOf(filepath.Join(site, "a.js")); got != "one" {
		t.Errorf("the page is told to load %q", got)
	}
	wantNothing(t, page)
	page = load()

	// The error of the other machine is on the page, with its output.
	write(t, gate, map[string]string{"broken": ""})
	write(t, pictures, map[string]string{"a.txt": "two"})
	wantMessage(t, page, `"errors"`, "thumbs", "exit status 3", "there is no licence for it")
	out, _ := askDaemon(t, at, "log", "-dead")
	id := deadID(out)
	if id == "" {
		t.Fatalf("dead jobs: %s", out)
	}
	wantNothing(t, page)

	// It goes when the job succeeds, and the page loads what that has made.
	remove(t, gate, "broken")
	if out, status := askDaemon(t, at, "retry", id); status != 0 {
		t.Errorf("retry: status %d: %s", status, out)
	}
	var told []string // in any order
	for !slices.ContainsFunc(told, isReload) || !slices.ContainsFunc(told, isNoError) {
		told = append(told, wantMessage(t, page))
	}
	if len(told) != 2 || !strings.Contains(strings.Join(told, ""), "a.js") {
		t.Errorf("messages %q; want a reload, and that there is no error", told)
	}
	if got := contentOf(filepath.Join(site, "a.js")); got != "two" {
		t.Errorf("the page is told to load %q", got)
	}
	wantNothing(t, page)
}

func isReload(message string) bool  { return strings.Contains(message, `"reload"`) }
func isNoError(message string) bool { return strings.Contains(message, `"errors":[]`) }
