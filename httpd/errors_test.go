package httpd

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// asNobody does something as a user who may not read every file.
func asNobody(t *testing.T, do func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		do()
		return
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := syscall.Setfsuid(65534); err != nil {
		t.Skip(err)
	}
	defer syscall.Setfsuid(0)
	do()
}

// openToAll lets nobody read files in dir.
func openToAll(t testing.TB, dir string, names ...string) {
	t.Helper()
	for _, name := range names {
		check(t, os.Chmod(filepath.Join(dir, name), 0o755))
	}
	for up := dir; up != os.TempDir() && up != "/"; up = filepath.Dir(up) {
		os.Chmod(up, 0o755)
	}
}

func remove(t testing.TB, dir, name string) {
	t.Helper()
	check(t, os.Remove(filepath.Join(dir, name)))
}

func rename(t testing.TB, dir, from, to string) {
	t.Helper()
	check(t, os.Rename(filepath.Join(dir, from), filepath.Join(dir, to)))
}

// What is gone is an error of the pages that used it, and reloads nobody; what
// comes back is news.
func TestAFileThatIsGoneIsAnError(t *testing.T) {
	dir := site(t, "a.html", "b.html", "x.css", "d/app.js", "d/index.html")
	run := serve(t, Options{Root: dir})
	a := run.open(t, "/a.html", "/x.css", "/d/app.js", "/favicon.ico")
	b := run.open(t, "/b.html", "/x.css")
	d := run.open(t, "/d/")

	remove(t, dir, "a.html")
	run.Recheck("a.html", "favicon.ico")
	a.is(t, "errors: /a.html is gone")
	b.expectNothing(t)

	remove(t, dir, "x.css")
	run.Recheck("x.css")
	a.is(t, "errors: /a.html is gone /x.css is gone")
	b.is(t, "errors: /x.css is gone")
	run.Refresh("x.css", "d/app.js") // a is gone: no reload
	a.expectNothing(t)
	b.expectNothing(t)

	late := run.open(t, "/b.html", "/x.css")
	late.is(t, "errors: /x.css is gone")

	write(t, dir, "a.html", "<p>back")
	run.Refresh("a.html")
	a.is(t, "/a.html !", "errors: /x.css is gone")
	run.Recheck("a.html")
	a.expectNothing(t)
	a.load(t, run)
	a.is(t, "errors: /x.css is gone")

	write(t, dir, "x.css", "back")
	run.Recheck("x.css")
	a.is(t, "/x.css", "errors:")
	b.is(t, "/x.css", "errors:")
	run.Refresh("x.css") // the same news
	a.expectNothing(t)
	write(t, dir, "x.css", "and more")
	run.Refresh("x.css")
	a.is(t, "/x.css")

	rename(t, dir, "d", "e")
	run.Recheck("d/", "e/")
	a.is(t, "errors: /d/app.js is gone")
	d.is(t, "errors: /d/index.html is gone")
	rename(t, dir, "e", "d")
	run.Recheck("e/", "d/")
	run.Refresh("d/")
	a.is(t, "/d/ !", "errors:")
	d.is(t, "/d/ !", "errors:")
	a.expectNothing(t)
}

// An index page that is gone does not turn its page into a list.
func TestAnIndexThatIsGoneIsAnError(t *testing.T) {
	dir := site(t, "d/index.html")
	run := serve(t, Options{Root: dir})
	p := run.open(t, "/d/")
	remove(t, dir, "d/index.html")
	run.Recheck("d/index.html")
	p.is(t, "errors: /d/index.html is gone")
	run.Recheck("d/index.html")
	p.expectNothing(t)
	write(t, dir, "d/index.html", "") // somebody is about to write it
	run.Recheck("d/index.html")
	p.is(t, "errors:")
	write(t, dir, "d/index.html", "<p>back")
	run.Refresh("d/index.html")
	p.is(t, "/d/index.html !")
}

func TestAFileThatCannotBeReadIsAnError(t *testing.T) {
	dir := site(t, "a.html", "x.css")
	openToAll(t, dir, "a.html", "x.css")
	run := serve(t, Options{Root: dir})
	p := run.open(t, "/a.html", "/x.css")
	for _, step := range []struct {
		name string
		mode os.FileMode
		tell func(...string)
		want []string
	}{
		{"x.css", 0, run.Recheck, []string{"errors: Cannot read /x.css"}},
		{"x.css", 0o444, run.Recheck, []string{"/x.css", "errors:"}},
		{"x.css", 0o555, run.Recheck, nil},
		{"a.html", 0, run.Refresh, []string{"errors: Cannot read /a.html"}},
		{"a.html", 0o644, run.Recheck, []string{"/a.html !", "errors:"}},
	} {
		check(t, os.Chmod(filepath.Join(dir, step.name), step.mode))
		asNobody(t, func() { step.tell(step.name) })
		p.is(t, step.want...)
		p.expectNothing(t)
	}
}

func TestSetError(t *testing.T) {
	dir := site(t, "a.html", "b.html", "s/x.css")
	run := serve(t, Options{Root: dir})
	a := run.open(t, "/a.html", "/s/x.css")
	b := run.open(t, "/b.html")
	other := run.info(t, "", map[string]any{"url": "http://elsewhere/"})
	other.is(t, "at")

	run.SetError("build", &PageError{Title: "build failed", Text: "<b>\xff" + strings.Repeat("x", 32<<10)})
	for _, p := range []*ourPage{a, b, other} {
		p.is(t, "errors: build failed")
	}
	run.SetError("build", &PageError{Title: "build failed", Text: "<b>\xff" + strings.Repeat("x", 32<<10)})
	run.SetError("test", nil)
	a.expectNothing(t)
	run.SetError("a lint", &PageError{Title: "lint failed", Paths: []string{"s/"}})
	a.is(t, "errors: lint failed build failed")
	other.is(t, "errors: lint failed build failed")
	b.expectNothing(t)
	run.SetError("of b", &PageError{Title: "b", Paths: []string{"b.html"}})
	b.is(t, "errors: build failed b")
	other.is(t, "errors: lint failed build failed b")
	a.expectNothing(t)
	b.use(t, nil, "/s/x.css")
	b.is(t, "at", "errors: lint failed build failed b")
	run.SetError("build", nil)
	a.is(t, "errors: lint failed")

	late := run.open(t, "/a.html", "/s/x.css")
	late.is(t, "errors: lint failed")
	for _, source := range []string{"a lint", "of b"} {
		run.SetError(source, nil)
	}
	const most = 16
	for i := range most + 1 {
		run.SetError(fmt.Sprintf("%02d", i), &PageError{Title: fmt.Sprint(i)})
	}
	last := run.info(t, "/a.html", nil)
	last.is(t, "at", "errors: 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15")
}

// A page that lists a directory is loaded again when a name in it comes or
// goes, whoever its client is.
func TestListingsAreRefreshed(t *testing.T) {
	dir := site(t, "d/one.bin", "d/sub/two.bin", "e/three.bin")
	run := serve(t, Options{Root: dir})
	_, body := run.get(t, "GET", "/d/")
	if !strings.Contains(body, run.listingElement("/d/")) {
		t.Fatalf("no %s in %s", run.listingElement("/d/"), body)
	}
	ours := run.info(t, "/d/", map[string]any{"token": tokenIn(t, body)})
	ours.is(t, "at")
	stock := run.dialFor(t, tokenIn(t, body))
	defer stock.conn.CloseNow()
	stock.greet(t, run.url("/d/"))

	write(t, dir, "d/new.bin", "")
	run.Recheck("d/new.bin")
	ours.is(t, "/d/new.bin !")
	stock.expect(t, "/d/new.bin !")
	_, body = run.get(t, "GET", "/d/")
	ours = run.info(t, "/d/", map[string]any{"token": tokenIn(t, body)})
	ours.is(t, "at")
	remove(t, dir, "d/new.bin")
	run.Recheck("d/new.bin")
	ours.is(t, "/d/new.bin !")
	stock.expect(t, "/d/new.bin !")
	_, body = run.get(t, "GET", "/d/")
	ours = run.info(t, "/d/", map[string]any{"token": tokenIn(t, body)})
	ours.is(t, "at")

	write(t, dir, "e/new.bin", "")
	write(t, dir, "d/sub/new.bin", "")
	run.Recheck("e/new.bin", "d/sub/new.bin", "d/one.bin")
	run.Refresh("d/one.bin")
	ours.expectNothing(t)
	stock.expectNothing(t)

	write(t, dir, "d/index.html", "<p>no list any more")
	run.Refresh("d/index.html")
	ours.is(t, "/d/index.html !")
	stock.expect(t, "/d/index.html !")
}

// A name may come or go while a list of names is under way, and somebody else
// has seen that before it is announced.
func TestAListingMissesNoName(t *testing.T) {
	dir := site(t, "d/one.bin", "d/two.bin")
	run := serve(t, Options{Root: dir})
	for _, change := range []func(){
		func() { write(t, dir, "d/new.bin", "") },
		func() { remove(t, dir, "d/one.bin") },
	} {
		_, old := run.get(t, "GET", "/d/")
		change()
		_, body := run.get(t, "GET", "/d/")
		other := run.info(t, "/d/", map[string]any{"token": tokenIn(t, body)})
		other.is(t, "at")
		for _, fields := range []map[string]any{{}, {"path": ""}} {
			fields["token"] = tokenIn(t, old)
			run.info(t, "/d/", fields).is(t, " !")
		}
		stock := run.dialFor(t, tokenIn(t, old))
		stock.greet(t, run.url("/d/"))
		stock.expect(t, "/ !")
		stock.conn.CloseNow()

		// A page that counts as new, and one that has what there is.
		run.info(t, "/d/", map[string]any{"token": tokenIn(t, old), "seen": "-"}).is(t, "at")
		write(t, dir, "d/.hidden", "")
		run.info(t, "/d/", map[string]any{"token": tokenIn(t, body)}).is(t, "at")
		remove(t, dir, "d/.hidden")
	}
}
