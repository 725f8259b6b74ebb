package e2e

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

var (
	sitesDir    = flag.String("sites", "", "measure the sites in this `directory`, which sites/prepare has made")
	sitesRounds = flag.Int("rounds", 9, "save a page and a style sheet this `number` of times with each server")
)

// A benchSite is a site on which execlogd is compared with the server of the program
// that builds it.
type benchSite struct {
	name   string
	dir    string   // in which it is, if that has another name
	own    []string // the program's own server, with PORT for the port
	known  string   // the builder; empty for none
	keys   string   // of its route, beside that
	build  []string // what a route runs on each change
	config string   // of execlogd beside another server, instead of what is made of all these
	mark   string   // the format of what is appended to source, for one text
	root   string   // the output
	page   string   // the address of the page
	source string   // the file that the page is made of; text is appended to it
	sheet  string   // the source of the style sheet
	broken string   // a file that no longer builds when with is appended to it
	with   string
	says   string // a part of the message
	loses  bool   // the program takes a file that is saved while it reads it for built
}

var benchSites = []benchSite{
	{
		name: "hugo", own: []string{"hugo", "server", "--port", "PORT"}, known: "hugo",
		build: []string{"hugo", "--environment", "development", "--baseURL", "/"}, root: "public",
		page: "/about/what-is-hugo/", source: "content/en/about/what-is-hugo.md", sheet: "themes/gohugoioTheme/assets/output/css/app.css",
		broken: "content/en/about/benefits.md", with: "\n{{< nothing >}}\n", says: `template for shortcode "nothing" not found`,
	},
	{
		name: "eleventy", own: []string{"npx", "eleventy", "--serve", "--incremental", "--port=PORT"}, known: "eleventy",
		keys:  "run = ['eleventy', '--watch', '--incremental']\n",
		build: []string{"npx", "eleventy"}, root: "_site",
		page: "/posts/2026-01-02-page-1/", source: "posts/2026-01-02-page-1.md", sheet: "css/index.css",
		broken: "posts/2026-01-03-page-2.md", with: "\n{% nothing %}\n", says: `tag "nothing" not found`,
	},
	{
		name: "jekyll", own: []string{"jekyll", "serve", "--livereload", "--livereload-port", "1PORT", "--port", "PORT"}, known: "jekyll",
		build: []string{"jekyll", "build"}, root: "_site",
		page: "/", source: "index.md", sheet: "css/main.css",
		broken: "index.md", with: "\n{% nothing %}\n", says: "Unknown tag 'nothing'",
	},
	{
		name: "mkdocs", own: []string{"mkdocs", "serve", "--dev-addr", "127.0.0.1:PORT"}, known: "mkdocs",
		build: []string{"mkdocs", "build", "--dirty"}, root: "site",
		page: "/Guides/Database/", source: "docs/Guides/Database.md", sheet: "docs/css/extra.css",
		broken: "mkdocs.yml", with: "\nnav: [\n", says: "error parsing the configuration file",
	},
	{
		name: "sphinx", own: []string{"sphinx-autobuild", "--port", "PORT", ".", "_build/html"}, known: "sphinx",
		build: []string{"sphinx-build", "-q", ".", "_build/html"}, root: "_build/html",
		page: "/page7.html", source: "page7.rst",
		broken: "conf.py", with: "\nx = (\n", says: "syntax error in your configuration file",
		loses: true,
	},
	{
		name: "vite", own: []string{"npx", "vite", "--port", "PORT", "--host", "127.0.0.1"}, known: "vite",
		build: []string{"npx", "vite", "build"}, root: "dist",
		page: "/", source: "index.html", sheet: "src/style.css",
		broken: "src/main.js", with: "\nlet = = 1\n", says: "Unexpected token",
	},
	{
		name: "go", own: air, config: goConfig,
		page: "/", source: "main.go", mark: "\nfunc init() { texts = append(texts, %q) }\n", sheet: "static/style.css",
		broken: "main.go", with: "\nvar x int = true\n", says: "cannot use true",
	},
	{
		name: "go, template", dir: "go", own: air, config: goConfig,
		page: "/", source: "templates/page.html",
		broken: "main.go", with: "\nvar x int = true\n", says: "cannot use true",
	},
}

// air restarts servers in Go, and is a proxy before them that reloads pages, and that shows
// errors if it is told to stop on them. The server is at 1PORT.
var air = []string{
	"air", "-build.args_bin", "127.0.0.1:1PORT", "-build.include_ext", "go,html,css", "-build.stop_on_error", "true",
	"-proxy.enabled", "true", "-proxy.proxy_port", "PORT", "-proxy.app_port", "1PORT",
}

// goConfig has the same server at PORT, and execlogd beside it at 1PORT.
const goConfig = `
[server]
root = "static"
static = false
port = 1PORT

[[route]]
name = "compile"
match = ["*.go"]
start = true
run = ["go", "build", "-o", "bin/server", "."]

[[route]]
name = "server"
match = ["*.go"]
after = "compile"
service = true
ready = "127.0.0.1:PORT"
reload = true
env = { LIVERELOAD = "http://127.0.0.1:1PORT/livereload.js" }
run = ["bin/server", "127.0.0.1:PORT"]

[[route]]
name = "templates"
root = "templates"
reload = true
`

// patience is how long a change may take to show.
const patience = 20 * time.Second

// A contender is one server of a copy of a site, and what was measured.
type contender struct {
	site  benchSite
	name  string
	dir   string
	url   string
	tab   *tab
	saves int

	page, sheet []time.Duration
	reloads     string
	errorShown  string
}

// TestSites compares how fast a saved file shows with the servers of generators, and
// prints a table. All servers of a site run at the same time, and take turns.
func TestSites(t *testing.T) {
	if *sitesDir == "" {
		t.Skip("a benchmark: run it by make bench-sites")
	}
	t.Setenv("PATH", filepath.Join(*sitesDir, "bin")+":"+os.Getenv("PATH"))
	browser := startChromium(t)
	load, _ := os.ReadFile("/proc/loadavg")
	fmt.Printf("load %s\n", load)
	fmt.Println("| site | server | page, ms | CSS, ms | reloads for five saves | error shown |")
	fmt.Println("| --- | --- | --- | --- | --- | --- |")
	for _, site := range benchSites {
		t.Run(site.name, func(t *testing.T) { compare(t, browser, site) })
	}
}

func compare(t *testing.T, browser browser, site benchSite) {
	from := filepath.Join(*sitesDir, cmp.Or(site.dir, site.name))
	if _, err := os.Stat(from); err != nil {
		t.Skip("the site could not be had: ", err)
	}
	if _, err := exec.LookPath(site.own[0]); err != nil {
		t.Skip(err)
	}
	port := 7000
	contend := func(name string, start func(dir string, port string) error) *contender {
		t.Helper()
		c := &contender{site: site, name: name, dir: filepath.Join(t.TempDir(), "site")}
		if out, err := exec.Command("cp", "-a", from, c.dir).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		port++
		if err := start(c.dir, strconv.Itoa(port)); err != nil {
			t.Fatal(err)
		}
		c.url = fmt.Sprintf("http://127.0.0.1:%d%s", port, site.page)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		for !isServed(c.url) && ctx.Err() == nil {
			time.Sleep(100 * time.Millisecond)
		}
		// A change that comes in the middle of the first build may be missed.
		for said := int64(-1); said != sizeOf(serverLog(c.dir)) && ctx.Err() == nil; {
			said = sizeOf(serverLog(c.dir))
			time.Sleep(5 * time.Second)
		}
		c.tab = newTab(t, browser)
		c.tab.navigate(c.url)
		return c
	}
	configured := func(config string) func(dir, port string) error {
		return func(dir, port string) error {
			write(t, dir, map[string]string{"execlogd.toml": strings.ReplaceAll(config, "PORT", port)})
			return launchServer(t, dir, execlogd, "-config", "execlogd.toml")
		}
	}
	serve := func(server, route string) func(dir, port string) error {
		return configured(fmt.Sprintf("[server]\nroot = %q\nport = PORT\n%s\n[[route]]\n%s", site.root, server, route))
	}
	contenders := []*contender{
		contend(strings.Join(slices.DeleteFunc(slices.Clone(site.own[:2]), func(word string) bool { return strings.HasPrefix(word, "-") }), " "), func(dir, port string) error {
			own := slices.Clone(site.own)
			for i := range own {
				own[i] = strings.ReplaceAll(own[i], "PORT", port)
			}
			return launchServer(t, dir, own...)
		}),
	}
	if site.config != "" {
		contenders = append(contenders, contend("execlogd", configured(site.config)))
	} else {
		contenders = append(contenders,
			contend("execlogd, builder", serve("", fmt.Sprintf("builder = %q\n", site.known)+site.keys)),
			contend("execlogd, route", serve("after = 'build'\n", fmt.Sprintf("name = 'build'\nrun = %s\noutputs = '/%s/'\nstart = true\n", tomlList(site.build), site.root))))
	}

	for range *sitesRounds {
		for _, c := range contenders {
			c.savePage(t)
			c.saveSheet(t)
		}
	}
	for _, c := range contenders {
		c.saveFive(t)
	}
	for _, c := range contenders {
		c.breakSource(t)
	}
	for _, c := range contenders {
		fmt.Printf("| %s | %s | %s | %s | %s | %s |\n", site.name, c.name, spread(c.page), spread(c.sheet), c.reloads, c.errorShown)
	}
}

// isServed reports whether a server has a page at an address.
func isServed(url string) bool {
	resp, err := http.Get(url)
	if err != nil {
		return false
	}
	resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// text returns what is to be appended to the source of the page for a text in it.
func (s benchSite) text(mark string) string {
	return fmt.Sprintf(cmp.Or(s.mark, "\n\n%s\n"), mark)
}

// savePage appends a text to the source of the page, and measures until it shows.
func (c *contender) savePage(t *testing.T) {
	c.saves++
	mark := fmt.Sprintf("saved%dtimes", c.saves)
	c.page = append(c.page, c.save(t, c.site.source, c.site.text(mark), `document.body.innerText.includes("`+mark+`")`))
}

// saveSheet does the same with a rule of the style sheet.
func (c *contender) saveSheet(t *testing.T) {
	if c.site.sheet == "" {
		return
	}
	c.saves++
	c.sheet = append(c.sheet, c.save(t, c.site.sheet, fmt.Sprintf("\nbody { --saves: %d }\n", c.saves),
		fmt.Sprintf(`getComputedStyle(document.body).getPropertyValue("--saves").trim() === "%d"`, c.saves)))
}

// saveFive saves the page five times within 300 ms, and counts how often it is loaded.
func (c *contender) saveFive(t *testing.T) {
	loads := map[string]bool{c.loaded(): true}
	var mark string
	for i := range 5 {
		c.saves++
		mark = fmt.Sprintf("saved%dtimes", c.saves)
		appendTo(t, filepath.Join(c.dir, c.site.source), c.site.text(mark))
		if i < 4 {
			for end := time.Now().Add(70 * time.Millisecond); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
				loads[c.loaded()] = true
			}
		}
	}
	shown := false
	for end := time.Now().Add(maxWait); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		loads[c.loaded()] = true
		if !shown && c.is(`document.body.innerText.includes("`+mark+`")`) {
			shown, end = true, time.Now().Add(4*time.Second)
		}
	}
	delete(loads, "")
	c.reloads = strconv.Itoa(len(loads) - 1)
	if !shown {
		c.reloads += ", without the last save"
		if strings.HasPrefix(c.name, "execlogd") && !c.site.loses {
			t.Errorf("%s: the last of five saves does not show", c.name)
		}
	}
}

// breakSource breaks a file, looks for the message in the page, and mends it.
func (c *contender) breakSource(t *testing.T) {
	path := filepath.Join(c.dir, c.site.broken)
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const text = `(function all(node) { return (node.shadowRoot ? all(node.shadowRoot) : "") + [...node.childNodes].map(n => n.nodeType === 3 ? n.data : all(n)).join("") })(document.documentElement)`
	shows := fmt.Sprintf(`%s.includes(%q)`, text, c.site.says)
	began := time.Now()
	appendTo(t, path, c.site.with)
	c.errorShown = "no"
	for time.Since(began) < 15*time.Second {
		if c.is(shows) {
			c.errorShown = fmt.Sprintf("after %d ms", time.Since(began).Milliseconds())
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	began = time.Now()
	if err := replace(path, string(before)); err != nil {
		t.Fatal(err)
	}
	for c.errorShown != "no" && c.is(shows) {
		if time.Since(began) > 15*time.Second {
			c.errorShown += ", not gone after 15 s"
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// save appends to a file, and measures until an expression is true. What does not show
// within patience counts as that, and the page is loaded by hand.
func (c *contender) save(t *testing.T, name, text, expression string) (took time.Duration) {
	t.Helper()
	// After the last reload, and at any moment of what a program does at intervals.
	time.Sleep(1500*time.Millisecond + rand.N(500*time.Millisecond))
	began := time.Now()
	appendTo(t, filepath.Join(c.dir, name), text)
	for time.Since(began) < patience {
		if c.is(expression) {
			return time.Since(began)
		}
		time.Sleep(5 * time.Millisecond)
	}
	c.tab.navigate(c.url)
	return patience
}

// is tells whether an expression is true in the page. While it loads, nothing is.
func (c *contender) is(expression string) bool {
	value, err := c.tab.evaluate(expression)
	return err == nil && value == "true"
}

// loaded identifies the load of the page.
func (c *contender) loaded() string {
	value, _ := c.tab.evaluate("performance.timeOrigin")
	return value
}

func appendTo(t *testing.T, path, text string) {
	t.Helper()
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, append(before, text...), 0o644); err != nil {
		t.Fatal(err)
	}
}

// serverLog is the file with what the server of a directory says.
func serverLog(dir string) string { return filepath.Join(filepath.Dir(dir), "server.log") }

func sizeOf(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}

// launchServer runs a server in a directory until the test ends.
func launchServer(t *testing.T, dir string, args ...string) error {
	log, err := os.Create(serverLog(dir))
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return err
	}
	t.Cleanup(func() {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM)
		killed := time.AfterFunc(10*time.Second, func() { syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
		cmd.Wait()
		killed.Stop()
		if t.Failed() {
			said, _ := os.ReadFile(log.Name())
			t.Logf("%q said:\n%s", args, said[max(0, len(said)-4000):])
		}
	})
	return nil
}

func tomlList(words []string) string {
	quoted := make([]string, len(words))
	for i, word := range words {
		quoted[i] = strconv.Quote(word)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

// spread returns a median in ms, and the extremes.
func spread(times []time.Duration) string {
	if len(times) == 0 {
		return ""
	}
	slices.Sort(times)
	if times[len(times)/2] == patience {
		return "never"
	}
	return fmt.Sprintf("%d (%d to %d)", times[len(times)/2].Milliseconds(), times[0].Milliseconds(), times[len(times)-1].Milliseconds())
}
