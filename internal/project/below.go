package project

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/execlog/execlogd/internal/config"
)

// projectDirs are directories that the site of a larger project is often in.
var projectDirs = []string{"docs", "doc", "website", "site", "web", "www", "frontend", "client"}

// maxBelow is how many directories below one are looked at. Whoever has more of them is to
// name one.
const maxBelow = 100

// lookBelow looks for a site in the directories below that sites are often in, and in those
// of packages of npm.
func (d directory) lookBelow(pkg *packageJSON) *Project {
	var sites []*Project
	for _, name := range d.dirsBelow(pkg) {
		in := directory(filepath.Join(string(d), name))
		if p := in.look(in.readPackage()); p != nil && p.hasPages {
			p.Dir = name
			sites = append(sites, p)
		}
	}
	switch len(sites) {
	case 0:
		return nil
	case 1:
		return sites[0]
	}

	const shown = 4
	var all []string
	for _, p := range sites[:min(len(sites), shown)] {
		all = append(all, p.Dir)
	}
	if more := len(sites) - shown; more > 0 {
		all = append(all, fmt.Sprintf("%d more directories", more))
	}
	return &Project{
		Found: fmt.Sprintf("there are sites in %s and %s", strings.Join(all[:len(all)-1], ", "), all[len(all)-1]), What: "a repository of several",
		Instead: "name the directory of one, as in execlogd init " + config.ShellWord(filepath.Join(string(d), all[0])),
	}
}

// listed matches the patterns in a pnpm-workspace.yaml, and other words that are the names
// of no directories.
var listed = regexp.MustCompile(`(?m)^\s*-\s*["']?([^"'#\s]+)`)

// dirsBelow returns directories that may have a site: projectDirs, those with a
// package.json, and those that are named as the packages of this repository.
func (d directory) dirsBelow(pkg *packageJSON) (dirs []string) {
	patterns := append([]string{"*/package.json"}, projectDirs...)
	for _, m := range listed.FindAllStringSubmatch(d.read("pnpm-workspace.yaml"), -1) {
		patterns = append(patterns, m[1])
	}
	if pkg != nil {
		var table struct{ Packages []string }
		var list []string
		_ = json.Unmarshal(pkg.Workspaces, &list) // one of both is an error
		_ = json.Unmarshal(pkg.Workspaces, &table)
		patterns = append(patterns, slices.Concat(list, table.Packages)...)
	}

	tree := os.DirFS(string(d))
	for _, pattern := range patterns {
		pattern = path.Clean(strings.ReplaceAll(pattern, "**", "*"))
		if !filepath.IsLocal(pattern) || pattern == "." {
			continue
		}
		names, _ := fs.Glob(tree, pattern) // none matches a pattern that is wrong
		for _, name := range names {
			name = strings.TrimSuffix(name, "/package.json")
			if info, err := fs.Stat(tree, name); err != nil || !info.IsDir() || strings.Contains("/"+name, "/node_modules") || strings.Contains("/"+name, "/.") {
				continue
			}
			if len(dirs) < maxBelow {
				dirs = append(dirs, name)
			}
		}
	}
	slices.Sort(dirs)
	return slices.Compact(dirs)
}
