package e2e

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// An application of Express behind the proxy: its pages follow its style sheet, its template
// and its code, and a page that loads while it starts again waits for it.
func TestExpressBehindProxy(t *testing.T) { inBrowsers(t, testExpress) }

func testExpress(t *testing.T, browser browser) {
	app := func(text string) string {
		return `
			const express = require("express"), fs = require("fs");
			const app = express();
			app.use(express.urlencoded());
			app.use(express.static("public"));
			app.get("/", (req, res) => res.send(fs.readFileSync("views/page.html", "utf8").replace("TEXT", "` + text + `")));
			app.post("/form", (req, res) => res.redirect("http://" + req.headers.host + "/sent/" + req.body.word));
			app.get("/sent/:word", (req, res) => res.send("<!doctype html><link rel=icon href=data:,><p>" + req.params.word));
			app.get("/events", (req, res) => { res.type("text/event-stream"); res.write("data: hello\n\n"); });
			fs.rmSync("app.sock", { force: true });
			app.listen("app.sock");`
	}
	page := func(title string) string {
		return strings.Replace(document(`<p>TEXT</p><form action="/form" method="post"><input name="word" value="word"></form>
			<script>new EventSource("/events").onmessage = event => window.event1 = event.data</script>`), "<head>", "<head><title>"+title+"</title>", 1)
	}
	dir := t.TempDir()
	linkNodeModules(t, dir, "express")
	write(t, dir, map[string]string{
		"app.js": app("one"), "views/page.html": page("first"), "public/style.css": paint(1),
		"execlogd.toml": "[server]\nproxy = 'unix:app.sock'\n[[route]]\nname = 'app'\nmatch = ['*.js']\nrun = ['node', 'app.js']\nservice = true\nstart = true\nreload = true\n",
	})
	d, err := startDaemon(t, dir, "-config", "execlogd.toml", "-port", "0")
	if err != nil {
		t.Fatal(err)
	}
	// A page that is there before would load again.
	if err := eventually(t.Context(), "the application to have started", func() bool { return strings.Contains(d.stderr.String(), "msg=done route=app") }); err != nil {
		t.Fatal(err)
	}
	p := open(t, browser, d.URL+"/")
	p.shows("document.querySelector('p').innerText", "one")
	p.shows("window.event1", "hello")
	p.allowErrors("/events") // which ends when the application starts again

	p.do("window.kept = 1")
	p.edit(dir, "public/style.css", paint(2), color+"+window.kept", rgb(2)+"1")
	p.edit(dir, "views/page.html", page("second"), "document.title", "second")
	p.connected()
	p.edit(dir, "app.js", app("two"), "document.querySelector('p').innerText", "two")
	p.connected()
	p.do("document.forms[0].submit()")
	p.shows("location.pathname + document.body.innerText.trim()", "/sent/wordword")
}

// Vite behind the proxy: its own websocket goes through, and pages have both.
func TestViteBehindProxy(t *testing.T) { inBrowsers(t, testVite) }

func testVite(t *testing.T, browser browser) {
	onlyChromium(t, browser, "it is about the server")
	dir := t.TempDir()
	linkPackages(t, dir, "vite")
	index := func(text string) string {
		return `<!doctype html><link rel=icon href=data:,><p>` + text + `</p><script type=module src=/main.js></script>`
	}
	write(t, dir, map[string]string{"index.html": index("one"), "main.js": `import "./main.css"`, "main.css": paint(1)})
	port := freePort(t)
	vite := exec.Command("node", filepath.Join(dir, "node_modules/vite/bin/vite.js"), "--host", "127.0.0.1", "--port", port, "--strictPort")
	vite.Dir = dir
	vite.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := vite.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { vite.Process.Kill(); vite.Wait() })

	d, err := startDaemon(t, dir, "-port", "0", "-proxy", "127.0.0.1:"+port, "-inject=false")
	if err != nil {
		t.Fatal(err)
	}
	const colorAndMark = color + "+window.kept"
	own := openUnconnected(t, browser, d.URL+"/")
	own.do("window.kept = 1")
	own.shows(colorAndMark, rgb(1)+"1")
	own.edit(dir, "main.css", paint(2), colorAndMark, rgb(2)+"1")

	d, err = startDaemon(t, dir, "-port", "0", "-proxy", fmt.Sprintf("http://127.0.0.1:%s", port))
	if err != nil {
		t.Fatal(err)
	}
	p := open(t, browser, d.URL+"/")
	p.edit(dir, "index.html", index("two"), "document.querySelector('p').innerText", "two")
}
