package builders

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"
)

// Lines that programs have printed, and whether a build begins (b) with them, has
// succeeded (s) or has failed (f), and the file of which the line says so.
func TestLines(t *testing.T) {
	for _, tt := range []struct{ name, line, want string }{
		{"eleventy", "[11ty] Writing ./_site/index.html from ./index.md (liquid)", ""},
		{"eleventy", "[11ty] Wrote 0 files in 0.03 seconds (v3.1.8)", ""},
		{"eleventy", "[11ty] Watching…", "s"},
		{"eleventy", "[11ty] File changed: ./index.md", "b"},
		{"eleventy", "[11ty] Problem writing Eleventy templates: (more in DEBUG output)", "f"}, // 2.0
		{"eleventy", "[11ty] Eleventy watch error:", "f"},
		{"eleventy", "[11ty] Eleventy Fatal Error (CLI):", "f"},
		{"eleventy", "[11ty] 3. undefined filter: nofilter (via AssertionError)", ""},

		{"vite", "watching for file changes...", ""},
		{"vite", "build started...", "b"},
		{"vite", "✓ 5 modules transformed.", ""},
		{"vite", "built in 58ms.", "s"},
		{"vite", "✓ built in 1.02s", "s"}, // without --watch
		{"vite", "Build failed with 1 error:", "f"},
		{"vite", "[commonjs] src/dep.js (1:4): Expression expected", ""},
		{"vite", "file: /site/src/dep.js:1:4", "f"}, // 5 and 7

		{"webpack", "asset main.js 4.03 KiB [emitted] (name: main)", ""},
		{"webpack", "ERROR in ./src/dep.js 1:17", ""},
		{"webpack", "webpack 5.113.0 compiled successfully in 699 ms", "s"},
		{"webpack", "webpack 5.113.0 compiled with 2 warnings in 25 ms", "s"},
		{"webpack", "webpack 5.113.0 compiled with 1 error and 1 warning in 25 ms", "f"},
		{"webpack", "  client (webpack 5.113.0) compiled with 1 error in 25 ms", "f"}, // one of several
		{"webpack", "    [webpack-cli] Compiler starting... ", "b"},
		{"webpack", "    [webpack-cli] Compiler 'client' starting... ", "b"},
		{"webpack", "    [webpack-cli] File '/site/src/dep.js' was modified", "b"},
		{"webpack", "    [webpack-cli] Compiler finished", ""},

		{"rollup", "bundles src/main.js → dist...", "b"},
		{"rollup", "created dist in 60ms", "s"},
		{"rollup", "[2026-11-29 05:36:19] waiting for changes...", "s"},
		{"rollup", "[!] RollupError: src/dep.js (1:17): Expression expected", "f"},
		{"rollup", "(!) Circular dependency", ""},
		{"rollup", "Reloading updated config...", "b"},

		{"esbuild", "[watch] build finished, watching for changes...", "s"},
		{"esbuild", `[watch] build started (change: "src/dep.js")`, "b"},
		{"esbuild", `✘ [ERROR] Unexpected "="`, "f"},
		{"esbuild", `▲ [WARNING] Import "x" will always be undefined`, ""},

		{"tsc", "5:35:04 AM - Starting compilation in watch mode...", "b"},
		{"tsc", "5:35:29 AM - File change detected. Starting incremental compilation...", "b"},
		{"tsc", "src/a.ts(1,26): error TS1109: Expression expected.", ""},
		{"tsc", "5:35:29 AM - Found 1 error. Watching for file changes.", "f"},
		{"tsc", "5:35:29 AM - Found 10 errors. Watching for file changes.", "f"},
		{"tsc", "5:35:32 AM - Found 0 errors. Watching for file changes.", "s"},

		{"sass", "[2026-11-29 05:35] Compiled scss/main.scss to css/main.css.", "s scss/main.scss"},
		{"sass", "Compiled scss/main.scss to css/main.css.", "s scss/main.scss"}, // to a terminal
		{"sass", "Sass is watching for changes. Press Ctrl-C to stop.", ""},
		{"sass", "Error: expected end of rule.", "bf"},
		{"sass", "  scss/_text.scss 1:8  @use", ""},
		{"sass", "  scss/main.scss 1:1   root stylesheet", "f scss/main.scss"},
		{"sass", "[2026-11-29 05:35] Deleted css/main.css.", "s"},

		{"tailwindcss", "≈ tailwindcss v4.3.5", ""},
		{"tailwindcss", "Done in 293µs", "s"},
		{"tailwindcss", "Error:", "f"},
		{"tailwindcss", "│ Error: Cannot apply unknown utility class `nix`", ""},
		{"tailwindcss", "Rebuilding...", "b"}, // 3
		{"tailwindcss", "CssSyntaxError: tailwindcss: /site/in.css:1:5: The `nix` class does not exist.", "f"},

		{"npm", "> tsc --watch", ""},
		{"npm", "[11ty] Watching…", "s"},
		{"npm", "[0] [11ty] Watching…", "s"},
		{"npm", "[css] Done in 4ms", "s"},
		{"npm", "[1] 5:35:29 AM - Found 1 error. Watching for file changes.", "f"},
		{"npm", "[js] [watch] build started (change: \"src/dep.js\")", "b"},
		{"npm", "[js] is done in 4ms", ""},
		{"npm", "[css]   scss/main.scss 1:1  root stylesheet", "f scss/main.scss"},
		{"npm", "[css] [2026-11-29 05:35] Compiled scss/main.scss to css/main.css.", "s scss/main.scss"},
	} {
		b, _ := Find(tt.name)
		var got []byte
		for _, kind := range []struct {
			letter byte
			lines  []string
		}{{'b', b.Begins}, {'s', b.Succeeds}, {'f', b.Fails}} {
			if file, ok := match(kind.lines, tt.line); ok {
				got = append(got, kind.letter)
				if file != "" {
					got = append(got, " "+file...)
				}
			}
		}
		if string(got) != tt.want {
			t.Errorf("%s: %q is %q, want %q", tt.name, tt.line, got, tt.want)
		}
	}
}

// match reports whether one of the expressions matches, and what its group file has.
func match(expressions []string, line string) (file string, ok bool) {
	for _, text := range expressions {
		r := regexp.MustCompile(text)
		if found := r.FindStringSubmatch(line); found != nil {
			if group := r.SubexpIndex("file"); group >= 0 {
				file = found[group]
			}
			return file, true
		}
	}
	return "", false
}

// The versions are those that the tests in e2e run.
func TestVersions(t *testing.T) {
	text, err := os.ReadFile("../../e2e/builders/package.json")
	if err != nil {
		t.Fatal(err)
	}
	var installed struct{ DevDependencies map[string]string }
	if err := json.Unmarshal(text, &installed); err != nil {
		t.Fatal(err)
	}
	for _, b := range node {
		if len(b.Packages) == 0 {
			continue
		}
		if want := installed.DevDependencies[b.Packages[0]]; b.Version != want {
			t.Errorf("%s: version %q, and the tests run %q of %s", b.Name, b.Version, want, strings.Join(b.Packages, ", "))
		}
	}
}
