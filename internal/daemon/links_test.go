package daemon

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/execlog/execlogd/internal/testenv"
)

func link(t *testing.T, target, at string) {
	t.Helper()
	testenv.Check(t, os.MkdirAll(filepath.Dir(at), 0o755))
	testenv.Check(t, os.Symlink(target, at))
}

// Pages hear of changes of what links lead to, by the names that they use.
func TestFollowSymlinks(t *testing.T) {
	s := begin(t, `
-- site/index.html --
<p>
-- shared/a.html --
<p>a
-- shared/deep/b.html --
<p>b
-- other/a.html --
<p>other
-- one.html --
<p>one
-- packages/p/c.html --
<p>c
-- x.toml --
[server]
root = "site"
port = 0
debounce = "0s"
follow_symlinks = true
`)
	site := s.Dir + "/site"
	awaitReload := func(page string, change func()) {
		t.Helper()
		told := s.page(page)
		change()
		s.isTold(told, `"command":"reload"`)
	}
	linked := func(target, name string) func() {
		return func() { link(t, target, filepath.Join(site, name)) }
	}

	// A page that is not there yet hears of its file when the link comes, also below a
	// directory that comes with links in it, and below another link.
	awaitReload("/linked/a.html", linked(s.Dir+"/shared", "linked"))
	awaitReload("/one.html", linked("../one.html", "one.html"))
	awaitReload("/linked/p/c.html", func() { link(t, "../packages/p", s.Dir+"/shared/p") })
	awaitReload("/m/p/c.html", func() {
		link(t, s.Dir+"/packages/p", s.Dir+"/m/p")
		testenv.Check(t, os.Rename(s.Dir+"/m", site+"/m"))
	})
	for page, file := range map[string]string{
		"/linked/a.html": "shared/a.html", "/linked/deep/b.html": "shared/deep/b.html", "/one.html": "one.html",
		"/linked/p/c.html": "packages/p/c.html", "/m/p/c.html": "packages/p/c.html",
	} {
		for i := range 2 {
			awaitReload(page, func() { s.Write(file, "<p>"+page+strconv.Itoa(i)) })
		}
	}

	// What changes before a new link is watched is not missed.
	for i := range 3 {
		name := "new" + strconv.Itoa(i)
		link(t, s.Dir+"/shared/deep", filepath.Join(site, name))
		s.get("/" + name + "/b.html")
		awaitReload("/"+name+"/b.html", func() { s.Write("shared/deep/b.html", "<p>"+name) })
	}

	// A link that leads elsewhere is followed anew.
	switchTo := func(target string) {
		link(t, target, site+"/.next")
		testenv.Check(t, os.Rename(site+"/.next", site+"/linked"))
	}
	awaitReload("/linked/a.html", func() { switchTo("../other") })
	awaitReload("/linked/a.html", func() { s.Write("other/a.html", "<p>changed") })
	if body := s.get("/linked/a.html"); !strings.Contains(body, "changed") {
		t.Errorf("the page is %s", body)
	}

	// What nothing leads to is watched no more.
	testenv.Check(t, os.Remove(site+"/m/p"))
	testenv.Check(t, os.Remove(site+"/one.html"))
	told := s.page("/")
	s.Reload("[server]\nroot = 'site'\nport = 0\ndebounce = '0s'\n")
	s.Write("other/a.html", "<p>again")
	s.Write("site/index.html", "<p>last")
	s.isTold(told, `"path":"/index.html"`)
	if !strings.Contains(s.Seen[len(s.Seen)-1], "watching 2 directories") {
		t.Errorf("without follow_symlinks: %s", s.Seen[len(s.Seen)-1])
	}
}

// Which links are watched: those whose targets are not watched with the root, without end.
func TestFindLinks(t *testing.T) {
	dir := t.TempDir()
	root := dir + "/site"
	for _, name := range []string{"site/in/x", "site/.store/p", "out/a/b", "many/d"} {
		testenv.Check(t, os.MkdirAll(filepath.Join(dir, name), 0o755))
	}
	link(t, "in", root+"/inside")
	link(t, root+"/in", root+"/absolute")
	link(t, ".store/p", root+"/stored")
	link(t, dir+"/out", root+"/out")
	link(t, "../../../out", root+"/in/x/out")
	link(t, "..", root+"/up")
	link(t, ".", root+"/self")
	link(t, "loop", root+"/loop")
	link(t, dir+"/missing", root+"/missing")
	link(t, "a", dir+"/out/again")
	link(t, "../..", dir+"/out/a/top")
	link(t, "..", dir+"/out/a/self")
	link(t, dir+"/many", root+"/zmany")
	const maxDirs = 30
	for i := range maxDirs {
		testenv.Check(t, os.Mkdir(dir+"/many/d/"+strconv.Itoa(i), 0o755))
	}

	f := newLinkFinder(root, maxDirs)
	f.walk(".", f.above, false)
	for _, want := range []string{"stored", "out", "out/again", "in/x/out", "in/x/out/again", "missing"} {
		if !slices.Contains(f.links, want) {
			t.Errorf("no %s among %q", want, f.links)
		}
	}
	for _, name := range []string{"inside", "absolute", "self", "loop", "up", "out/a/top", "out/a/self", "zmany"} {
		if slices.Contains(f.links, name) {
			t.Errorf("%s is among %q", name, f.links)
		}
	}
	if !slices.Contains(f.tooLarge, "zmany") || f.dirs > maxDirs {
		t.Errorf("too large are %q, of the rest there are %d directories", f.tooLarge, f.dirs)
	}
}
