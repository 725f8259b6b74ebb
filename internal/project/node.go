package project

import (
	"cmp"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"

	"github.com/execlog/execlogd/internal/builders"
)

// A packageJSON is what is in the package.json of a project.
type packageJSON struct {
	Scripts                       map[string]string
	Dependencies, DevDependencies map[string]any
}

// readPackage returns what is in package.json; nil if there is none that can be read.
func (d directory) readPackage() *packageJSON {
	var pkg packageJSON
	if text := d.read("package.json"); text == "" || json.Unmarshal([]byte(text), &pkg) != nil {
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
	return &Project{
		Found: "package.json has a script watch", What: "a site that npm run watch builds",
		Config: server(root) + "# It builds by itself whenever a source changes. Pages wait for that, and show its errors.\n[[route]]\n" + route + outputsOf(root),
		First:  d.missing("npm", pkg),
	}
}

// lookForBuildScript looks for a script that builds once.
func (d directory) lookForBuildScript(pkg *packageJSON) *Project {
	script := pkg.script("build")
	if script == "" {
		return nil
	}

	root := d.output(pkg, script)
	return &Project{
		Found: "package.json has a script build", What: "a site that npm run build builds",
		Config: server(root) + `# It runs after each change. Pages wait for it, and show its errors.
[[route]]
name = "build"
ignore = ["node_modules/"]
reload = true
start = true
run = ["npm", "run", "build"]
` + outputsOf(root),
		First: d.missing("npm", pkg),
	}
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
		First: d.missing("npm", pkg),
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
