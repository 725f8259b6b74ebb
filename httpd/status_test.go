package httpd

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/execlog/execlogd/httpd/internal/livereload"
	"golang.org/x/net/html"
)

// The status page is nobody's but ours: a site cannot be in its place, another
// site cannot ask for it or frame it, and what it loads is beside it.
func TestStatusPageIsProtected(t *testing.T) {
	root := tree(t, ".execlogd/index.html", "mine", ".execlogd/mine.html", "mine")
	run := serve(t, Options{Root: root})
	for _, path := range []string{"/.execlogd/", "/.execlogd/status.css", "/.execlogd/status.js", "/.execlogd/status.svg"} {
		resp, body := run.get(t, "GET", path, "Sec-Fetch-Site", "same-origin")
		if resp.StatusCode != 200 || body == "" || body == "mine" {
			t.Errorf("%s: %s %q", path, resp.Status, body)
		}
		for name, want := range map[string]string{
			"Cache-Control":                "no-store",
			"Cross-Origin-Resource-Policy": "same-origin",
			"X-Content-Type-Options":       "nosniff",
			"Access-Control-Allow-Origin":  "",
			"Content-Security-Policy":      statusPolicy,
		} {
			if got := resp.Header.Get(name); got != want {
				t.Errorf("%s: %s is %q, want %q", path, name, got, want)
			}
		}
	}
	tests := []struct {
		method, path, header, value string
		want                        int
	}{
		{"GET", "/.execlogd/", "Sec-Fetch-Site", "cross-site", 403},
		{"GET", "/.execlogd/events", "Sec-Fetch-Site", "cross-site", 403},
		{"GET", "/.execlogd/status.js", "Sec-Fetch-Site", "cross-site", 403},
		{"GET", "/.execlogd/", "Host", "evil.example", 403},
		{"GET", "/.execlogd/", "Sec-Fetch-Site", "none", 200},
		{"HEAD", "/.execlogd/", "Accept", "*/*", 200},
		{"HEAD", "/.execlogd/events", "Accept", "*/*", 200},
		{"POST", "/.execlogd/", "Accept", "*/*", 405},
		{"GET", "/.execlogd", "Accept", "*/*", 302},
		{"GET", "/.execlogd/mine.html", "Accept", "*/*", 404},
		{"GET", "/.execlogd/../.execlogd/mine.html", "Accept", "*/*", 404},
		{"GET", "//.execlogd/", "Accept", "*/*", 404},
		{"GET", "/.execlogd.html", "Accept", "*/*", 404},
	}
	for _, tt := range tests {
		resp, _ := run.get(t, tt.method, tt.path, tt.header, tt.value)
		if resp.StatusCode != tt.want {
			t.Errorf("%s %s with %s %s: %s, want %d", tt.method, tt.path, tt.header, tt.value, resp.Status, tt.want)
		}
	}
	if resp, _ := run.get(t, "GET", "/.execlogd"); resp.Header.Get("Location") != "./.execlogd/" {
		t.Errorf("redirected to %s, which a proxy's prefix breaks", resp.Header.Get("Location"))
	}
	bare := serve(t, Options{Root: root, NoLiveReload: true})
	bare.status(t, 404, "GET", "/.execlogd/")
}

// rows are the texts of the elements in the list of that id in the status page, with
// one space between words and without times.
func rows(t testing.TB, page, id string) (texts []string) {
	t.Helper()
	doc := must(html.Parse(strings.NewReader(strings.ReplaceAll(page, "<wbr>", ""))))(t)
	for n := range doc.Descendants() {
		if !slices.Contains(n.Attr, html.Attribute{Key: "id", Val: id}) {
			continue
		}
		for row := range n.ChildNodes() {
			var text []string
			for n := range row.Descendants() {
				if n.Type == html.TextNode && n.Parent.Data != "time" {
					text = append(text, strings.Fields(n.Data)...)
				}
			}
			texts = append(texts, strings.Join(text, " "))
		}
	}
	return texts
}

// statusRows are the rows of the owner's status page.
func (r *running) statusRows(t testing.TB, id string) []string {
	t.Helper()
	_, page := r.get(t, "GET", "/.execlogd/")
	return rows(t, page, id)
}

func TestStatusSaysWhichPageAChangeConcerned(t *testing.T) {
	run := serve(t, Options{Root: site(t, "a/index.html", "b.html", "c.html", "style.css", "x.png")})
	run.open(t, "/c.html", "/style.css", "/a%20b.js")
	for _, path := range []string{"/a/", "/a/?secret=1", "/b.html"} {
		run.dial(t).greet(t, run.url(path))
	}
	run.dial(t).greet(t, "http://127.0.0.1:1/next/door?secret=1")
	run.dial(t) // says nothing
	run.awaitBrowsers(t, 6)
	run.Refresh("a/index.html", "notes.log")
	run.Refresh("style.css", "x.png")
	run.Refresh("c.html")
	run.Refresh("log.log")
	run.Refresh(".hidden")
	run.Recheck("new.txt", "b/")

	want := []string{
		"/a/ does not say", "/a/ does not say", "/b.html does not say", "/c.html 2 files /style.css /a b.js", "127.0.0.1:1/next/door does not say",
	}
	if pages := run.statusRows(t, "pages"); !slices.Equal(pages, want) {
		t.Errorf("pages\n got %q\nwant %q", pages, want)
	}
	const unknown, both = "a page that does not say where it is ", "fetches style.css and 1 other, which it may use, again in place"
	want = []string{
		"new.txt b/ came or went concerns no open page",
		"log.log concerns no open page",
		"c.html /c.html is loaded again: it shows c.html 127.0.0.1:1/next/door is loaded again: it may use c.html " + unknown + "is loaded again: it may use c.html",
		"style.css x.png /a/ " + both + " (2 tabs) /b.html " + both + " /c.html fetches style.css, which it uses, again in place " +
			"127.0.0.1:1/next/door " + both + " " + unknown + both,
		"a/index.html notes.log /a/ is loaded again: it shows a/index.html (2 tabs) 127.0.0.1:1/next/door is loaded again: it may use a/index.html " +
			unknown + "is loaded again: it may use a/index.html",
	}
	if changes := run.statusRows(t, "changes"); !slices.Equal(changes, want) {
		t.Errorf("changes\n got %q\nwant %q", changes, want)
	}
}

// Two tabs of one page differ by title and browser. What a title was is forgotten with
// the next.
func TestStatusTellsTabsApart(t *testing.T) {
	run := serve(t, Options{Root: site(t, "a.html")})
	for _, tab := range [][2]string{{"<b>One", "Mozilla/5.0 Gecko/20100101 Firefox/128.0"}, {"Two", "Mozilla/5.0 Chrome/142.0.0.0 Safari/537.36"}} {
		c := run.dialFor(t, "", "User-Agent", tab[1])
		c.greet(t, run.url("/a.html"))
		c.say(t, `{"command":"title","title":"First"}`)
		c.say(t, `{"command":"title","title":"`+tab[0]+`"}`)
		c.sync(t)
	}
	want := []string{"/a.html <b>One in Firefox does not say", "/a.html Two in Chrome does not say"}
	if got := run.statusRows(t, "pages"); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// The filter is of use with the script alone. It hides rows by their keys.
func TestStatusHasAFilter(t *testing.T) {
	run := serve(t, Options{Root: t.TempDir(), Runs: func(int, int) []Run { return []Run{{ID: 1, State: RunDone}} }})
	run.dial(t).greet(t, run.url("/a.html"))
	run.Refresh("a.html")
	_, page := run.get(t, "GET", "/.execlogd/")
	filters := 0
	for n := range must(html.Parse(strings.NewReader(page)))(t).Descendants() {
		at := attributes(n)
		switch at["id"] {
		case "filter":
			filters++
			if _, hidden := at["hidden"]; !hidden {
				t.Error("the filter is there without the script")
			}
		case "pages", "changes", "runs":
			if n.FirstChild == nil || attributes(n.FirstChild)["data-key"] == "" {
				t.Errorf("%s has no row with a key", at["id"])
			}
		}
	}
	if filters != 1 {
		t.Errorf("%d filters", filters)
	}
}

func TestStatusShowsErrors(t *testing.T) {
	dir := site(t, "a.html", "style.css")
	run := serve(t, Options{Root: dir})
	run.open(t, "/a.html", "/style.css")
	check(t, os.Remove(filepath.Join(dir, "style.css")))
	run.Recheck("style.css")
	run.SetError("build", &PageError{Title: "build <failed>", Place: &Place{Name: "src/a.js:3:5"}, Output: "line \x1b[31m1\x1b[m\nline 2", Text: "exit status 1"})
	run.SetError("lint", &PageError{Title: "lint", Paths: []string{"a.html", "b/"}})
	want := []string{
		"/style.css is gone " + "The file was removed or renamed. It is shown again when there is one of that name." + " Shown by pages that show or use style.css.",
		"build <failed> src/a.js:3:5 line 1 line 2 exit status 1 Every page shows it.",
		"lint Shown by pages that show or use a.html, b/.",
	}
	if got := run.statusRows(t, "errors"); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Who looks from elsewhere is not told where the root is.
func TestWatchesAreShown(t *testing.T) {
	run := serve(t, Options{Root: t.TempDir(), Watches: func() []Watch { return []Watch{{"/srv/w<ww", 7, 2}, {"/srv/b", 1, 0}} }})
	if got := run.statusRows(t, "watches"); !slices.Equal(got, []string{"/srv/w<ww 7 2", "/srv/b 1 0"}) {
		t.Errorf("the owner sees %q", got)
	}
	for _, header := range []string{"X-Forwarded-For", "X-Forwarded-Host", "Forwarded", "Via"} {
		_, page := run.get(t, "GET", "/.execlogd/", header, "x")
		if got := rows(t, page, "watches"); !slices.Equal(got, []string{"w<ww 7 2", "b 1 0"}) {
			t.Errorf("with %s: %q", header, got)
		}
	}
}

// events opens the stream and returns its lines.
func (r *running) events(t testing.TB, headers ...string) (*http.Response, *bufio.Scanner) {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp := must(client.Do(request(t, "GET", r.url("/.execlogd/events"), headers...)))(t)
	t.Cleanup(func() { resp.Body.Close() })
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	return resp, lines
}

// next is the next main element of a stream.
func next(t testing.TB, lines *bufio.Scanner) string {
	t.Helper()
	var main strings.Builder
	for lines.Scan() {
		if text, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
			main.WriteString(text + "\n")
		} else if main.Len() > 0 {
			return main.String()
		}
	}
	t.Fatalf("the stream ended: %v", lines.Err())
	return ""
}

func TestEvents(t *testing.T) {
	run := serve(t, Options{Root: t.TempDir()})
	resp, lines := run.events(t)
	if resp.Header.Get("Content-Type") != "text/event-stream" {
		t.Errorf("headers %v", resp.Header)
	}
	if now := next(t, lines); !strings.HasPrefix(now, "<main>") || len(rows(t, now, "changes")) > 0 {
		t.Errorf("at first: %s", now)
	}
	run.Refresh("a.html")
	if got := rows(t, next(t, lines), "changes"); !slices.Equal(got, []string{"a.html concerns no open page"}) {
		t.Errorf("after a change: %q", got)
	}
	run.dial(t).greet(t, run.url("/a.html"))
	if got := rows(t, next(t, lines), "pages"); !slices.Equal(got, []string{"/a.html does not say"}) {
		t.Errorf("after a page has come: %q", got)
	}
}

// What runs is followed as it runs.
func TestEventsTellOfRuns(t *testing.T) {
	var output atomic.Int64
	changed := make(chan chan struct{}, 1)
	changed <- make(chan struct{})
	run := serve(t, Options{
		Runs: func(int, int) []Run {
			return []Run{{ID: 1, Route: "build", Machine: "there", State: RunRunning, Outcome: "running", Output: fmt.Append(nil, output.Load())}}
		},
		RunsChanged: func() <-chan struct{} {
			c := <-changed
			defer func() { changed <- c }()
			return c
		},
	})
	_, lines := run.events(t)
	for want := range int64(3) {
		if got := rows(t, next(t, lines), "runs"); !slices.Equal(got, []string{fmt.Sprint("build on there running Output ", want)}) {
			t.Errorf("got %q", got)
		}
		output.Add(1)
		close(<-changed)
		changed <- make(chan struct{})
	}
}

// So many follow the status page and no more, and others cannot keep the owner out.
func TestStatusSubscribersAreFew(t *testing.T) {
	run := serve(t, secretOptions(t))
	for _, headers := range [][]string{{"X-Forwarded-For", "10.0.0.7"}, nil} {
		var first *http.Response
		for range maxSubscribers {
			resp, lines := run.events(t, headers...)
			if resp.StatusCode != 200 || showsPrivate(t, next(t, lines)) != (headers == nil) {
				t.Fatalf("%s; what is for the owner is shown, or not shown to the owner: %v", resp.Status, headers)
			}
			first = cmp.Or(first, resp)
		}
		if resp, _ := run.get(t, "GET", "/.execlogd/events", headers...); resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" {
			t.Errorf("one more: %s", resp.Status)
		}
		first.Body.Close()
		await(t, func() bool {
			resp, _ := run.events(t, headers...)
			defer resp.Body.Close()
			return resp.StatusCode == 200
		}, "one who has gone leaves no room")
	}
}

func TestStoppingEndsStreams(t *testing.T) {
	for name, stop := range stops {
		t.Run(name, func(t *testing.T) {
			run := serve(t, Options{Root: t.TempDir(), Grace: time.Minute})
			_, lines := run.events(t)
			next(t, lines)
			stop(run)
			<-run.done
			for lines.Scan() {
			}
			if err := lines.Err(); err != nil {
				t.Errorf("the stream ended with %v", err)
			}
		})
	}
}

// describe formats a change with the pages that it affected.
func describe(rec livereload.Change) string {
	var s strings.Builder
	s.WriteString(fmt.Sprint(rec.Number))
	for _, f := range rec.Files {
		s.WriteString(" " + f)
	}
	var pages []string
	for _, c := range rec.Affected {
		effect := c.File
		if c.Reload {
			effect += " !"
		}
		_, path, _ := strings.Cut(strings.TrimPrefix(c.URL, "http://"), "/")
		pages = append(pages, fmt.Sprintf("/%s %s %s", path, [...]string{"may use", "shows", "uses"}[c.Reason], effect))
	}
	slices.Sort(pages)
	return s.String() + ": " + strings.Join(pages, ", ")
}

func TestSnapshot(t *testing.T) {
	run := serve(t, Options{Root: site(t, "a.html", "x.css")})
	changed := run.hub.Changed()
	a := run.open(t, "/a.html", "/x.css", "/none.png")
	<-changed
	stock := run.dial(t)
	stock.greet(t, run.url("/b.html"))
	changed = run.hub.Changed()
	run.Refresh("x.css")
	<-changed
	a.is(t, "/x.css")
	run.Refresh("a.html", "y.js")
	run.Recheck("a.html")
	run.SetError("job", &PageError{Title: "failed"})

	shot := run.hub.Snapshot(10, 10)
	if shot.Open != 2 || len(shot.Pages) != 2 || len(shot.Errors) != 1 {
		t.Fatalf("got %+v", shot)
	}
	p, q := shot.Pages[0], shot.Pages[1]
	if p.URL != run.url("/a.html") || p.Remote != "127.0.0.1" || !p.Reports || !p.Known || p.Since.IsZero() || !slices.Equal(p.Uses, []string{"/x.css", "/none.png"}) {
		t.Errorf("our page: %+v", p)
	}
	if q.URL != run.url("/b.html") || q.Reports || q.Known || len(q.Uses) != 0 {
		t.Errorf("the stock page: %+v", q)
	}
	want := []string{
		"3 a.html: ",
		"2 a.html y.js: /a.html shows /a.html !, /b.html may use /y.js !",
		"1 x.css: /a.html uses /x.css, /b.html may use /x.css",
	}
	for i, r := range shot.Changes {
		if r.Time.IsZero() || r.Names != (i == 0) || describe(r) != want[i] {
			t.Errorf("got %s, want %s", describe(r), want[i])
		}
	}
	if one := run.hub.Snapshot(1, 1); one.Open != 2 || len(one.Pages) != 1 {
		t.Errorf("asked for one page, got %d", len(one.Pages))
	}
}

// A listener for the status page serves nothing else, and serves it also where there is
// no live reload. At a unix socket the kernel says who asks.
func TestServeStatus(t *testing.T) {
	opts := secretOptions(t)
	opts.NoLiveReload = true
	check(t, os.WriteFile(filepath.Join(opts.Root, "a.txt"), []byte("file"), 0o644))
	s := newServer(t, opts)
	socket := filepath.Join(t.TempDir(), "status.sock")
	ln := must(net.Listen("unix", socket))(t)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.ServeStatus(ctx, ln) }()

	for _, tt := range []struct{ path, host, want string }{
		{"/", "localhost", "303 See Other"},
		{"/.execlogd", "localhost", "302 Found"},
		{"/.execlogd/", "localhost", "200 OK"},
		{"/.execlogd/", "preview.example.com", "200 OK"},
		{"/.execlogd/", "evil.example", "403 Forbidden"},
		{"/.execlogd/status.js", "localhost", "200 OK"},
		{"/a.txt", "localhost", "404 Not Found"},
		{"/livereload.js", "localhost", "404 Not Found"},
		{"/livereload", "localhost", "404 Not Found"},
	} {
		answer := exchange(t, must(net.Dial("unix", socket))(t), "GET "+tt.path+" HTTP/1.1\r\nHost: "+tt.host+"\r\nConnection: close\r\n\r\n")
		if !strings.HasPrefix(answer, "HTTP/1.1 "+tt.want+"\r\n") {
			t.Errorf("%s of %s: %.60q, want %s", tt.path, tt.host, answer, tt.want)
		}
		if tt.path == "/.execlogd/" && tt.want == "200 OK" && showsPrivate(t, answer) != (tt.host == "localhost") {
			t.Errorf("%s of %s: what is private is shown to the wrong one", tt.path, tt.host)
		}
	}

	stop()
	check(t, <-done)
}
