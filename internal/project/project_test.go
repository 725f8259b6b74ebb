package project

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// tree makes a directory with files, as in "a/b=text|c".
func tree(t *testing.T, files string) string {
	t.Helper()
	dir := t.TempDir()
	for file := range strings.SplitSeq(files, "|") {
		name, text, _ := strings.Cut(file, "=")
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

const (
	viteSite = `{"devDependencies": {"vite": "8"}}`
	nextSite = `{"scripts": {"dev": "next dev", "build": "next build"}, "dependencies": {"next": "16"}}`
)

// A site may be in a directory below, as documentation and packages of one repository are.
func TestBelow(t *testing.T) {
	for _, tt := range []struct{ name, files, dir, found, instead string }{
		{"Sphinx in docs", "setup.py|docs/conf.py", "docs", "there is conf.py", ""},
		{"Sphinx in docs, beside a program", "Makefile=all:\n\tcc a.c\n|docs/conf.py", "docs", "there is conf.py", ""},
		{"Sphinx with a directory for sources", "docs/Makefile=BUILDDIR = build\nhtml:\n\tsphinx-build\n|docs/source/conf.py", "docs", "there is Makefile", ""},
		{"a site here", "hugo.toml|docs/conf.py", "", "there is hugo.toml", ""},
		{"a start page here", "index.html|docs/conf.py", "", "there is index.html", ""},
		{"a directory without pages", "go.mod|web/go.mod", "", "there is go.mod", ""},
		{"a package below", "api/go.mod|client/package.json=" + viteSite, "client", "package.json depends on vite", ""},
		{"workspaces", `package.json={"workspaces": ["apps/*", "libs/**"], "scripts": {"build": "npm run build -ws"}}|apps/web/package.json=` + viteSite + "|libs/a/package.json={}", "apps/web", "package.json depends on vite", ""},
		{"workspaces in a table", `package.json={"workspaces": {"packages": ["./sites/*"]}}|sites/a/package.json=` + viteSite, "sites/a", "package.json depends on vite", ""},
		{"workspaces of pnpm", "package.json={}|pnpm-workspace.yaml=packages:\n  - 'sites/*'\n|sites/a/package.json=" + viteSite, "sites/a", "package.json depends on vite", ""},
		{"several", "package.json={}|a/package.json=" + viteSite + "|b/package.json=" + viteSite + "|docs/conf.py", "", "there are sites in a, b and docs", "name the directory of one, as in execlogd init /"},
		{"many", `a/conf.py|package.json={"workspaces": ["*"]}|b/conf.py|c/conf.py|d/conf.py|e/conf.py|f/conf.py`, "", "there are sites in a, b, c, d and 2 more directories", "name the directory of one"},
		{"one with a server of its own", "package.json={}|a/package.json=" + nextSite, "a", "package.json depends on next", "start that with npm run dev: "},
		{"what npm has installed", `package.json={"workspaces": ["*/*"]}|node_modules/a/package.json=` + viteSite + "|.cache/package.json=" + viteSite, "", "no program", ""},
		{"workspaces elsewhere", `package.json={"workspaces": ["../*", "/*", ".", "["]}`, "", "no program", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := Look(tree(t, tt.files))
			if p.Dir != tt.dir || !strings.HasPrefix(p.Found, tt.found) || !strings.HasPrefix(p.Instead, tt.instead) {
				t.Errorf("got %+v, want %+v", p, tt)
			}
			if (p.Config == "") != (p.Instead != "") || (p.Instead == "") != (tt.instead == "") {
				t.Errorf("want a configuration, or else what to do instead: %+v", p)
			}
		})
	}
}

// What npm has installed for several packages is in a directory above them.
func TestModulesAbove(t *testing.T) {
	dir := tree(t, `package.json={"workspaces": ["apps/*"]}|apps/web/package.json=`+viteSite)
	if p := Look(dir); p.First != "run npm install: there is no node_modules" {
		t.Errorf("%+v", p)
	}
	if err := os.MkdirAll(filepath.Join(dir, "node_modules/.bin/vite"), 0o755); err != nil {
		t.Fatal(err)
	}
	if p := Look(dir); p.First != "" {
		t.Errorf("%+v", p)
	}
}

// A framework has a server of its own. What it writes as files can be served.
func TestFrameworks(t *testing.T) {
	for _, tt := range []struct{ name, files, instead, root string }{
		{"next", "package.json=" + nextSite, "start that with npm run dev: ", ""},
		{"next without scripts", `package.json={"dependencies": {"next": "16"}}`, "start that with npx next dev: ", ""},
		{"next that writes files", "package.json=" + nextSite + "|next.config.mjs=export default { output: 'export' }", "", "out"},
		{"next that writes a server", "package.json=" + nextSite + "|next.config.mjs=export default { output: 'standalone' }", "start that with npm run dev: ", ""},
		{"SvelteKit, which uses Vite", `vite.config.js|package.json={"scripts": {"dev": "vite dev", "build": "vite build"}, "devDependencies": {"vite": "8", "@sveltejs/kit": "2"}}`, "start that with npm run dev: ", ""},
		{"SvelteKit of files", `package.json={"scripts": {"build": "vite build"}, "devDependencies": {"@sveltejs/kit": "2", "@sveltejs/adapter-static": "3"}}`, "", "build"},
		{"Docusaurus", `package.json={"scripts": {"start": "docusaurus start", "build": "docusaurus build"}, "dependencies": {"@docusaurus/core": "3"}}`, "", "build"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := Look(tree(t, tt.files))
			if !strings.HasPrefix(p.Instead, tt.instead) || (p.Instead == "") != (tt.instead == "") {
				t.Errorf("instead: %q, want %q", p.Instead, tt.instead)
			}
			for _, want := range []string{"root = \"" + tt.root + `"`, `run = ["npm", "run", "build"]`, "is quicker"} {
				if tt.root != "" && !strings.Contains(p.Config, want) {
					t.Errorf("no %s in\n%s", want, p.Config)
				}
			}
		})
	}
}
