package project

import (
	"cmp"
	"fmt"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/execlog/execlogd/internal/builders"
)

var (
	makeRule   = regexp.MustCompile(`(?m)^([A-Za-z0-9_-]+)[ \t]*:(?:[^=\n].*)?\n((?:\t.*(?:\n|\z))*)`)
	sphinxOut  = regexp.MustCompile(`(?m)^BUILDDIR\s*\??=\s*([A-Za-z0-9_.-]+)\s*$`) // as sphinx-quickstart writes it
	makesPages = regexp.MustCompile(`\b(html?|css|markdown|md|pandoc|cmark|sass)\b`)
)

// A makefile is what a Makefile can make.
type makefile struct {
	name    string
	text    string
	targets []string // in their order; the first is made by default
	recipes map[string]string
}

// readMakefile returns the Makefile of the directory; nil if there is none.
func (d directory) readMakefile() *makefile {
	name := d.first([]string{"GNUmakefile", "makefile", "Makefile"})
	m := &makefile{name: name, text: d.read(name), recipes: make(map[string]string)}
	if m.text == "" {
		return nil
	}
	for _, rule := range makeRule.FindAllStringSubmatch(m.text+"\n", -1) {
		m.targets = append(m.targets, rule[1])
		m.recipes[rule[1]] += rule[2]
	}
	return m
}

// goal returns the first target of some names; empty if there is none.
func (m *makefile) goal(names ...string) string {
	i := slices.IndexFunc(names, func(name string) bool { return slices.Contains(m.targets, name) })
	if i < 0 {
		return ""
	}
	return names[i]
}

// lookForMakefile looks for a Makefile. It is that of a site if it has to do with pages.
func (d directory) lookForMakefile() *Project {
	m := d.readMakefile()
	if m == nil {
		return nil
	}
	for _, look := range []func(*makefile) *Project{d.lookForWatchTarget, d.lookForBuildTarget, d.lookForServerTarget} {
		if p := look(m); p != nil {
			p.Found, p.First = thereIs(m.name), d.missing("make", nil)
			return p
		}
	}
	return nil
}

// lookForWatchTarget looks for a target that builds whenever a source changes.
func (d directory) lookForWatchTarget(m *makefile) *Project {
	recipe := m.recipes["watch"]
	if recipe == "" || noWatch.MatchString(recipe) {
		return nil
	}

	known, builder := builders.Builder{}, "name = \"watch\"\nbuilder = true"
	for _, b := range builders.All() {
		if !b.Once && known.Name == "" && regexp.MustCompile(`\b`+b.Name+`\b`).MatchString(recipe) {
			known, builder = b, fmt.Sprintf("builder = %q", b.Name)
		}
	}
	route := "[[route]]\n" + builder + "\nrun = [\"make\", \"watch\"]\n"
	root := cmp.Or(written(recipe), known.Output, written(m.text), d.pages())
	p := &Project{What: "a site that make watch builds", hasPages: d.shows(root)}
	if !p.hasPages {
		p.What = "a program that make watch builds"
		p.Config = "# It builds by itself whenever a source changes. Its errors are in the log.\n" + route + noPages
		return p
	}
	p.Config = server(root) + "# It builds by itself whenever a source changes. Pages wait for that, and show its errors.\n" + route + outputsOf(root)
	return p
}

// serverTargets are usual names of targets that start a server.
var serverTargets = []string{"serve", "server", "dev", "start", "run"}

// lookForBuildTarget looks for a target that builds once, which may be the default.
func (d directory) lookForBuildTarget(m *makefile) *Project {
	words := []string{"make"}
	sites := []string{"site", "html", "website", "public"}
	goal := m.goal(append(sites, "dist", "build", "all")...)
	if goal != "" {
		words = append(words, goal)
	} else if len(m.targets) > 0 && (m.targets[0] == "watch" || slices.Contains(serverTargets, m.targets[0])) {
		return nil // it would not end
	}

	p := &Project{What: "a program that make builds"}
	table, more := "", d.gitignore()+changedOnly
	sphinx := sphinxOut.FindStringSubmatch(m.text)
	isProgram := (d.has("go.mod") || d.has("Cargo.toml")) && !slices.Contains(sites, goal) // which has a README.md as well
	if makesPages.MatchString(m.text) && !isProgram || sphinx != nil {
		root := cmp.Or(written(m.text), d.pages())
		if sphinx != nil {
			root, words = sphinx[1]+"/html", []string{"make", "html"}
		}
		p.What, p.hasPages, table = "a site that make builds", true, server(root)
		more = "reload = true   # pages wait for it, and show its errors\n" + cmp.Or(outputsOf(root), changedOnly)
	}
	p.Config = table + fmt.Sprintf(`# It runs at the start and after each change.
[[route]]
name = "make"
run = [%s]
start = true
%s`, quoted(words), more)
	return p
}

// fileServer matches commands that serve the files of a directory.
var fileServer = regexp.MustCompile(`\b(http\.server|http-server|live-server|browser-sync|caddy|httpd|php -S)\b`)

// lookForServerTarget looks for a target that starts a server which makes pages.
func (d directory) lookForServerTarget(m *makefile) *Project {
	goal := m.goal(serverTargets...)
	if goal == "" || fileServer.MatchString(m.recipes[goal]) {
		return nil
	}
	return &Project{
		What: "a server that make " + goal + " starts", hasPages: true,
		Config: scriptServer + fmt.Sprintf(`# It is started again after each change, and then pages reload.
[[route]]
name = "server"
service = true
reload = true
run = ["make", %q]
%s#ready = "127.0.0.1:3000"   # pages wait until it listens there
`, goal, d.gitignore()),
	}
}

var (
	isMain  = regexp.MustCompile(`(?m)^package main$`)
	listens = regexp.MustCompile(`\bListenAndServe|\bnet\.Listen\(|\.Serve\(`)

	// goPorts match the port at which a program in Go listens, the surest first: it may have
	// the addresses of other servers as well.
	goPorts = []*regexp.Regexp{
		regexp.MustCompile(`\b(?:ListenAndServe(?:TLS)?|Listen)\([^)\n]*"[A-Za-z0-9.\[\]]*:([1-9][0-9]{1,4})"`),
		regexp.MustCompile(`":([1-9][0-9]{1,4})"`),
		regexp.MustCompile(`"[A-Za-z0-9.\[\]]*:([1-9][0-9]{1,4})"`),
	}
)

// lookForGo looks for a Go module. If the package of its directory is a server, that is
// compiled and started; of others the tests are run.
func (d directory) lookForGo() *Project {
	if !d.has("go.mod") {
		return nil
	}
	p := &Project{Found: "there is go.mod", First: d.missing("go", nil)}

	var program strings.Builder
	files, _ := filepath.Glob(filepath.Join(string(d), "*.go")) // the pattern is right
	for _, file := range files {
		if text := d.read(filepath.Base(file)); isMain.MatchString(text) && !strings.HasSuffix(file, "_test.go") {
			program.WriteString(text)
		}
	}
	if !listens.MatchString(program.String()) {
		p.What = "a Go module"
		p.Config = testRoute(`["*.go", "/go.mod", "/go.sum"]`, "", `"go", "test", "./..."`)
		return p
	}

	p.What, p.hasPages = "a server in Go", true
	p.Config = compiledServer(`match = ["*.go", "/go.mod", "/go.sum"]
ignore = ["*_test.go"]
`, `"go", "build", "-o", "bin/server", "."`, "bin/server", goPort(program.String()))
	return p
}

// goPort returns the port at which a program in Go listens; empty if that is not clear.
func goPort(program string) string {
	for _, pattern := range goPorts {
		var ports []string
		for _, m := range pattern.FindAllStringSubmatch(program, -1) {
			ports = append(ports, m[1])
		}
		slices.Sort(ports)
		if ports = slices.Compact(ports); len(ports) == 1 {
			return ports[0]
		}
	}
	return ""
}

var (
	cargoName    = regexp.MustCompile(`(?m)^name\s*=\s*"([A-Za-z0-9_-]+)"`)
	rustListens  = regexp.MustCompile(`\b(axum|actix_web|rocket|warp|hyper|tide|poem)\b|\bTcpListener\b`)
	cargoSources = "match = [\"*.rs\", \"Cargo.toml\"]\nignore = [\"/target/\"]\n"
)

// lookForCargo is lookForGo for Rust.
func (d directory) lookForCargo() *Project {
	text := d.read("Cargo.toml")
	if text == "" {
		return nil
	}

	p := &Project{Found: "there is Cargo.toml", First: d.missing("cargo", nil)}
	name := cargoName.FindStringSubmatch(text)
	if name == nil || !rustListens.MatchString(d.read("src/main.rs")) {
		p.What = "a program in Rust"
		p.Config = testRoute(`["*.rs", "Cargo.toml"]`, "ignore = [\"/target/\"]\n", `"cargo", "test"`)
		return p
	}
	p.What, p.hasPages = "a server in Rust", true
	p.Config = compiledServer(cargoSources, `"cargo", "build"`, path.Join("target/debug", name[1]), "")
	return p
}

// testRoute is a route that runs tests.
func testRoute(match, more, words string) string {
	return fmt.Sprintf(`# The tests run at the start and after each change.
[[route]]
name = "test"
match = %s
%srun = [%s]
start = true
`, match, more, words)
}

// compiledServer are two routes: one compiles a server, and one runs it.
func compiledServer(sources, compile, program, port string) string {
	ready := "#ready = \"127.0.0.1:8080\"   # pages wait until it listens there\n"
	if port != "" {
		ready = fmt.Sprintf("ready = \"127.0.0.1:%s\"   # pages wait until it listens there\n", port)
	}
	return scriptServer + fmt.Sprintf(`# While it does not compile, pages show why, and the server that runs goes on.
[[route]]
name = "compile"
%sstart = true
run = [%s]

[[route]]
name = "server"
%safter = "compile"
service = true
reload = true
%srun = [%q]
`, sources, compile, sources, ready, program)
}
