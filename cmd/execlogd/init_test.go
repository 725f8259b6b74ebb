package main

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/execlog/execlogd/internal/config"
	"github.com/execlog/execlogd/internal/testenv"
)

// projects are directories with what init finds in them, and lines of what it writes.
var projects = []struct {
	name, files, found string
	lines              []string
}{
	{"nothing", "", "no program that builds pages was found, so this is a site of plain files", []string{`root = "."`}},
	{"plain files", "index.html", "there is index.html, so this is a site of plain files", []string{`root = "."`}},
	{"a page with a space in its name", "my page.html", `there is "my page.html", so this is a site of plain files`, []string{`root = "."`}},
	{"a page whose name is not UTF-8", "caf\xe9.html", `there is "caf\xe9.html", so this is`, []string{`root = "."`}},
	{"a page whose name has two lines", "a\n[x.html", `there is "a\n[x.html", so this is`, []string{`root = "."`}},
	{"plain files below", "www/index.html", "there is www/index.html, so this is a site of plain files", []string{`root = "www"`}},
	{"hugo", "hugo.toml", "there is hugo.toml, so this is a site for hugo", []string{`root = "public"`, `builder = "hugo"`}},
	{"hugo with a theme from npm", `hugo.toml|package.json={"devDependencies": {"tailwindcss": "4"}}`, "there is hugo.toml", []string{`root = "public"`, `builder = "hugo"`}},
	{"jekyll", "_config.yml|index.html", "there is _config.yml, so this is a site for jekyll", []string{`root = "_site"`, `builder = "jekyll"`}},
	{"mkdocs", "mkdocs.yml", "a site for mkdocs", []string{`root = "site"`, `builder = "mkdocs"`}},
	{"sphinx", "conf.py|Makefile=html:\n", "a site for sphinx", []string{`root = "_build/html"`, `builder = "sphinx"`}},
	{"eleventy", `package.json={"devDependencies": {"@11ty/eleventy": "3"}}`, "package.json depends on @11ty/eleventy, so this is a site for eleventy", []string{`root = "_site"`, `builder = "eleventy"`}},
	{"astro, with scripts of a template", `astro.config.mjs|package.json={"scripts": {"dev": "astro dev", "build": "astro build"}, "dependencies": {"astro": "5"}}`, "there is astro.config.mjs", []string{`root = "dist"`, `builder = "astro"`}},
	{"vite", `index.html|package.json={"scripts": {"dev": "vite", "build": "vite build"}, "devDependencies": {"vite": "8", "typescript": "5"}}`, "a site for vite", []string{`root = "dist"`, `builder = "vite"`}},
	{"a script watch", `package.json={"scripts": {"watch": "eleventy --watch & sass -w a:b"}, "devDependencies": {"@11ty/eleventy": "3", "sass": "1"}}`, "package.json has a script watch", []string{`root = "_site"`, `builder = "npm"`}},
	{"a script watch that says where", `package.json={"scripts": {"watch": "rollup -w -o public/main.js"}}`, "package.json has a script watch", []string{`root = "public"`, `outputs = ["/public/"]   # what it writes does not start it again`}},
	{"a script watch of tests", `package.json={"scripts": {"watch": "jest --watch"}}|index.html`, "a site of plain files", []string{`root = "."`}},
	{"a script build", `package.json={"scripts": {"build": "node build build.js"}}|.gitignore=out/`, "package.json has a script build", []string{`root = "out"`, `run = ["npm", "run", "build"]`}},
	{"a script watch without pages", `package.json={"scripts": {"watch": "tsc -w"}, "devDependencies": {"typescript": "5"}}`, "a program that npm run watch builds", []string{`builder = "npm"`, `#[server]`}},
	{"a script build without pages", `package.json={"scripts": {"build": "tsc"}, "devDependencies": {"typescript": "5"}}|.gitignore=lib/`, "a program that npm run build builds", []string{`outputs = ["/dist/", "/out/"]`, `changed_only = true`, `gitignore = true`, `#[server]`}},
	{"a script build beside pages", `package.json={"scripts": {"build": "sass a.scss a.css"}}|index.html`, "a site that npm run build builds", []string{`root = "."`, `reload = true`, `changed_only = true`}},
	{"a framework", `package.json={"scripts": {"build": "gatsby build"}, "dependencies": {"gatsby": "5"}}`, "a site with a server of its own, gatsby develop", []string{`root = "public"`, `outputs = ["/public/"]`}},
	{"a package with a byte order mark", "package.json=\ufeff" + `{"scripts": {"build": "x -o dist"}}`, "package.json has a script build", []string{`root = "dist"`}},
	{"a package that is wrong", `package.json={|index.html`, "a site of plain files", []string{`root = "."`}},
	{"a server from npm", `package.json={"scripts": {"start": "node ."}, "dependencies": {"express": "5"}}`, "a server that npm start starts", []string{`static = false`, `run = ["npm", "start"]`, `service = true`}},
	{"make, of pages", "Makefile=all: help\nsite: a.md\n\tpandoc a.md -o _site/a.html\n", "there is Makefile, so this is a site that make builds", []string{`root = "_site"`, `run = ["make", "site"]`, `outputs = ["/_site/"]   # what it writes does not start it again`}},
	{"make, of Sphinx", "Makefile=SPHINXBUILD   ?= sphinx-build\nSOURCEDIR     = source\nBUILDDIR      = build\nhelp:\n\t@$(SPHINXBUILD) -M help\n|source/conf.py", "a site that make builds", []string{`root = "build/html"`, `run = ["make", "html"]`}},
	{"make, of pages beside it", "Makefile=a.html: a.md\n\tcmark a.md >a.html\n|index.html", "a site that make builds", []string{`root = "."`, `run = ["make"]`, `changed_only = true`}},
	{"make, of a program", "Makefile=all: main.o\n\tcc -o build/x main.o\n", "a program that make builds", []string{`run = ["make", "all"]`, `changed_only = true`}},
	{"make, of a program with other files", "go.mod=module x\n|.gitignore=/bin/\n|Makefile=build:\n\tgo build -o bin/x\nrelease:\n\ttar -cf build/x.tar README.md docs/a.html bin/x\n", "a program that make builds", []string{`run = ["make", "build"]`, `gitignore = true`}},
	{"make, with a target watch", "Makefile=watch:\n\twhile inotifywait src; do ./build >public/index.html; done\n", "a site that make watch builds", []string{`root = "public"`, `builder = true`, `run = ["make", "watch"]`, `outputs = ["/public/"]`}},
	{"make, with a target watch of a known program", "Makefile=watch:\n\thugo --watch\n", "a site that make watch builds", []string{`root = "public"`, `builder = "hugo"`, `run = ["make", "watch"]`}},
	{"make, with a target watch without pages", "Makefile=watch:\n\tls *.c | entr make\n", "a program that make watch builds", []string{`builder = true`, `#[server]`}},
	{"make, with a target watch of a server", "Makefile=site:\n\tpandoc a.md -o public/a.html\nwatch:\n\thugo server\n", "a site that make builds", []string{`root = "public"`, `run = ["make", "site"]`}},
	{"make, with a server of files", "Makefile=serve:\n\tpython3 -m http.server -d public\n|public/index.html", "a site of plain files", []string{`root = "public"`}},
	{"make, with a server", "Makefile=serve:\n\tflask run\n", "a server that make serve starts", []string{`static = false`, `run = ["make", "serve"]`, `service = true`}},
	{"make, with a server beside what it builds", "Makefile=build:\n\tpandoc a.md -o public/a.html\nserve: build\n\tpython3 -m http.server\n", "a site that make builds", []string{`run = ["make", "build"]`}},
	{"a Go module", "go.mod=module x\n|a.go=package a\n", "a Go module", []string{`run = ["go", "test", "./..."]`}},
	{"a server in Go", "go.mod=module x\n|main.go=package main\nfunc main() { http.ListenAndServe(\":8123\", nil) }\n", "a server in Go", []string{`ready = "127.0.0.1:8123"   # pages wait until it listens there`, `run = ["bin/server"]`, `static = false`}},
	{"a server in Go that uses others", "go.mod=module x\n|main.go=package main\nfunc main() { redis.Dial(\"tcp\", \"localhost:6379\"); http.ListenAndServe(\"localhost:8123\", nil) }\n", "a server in Go", []string{`ready = "127.0.0.1:8123"`}},
	{"a server in Go with its address elsewhere", "go.mod=module x\n|main.go=package main\nvar s = http.Server{Addr: \":8123\"}\nfunc main() { redis.Dial(\"tcp\", \"localhost:6379\"); s.ListenAndServe() }\n", "a server in Go", []string{`ready = "127.0.0.1:8123"`}},
	{"a server in Go of many addresses", "go.mod=module x\n|main.go=package main\nfunc main() { dial(\"a:6379\", \"b:6380\"); s.ListenAndServe() }\n", "a server in Go", []string{`#ready = `}},
	{"a program in Go", "go.mod=module x\n|main.go=package main\nfunc main() {}\n", "a Go module", []string{`run = ["go", "test", "./..."]`}},
	{"a program in Rust", "Cargo.toml=[package]\nname = \"x\"\n|src/main.rs=fn main() {}\n", "a program in Rust", []string{`run = ["cargo", "test"]`}},
	{"a server in Rust", "Cargo.toml=[package]\nname = \"x-y\"\n|src/main.rs=use axum::Router;\n", "a server in Rust", []string{`run = ["target/debug/x-y"]`, `run = ["cargo", "build"]`}},
}

// makeProject makes the files of a project in a directory.
func makeProject(t *testing.T, dir, files string) {
	t.Helper()
	for file := range strings.SplitSeq(files, "|") {
		if name, text, _ := strings.Cut(file, "="); name != "" {
			path := filepath.Join(dir, name)
			testenv.Check(t, os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644))
		}
	}
}

// installBuilders has PATH lead to all programs that init writes into a configuration:
// whether they are installed is another matter.
func installBuilders(t *testing.T) {
	t.Helper()
	bin := t.TempDir()
	for _, name := range []string{"sh", "hugo", "jekyll", "mkdocs", "sphinx-build", "eleventy", "astro", "vite", "npm", "make", "go", "cargo"} {
		testenv.Check(t, os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/sh\n"), 0o755))
	}
	t.Setenv("PATH", bin)
}

// What init writes is right as it is, for whatever it finds.
func TestInit(t *testing.T) {
	installBuilders(t)
	for _, tt := range projects {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			t.Chdir(dir)
			makeProject(t, dir, tt.files)
			var printed, first strings.Builder
			testenv.Check(t, run(t.Context(), []string{"init", "-dry-run"}, &printed, &first))
			if _, err := os.Stat("execlogd.toml"); err == nil {
				t.Error("-dry-run writes a file")
			}

			if out := output(t, dir, "init"); !strings.Contains(out, tt.found) || !strings.Contains(out, "\nstart it with: execlogd\n") {
				t.Errorf("says %q, want %s", out, tt.found)
			}
			text := read(t, "execlogd.toml")
			for _, line := range tt.lines {
				if !strings.Contains(text, "\n"+line) {
					t.Errorf("no %s in\n%s", line, text)
				}
			}
			if text != printed.String() {
				t.Errorf("printed %s, and written %s", printed.String(), text)
			}
			if n := strings.Count(text, "\n"); n > 35 {
				t.Errorf("%d lines, want a short file", n)
			}
			var checked strings.Builder
			if err := run(t.Context(), []string{"check"}, &checked, io.Discard); err != nil || !strings.HasPrefix(checked.String(), "execlogd.toml is right") {
				t.Errorf("check prints %s\n%s", checked.String(), text)
			}

			err := run(t.Context(), []string{"init", "."}, io.Discard, io.Discard)
			if err == nil || !strings.HasPrefix(err.Error(), "execlogd.toml exists, and stays as it is") || read(t, "execlogd.toml") != text {
				t.Errorf("once more: %v", err)
			}
		})
	}
}

// A site in a directory below gets its configuration there, and execlogd says how to use it.
func TestInitBelow(t *testing.T) {
	installBuilders(t)
	dir := t.TempDir()
	makeProject(t, dir, "docs/mkdocs.yml|docs/docs/index.md=first|setup.py")
	t.Chdir(dir)
	if got := adviceOnInit("."); !strings.HasPrefix(got, "in docs there is mkdocs.yml, so this is a site for mkdocs: execlogd init writes ") {
		t.Errorf("the advice is %q", got)
	}
	var printed, about strings.Builder
	testenv.Check(t, run(t.Context(), []string{"init", "-dry-run"}, &printed, &about))
	if !strings.HasPrefix(about.String(), "in docs there is mkdocs.yml, so this is for docs/execlogd.toml\n") {
		t.Errorf("-dry-run says %q", about.String())
	}
	out := output(t, dir, "init")
	if want := "in docs there is mkdocs.yml, so this is a site for mkdocs\nwritten: docs/execlogd.toml\nstart it with: execlogd docs\n"; !strings.HasPrefix(out, want) {
		t.Errorf("says %q, want %q", out, want)
	}
	if text := read(t, "docs/execlogd.toml"); text != printed.String() {
		t.Errorf("printed %s, and written %s", printed.String(), text)
	}
	if got := output(t, dir, "check", "docs"); !strings.HasPrefix(got, "docs/execlogd.toml is right") {
		t.Errorf("check prints %s", got)
	}
	if got := adviceOnInit("."); !strings.HasSuffix(got, ": execlogd docs uses docs/execlogd.toml") {
		t.Errorf("the advice is %q once it is written", got)
	}
}

// Where no configuration is of use, that is said, and none is written.
func TestInitWithoutUse(t *testing.T) {
	for files, want := range map[string]string{
		`package.json={"scripts": {"dev": "next dev"}, "dependencies": {"next": "16"}}`: "package.json depends on next, so this is a site with a server of its own, next dev: start that with npm run dev: it makes pages when they are asked for, and refreshes them itself",
		"a/conf.py|docs/conf.py|site/mkdocs.yml":                                        "there are sites in docs and site, so this is a repository of several: name the directory of one, as in execlogd init docs",
	} {
		dir := t.TempDir()
		makeProject(t, dir, files)
		t.Chdir(dir)
		for _, args := range []string{"init", "init -dry-run"} {
			if err := run(t.Context(), strings.Fields(args), io.Discard, io.Discard); err == nil || err.Error() != want {
				t.Errorf("%s: %v, want %s", args, err, want)
			}
		}
		if _, err := os.Stat("execlogd.toml"); err == nil {
			t.Error("a file is written")
		}
		if got := adviceOnInit("."); got != want {
			t.Errorf("the advice is %q", got)
		}
	}
}

// What has to be done first is said.
func TestInitSaysWhatIsMissing(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	for files, want := range map[string]string{
		"hugo.toml": "before that, install hugo: it is in no directory of PATH\n",
		`package.json={"devDependencies": {"@11ty/eleventy": "3"}}`:                                      "before that, run npm install: there is no node_modules\n",
		`package.json={"devDependencies": {"@11ty/eleventy": "3"}}|node_modules/.bin/eleventy=#!/bin/sh`: "start it with: execlogd DIR\n",
	} {
		dir := t.TempDir()
		makeProject(t, dir, files)
		if out := output(t, dir, "init", dir); !strings.HasSuffix(out, want) {
			t.Errorf("%s: %s, want %s at its end", files, out, want)
		}
	}
}

// startIn starts execlogd without flags in a directory.
func startIn(t *testing.T, dir string, args ...string) *testenv.Session {
	t.Helper()
	t.Chdir(dir)
	s := testenv.Begin(t, func(ctx context.Context, _ []string, stderr io.Writer) error {
		return run(ctx, args, io.Discard, stderr)
	}, "")
	s.Dir = dir
	return s
}

// The files of a directory that init knows are served, and that it knows more is said in one
// line.
func TestAdviceOnInit(t *testing.T) {
	dir := t.TempDir()
	makeProject(t, dir, "hugo.toml|index.html")
	startIn(t, dir).Await("there is hugo.toml, so this is a site for hugo: execlogd init writes")

	dir = t.TempDir()
	makeProject(t, dir, "index.html")
	s := startIn(t, dir)
	s.Stop()
	for range s.Log {
		s.Await("")
		if len(s.Log) == 0 {
			break
		}
	}
	if regexp.MustCompile("execlogd init").MatchString(strings.Join(s.Seen, "\n")) {
		t.Errorf("of plain files there is nothing to build: %s", s.Seen)
	}
}

// What init writes works at once: it builds, it serves, and a save is on the page.
func TestInitWorksAtOnce(t *testing.T) {
	for _, tt := range []struct {
		program, files string
		path           string // of a page
		source         string // that is saved
		npm            bool   // with the programs that tests of builders use
	}{
		{program: "make", files: "Makefile=site: a.md\n\tmkdir -p public && sed s/^/html:/ a.md >public/index.html\n|a.md=first", path: "/", source: "a.md"},
		{program: "hugo", files: "hugo.toml=disableKinds = [\"taxonomy\", \"term\"]\n|layouts/index.html=first|content/a.md=a", path: "/", source: "layouts/index.html"},
		{program: "npm", files: `package.json={"devDependencies": {"@11ty/eleventy": "3"}}|index.md=first`, path: "/", source: "index.md", npm: true},
		{program: "npm", files: `package.json={"scripts": {"build": "mkdir -p dist && cp a.html dist/index.html"}}|a.html=first`, path: "/", source: "a.html"},
		{program: "true", files: "index.html=first", path: "/", source: "index.html"},
	} {
		t.Run(tt.program, func(t *testing.T) {
			if _, err := exec.LookPath(tt.program); err != nil {
				t.Skip(tt.program, "is not installed")
			}
			dir := t.TempDir()
			makeProject(t, dir, tt.files)
			if tt.npm {
				modules, err := filepath.Abs("../../e2e/builders/node_modules")
				testenv.Check(t, err)
				if !config.IsDir(modules) {
					t.Skip("npm ci has not run in e2e/builders")
				}
				testenv.Check(t, os.Symlink(modules, filepath.Join(dir, "node_modules")))
			}
			t.Chdir(dir)
			testenv.Check(t, run(t.Context(), []string{"init"}, io.Discard, io.Discard))
			s := startIn(t, dir)
			if tt.program != "true" {
				s.Await("msg=done route=") // when a generator watches; its page may be there before
			}
			awaitPage(t, s, tt.path, "first", func() {})
			save := func() { s.Write(tt.source, "second") }
			save()
			if !tt.npm && tt.program != "hugo" {
				save = func() {}
			}
			awaitPage(t, s, tt.path, "second", save) // Eleventy and Hugo say that they watch before they do
		})
	}

	t.Run("go", func(t *testing.T) {
		if _, err := exec.LookPath("go"); err != nil {
			t.Skip("go is not installed")
		}
		dir := t.TempDir()
		makeProject(t, dir, "go.mod=module x\n|a.go=package a\n|a_test.go=package a\n\nimport \"testing\"\n\nfunc TestA(*testing.T) {}\n")
		t.Chdir(dir)
		testenv.Check(t, run(t.Context(), []string{"init"}, io.Discard, io.Discard))
		s := startIn(t, dir)
		s.Await("msg=done route=test")
		s.Write("a.go", "package a\n\nvar x int = \"\"\n")
		s.Await("msg=failed route=test")
	})
}

// awaitPage waits until a page has a text. While it has not, again is called from time to time.
func awaitPage(t *testing.T, s *testenv.Session, path, want string, again func()) {
	t.Helper()
	body := ""
	every := time.Tick(2 * time.Second)
	for deadline := time.Now().Add(waitLimit); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if _, body = s.Get(path, ""); strings.Contains(body, want) {
			return
		}
		select {
		case <-every:
			again()
		default:
		}
	}
	t.Fatalf("no %q in the page: %s\n%s", want, body, strings.Join(s.Seen, "\n"))
}

// What init says to write is right for a shell, also where the name of the directory has spaces.
func TestInitInADirectoryWithSpaces(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	makeProject(t, dir, "my site/index.html|all/a b/conf.py|all/c d/conf.py|all/package.json={\"workspaces\": [\"*\"]}|docs of it/conf.py|package.json={\"workspaces\": [\"docs*\"]}")
	if out := output(t, dir, "init", "my site"); !strings.Contains(out, "\nwritten: \"my site/execlogd.toml\"\nstart it with: execlogd 'my site'\n") {
		t.Errorf("says %q", out)
	}
	if err := run(t.Context(), []string{"init", "all"}, io.Discard, io.Discard); err == nil || !strings.HasSuffix(err.Error(), " as in execlogd init 'all/a b'") {
		t.Errorf("of two sites: %v", err)
	}
	if out := output(t, dir, "init"); !strings.HasPrefix(out, "in \"docs of it\" there is conf.py, ") {
		t.Errorf("of one below: %q", out)
	}
	if got := adviceOnInit("."); !strings.HasSuffix(got, ": execlogd 'docs of it' uses \"docs of it/execlogd.toml\"") {
		t.Errorf("the advice is %q", got)
	}
}

// A directory whose name looks like a flag is named as a path.
func TestInitInADirectoryLikeAFlag(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	makeProject(t, dir, "-port/index.html")
	if out := output(t, dir, "init", "./-port"); !strings.HasSuffix(out, "\nstart it with: execlogd ./-port\n") {
		t.Errorf("says %q", out)
	}
}

// What could not be written as a whole is not in the way of the next try.
func TestInitOnAFullDisk(t *testing.T) {
	if !testenv.InMountNamespace(t) {
		return
	}
	dir := t.TempDir()
	testenv.Check(t, unix.Mount("tmpfs", dir, "tmpfs", 0, "size=4k"))
	t.Cleanup(func() { testenv.Check(t, unix.Unmount(dir, 0)) })
	makeProject(t, dir, "index.html="+strings.Repeat("x", 4<<10))
	if err := run(t.Context(), []string{"init", dir}, io.Discard, io.Discard); !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("%v, want that there is no space", err)
	}
	testenv.Check(t, os.Remove(filepath.Join(dir, "index.html")))
	if out := output(t, dir, "init", dir); !strings.HasPrefix(out, "no program that builds pages was found") {
		t.Errorf("once more it says %q", out)
	}
}
