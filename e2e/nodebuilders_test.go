package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// A page whose text is set by a script, one with a style sheet beside that, and one
// whose text is in a style sheet.
const (
	scriptPage = "<!doctype html><link rel=icon href=data:,><p>none</p><script type=module src=main.js></script>"
	stylePage  = "<!doctype html><link rel=icon href=data:,><link rel=stylesheet href=main.css><p>text"
	bothPage   = stylePage + "<script type=module src=main.js></script>"

	script       = `import { text } from "./text.js"; document.querySelector("p").textContent = text`
	scriptText   = `export const text = "{text}"`
	brokenScript = `export const text = = "broken"`
)

// nodeBuilderTests are of programs that come from npm. The slowest is the first, since
// they run side by side.
var nodeBuilderTests = []builderTest{
	{
		builder: "astro",
		npm:     "astro",
		root:    "dist",
		files: map[string]string{
			"package.json":          `{"type": "module"}`,
			"src/pages/index.astro": strings.Replace(stylePage, "<p>text", "<p>{text}</p>", 1),
			"public/main.css":       "p { z-index: 1 }",
		},
		source: "src/pages/index.astro",
		sheet:  [2]string{"public/main.css", "/main.css"},
		broken: "src/pages/index.astro", with: "<p>{nothing.at.all}</p>",
		says: "nothing is not defined",
	},
	{
		builder: "eleventy",
		npm:     "@11ty/eleventy",
		root:    "_site",
		files: map[string]string{
			"eleventy.config.js":  `module.exports = (config) => { config.addPassthroughCopy("main.css") }`,
			"_includes/page.html": strings.Replace(stylePage, "<p>text", "{{ content }}", 1),
			"index.md":            "---\nlayout: page.html\n---\n{text}\n",
			"main.css":            "p { z-index: 1 }",
		},
		source: "index.md",
		sheet:  [2]string{"main.css", "/main.css"},
		broken: "index.md", with: "---\nlayout: page.html\n---\n{{ 1 | nothing }}\n",
		says: "undefined filter: nothing",
	},
	{
		builder: "vite",
		npm:     "vite",
		root:    "dist",
		files: map[string]string{
			"index.html":  strings.Replace(scriptPage, "main.js", "/src/main.js", 1),
			"src/main.js": script,
			"src/text.js": scriptText,
		},
		source:  "src/text.js",
		renames: true,
		broken:  "src/text.js", with: brokenScript,
		says: "Unexpected token",
	},
	{
		builder: "webpack",
		npm:     "webpack",
		root:    "public",
		files: map[string]string{
			"webpack.config.js": `module.exports = { mode: "production", output: { path: __dirname + "/public" }, entry: "./src/main.js" }`,
			"public/index.html": scriptPage,
			"src/main.js":       script,
			"src/text.js":       scriptText,
		},
		source: "src/text.js",
		built:  "main.js",
		broken: "src/text.js", with: brokenScript,
		says: "Module parse failed: Unexpected token (1:20)",
	},
	{
		builder: "rollup",
		npm:     "rollup",
		root:    "public",
		files: map[string]string{
			"rollup.config.mjs": `export default { input: "src/main.js", output: { dir: "public" } }`,
			"public/index.html": scriptPage,
			"src/main.js":       script,
			"src/text.js":       scriptText,
		},
		source: "src/text.js",
		built:  "main.js",
		broken: "src/text.js", with: brokenScript,
		says: "src/text.js (1:20): Expression expected",
	},
	{
		builder: "esbuild",
		npm:     "esbuild",
		config:  `run = ["esbuild", "src/main.js", "src/main.css", "--bundle", "--outdir=public", "--watch"]`,
		root:    "public",
		files: map[string]string{
			"public/index.html": bothPage,
			"src/main.js":       script,
			"src/text.js":       scriptText,
			"src/main.css":      "p { z-index: 1 }",
		},
		source: "src/text.js",
		built:  "main.js",
		sheet:  [2]string{"src/main.css", "/main.css"},
		broken: "src/text.js", with: brokenScript,
		says: `Unexpected "="`,
	},
	{
		builder: "tsc",
		npm:     "typescript",
		root:    "public",
		files: map[string]string{
			"tsconfig.json":     `{"compilerOptions": {"outDir": "public", "rootDir": "src", "target": "es2022", "types": [], "lib": ["es2022", "dom"], "skipLibCheck": true, "strict": true}, "include": ["src"]}`,
			"public/index.html": scriptPage,
			"src/main.ts":       `document.querySelector("p")!.textContent = "{text}"`,
		},
		source: "src/main.ts",
		built:  "main.js",
		broken: "src/main.ts", with: `document.querySelector("p").textContent = "second"`,
		says: "Object is possibly 'null'",
	},
	{
		builder: "sass",
		npm:     "sass",
		config:  `run = ["sass", "--watch", "scss:public"]`,
		root:    "public",
		files: map[string]string{
			"public/index.html": stylePage,
			"scss/main.scss":    `@use "text"; p { --text: #{text.$text} }`,
			"scss/_text.scss":   "$text: {text};",
		},
		source:  "scss/_text.scss",
		built:   "main.css",
		inPlace: true,
		broken:  "scss/_text.scss", with: "$text: {;",
		says: "Expected expression",
	},
	{
		builder: "tailwindcss",
		npm:     "@tailwindcss/cli",
		config:  `run = ["tailwindcss", "-i", "src/main.css", "-o", "public/main.css", "--watch"]`,
		root:    "public",
		files: map[string]string{
			"public/index.html": stylePage,
			"src/main.css":      `@import "tailwindcss"; p { --text: {text} }`,
		},
		source:  "src/main.css",
		built:   "main.css",
		inPlace: true,
		broken:  "src/main.css", with: "p { @apply nothing-such }",
		says: "Cannot apply unknown utility class",
	},
	{
		// Two programs side by side, each with its name before its lines.
		builder: "npm",
		npm:     "concurrently",
		root:    "public",
		files: map[string]string{
			"package.json": `{"scripts": {
				"watch": "concurrently npm:watch:*",
				"watch:js": "esbuild src/main.js --bundle --outdir=public --watch=forever",
				"watch:css": "sass --watch scss:public"}}`,
			"public/index.html": bothPage,
			"src/main.js":       script,
			"src/text.js":       scriptText,
			"scss/main.scss":    "p { z-index: 1 }",
		},
		source: "src/text.js",
		built:  "main.js",
		sheet:  [2]string{"scss/main.scss", "/main.css"},
		broken: "src/text.js", with: brokenScript,
		says: `Unexpected "="`,
	},
}

// A program that ends when its first build fails is started again by the save that mends
// the source.
func TestBuilderStartsBroken(t *testing.T) {
	t.Parallel()
	for _, tt := range nodeBuilderTests {
		if tt.builder != "eleventy" && tt.builder != "tailwindcss" {
			continue
		}
		t.Run(tt.builder, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			linkPackages(t, dir, tt.npm)
			write(t, dir, tt.files)
			write(t, dir, map[string]string{
				tt.broken:       tt.with,
				"execlogd.toml": fmt.Sprintf("[server]\nroot = %q\n\n[[route]]\nbuilder = %q\n%s", tt.root, tt.builder, tt.config),
			})
			d, err := startDaemon(t, dir, "-config", "execlogd.toml", "-port", "0")
			if err != nil {
				t.Fatal(err)
			}
			d.says(t, "msg=failed route="+tt.builder, 1)
			d.says(t, regexp.QuoteMeta(tt.says), 1)
			d.says(t, "exit status 1", 1)
			save(t, dir, tt.broken, tt.files[tt.broken])
			d.says(t, "msg=done route="+tt.builder, 1)
		})
	}
}

// linkNodeModules lets a site use the packages of package.json. The test is skipped if one is
// not installed.
func linkNodeModules(t *testing.T, site, name string) {
	t.Helper()
	packages, err := filepath.Abs("node_modules")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(packages, name)); err != nil {
		t.Skipf("%s is not installed (npm ci in e2e, or make test): %v", name, err)
	}
	if err := os.Symlink(packages, filepath.Join(site, "node_modules")); err != nil {
		t.Fatal(err)
	}
}

// linkPackages lets a site use the packages of builders/package.json, and returns the
// version of one. The test is skipped if they are not installed, or for a newer Node.js.
func linkPackages(t *testing.T, site, name string) (version string) {
	t.Helper()
	packages, err := filepath.Abs("builders/node_modules")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(packages, name, "package.json"))
	if err != nil {
		t.Skipf("%s is not installed (npm ci in e2e/builders, or make test): %v", name, err)
	}
	if err := exec.Command("node", "-e", `
		const [major, minor] = process.versions.node.split(".").map(Number);
		process.exit(major > 20 || major === 20 && minor >= 19 ? 0 : 1)`).Run(); err != nil {
		t.Skipf("Node.js 20.19 or newer is not there: %v", err)
	}

	var about struct{ Version string }
	if err := json.Unmarshal(text, &about); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(packages, filepath.Join(site, "node_modules")); err != nil {
		t.Fatal(err)
	}
	return about.Version
}
