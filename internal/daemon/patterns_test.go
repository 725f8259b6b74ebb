package daemon

import (
	"strings"
	"testing"
)

// A route does so if it says it.
func TestRouteHeedsIgnoreFiles(t *testing.T) {
	const route = "[[route]]\nname = 'NAME'\nrun = ['echo', 'NAME has', '{path}']\n"
	some, all := strings.ReplaceAll(route, "NAME", "some")+"gitignore = true\n", strings.ReplaceAll(route, "NAME", "all")
	s := begin(t, "-- .gitignore --\n# made\n/out/\n-- out/ --\n-- src/ --\n-- x.toml --\n"+some+all)
	s.Write("out/made", "1")
	s.Await("all has " + s.Dir + "/out/made")
	s.Write("src/x", "1")
	s.AwaitAll("all has "+s.Dir+"/src/x", "some has "+s.Dir+"/src/x")
	if ran := s.Words("some has .*/made"); len(ran) > 0 {
		t.Errorf("what git ignores: %q", ran)
	}
}

// A route that matches no file is logged once.
func TestRoutesThatMatchNoFileAreLogged(t *testing.T) {
	const some, none = "[[route]]\nname = 'some'\nmatch = '*.md'\nrun = ['true']\n", "[[route]]\nname = 'none'\nmatch = ['*.x', '*.y']\nrun = ['true']\n"
	s := begin(t, "-- a/b/c.md --\n-- .git/x.x --\n-- x.toml --\n"+some+none)
	s.Await("no file matches yet", "level=INFO", `route=none match="[*.x *.y]"`)
	s.Load(some + none + strings.ReplaceAll(none, "none", "more"))
	s.Await("no file matches yet", "route=more")
	s.Load(some + strings.Replace(none, "*.y", "*.z", 1))
	s.Await("no file matches yet", `route=none match="[*.x *.z]"`)
}
