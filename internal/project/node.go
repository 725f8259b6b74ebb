package project

import (
	"cmp"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/execlog/execlogd/internal/builders"
)

// A packageJSON is what is in the package.json of a project.
type packageJSON struct {
	Scripts                       map[string]string
	Dependencies, DevDependencies map[string]any
	Workspaces                    json.RawMessage // patterns, or a table with those as packages
}

// readPackage returns what is in package.json; nil if there is none that can be read.
func (d directory) readPackage() *packageJSON {
	var pkg packageJSON
	text := strings.TrimPrefix(d.read("package.json"), "\ufeff") // which npm takes as well
	if text == "" || json.Unmarshal([]byte(text), &pkg) != nil {
		return nil
	}
	return &pkg
}

func (pkg *packageJSON) dependsOn(name string) bool {
	if pkg == nil {
		return false
	}
	_, ok := pkg.Dependencies[name]
	_, dev := pkg.DevDependencies[name]
	return ok || dev
}

// script returns a script; empty if there is none.
func (pkg *packageJSON) script(name string) string {
	if pkg == nil {
		return ""
	}
	return pkg.Scripts[name]
}

// A framework has a server of its own that makes pages when a browser asks for them, and
// refreshes them.
type framework struct {
	name   string // of its package
	server string // the command that starts the server

	// output is the directory with the site that the script build makes, if that is one of
	// files: always, with another package, or when a configuration says so.
	output  string
	adapter string
	files   string // a pattern of names
	says    *regexp.Regexp
}

var frameworks = []framework{
	{name: "next", server: "next dev", output: "out", files: "next.config.*", says: regexp.MustCompile(`\boutput:\s*["']export["']`)},
	{name: "nuxt", server: "nuxt dev"},
	{name: "@sveltejs/kit", server: "vite dev", output: "build", adapter: "@sveltejs/adapter-static"},
	{name: "@remix-run/dev", server: "remix vite:dev"},
	{name: "@react-router/dev", server: "react-router dev"},
	{name: "@angular/core", server: "ng serve"},
	{name: "gatsby", server: "gatsby develop", output: "public"},
	{name: "@docusaurus/core", server: "docusaurus start", output: "build"},
	{name: "react-scripts", server: "react-scripts start", output: "build"},
}

// lookForFramework looks for a framework. Its own server is what to use, and where it can
// write a site of files, that can be served as well.
func (d directory) lookForFramework(pkg *packageJSON) *Project {
	i := slices.IndexFunc(frameworks, func(f framework) bool { return pkg.dependsOn(f.name) })
	if i < 0 {
		return nil
	}
	f := frameworks[i]
	start := "npx " + f.server
	for _, name := range []string{"start", "develop", "dev"} {
		if strings.Contains(pkg.script(name), f.server) {
			start = "npm run " + name
		}
	}

	p := &Project{
		Found: "package.json depends on " + f.name, What: fmt.Sprintf("a site with a server of its own, %s", f.server),
		First: d.missing("npm", pkg), hasPages: true,
	}
	writes := f.output != "" && (f.adapter == "" || pkg.dependsOn(f.adapter)) && (f.says == nil || f.says.MatchString(d.read(d.first([]string{f.files}))))
	if !writes || pkg.script("build") == "" {
		p.Instead = fmt.Sprintf("start that with %s: it makes pages when they are asked for, and refreshes them itself", start)
		return p
	}
	p.Config = fmt.Sprintf("# While you work on it, %s is quicker. This builds the site and shows that.\n", start) + server(f.output) + d.buildRoute(f.output)
	return p
}

// noWatch matches a script that watches, and does not build: it runs tests, or a server.
var noWatch = regexp.MustCompile(`\b(jest|vitest|mocha|ava|tape|test|nodemon|serve|server|browser-sync|live-server)\b`)

// lookForWatchScript looks for a script watch that builds.
func (d directory) lookForWatchScript(pkg *packageJSON) *Project {
	script := pkg.script("watch")
	if script == "" || noWatch.MatchString(script) {
		return nil
	}

	root := d.output(pkg, script)
	route := "name = \"watch\"\nbuilder = true\nrun = [\"npm\", \"run\", \"watch\"]\n"
	if b, ok := builders.Find("npm"); ok {
		route = fmt.Sprintf("builder = %q\n#run = [%s]\n", b.Name, quoted(b.Run))
	}
	p := &Project{Found: "package.json has a script watch", What: "a site that npm run watch builds", First: d.missing("npm", pkg), hasPages: d.shows(root)}
	if !p.hasPages {
		p.What = "a program that npm run watch builds"
		p.Config = "# It builds by itself whenever a source changes. Its errors are in the log.\n[[route]]\n" + route + noPages
		return p
	}
	p.Config = server(root) + "# It builds by itself whenever a source changes. Pages wait for that, and show its errors.\n[[route]]\n" + route + outputsOf(root)
	return p
}

// noPages ends a configuration for a program without pages.
const noPages = `
# If it writes pages, this shows them, and refreshes them after each build.
#[server]
#root = "public"
`

// shows reports whether there are, or will be, pages in a directory: it is one that is
// built, or it has a start page.
func (d directory) shows(root string) bool { return root != "." || d.has("index.html") }

// lookForBuildScript looks for a script that builds once.
func (d directory) lookForBuildScript(pkg *packageJSON) *Project {
	script := pkg.script("build")
	if script == "" {
		return nil
	}

	root := d.output(pkg, script)
	p := &Project{Found: "package.json has a script build", What: "a site that npm run build builds", First: d.missing("npm", pkg), hasPages: d.shows(root)}
	if !p.hasPages {
		p.What = "a program that npm run build builds"
		p.Config = "# It runs at the start and after each change.\n" + d.buildRoute("") + noPages
		return p
	}
	p.Config = server(root) + "# It runs after each change. Pages wait for it, and show its errors.\n" + d.buildRoute(root)
	return p
}

// changedOnly is the key for a route of which nobody knows what it writes.
const changedOnly = "changed_only = true   # what it writes once more does not start it again\n"

// buildRoute is a route for the script build, which writes a site into root; empty for
// none.
func (d directory) buildRoute(root string) string {
	route := `[[route]]
name = "build"
ignore = ["node_modules/"]
start = true
run = ["npm", "run", "build"]
` + d.gitignore()
	if root != "" {
		route += "reload = true\n"
	} else {
		route += "outputs = [\"/dist/\", \"/out/\"]\n"
	}
	if root == "" || root == "." {
		return route + changedOnly
	}
	return route + outputsOf(root)
}

// gitignore is the key that has a route do as the .gitignore says, if there is one.
func (d directory) gitignore() string {
	if !d.has(".gitignore") {
		return ""
	}
	return "gitignore = true   # what git ignores is no source\n"
}

// lookForServerScript looks for a server that a script starts.
func (d directory) lookForServerScript(pkg *packageJSON) *Project {
	framework := slices.IndexFunc([]string{"express", "fastify", "koa", "hono", "@hapi/hapi"}, pkg.dependsOn)
	if pkg.script("start") == "" || framework < 0 {
		return nil
	}
	return &Project{
		Found: "package.json has a script start", What: "a server that npm start starts",
		Config: scriptServer + `# It is started again after each change, and then pages reload.
[[route]]
name = "server"
match = ["*.{js,mjs,cjs,ts,json}"]
ignore = ["node_modules/"]
service = true
reload = true
run = ["npm", "start"]
#ready = "127.0.0.1:3000"   # pages wait until it listens there
`,
		First: d.missing("npm", pkg), hasPages: true,
	}
}

// output returns the directory that a script builds a site into, as far as that can be
// guessed: what it says, what a program that it uses does, or what git ignores.
func (d directory) output(pkg *packageJSON, script string) string {
	usual := ""
	for _, b := range builders.All() {
		if usual == "" && slices.ContainsFunc(b.Packages, pkg.dependsOn) {
			usual = b.Output
		}
	}
	return cmp.Or(written(script), usual, ignored(d.read(".gitignore")), d.pages())
}

// outputsOf returns the key for what is written into the directory that is served.
func outputsOf(root string) string {
	if root == "." {
		return ""
	}
	return fmt.Sprintf("outputs = [%q]   # what it writes does not start it again\n", "/"+root+"/")
}
