package httpd

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// The status page is nobody's but ours: a site cannot be in its place, another
// site cannot ask for it or frame it, and what it loads is beside it.
func TestStatusPageIsHeldShut(t *testing.T) {
	root := t.TempDir()
	write(t, root, ".execlogd/index.html", "mine")
	write(t, root, ".execlogd/mine.html", "mine")
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
	if resp, _ := bare.get(t, "GET", "/.execlogd/"); resp.StatusCode != 404 {
		t.Errorf("without live reload: %s", resp.Status)
	}
}

// seen is what the owner is shown.
func (r *running) seen() view { return r.current.Load().view(r.addr, true) }

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
	run.Refresh("app.js")
	run.Refresh("c.html")
	run.Refresh("log.log")
	run.Refresh(".hidden")
	run.Recheck("new.txt", "b/")

	now := run.seen()
	var pages []string
	for _, p := range now.Pages {
		pages = append(pages, strings.Join([]string{p.Key, strings.Replace(p.Href, run.addr, "US", 1), p.Summary, strings.Join(p.Uses, " ")}, "|"))
	}
	want := []string{
		"/a/ 0|http://US/a/|does not say|", "/a/ 1|http://US/a/|does not say|", "/b.html 0|http://US/b.html|does not say|",
		"/c.html 0|http://US/c.html|2 files|/style.css /a b.js", "127.0.0.1:1/next/door 0|http://127.0.0.1:1/next/door|does not say|",
	}
	if !slices.Equal(pages, want) || now.Open != 5 {
		t.Errorf("%d pages\n got %q\nwant %q", now.Open, pages, want)
	}
	var changes []string
	for _, c := range slices.Backward(now.Changes) {
		var text strings.Builder
		text.WriteString(strings.Join(c.Files, " ") + ":" + c.FilesRest)
		for _, e := range c.Effects {
			text.WriteString(" " + e.Name + " " + e.What + ";")
		}
		changes = append(changes, text.String()+" "+c.Rest)
	}
	const both = "fetches /style.css and 1 other, which it may use, again in place"
	want = []string{
		"a/index.html notes.log: /a/ is loaded again: it shows /a/index.html (2 tabs); 127.0.0.1:1/next/door is loaded again: it may use /a/index.html; ",
		"style.css x.png: /a/ " + both + " (2 tabs); /b.html " + both + "; /c.html fetches /style.css, which it uses, again in place; 127.0.0.1:1/next/door " + both + "; ",
		"app.js: /a/ is loaded again: it may use /app.js (2 tabs); /b.html is loaded again: it may use /app.js; 127.0.0.1:1/next/door is loaded again: it may use /app.js; ",
		"c.html: /c.html is loaded again: it shows /c.html; 127.0.0.1:1/next/door is loaded again: it may use /c.html; ",
		"log.log: concerns no open page",
		"new.txt b/:came or went concerns no open page",
	}
	// The silent one could be any page.
	for i := range 4 {
		what := []string{"is loaded again: it may use /a/index.html", both, "is loaded again: it may use /app.js", "is loaded again: it may use /c.html"}[i]
		want[i] += "a page that does not say where it is " + what + "; "
	}
	if !slices.Equal(changes, want) {
		t.Errorf("changes\n got %q\nwant %q", changes, want)
	}
}

func TestStatusShowsErrors(t *testing.T) {
	dir := site(t, "a.html", "style.css")
	run := serve(t, Options{Root: dir})
	run.open(t, "/a.html", "/style.css")
	if err := os.Remove(filepath.Join(dir, "style.css")); err != nil {
		t.Fatal(err)
	}
	run.Recheck("style.css")
	run.SetError("build", &PageError{Title: "build <failed>", Text: "line 1\nline 2"})
	run.SetError("lint", &PageError{Title: "lint", Paths: []string{"a.html", "b/"}})
	want := []errorRow{
		{0, "/style.css is gone", gone("style.css").Text, "Shown by pages that show or use style.css."},
		{1, "build <failed>", "line 1\nline 2", "Every page shows it."},
		{2, "lint", "", "Shown by pages that show or use a.html, b/."},
	}
	if got := run.seen().Errors; !slices.Equal(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if _, body := run.get(t, "GET", "/.execlogd/"); !strings.Contains(body, "build &lt;failed&gt;</h3>") || !strings.Contains(body, `<dd id="wrong">3</dd>`) {
		t.Errorf("got %s", body)
	}
}

// However much there is, what is shown stays small.
func TestViewIsBounded(t *testing.T) {
	s := newServer(t, Options{Root: t.TempDir()})
	for i := range 3 * maxListed {
		s.hub.seenAs(s.hub.join(), fmt.Sprintf("http://h/%03d.html", 3*maxListed-1-i), "10.0.0.7:1")
	}
	var many []string
	for i := range 2 * maxRecordFiles {
		many = append(many, fmt.Sprintf("%d.js", i))
	}
	for range 2 * maxRecords {
		s.Refresh(many...)
	}
	v := newView(s.hub.snapshot(maxListed), "h")
	if len(v.Pages) != maxListed || v.Open != 3*maxListed || v.PagesRest != "and 200 more pages" || v.Pages[0].Remote != "from 10.0.0.7" {
		t.Errorf("%d of %d pages, %s; the first %+v", len(v.Pages), v.Open, v.PagesRest, v.Pages[0])
	}
	for i, p := range v.Pages {
		if want := fmt.Sprintf("/%03d.html", i); p.Name != want {
			t.Fatalf("page %d is %s, want %s", i, p.Name, want)
		}
	}
	if len(v.Changes) != maxRecords || v.Changes[0].Key != 2*maxRecords || v.Changed != 2*maxRecords {
		t.Errorf("%d of %d changes, the first is %d", len(v.Changes), v.Changed, v.Changes[0].Key)
	}
	c := v.Changes[0]
	if len(c.Files) != maxRecordFiles || c.FilesRest != "and 20 more files" || len(c.Effects) != maxRecordPages || c.Rest != "and 280 more pages" {
		t.Errorf("%d files, %s; %d effects, %s", len(c.Files), c.FilesRest, len(c.Effects), c.Rest)
	}
	if size := len(v.json()); size > 256<<10 {
		t.Errorf("%d bytes", size)
	}
}

// Who may look from elsewhere is not told where the root is.
func TestWatchesAreShown(t *testing.T) {
	run := serve(t, Options{Root: t.TempDir(), Watches: func() []Watch { return []Watch{{"/srv/w<ww", 7, 2}, {"/srv/b", 1, 0}} }})
	_, body := run.get(t, "GET", "/.execlogd/")
	for _, want := range []string{"/srv/w&lt;ww</th>", `<td class="size watched">7</td><td class="size unwatched">2</td>`, `<dd id="watched">8</dd>`} {
		if !strings.Contains(body, want) {
			t.Errorf("no %s in %s", want, body)
		}
	}
	for _, header := range []string{"X-Forwarded-For", "X-Forwarded-Host", "Forwarded", "Via"} {
		if _, body := run.get(t, "GET", "/.execlogd/", header, "x"); strings.Contains(body, "/srv") || !strings.Contains(body, ">w&lt;ww</th>") {
			t.Errorf("with %s: %s", header, body)
		}
	}
}

// What pages say of themselves is text, and no link leads to a script.
func TestStatusTrustsNobody(t *testing.T) {
	run := serve(t, Options{Root: t.TempDir()})
	urls := []string{
		"javascript:alert(1)", "http://x/</title><script>alert(1)</script>", "data:text/html,<script>", "file:///tmp/a.html", "://", "http://" + run.addr + "//evil.example/x",
		"http://user:secret@x/", "HTTP://" + run.addr, strings.Repeat("http://long/", 4000),
	}
	for _, u := range urls {
		text, err := json.Marshal(map[string]string{"command": "info", "url": u})
		if err != nil {
			t.Fatal(err)
		}
		c := run.dial(t)
		c.greet(t, "http://x/")
		c.say(t, string(text))
		c.sync(t)
	}
	now := run.seen()
	if len(now.Pages) != len(urls) {
		t.Errorf("%d pages are listed", len(now.Pages))
	}
	for _, p := range now.Pages {
		if p.Href != "" && !strings.HasPrefix(p.Href, "http://") || strings.Contains(p.Href+p.Name, "secret") || len(p.Name) > 1024 {
			t.Errorf("%+v", p.spot)
		}
	}
	if _, body := run.get(t, "GET", "/.execlogd/"); strings.Contains(body, "<script>") {
		t.Errorf("a URL became markup: %s", body)
	}
}

// events opens the stream and returns its lines.
func (r *running) events(t testing.TB, headers ...string) (*http.Response, *bufio.Scanner) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "GET", r.url("/.execlogd/events"), nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	return resp, lines
}

// next is the next view of a stream.
func next(t testing.TB, lines *bufio.Scanner) (now view) {
	t.Helper()
	for lines.Scan() {
		if text, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
			if err := json.Unmarshal([]byte(text), &now); err != nil {
				t.Fatal(err)
			}
			return now
		}
	}
	t.Fatalf("the stream ended: %v", lines.Err())
	return now
}

func TestEvents(t *testing.T) {
	run := serve(t, Options{Root: t.TempDir()})
	resp, lines := run.events(t)
	if resp.Header.Get("Content-Type") != "text/event-stream" {
		t.Errorf("headers %v", resp.Header)
	}
	if now := next(t, lines); now.Open != 0 || now.Changed != 0 {
		t.Errorf("at first: %+v", now)
	}
	run.Refresh("a.html")
	if now := next(t, lines); now.Changed != 1 {
		t.Errorf("after a change: %+v", now)
	}
	run.dial(t).greet(t, run.url("/a.html"))
	if now := next(t, lines); now.Open != 1 || now.Pages[0].Name != "/a.html" {
		t.Errorf("after a page has come: %+v", now)
	}
}

func TestOnlookersAreFew(t *testing.T) {
	run := serve(t, Options{Root: t.TempDir()})
	first, lines := run.events(t)
	next(t, lines)
	for range maxOnlookers - 1 {
		resp, _ := run.events(t)
		if resp.StatusCode != 200 {
			t.Fatal(resp.Status)
		}
	}
	if resp, _ := run.get(t, "GET", "/.execlogd/events"); resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" {
		t.Errorf("one more: %s", resp.Status)
	}
	first.Body.Close()
	for {
		resp, _ := run.events(t)
		if resp.StatusCode == 200 {
			break
		}
		resp.Body.Close()
	}
}

func TestStoppingEndsStreams(t *testing.T) {
	for name, stop := range map[string]func(*running){
		"context": func(r *running) { r.stop() },
		"close":   func(r *running) { r.Close() },
	} {
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

// A stream in notation: what is there from which moment on, in milliseconds,
// with a mark when somebody says so, ! of what the hub knows and % of what has
// run; what is sent at which.
func TestStreamIsPaced(t *testing.T) {
	tests := []struct{ name, seen, want string }{
		{"the first is sent at once", "a@0", "a@0 -@14000"},
		{"news are sent at once", "a@0 b@1000!", "a@0 b@1000 -@14000"},
		{"what runs as well", "a@0 b@1000% c@2000! d@3000%", "a@0 b@1000 c@2000 d@3000 -@16000"},
		{"what nobody says is seen", "a@0 b@1000", "a@0 b@2000 -@16000"},
		{"at most four a second", "a@0 b@50! c@100! d@150! e@260!", "a@0 d@250 e@500 -@14000"},
		{"the same again is no news", "a@0 a@1000! a@2000!", "a@0 -@14000"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				var mu sync.Mutex
				stirs := map[string]chan struct{}{"!": make(chan struct{}), "%": make(chan struct{})}
				var now atomic.Value
				now.Store("")
				go func() {
					for f := range strings.FieldsSeq(tt.seen) {
						name, at, _ := strings.Cut(strings.TrimRight(f, "!%"), "@")
						after, err := time.ParseDuration(at + "ms")
						if err != nil {
							t.Error(err)
						}
						time.Sleep(time.Until(start.Add(after)))
						now.Store(name)
						mu.Lock()
						if stir, said := stirs[f[len(f)-1:]]; said {
							close(stir)
							stirs[f[len(f)-1:]] = make(chan struct{})
						}
						mu.Unlock()
					}
				}()
				synctest.Wait()
				var sent []string
				ctx, cancel := context.WithTimeout(t.Context(), 18*time.Second+time.Millisecond)
				defer cancel()
				stirred := func(mark string) func() <-chan struct{} {
					return func() <-chan struct{} {
						mu.Lock()
						defer mu.Unlock()
						return stirs[mark]
					}
				}
				stream(ctx, stirred("!"), stirred("%"), func() []byte { synctest.Wait(); return []byte(now.Load().(string)) }, func(text string) error {
					what := "-"
					if _, data, ok := strings.Cut(text, "data: "); ok {
						what = strings.TrimSuffix(data, "\n\n")
					}
					sent = append(sent, fmt.Sprintf("%s@%d", what, time.Since(start).Milliseconds()))
					return nil
				})
				if got := strings.Join(sent, " "); got != tt.want {
					t.Errorf("sent %s, want %s", got, tt.want)
				}
				if took := time.Since(start); took > 18*time.Second+time.Millisecond {
					t.Errorf("ended after %v", took)
				}
			})
		})
	}
}

func TestStreamEndsWithItsClient(t *testing.T) {
	never := func() <-chan struct{} { return nil }
	stream(t.Context(), never, never, func() []byte { return nil }, func(string) error { return errors.New("gone") })
}

func FuzzSpot(f *testing.F) {
	for _, href := range []string{"http://h/a?b#c", "javascript:alert(1)", "http://h//evil.example/", "http://u:p@h/%zz", "http:", ""} {
		f.Add(href)
	}
	f.Fuzz(func(t *testing.T, href string) {
		at := spotOf(href, "h")
		if at.Name == "" {
			t.Errorf("%q has no name", href)
		}
		if at.Href != "" && !strings.HasPrefix(at.Href, "http://") && !strings.HasPrefix(at.Href, "https://") {
			t.Errorf("%q links to %q", href, at.Href)
		}
		if strings.ContainsAny(at.Href, "?#") {
			t.Errorf("%q has a query or fragment: %q", href, at.Href)
		}
	})
}

// BenchmarkSnapshot is how long a status page holds everybody up while ten
// thousand pages are open.
func BenchmarkSnapshot(b *testing.B) {
	var h hub
	for i := range 10_000 {
		h.seenAs(h.join(), fmt.Sprintf("http://h/%d.html", i), "")
	}
	b.ReportAllocs()
	for b.Loop() {
		h.snapshot(maxListed)
	}
}
