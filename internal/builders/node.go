package builders

import (
	"slices"
	"strings"
)

// node are programs that come from npm. What they print was read from the versions
// below, and from older ones that are still in use: Eleventy 2, Vite 5 and 7, Rollup 3,
// Tailwind CSS 3.
var node = withScript([]Builder{
	{
		// It builds no more when its first build has failed, and ends. Whatever it
		// says of files that it has written, it is done when it watches again.
		Name:     "eleventy",
		Run:      []string{"eleventy", "--watch"},
		Begins:   []string{`^\[11ty\] File (changed|added|deleted): `},
		Succeeds: []string{`^\[11ty\] Watching…`},
		Fails:    []string{`^\[11ty\] (Problem writing Eleventy templates|Eleventy watch error|Eleventy Fatal Error|Eleventy Error)\b`},
		Output:   "_site",
		Files:    []string{"eleventy.config.*", ".eleventy.js"},
		Packages: []string{"@11ty/eleventy"},
		Version:  "3.1.8",
	},
	{
		// Its server keeps pages in memory, and it has no other way to watch. It
		// writes to .astro and node_modules as well.
		Name:     "astro",
		Run:      []string{"astro", "build"},
		Once:     true,
		Match:    []string{"/src/**", "/public/**", "/content/**", "/astro.config.*", "/tsconfig.json", "/.env*"},
		Output:   "dist",
		Files:    []string{"astro.config.*"},
		Packages: []string{"astro"},
		Version:  "5.18.2",
	},
	{
		// It copies the files of public only when it starts. Up to Vite 7 an error is
		// its message alone, with the file below it.
		Name:     "vite",
		Run:      []string{"vite", "build", "--watch"},
		Match:    []string{"/vite.config.*", "/.env*", "/public/**"},
		Begins:   []string{`^build started\.\.\.`},
		Succeeds: []string{`^(✓ )?built in `},
		Fails:    []string{`^Build failed with \d+ error`, `^file: /`, `^\[vite\]: Rollup failed `, `^Could not resolve `, `^error during build:`},
		Output:   "dist",
		Files:    []string{"vite.config.*"},
		Packages: []string{"vite"},
		Version:  "8.3.8",
	},
	{
		// It says that a build begins only with this flag.
		Name:     "webpack",
		Run:      []string{"webpack", "--watch", "--infrastructure-logging-level", "log"},
		Match:    []string{"/webpack.config.*"},
		Begins:   []string{`\[webpack-cli\] File '.*' was `, `\[webpack-cli\] Compiler( '.*')? starting\.\.\.`},
		Succeeds: []string{`\bcompiled (successfully|with \d+ warnings?)\b`},
		Fails:    []string{`\bcompiled with \d+ errors?\b`},
		Output:   "dist",
		Files:    []string{"webpack.config.*"},
		Packages: []string{"webpack"},
		Version:  "5.113.0",
	},
	{
		// Rollup 3 says that it waits only to a terminal.
		Name:     "rollup",
		Run:      []string{"rollup", "-c", "-w"},
		Begins:   []string{`^bundles `, `^Reloading updated config\.\.\.`},
		Succeeds: []string{`^created .+ in `, `^\[.+\] waiting for changes\.\.\.`},
		Fails:    []string{`^\[!\] `},
		Files:    []string{"rollup.config.*"},
		Packages: []string{"rollup"},
		Version:  "4.68.8",
	},
	{
		Name:     "esbuild",
		Example:  []string{"esbuild", "src/main.js", "--bundle", "--outdir=public", "--watch"},
		Begins:   []string{`^\[watch\] build started`},
		Succeeds: []string{`^\[watch\] build finished`},
		Fails:    []string{`^✘ \[ERROR\] `},
		Packages: []string{"esbuild"},
		Version:  "0.28.2",
	},
	{
		// It writes its output in spite of errors, unless noEmitOnError is set.
		Name:     "tsc",
		Run:      []string{"tsc", "--watch", "--preserveWatchOutput"},
		Begins:   []string{`\bStarting (incremental )?compilation\b`},
		Succeeds: []string{`\bFound 0 errors\.`},
		Fails:    []string{`\bFound [1-9]\d* errors?\.`},
		Files:    []string{"tsconfig.json"},
		Packages: []string{"typescript"},
		Version:  "5.9.3",
	},
	{
		// What it says at the start, that it is watching, is the end of no build. It
		// builds each style sheet by itself, and an error ends with the name of the one.
		Name:     "sass",
		Example:  []string{"sass", "--watch", "scss:public/css"},
		Begins:   []string{`^Error: `},
		Succeeds: []string{`^(\[.+\] )?(Compiled (?P<file>.+) to .+\.$|Deleted )`},
		Fails:    []string{`^Error: `, `^ +(?P<file>\S.*) \d+:\d+ +root stylesheet$`},
		Packages: []string{"sass"},
		Version:  "1.108.2",
	},
	{
		// It ends when its first build has failed. Tailwind CSS 4 does not say that a
		// build begins.
		Name:     "tailwindcss",
		Example:  []string{"tailwindcss", "-i", "src/main.css", "-o", "public/main.css", "--watch=always"},
		Begins:   []string{`^Rebuilding\.\.\.`},
		Succeeds: []string{`^Done in `},
		Fails:    []string{`^[A-Z]?[A-Za-z]*Error:`},
		Packages: []string{"@tailwindcss/cli"},
		Version:  "4.3.5",
	},
})

// withScript adds the script watch of package.json, which runs one of the programs, or
// several side by side, or something else. Where several share the output, as with
// concurrently, each line has the name or the number of its program before it.
func withScript(programs []Builder) []Builder {
	script := Builder{Name: "npm", Run: []string{"npm", "run", "watch"}, Match: []string{"/package.json"}, Script: "watch", Unsure: true}
	prefixed := func(lines []string) (any []string) {
		for _, line := range lines {
			if rest, ok := strings.CutPrefix(line, "^"); ok {
				line = `^(\[[^\]]+\] )?` + rest
			}
			any = append(any, line)
		}
		return any
	}
	for _, b := range programs {
		script.Begins = slices.Concat(script.Begins, prefixed(b.Begins))
		script.Succeeds = slices.Concat(script.Succeeds, prefixed(b.Succeeds))
		script.Fails = slices.Concat(script.Fails, prefixed(b.Fails))
	}
	return append(programs, script)
}
