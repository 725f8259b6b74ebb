package httpd

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/execlog/execlogd/httpd/internal/livereload"
)

func (r *running) change(t testing.TB, opts Options) {
	t.Helper()
	check(t, r.Change(opts))
}

// perRoot is how often a server has its root open.
const perRoot = 2

// opened says how often this process has a file open.
func opened(t testing.TB, name string) (n int) {
	t.Helper()
	fds := must(filepath.Glob("/proc/self/fd/*"))(t)
	for _, fd := range fds {
		if target, err := os.Readlink(fd); err == nil && target == name {
			n++
		}
	}
	return n
}

// keepChanging makes one change after the other, through all of opts in turn,
// until stop is called. The pages at /d/ say the number of the change that
// their root is, or is about to be, served by.
func keepChanging(t testing.TB, s *Server, opts []Options) (stop func()) {
	t.Helper()
	return repeat(func(i int) {
		next := opts[(i+1)%len(opts)]
		write(t, next.Root, "d/new", fmt.Sprintf("<p>root %d", i+1))
		rename(t, next.Root, "d/new", "d/index.html")
		if err := s.Change(next); err != nil {
			t.Error(err)
		}
	})
}

// rootPage is such a page: the number that the script is given, if there is
// one, and that of the root.
var rootPage = regexp.MustCompile(`^(?:<script src="[^"]*\?\w+\.(\d+)\.\d+" async></script>)?<p>root (\d+)$`)

// While the root changes all the time, and with it whether pages get the
// script, every answer is wholly from one of the roots by its own options.
func TestOptionsChangeUnderLoad(t *testing.T) {
	const roots, files = 8, 50
	opts := make([]Options, roots)
	for i := range opts {
		dir := tree(t, "d/index.html", fmt.Sprintf("<p>root %d", i))
		for j := range files {
			write(t, dir, fmt.Sprintf("list/%d.%d.txt", i, j), "")
		}
		opts[i] = Options{Root: dir, NoInject: i%2 == 1}
	}
	run := serve(t, opts[0])
	get := func(path string) string {
		resp, body, err := run.tryGet(t, path)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Errorf("%s: %v %v", path, resp, err)
		}
		return body
	}
	entry := regexp.MustCompile(`href="\./(\d+)\.\d+\.txt"`)
	stop := keepChanging(t, run.Server, opts)
	var asking sync.WaitGroup
	for range 2 {
		asking.Go(func() {
			for range 200 {
				body := get("/d/")
				m := rootPage.FindStringSubmatch(body)
				if m == nil {
					t.Errorf("got %q", body)
					return
				}
				root, _ := strconv.Atoi(m[2])
				if got, want := m[1] != "", root%2 == 0; got != want {
					t.Errorf("script: %v, want %v: %q", got, want, body)
				}
				found := entry.FindAllStringSubmatch(get("/list/"), -1)
				if len(found) != files {
					t.Errorf("%d files are listed, want %d", len(found), files)
				}
				for _, f := range found {
					if f[1] != found[0][1] {
						t.Errorf("a list of both root %s and root %s", found[0][1], f[1])
					}
				}
			}
		})
	}
	asking.Wait()
	stop()
	open := func() (total int) {
		for _, o := range opts {
			total += opened(t, o.Root)
		}
		return total
	}
	// Who has an answer may have it a moment before the root is let go.
	await(t, func() bool { return open() == perRoot }, "another root than the last is open")
}

// A page with an earlier number than its root's is told to load again. One with
// a later number would never be.
func TestNoPageIsAheadOfItsRoot(t *testing.T) {
	opts := make([]Options, 8)
	for i := range opts {
		opts[i] = Options{Root: site(t, "d/index.html")}
	}
	write(t, opts[0].Root, "d/index.html", "<p>root 0")
	s := newServer(t, opts[0])
	stop := keepChanging(t, s, opts)
	var asking sync.WaitGroup
	for range 64 { // who often wait for one another
		asking.Go(func() {
			for range 200 {
				w := s.answerTo(at("127.0.0.1:8000", "GET", "/d/", "localhost"))
				m := rootPage.FindStringSubmatch(w.Body.String())
				if m == nil {
					t.Errorf("got %q", w.Body)
					return
				}
				number, _ := strconv.Atoi(m[1])
				root, _ := strconv.Atoi(m[2])
				if number > root {
					t.Errorf("root %d with number %d", root, number)
				}
			}
		})
	}
	asking.Wait()
	stop()
}

// The root before is open as long as somebody is sent a file of it.
func TestTheRootBeforeIsClosed(t *testing.T) {
	const size = 32 << 20 // more than socket buffers hold
	one, two := site(t, "a.html"), site(t, "a.html")
	write(t, one, "big.zip", strings.Repeat("x", size))
	run := serve(t, Options{Root: one})
	big := run.download(t, "/big.zip")

	run.change(t, Options{Root: one, NoInject: true})
	run.change(t, Options{Root: two})
	if n := opened(t, one); n != perRoot {
		t.Errorf("the root of a download is open %d times, want %d", n, perRoot)
	}
	if n, err := big.wait(); err != nil || n != size {
		t.Errorf("got %d bytes of %d, %v", n, size, err)
	}
	await(t, func() bool { return opened(t, one) == 0 }, "the root before is still open")
	run.change(t, Options{})
	if n := opened(t, two); n != 0 {
		t.Errorf("the root that nobody uses is open %d times", n)
	}
	run.change(t, Options{Root: two})
	run.Close()
	run.Close()
	if n := opened(t, two); n != 0 {
		t.Errorf("after Close the root is open %d times", n)
	}
	if err := run.Change(Options{Root: one}); !errors.Is(err, http.ErrServerClosed) {
		t.Errorf("Change after Close: %v", err)
	}
	if n := opened(t, one) + opened(t, two); n != 0 {
		t.Errorf("%d roots are open at last", n)
	}
}

// Pages live through a change of the root, are told to load again, and are
// told of the new root's files as they are.
func TestPagesMoveToAnotherRoot(t *testing.T) {
	one, two := site(t, "a.html", "x.css", "y.css"), site(t, "a.html", "x.css", "y.css")
	run := serve(t, Options{Root: one})
	run.Refresh("a.html")
	before := run.hub.Cursor()
	p := run.open(t, "/a.html", "/x.css", "/y.css")
	stock := run.dial(t)
	stock.greet(t, run.url("/a.html"))
	remove(t, one, "x.css")
	run.Recheck("x.css")
	p.is(t, "errors: /x.css is gone")
	run.SetError("job", &PageError{Title: "job failed"})
	p.is(t, "errors: /x.css is gone job failed")
	run.get(t, "GET", "/none.json", "Referer", run.url("/b.html"), "Sec-Fetch-Dest", "empty")

	run.change(t, Options{Root: two})
	p.is(t, "/ !", "errors: job failed")
	stock.expect(t, "/ !")
	if now := run.hub.Cursor(); now.Epoch != before.Epoch || now.Number <= before.Number {
		t.Errorf("at %v after %v", now, before)
	}
	p.conn.CloseNow()
	p = run.info(t, "/a.html", map[string]any{"uses": p.uses})
	p.is(t, "at", "errors: job failed")
	run.SetError("job", nil)
	p.is(t, "errors:")
	run.open(t, "/b.html").expectNothing(t) // is not told what failed in the old root

	remove(t, one, "y.css")
	run.Recheck("y.css")
	p.expectNothing(t)
	stock.expectNothing(t)
	write(t, two, "x.css", "new")
	run.Refresh("x.css")
	p.is(t, "/x.css")
	stock.expect(t, "/x.css")
	remove(t, two, "y.css")
	run.Recheck("y.css")
	p.is(t, "errors: /y.css is gone")
}

// What a page had of the old root says nothing of the new one, also where the
// files look the same, and where live reload was off meanwhile.
func TestPagesThatWereAwayWhenTheRootMoved(t *testing.T) {
	one, two := site(t, "a.html", "x.css"), t.TempDir()
	for _, name := range []string{"a.html", "x.css"} {
		check(t, os.Link(filepath.Join(one, name), filepath.Join(two, name)))
	}
	for name, changes := range map[string][]Options{
		"at once":                 {{Root: two}},
		"live reload off":         {{Root: two, NoLiveReload: true}, {Root: two}},
		"no files meanwhile":      {{}, {Root: two}},
		"and back":                {{Root: two}, {Root: one}},
		"more than is remembered": {{Root: two}},
	} {
		t.Run(name, func(t *testing.T) {
			run := serve(t, Options{Root: one})
			served := livereload.PageToken{Cursor: run.hub.Cursor()}.String()
			p := run.open(t, "/a.html", "/x.css")
			p.use(t, nil) // has it told the digest of what was seen
			p.is(t, "at")
			p.conn.CloseNow()
			run.awaitBrowsers(t, 0)
			for _, opts := range changes {
				run.change(t, opts)
			}
			if strings.HasPrefix(name, "more") {
				for range 256 + 1 {
					run.Refresh("b.html")
				}
			}
			p.again(t, run).is(t, " !")
			run.info(t, "/a.html", map[string]any{"token": served, "uses": p.uses}).is(t, " !")
			stock := run.dialFor(t, served)
			stock.greet(t, run.url("/a.html"))
			stock.expect(t, "/ !")
			stock.conn.CloseNow()
			run.open(t, "/a.html", "/x.css").expectNothing(t)
		})
	}
}

// A page that is not there in the new root is loaded again, and one that cannot
// be read is not.
func TestPagesThatAreNotInTheNewRoot(t *testing.T) {
	one, two := site(t, "a.html", "b.html"), site(t, "b.html")
	openToAll(t, two)
	check(t, os.Chmod(filepath.Join(two, "b.html"), 0))
	run := serve(t, Options{Root: one})
	a, b := run.open(t, "/a.html"), run.open(t, "/b.html")
	asNobody(t, func() { run.change(t, Options{Root: two}) })
	a.is(t, "/ !")
	b.is(t, "errors: Cannot read /b.html")
}

// Where no files are served any more there is nothing to load.
func TestFilesComeAndGo(t *testing.T) {
	dir := site(t, "a.html")
	run := serve(t, Options{Root: dir})
	ours := run.open(t, "/a.html")
	remove(t, dir, "a.html")
	run.Recheck("a.html")
	ours.is(t, "errors: /a.html is gone")
	elsewhere := run.dial(t)
	elsewhere.greet(t, "http://elsewhere/")

	run.change(t, Options{})
	run.status(t, http.StatusNotFound, "GET", "/")
	ours.is(t, "errors:")
	elsewhere.expectNothing(t)
	run.Refresh("b.css")
	elsewhere.expect(t, "/b.css")

	run.change(t, Options{Root: dir})
	run.get(t, "GET", "/")
	ours.is(t, "/ !")
	elsewhere.expect(t, "/ !")
	filePage := run.dial(t)
	filePage.greet(t, "file://"+dir+"/a.html")
	other := site(t, "b.html")
	run.change(t, Options{Root: other})
	filePage.expect(t, "/ !")
	filePage.show(t, "url", "file://"+dir+"/c.html") // can be any page of another server now
	run.Refresh("b.html")
	filePage.expect(t, "/b.html !")
	filePage.show(t, "url", "file://"+other+"/c.html")
	run.Refresh("b.html")
	filePage.expectNothing(t)
}

// A change that changes nothing for pages tells them nothing.
func TestSameRootTellsNothing(t *testing.T) {
	dir := site(t, "a.html")
	run := serve(t, Options{Root: dir})
	p := run.open(t, "/a.html")
	check(t, os.Rename(dir, dir+"+")) // as a build does
	run.change(t, Options{Root: dir + "/.", NoInject: true, Grace: time.Second})
	p.expectNothing(t)
	run.shows(t, "<p>a.html", "/a.html")
}

func TestAllowedNamesChangeAtOnce(t *testing.T) {
	opts := Options{Root: site(t, "a.html"), AllowHosts: []string{"one.example"}, AllowOrigins: []string{"https://one.example"}}
	run := serve(t, opts)
	try := func(one, two int) {
		t.Helper()
		for name, want := range map[string]int{"one.example": one, "two.example": two} {
			run.status(t, want, "GET", "/a.html", "Host", name)
			c, _, err := run.tryDial(t, "/livereload", "Origin", "https://"+name)
			if got := err == nil; got != (want == 200) {
				t.Errorf("origin %s: %v", name, err)
			}
			if err == nil {
				c.conn.CloseNow()
			}
		}
	}
	try(200, 403)
	inside := run.dial(t, "Origin", "https://one.example")
	inside.greet(t, "https://one.example/")
	opts.AllowHosts, opts.AllowOrigins = []string{"two.example"}, []string{"https://two.example"}
	run.change(t, opts)
	try(403, 200)
	run.Refresh("a.css")
	inside.expect(t, "/a.css")
}

func TestARefusedChangeChangesNothing(t *testing.T) {
	dir, other := site(t, "a.html"), site(t, "other.html")
	run := serve(t, Options{Root: dir, AllowHosts: []string{"one.example"}})
	p := run.open(t, "/a.html")
	content := "<p>a.html"
	for name, opts := range map[string]Options{
		"allow host":   {Root: other, AllowHosts: []string{"a b"}},
		"allow origin": {Root: other, AllowOrigins: []string{"*"}},
		"no root":      {Root: filepath.Join(dir, "none"), NoLiveReload: true},
		"a file":       {Root: filepath.Join(dir, "a.html"), NoInject: true},
	} {
		_, want := New(opts)
		if err := run.Change(opts); err == nil || err.Error() != want.Error() {
			t.Errorf("%s: Change says %v, New %v", name, err, want)
		}
		run.shows(t, run.element("/a.html")+content, "/a.html", "Host", "one.example")
		p.expectNothing(t)
		content = "<p>" + name // the same again would not be a change
		write(t, dir, "a.html", content)
		run.Refresh("a.html")
		p.is(t, "/a.html !")
		p.load(t, run)
	}
	if n := opened(t, other); n != 0 {
		t.Errorf("the other root is open %d times", n)
	}
}

func TestLiveReloadOffAndOn(t *testing.T) {
	dir := site(t, "a.html", "b.html", "x.css")
	run := serve(t, Options{Root: dir})
	p, q := run.open(t, "/a.html", "/x.css"), run.open(t, "/b.html")
	q.use(t, nil, "/none.png")
	q.is(t, "at")
	stays := run.open(t, "/b.html") // keeps what is known of that file
	stock := run.dial(t)
	stock.greet(t, run.url("/a.html"))
	away := run.open(t, "/a.html", "/x.css")
	away.use(t, nil)
	away.is(t, "at")
	away.conn.CloseNow()
	q.conn.CloseNow()

	run.change(t, Options{Root: dir, NoLiveReload: true})
	for _, path := range []string{"/livereload", "/livereload.js", "/.execlogd/", "/.execlogd/events"} {
		run.status(t, http.StatusNotFound, "GET", path)
	}
	if resp, body := run.get(t, "GET", "/a.html"); body != "<p>a.html" || resp.Header.Get("Cache-Control") != "" {
		t.Errorf("got %q, Cache-Control %q", body, resp.Header.Get("Cache-Control"))
	}
	write(t, dir, "b.html", "new")
	run.Refresh("x.css", "a.html", "b.html")
	run.SetError("job", &PageError{Title: "job failed"})
	p.use(t, nil) // as a page does that is seen again
	p.is(t, "at")
	for _, c := range []*pageClient{p.pageClient, stays.pageClient, stock} {
		c.expectNothing(t)
	}

	run.change(t, Options{Root: dir})
	p.is(t, "/ !", "errors: job failed")
	stays.is(t, "/ !", "errors: job failed")
	stock.expect(t, "/ !")
	away.again(t, run).is(t, "at", "errors: job failed") // its files are as they were
	q.again(t, run).is(t, " !")
	run.SetError("job", nil)
	p.is(t, "errors:")
	p.load(t, run)
	run.Refresh("a.html")
	p.is(t, "/a.html !")
}

// A failingListener fails to accept the first connection.
type failingListener struct {
	net.Listener
	once sync.Once
}

func (s *failingListener) Accept() (conn net.Conn, err error) {
	conn, err = s.Listener.Accept()
	s.once.Do(func() {
		if err == nil {
			conn.Close()
			conn, err = nil, syscall.EMFILE
		}
	})
	return conn, err
}

// The logger, and what the status page shows, are options like others.
func TestTheLogAndTheStatusPageChange(t *testing.T) {
	ln := must(net.Listen("tcp", "127.0.0.1:0"))(t)
	run := serveListener(t, newServer(t, Options{}), &failingListener{Listener: ln})
	status := serveOn(t, run.Server, "127.0.0.1:0")
	_, lines := status.events(t)
	next(t, lines)
	var log lockedLog
	run.change(t, Options{
		Logger:  slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Watches: func() []Watch { return []Watch{{"/srv", 7, 0}} },
		Runs:    func(int, int) []Run { return []Run{{Route: "build", State: RunDone, Outcome: "done"}} },
	})
	for lines.Scan() {
	}
	if err := lines.Err(); err != nil {
		t.Errorf("the stream ended with %v", err)
	}
	_, lines = status.events(t)
	if now := next(t, lines); len(rows(t, now, "watches")) != 1 || len(rows(t, now, "runs")) != 1 {
		t.Errorf("the status page shows %s", now)
	}
	run.raw(t, "")
	run.get(t, "GET", "/", "Host", "evil.example")
	run.dial(t).greet(t, "http://elsewhere/page")
	for _, want := range []string{"too many open files", "evil.example", "http://elsewhere/page"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log has no %s:\n%s", want, log.String())
		}
	}
}

// A page of the same name in another root is another page.
func TestBlockedPageIsLoggedForEachRoot(t *testing.T) {
	var log lockedLog
	opts := Options{Logger: log.logger()}
	run := serve(t, opts)
	for range 2 {
		opts.Root = t.TempDir()
		write(t, opts.Root, "a.html", `<meta http-equiv=Content-Security-Policy content="default-src 'none'">`)
		run.change(t, opts)
		run.get(t, "GET", "/a.html")
		run.get(t, "GET", "/a.html")
	}
	if n := strings.Count(log.String(), "blocks live reload"); n != 2 {
		t.Errorf("named %d times, want 2:\n%s", n, log.String())
	}
}

func TestTheGraceIsTheLatest(t *testing.T) {
	dir := tree(t, "big.zip", strings.Repeat("x", 32<<20))
	run := serve(t, Options{Root: dir, Grace: time.Hour})
	run.download(t, "/big.zip")
	run.change(t, Options{Root: dir, Grace: -1})
	run.stop()
	run.returns(t)
}
