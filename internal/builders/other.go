package builders

// other are programs that do not come from npm.
var other = []Builder{
	{
		Name:     "hugo",
		Run:      []string{"hugo", "--watch"},
		Match:    []string{"/go.mod", "/package.json"},
		Begins:   []string{`^Change of .* detected, rebuilding site`, `^Start building sites`},
		Succeeds: []string{`^Total in \d+ ms`},
		Fails:    []string{`^(ERROR|Error:) `},
		Output:   "public",
		Files:    []string{"hugo.toml", "hugo.yaml", "hugo.yml", "hugo.json"},
	},
}
