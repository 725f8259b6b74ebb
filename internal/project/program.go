package project

import (
	"cmp"
	"fmt"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

var (
	makeTarget = regexp.MustCompile(`(?m)^([A-Za-z0-9_-]+)[ \t]*:([^=]|$)`)
	sphinxOut  = regexp.MustCompile(`(?m)^BUILDDIR\s*\??=\s*([A-Za-z0-9_.-]+)\s*$`) // as sphinx-quickstart writes it
	makesPages = regexp.MustCompile(`\b(html?|css|markdown|md|pandoc|cmark|sass)\b`)
)

// lookForMakefile looks for a Makefile. It is that of a site if it has to do with pages.
func (d directory) lookForMakefile() *Project {
	name := d.first([]string{"GNUmakefile", "makefile", "Makefile"})
	text := d.read(name)
	if text == "" {
		return nil
	}

	var targets []string
	for _, m := range makeTarget.FindAllStringSubmatch(text, -1) {
		targets = append(targets, m[1])
	}
	words := []string{"make"}
	for _, usual := range []string{"site", "html", "website", "public", "dist", "build", "all"} {
		if len(words) == 1 && slices.Contains(targets, usual) {
			words = append(words, usual)
		}
	}

	p := &Project{Found: thereIs(name), What: "a program that make builds", First: d.missing("make", nil)}
	table, more := "", ""
	sphinx := sphinxOut.FindStringSubmatch(text)
	if makesPages.MatchString(text) || sphinx != nil {
		root := cmp.Or(written(text), d.pages())
		if sphinx != nil {
			root, words = sphinx[1]+"/html", []string{"make", "html"}
		}
		p.What, table = "a site that make builds", server(root)
		more = "reload = true   # pages wait for it, and show its errors\n" + outputsOf(root)
	}
	p.Config = table + fmt.Sprintf(`# It runs at the start and after each change.
[[route]]
name = "make"
run = [%s]
start = true
%s`, quoted(words), more)
	return p
}

var (
	isMain    = regexp.MustCompile(`(?m)^package main$`)
	listens   = regexp.MustCompile(`\bListenAndServe|\bnet\.Listen\(|\.Serve\(`)
	goAddress = regexp.MustCompile(`"[A-Za-z0-9.\[\]]*:([1-9][0-9]{1,4})"`)
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

	ready := ""
	if m := goAddress.FindStringSubmatch(program.String()); m != nil {
		ready = m[1]
	}
	p.What = "a server in Go"
	p.Config = compiledServer(`match = ["*.go", "/go.mod", "/go.sum"]
ignore = ["*_test.go"]
`, `"go", "build", "-o", "bin/server", "."`, "bin/server", ready)
	return p
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
	p.What = "a server in Rust"
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
