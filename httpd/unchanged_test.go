package httpd

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/execlog/execlogd/httpd/internal/livereload"
)

// A loadedPage is a page of our client that was loaded as a browser does it: it
// and what it uses were asked for.
type loadedPage struct {
	*ourPage
	run *running
	got map[string]string // the content of each file that it has, by path, without the script
}

// browse loads a page with what it uses.
func (r *running) browse(t testing.TB, path string, uses ...string) *loadedPage {
	t.Helper()
	p := &loadedPage{run: r}
	p.reload(t, path, uses)
	return p
}

// request asks for the page and for what it uses; its socket is not open yet.
func (p *loadedPage) request(t testing.TB, path string, uses []string) (token string) {
	t.Helper()
	body := p.run.answer(path).Body.String()
	p.got = map[string]string{path: withoutScript(body)}
	for _, use := range uses {
		p.fetch(use)
	}
	return tokenIn(t, body)
}

func withoutScript(page string) string {
	before, rest, _ := strings.Cut(page, "<script")
	_, after, _ := strings.Cut(rest, "</script>")
	return before + after
}

func (p *loadedPage) fetch(use string) { p.got[use] = p.run.answer(use).Body.String() }

func (p *loadedPage) connect(t testing.TB, path, token string, uses []string) {
	t.Helper()
	if p.ourPage != nil {
		p.conn.CloseNow()
	}
	p.ourPage = p.run.info(t, path, map[string]any{"token": token, "uses": uses})
}

func (p *loadedPage) reload(t testing.TB, path string, uses []string) {
	t.Helper()
	p.connect(t, path, p.request(t, path, uses), uses)
	p.is(t, "at")
}

// old makes files older than what the kernel's clock can tell from now.
func old(t testing.TB, dir string) {
	t.Helper()
	filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		for err == nil {
			info, err := os.Lstat(path)
			if err != nil || time.Since(time.Unix(info.Sys().(*syscall.Stat_t).Ctim.Unix())) > 20*time.Millisecond {
				break
			}
			time.Sleep(time.Millisecond)
		}
		return err
	})
}

// Generators write all that they make again. What has the same bytes as before
// affects no page.
func TestFilesThatAreWrittenAgainWithTheSameContent(t *testing.T) {
	names := []string{"a.html", "b.html", "a.css", "b.css", "app.js", "x.png", "d/index.html", "d/e.html"}
	content := func(name string) string { return "<p>" + name }
	type contents func(name string) string
	save := func(t *testing.T, dir string, content contents) {
		for _, name := range names {
			write(t, dir, name, content(name))
		}
	}
	again := map[string]func(t *testing.T, run *running, dir string, content contents){
		"in place": func(t *testing.T, run *running, dir string, content contents) {
			save(t, dir, content)
			run.Refresh(names...)
		},
		"by rename": func(t *testing.T, run *running, dir string, content contents) {
			for _, name := range names {
				write(t, dir, name+".new", content(name))
				rename(t, dir, name+".new", name)
			}
			run.Refresh(names...)
			run.Recheck(names...)
		},
		"after all was removed": func(t *testing.T, run *running, dir string, content contents) {
			for _, name := range names {
				remove(t, dir, name)
			}
			save(t, dir, content)
			run.Recheck(names...)
			run.Refresh(names...)
		},
		"emptied in between": func(t *testing.T, run *running, dir string, content contents) {
			save(t, dir, func(string) string { return "" })
			run.Recheck(names...)
			save(t, dir, content)
			run.Refresh(names...)
		},
		"as a directory": func(t *testing.T, run *running, dir string, content contents) {
			save(t, dir, content)
			run.Refresh("/")
		},
	}
	for how, write := range again {
		t.Run(how, func(t *testing.T) {
			content := content
			dir := site(t, names...)
			old(t, dir)
			run := serve(t, Options{Root: dir})
			a := run.browse(t, "/a.html", "/a.css", "/app.js", "/x.png")
			b := run.browse(t, "/b", "/b.css", "/app.js")
			d := run.browse(t, "/d/", "/a.css", "/d/e.html")
			for range 2 {
				write(t, run, dir, content)
				for _, p := range []*loadedPage{a, b, d} {
					p.expectNothing(t)
				}
			}

			if how == "as a directory" {
				return // which is one file, whatever in it differs
			}

			// One style sheet differs: the pages that use it fetch it in place.
			changed := map[string]string{"a.css": "p {}"}
			content = func(name string) string { return cmp.Or(changed[name], "<p>"+name) }
			write(t, run, dir, content)
			a.is(t, "/a.css")
			d.is(t, "/a.css")
			b.expectNothing(t)
			old(t, dir)
			a.fetch("/a.css")
			d.fetch("/a.css")
			write(t, run, dir, content)
			a.expectNothing(t)

			// One page differs: it is loaded again, and no other.
			changed["b.html"] = "<p>another b"
			write(t, run, dir, content)
			b.is(t, "/b.html !")
			a.expectNothing(t)
			d.expectNothing(t)
			old(t, dir)
			b.reload(t, "/b", b.uses)
			for range 2 {
				write(t, run, dir, content)
				b.expectNothing(t)
			}
		})
	}
}

// A touch changes no content, and affects no page.
func TestATouchAffectsNoPage(t *testing.T) {
	dir := site(t, "a.html", "a.css", "app.js")
	old(t, dir)
	run := serve(t, Options{Root: dir})
	p := run.browse(t, "/a.html", "/a.css", "/app.js")
	now := time.Now()
	for _, name := range []string{"a.html", "a.css", "app.js"} {
		check(t, os.Chtimes(filepath.Join(dir, name), now, now))
	}
	run.Refresh("a.html", "a.css", "app.js")
	p.expectNothing(t)
}

// A page that links the script itself does not say when it was served. It has
// what is there when it comes, unless that is yet to be told.
func TestAPageThatDoesNotSayWhenItWasServed(t *testing.T) {
	dir := site(t, "a.html", "a.css", "app.js")
	run := serve(t, Options{Root: dir, NoInject: true})
	p := run.info(t, "/a.html", map[string]any{"token": "", "uses": []string{"/a.css", "/app.js"}})
	p.is(t, "at")
	for range 2 {
		old(t, dir)
		write(t, dir, "a.css", "<p>a.css")
		write(t, dir, "app.js", "<p>app.js")
		run.Refresh("a.css", "app.js")
		p.expectNothing(t)
	}
	run.save(t, dir, "a.css")
	p.is(t, "/a.css")

	write(t, dir, "a.css", "before it comes")
	late := run.info(t, "/a.html", map[string]any{"token": "", "uses": []string{"/a.css"}})
	late.is(t, "at")
	run.Refresh("a.css")
	p.is(t, "/a.css")
	late.is(t, "/a.css")
}

// Of a large file the content is not compared.
func TestALargeFileIsNotCompared(t *testing.T) {
	dir := site(t, "a.html", "large.js")
	check(t, os.Truncate(filepath.Join(dir, "large.js"), digestLimit+1))
	old(t, dir)
	run := serve(t, Options{Root: dir})
	p := run.browse(t, "/a.html", "/large.js")
	run.Refresh("large.js")
	p.is(t, "/large.js !")
}

// A page that may have what was there in between is told though the content is
// what it was before.
func TestAPageThatHasWhatWasThereInBetween(t *testing.T) {
	start := func(t *testing.T) (run *running, dir string, first *loadedPage) {
		dir = site(t, "a.html", "a.css")
		old(t, dir)
		run = serve(t, Options{Root: dir})
		return run, dir, run.browse(t, "/a.html", "/a.css")
	}
	t.Run("loaded between two saves", func(t *testing.T) {
		run, dir, _ := start(t)
		write(t, dir, "a.css", "between")
		old(t, dir)
		second := run.browse(t, "/a.html", "/a.css")
		write(t, dir, "a.css", "<p>a.css")
		run.Refresh("a.css")
		second.is(t, "/a.css")
	})
	for name, meanwhile := range map[string]func(run *running, dir string){
		"loaded before a save and connected after it": func(*running, string) {},
		"loaded before a save that another page was served after": func(run *running, dir string) {
			old(t, dir)
			run.answer("/a.css")
		},
	} {
		t.Run(name, func(t *testing.T) {
			run, dir, first := start(t)
			first.conn.CloseNow()
			run.awaitBrowsers(t, 0)
			p := &loadedPage{run: run}
			token := p.request(t, "/a.html", []string{"/a.css"})
			write(t, dir, "a.css", "after")
			meanwhile(run, dir)
			p.connect(t, "/a.html", token, []string{"/a.css"})
			p.is(t, "at")
			run.Refresh("a.css")
			p.is(t, "/a.css")
		})
	}
	t.Run("loaded within a tick of a save", func(t *testing.T) {
		run, dir, first := start(t)
		first.conn.CloseNow()
		run.awaitBrowsers(t, 0)
		for i := range 100 {
			name := fmt.Sprintf("%d.css", i)
			p := &loadedPage{run: run}
			write(t, dir, name, "saved")
			token := p.request(t, "/a.html", []string{"/" + name})
			f := must(run.current.Load().openRegular(name))(t)
			defer f.Close()
			if isDistinct(f.version()) {
				continue // it took too long
			}
			p.connect(t, "/a.html", token, []string{"/" + name})
			p.is(t, "at")
			run.Refresh(name)
			p.is(t, "/"+name)
			return
		}
		t.Skip("the machine is too slow")
	})
	t.Run("fetched between two saves", func(t *testing.T) {
		run, dir, p := start(t)
		run.save(t, dir, "a.css")
		p.is(t, "/a.css")
		text, _ := os.ReadFile(filepath.Join(dir, "a.css"))
		write(t, dir, "a.css", "between")
		p.fetch("/a.css")
		write(t, dir, "a.css", string(text))
		run.Refresh("a.css")
		p.is(t, "/a.css")
	})
	t.Run("it was an error meanwhile", func(t *testing.T) {
		run, dir, p := start(t)
		remove(t, dir, "a.css")
		run.Recheck("a.css")
		p.is(t, "errors: /a.css is gone")
		write(t, dir, "a.css", "<p>a.css")
		run.Refresh("a.css")
		p.is(t, "/a.css", "errors:")
	})
}

// Whatever happens in whatever order: when all changes were told and all pages
// did what they were told, each has what is there. And no page is told that has
// it for certain.
func TestPagesEndWithWhatIsThere(t *testing.T) {
	const rounds = 60
	seed := uint64(time.Now().UnixNano())
	random := rand.New(rand.NewPCG(seed, 0))
	var steps []string
	note := func(format string, args ...any) { steps = append(steps, fmt.Sprintf(format, args...)) }
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("seed %d:\n%s", seed, strings.Join(steps, "\n"))
		}
	})
	for range 8 {
		steps = nil
		dir := site(t, "a.html", "b.html", "x.css", "y.js")
		run := serve(t, Options{Root: dir})
		paths := []string{"/a.html", "/b.html"}
		uses := []string{"/x.css", "/y.js"}
		pages := make([]*loadedPage, 3)
		tokens := make([]string, len(pages)) // of those that are loaded and not connected
		loaded := make([]string, len(pages)) // their paths
		dirty := make(map[string]bool)

		// act has a page do what it was told. To a page that has just connected
		// there is an answer at least.
		act := func(i int, connected bool) {
			p := pages[i]
			for {
				if p.sync(t); len(p.heard) == 0 && !connected {
					return
				}
				a := p.next(t)
				connected = false
				switch {
				case a.Reload:
					note("page %d is told to load again for %v", i, a.Files)
					p.connect(t, p.path, p.request(t, p.path, uses), uses)
					connected = true
				case a.Command == "change":
					note("page %d is told to fetch %v", i, a.Files)
					for _, file := range a.Files {
						p.fetch(file)
					}
				}
			}
		}
		for range rounds {
			i := random.IntN(len(pages))
			switch random.IntN(7) {
			case 0, 1:
				name := []string{"a.html", "b.html", "x.css", "y.js"}[random.IntN(4)]
				text := []string{"<p>one", "<p>two", "<p>six"}[random.IntN(3)]
				note("write %s %s", name, text)
				if random.IntN(2) == 0 {
					write(t, dir, name+".new", text)
					rename(t, dir, name+".new", name)
				} else {
					write(t, dir, name, text)
				}
				dirty[name] = true
			case 2:
				names := slices.Collect(maps.Keys(dirty))
				clear(dirty)
				note("refresh %v", names)
				run.Refresh(names...)
			case 3:
				path := paths[random.IntN(2)]
				note("page %d loads %s", i, path)
				if pages[i] != nil && pages[i].ourPage != nil {
					pages[i].conn.CloseNow()
				}
				pages[i] = &loadedPage{run: run}
				tokens[i], loaded[i] = pages[i].request(t, path, uses), path
			case 4:
				if pages[i] != nil && tokens[i] != "" {
					note("page %d connects", i)
					pages[i].connect(t, loaded[i], tokens[i], uses)
					tokens[i] = ""
					act(i, true)
				}
			case 5:
				if pages[i] != nil && tokens[i] == "" {
					act(i, false)
				}
			case 6:
				note("time passes")
				old(t, dir)
			}
		}
		names := slices.Collect(maps.Keys(dirty))
		note("refresh %v at last", names)
		run.Refresh(names...)
		for i, p := range pages {
			if p == nil {
				continue
			}
			if tokens[i] != "" {
				note("page %d connects at last", i)
				p.connect(t, loaded[i], tokens[i], uses)
			}
			act(i, tokens[i] != "")
			for path, got := range p.got {
				text := must(os.ReadFile(filepath.Join(dir, path)))(t)
				if got != string(text) {
					t.Fatalf("page %d has %q of %s, and there is %q", i, got, path, text)
				}
			}
		}
	}
}

// A digest is remembered once no other write can have the time of the last.
func TestDigestsOfFreshFiles(t *testing.T) {
	dir := site(t, "a.css")
	synctest.Test(t, func(t *testing.T) {
		s := must(New(Options{Root: dir}))(t)
		defer s.Close()
		f := must(s.current.Load().openRegular("a.css"))(t)
		defer f.Close()

		version := f.version()
		for age, want := range []bool{livereload.ClockTick: false, livereload.ClockTick + 1: true} {
			time.Sleep(time.Until(time.UnixMilli(version.Ctime/1e6 + int64(age))))
			if _, ok := s.digests.of(f); !ok {
				t.Fatal("no digest")
			}
			if _, ok := s.digests.known[version]; ok != want {
				t.Errorf("%d ms after the write it is remembered: %v", age, ok)
			}
		}
	})
}
