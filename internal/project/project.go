// Package project looks at a directory and says with what its site or its program is built,
// and how a configuration for that looks. It runs nothing.
package project

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/execlog/execlogd/internal/builders"
)

// A Project is what was found in a directory.
type Project struct {
	Found  string // what says so: "hugo.toml", "index.html"
	What   string // "a site for hugo", "a site of plain files"
	Builds bool   // there is more to do than to serve its files

	// Config is a configuration that is right as it is, execlogd.toml(5).
	Config string

	// Instead is what to do where no configuration is of use; Config is empty then.
	Instead string

	// Dir is the directory of the project, below the one that was looked at; empty for
	// that itself.
	Dir string

	// First is what is to be done before that can run; empty for nothing.
	First string

	hasPages bool // it is a site, or a server of pages
}

// Look looks at a directory, and at those below it that sites are often in. What cannot be
// read there is taken for not there.
func Look(dir string) Project {
	d := directory(dir)
	pkg := d.readPackage()
	found := d.look(pkg)
	if (found == nil || !found.hasPages) && !d.has("index.html") {
		if below := d.lookBelow(pkg); below != nil {
			found = below
		}
	}
	if found == nil {
		return d.plainFiles()
	}

	found.Builds = true
	if found.Instead == "" {
		found.Config = header(found.Found, found.What) + found.Config
	}
	return *found
}

// look looks for what builds a site, or else for what builds a program.
func (d directory) look(pkg *packageJSON) (program *Project) {
	// A generator that does not come from npm is what builds the site, whatever else of npm
	// is used. A script of the project's own says more than what it depends on.
	isNode := func(b builders.Builder) bool { return len(b.Packages) > 0 }
	for _, look := range []func() *Project{
		func() *Project { return d.lookForBuilder(pkg, func(b builders.Builder) bool { return !isNode(b) }) },
		func() *Project { return d.lookForFramework(pkg) },
		func() *Project { return d.lookForWatchScript(pkg) },
		func() *Project { return d.lookForBuilder(pkg, isNode) },
		func() *Project { return d.lookForBuildScript(pkg) },
		d.lookForMakefile,
		d.lookForGo,
		d.lookForCargo,
		func() *Project { return d.lookForServerScript(pkg) },
	} {
		p := look()
		if p != nil && p.hasPages {
			return p
		}
		if program == nil {
			program = p
		}
	}
	return program
}

// header begins a configuration.
func header(found, what string) string {
	return fmt.Sprintf(`# By execlogd init: %s, so this is %s.
# Start it with execlogd, in this directory. A save of this file is applied at once.
# man execlogd.toml describes every key, and execlogd check finds mistakes.

`, found, what)
}

// lookForBuilder looks for a program that is known, of a kind.
func (d directory) lookForBuilder(pkg *packageJSON, isKind func(builders.Builder) bool) *Project {
	for _, b := range builders.All() {
		if !isKind(b) || len(b.Run) == 0 {
			continue
		}
		found := ""
		if file := d.first(b.Files); file != "" {
			found = thereIs(file)
		}
		for _, name := range b.Packages {
			if found == "" && pkg.dependsOn(name) {
				found = "package.json depends on " + name
			}
		}
		if found == "" {
			continue
		}

		root := b.Output
		if root == "" {
			root = d.pages()
		}
		if b.Output == "" && !d.has(root+"/index.html") {
			continue // it is no site that it builds a part of
		}
		does := "builds by itself whenever a source changes"
		if b.Once {
			does = "runs whenever a source changes"
		}
		return &Project{
			Found: found, What: "a site for " + b.Name,
			Config: server(root) + fmt.Sprintf(`# %s %s. Pages wait for that, and show its errors.
[[route]]
builder = %q
#run = [%s]
`, b.Name, does, b.Name, quoted(b.Run)),
			First: d.missing(programOf(b), pkg), hasPages: true,
		}
	}
	return nil
}

// programOf returns the name of the program, which a line for the shell begins with as well.
func programOf(b builders.Builder) string {
	if b.Run[0] == "sh" {
		return strings.Fields(b.Run[len(b.Run)-1])[0]
	}
	return b.Run[0]
}

// plainFiles is a site whose files are served as they are.
func (d directory) plainFiles() Project {
	root, found := d.pages(), "no program that builds pages was found"
	if page := d.first([]string{"index.html", "*.html"}); root == "." && page != "" {
		found = thereIs(page)
	} else if root != "." {
		found = thereIs(root + "/index.html")
	}
	const what = "a site of plain files"
	return Project{Found: found, What: what, Config: header(found, what) + server(root)}
}

// server is the [server] table of a site.
func server(root string) string {
	comment := ""
	if root != "." {
		comment = "    # need not be there before the first build"
	}
	return fmt.Sprintf(`[server]
root = %q%s
#port = 8000
#host = "0.0.0.0"   # also for other machines, as a phone

`, root, comment)
}

// scriptServer is the [server] table for pages of another server.
const scriptServer = `# Pages of the program have live reload with this line in them:
#   <script src="http://127.0.0.1:8000/livereload.js" async></script>
[server]
static = false

`

// thereIs says that a file is there. It is a part of a comment in a configuration, of which
// not every name can be one.
func thereIs(file string) string {
	if quoted := strconv.Quote(file); quoted != `"`+file+`"` || strings.Contains(file, " ") {
		file = quoted
	}
	return "there is " + file
}

// quoted returns words as they are in an array of TOML.
func quoted(words []string) string {
	var all []string
	for _, word := range words {
		all = append(all, fmt.Sprintf("%q", word))
	}
	return strings.Join(all, ", ")
}

// A directory is the path of one.
type directory string

// read returns what is in a file; empty for none. Files that are larger than those that
// people write are none.
func (d directory) read(name string) string {
	const most = 1 << 20
	path := filepath.Join(string(d), name)
	if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() || info.Size() > most {
		return ""
	}
	text, _ := os.ReadFile(path)
	return string(text)
}

// has reports whether there is a file or a directory of this name.
func (d directory) has(name string) bool {
	_, err := os.Stat(filepath.Join(string(d), name))
	return err == nil
}

// hasAbove is has for the directory and those that it is in, where npm puts what several
// packages of one repository use.
func (d directory) hasAbove(name string) bool {
	path, err := filepath.Abs(string(d))
	for ; err == nil; path = filepath.Dir(path) {
		if directory(path).has(name) {
			return true
		}
		if path == filepath.Dir(path) {
			return false
		}
	}
	return false
}

// first returns the first name that matches one of some patterns; empty for none.
func (d directory) first(patterns []string) string {
	entries, _ := os.ReadDir(string(d))
	for _, pattern := range patterns {
		for _, e := range entries {
			if ok, _ := filepath.Match(pattern, e.Name()); ok {
				return e.Name()
			}
		}
	}
	return ""
}

// siteDirs are directories that sites are in, or are built into.
var siteDirs = []string{"public", "dist", "_site", "site", "www", "htdocs", "html", "build", "out", "docs"}

// pages returns the directory with the start page: this one, or one below it.
func (d directory) pages() string {
	if d.has("index.html") {
		return "."
	}
	for _, name := range siteDirs {
		if d.has(name + "/index.html") {
			return name
		}
	}
	return "."
}

// written returns the first of siteDirs that commands write to; empty for none.
func written(commands string) string {
	return siteDir(`(^|[\s"'=/:>])%[1]s/|\s--?(d|o|out|dir|directory|outdir|out-dir|output|dist-dir)[ =]%[1]s\b`, commands)
}

// ignored returns the first of siteDirs that a .gitignore has; empty for none.
func ignored(gitignore string) string { return siteDir(`(?m)^/?%s/?$`, gitignore) }

// siteDir returns the first of siteDirs for whose name a pattern matches; empty for none.
func siteDir(pattern, text string) string {
	i := slices.IndexFunc(siteDirs, func(name string) bool {
		return regexp.MustCompile(fmt.Sprintf(pattern, name)).MatchString(text)
	})
	if i < 0 {
		return ""
	}
	return siteDirs[i]
}

// missing says what is to be done for a program to be found; empty if it is.
func (d directory) missing(program string, pkg *packageJSON) string {
	if pkg != nil && len(pkg.Dependencies)+len(pkg.DevDependencies) > 0 && !d.hasAbove("node_modules") {
		return "run npm install: there is no node_modules"
	}
	if d.hasAbove("node_modules/.bin/" + program) {
		return ""
	}
	if _, err := exec.LookPath(program); err != nil {
		return "install " + program + ": it is in no directory of PATH"
	}
	return ""
}
