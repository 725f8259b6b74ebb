package builders

// other are programs that do not come from npm.
//
// The tests have passed with the versions below, those of Hugo with 0.165 as well. What
// Zola and mdBook do is known from their sources alone: there is no package of them with
// which tests could run.
var other = []Builder{
	{
		Name: "hugo",
		// Hugo's own server has the same environment, and no host in the links of its
		// pages. Of a file of static a line says that it is copied, or removed, and no
		// other that it has been: that is all of a build.
		Run:      []string{"hugo", "--watch", "--environment", "development", "--baseURL", "/"},
		Match:    []string{"/go.mod", "/package.json", "/postcss.config.*", "/tailwind.config.*"},
		Begins:   []string{`^Start building sites`, `^Change (of config file )?detected, rebuilding site`},
		Succeeds: []string{`^(Total|Built|Rebuilt) in \d+ ms`, `^Watching for changes in `, `^(Syncing|File no longer exists in static dir, removing) `},
		Fails:    []string{`^(ERROR|Error:) `},
		Output:   "public",
		// config.toml is what other programs have as well, and a site that has been
		// built has the lock.
		Files:   []string{"hugo.toml", "hugo.yaml", "hugo.yml", "hugo.json", "archetypes", ".hugo_build.lock"},
		Version: "0.111.3",
	},
	{
		Name: "jekyll",
		// The server has a site at its baseurl, and the output directory has it at /.
		Run:      []string{"jekyll", "build", "--watch", "--baseurl", ""},
		Match:    []string{"/_config.*", "/Gemfile", "/Gemfile.lock", "/_plugins/"},
		Begins:   []string{`^ *Generating\.\.\.`, `^ *Regenerating: `},
		Succeeds: []string{`done in [\d.]+ seconds\.$`},
		// An error in the front matter leaves a page out, and Jekyll goes on.
		Fails:   []string{`^ *(Liquid Exception|Error): `, `^YAML Exception reading `},
		Output:  "_site",
		Files:   []string{"_config.yml", "_config.yaml", "_config.toml"},
		Version: "4.3.1",
	},
	{
		// MkDocs has no other way to watch than its server, which keeps what it builds in
		// a temporary directory.
		Name:    "mkdocs",
		Run:     []string{"mkdocs", "build"},
		Once:    true,
		Output:  "site",
		Files:   []string{"mkdocs.yml", "mkdocs.yaml"},
		Version: "1.4.2",
	},
	{
		// Its server, sphinx-autobuild, runs the same command on changes. With -q it prints
		// what is wrong, and nothing else. It copies _static only with a page that has
		// changed.
		Name: "sphinx",
		Run: []string{"sh", "-c", "sphinx-build -q -b html . _build/html && " +
			"if [ -d _static ]; then cp -Ru _static _build/html/; fi"},
		Once:    true,
		Output:  "_build/html",
		Files:   []string{"conf.py"},
		Version: "5.3.0",
	},
	{
		// Zola's server keeps pages in memory.
		Name:   "zola",
		Run:    []string{"zola", "build", "--base-url", "/"},
		Once:   true,
		Output: "public",
		Files:  []string{"zola.toml"}, // config.toml is what other programs have as well
	},
	{
		// mdbook watch does not build when it starts, and looks for changes each second.
		Name:   "mdbook",
		Run:    []string{"mdbook", "build"},
		Once:   true,
		Output: "book",
		Files:  []string{"book.toml"},
	},
}
