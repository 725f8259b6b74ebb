package httpd

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/execlog/execlogd/httpd/internal/livereload"
	"github.com/execlog/execlogd/httpd/internal/urlpath"
)

const (
	ourProtocols   = `"protocols":["http://livereload.com/protocols/official-7","https://github.com/execlog/execlogd/protocol-1"]`
	ourClientHello = `{"command":"hello",` + ourProtocols + `,"ver":"execlogd"}`
	ourHello       = `{"command":"hello",` + ourProtocols + `,"serverName":"execlogd"}`
)

// An answer is any message of our protocol.
type answer struct {
	Command, Seen, Digest string
	Reload                bool
	Files                 []string
	Errors                []struct {
		Title, Place, Href, Text string
		Source                   []string
	}
}

// String is the answer in a notation: "at", the files of a change with an
// exclamation mark for a reload, or the titles of errors.
func (a answer) String() string {
	switch a.Command {
	case "change":
		s := strings.Join(a.Files, " ")
		if a.Reload {
			s += " !"
		}
		return s
	case "errors":
		var s strings.Builder
		s.WriteString("errors:")
		for _, e := range a.Errors {
			s.WriteString(" " + e.Title)
		}
		return s.String()
	}
	return a.Command
}

// An ourPage is a page with our client.
type ourPage struct {
	*pageClient
	path string
	last answer // with a cursor
	uses []string
}

// info says hello and what a page is, and returns when it was told its
// cursor or what it missed. Fields are added to the info.
func (r *running) info(t testing.TB, path string, fields map[string]any) *ourPage {
	t.Helper()
	query := livereload.PageToken{Cursor: r.hub.Cursor()}.String()
	if q, ok := fields["token"]; ok {
		query = q.(string)
	}
	c := r.dialFor(t, query)
	c.say(t, ourClientHello)
	if got := c.hear(t); got != ourHello {
		t.Fatalf("got %s, want %s", got, ourHello)
	}
	p := &ourPage{pageClient: c, path: path}
	p.uses, _ = fields["uses"].([]string)
	request := map[string]any{"command": "info", "plugins": map[string]any{}, "url": r.url(path)}
	if path != "" {
		request["path"] = path
	}
	maps.Copy(request, fields)
	text := must(json.Marshal(request))(t)
	p.say(t, string(text))
	return p
}

// open is info, and expects to have missed nothing.
func (r *running) open(t testing.TB, path string, uses ...string) *ourPage {
	t.Helper()
	p := r.info(t, path, map[string]any{"uses": uses})
	p.is(t, "at")
	return p
}

// is reads messages and compares them with a notation.
func (p *ourPage) is(t testing.TB, want ...string) {
	t.Helper()
	for _, w := range want {
		if got := p.next(t).String(); got != w {
			t.Errorf("%s: got %q, want %q", p.path, got, w)
		}
	}
}

func (p *ourPage) next(t testing.TB) (a answer) {
	t.Helper()
	text := p.hear(t)
	if err := json.Unmarshal([]byte(text), &a); err != nil {
		t.Fatalf("message %s: %v", text, err)
	}
	if a.Seen != "" {
		p.last = a
	}
	return a
}

// load is what the client does when it is told to: the page connects anew.
func (p *ourPage) load(t testing.TB, r *running) {
	t.Helper()
	p.conn.CloseNow()
	*p = *r.open(t, p.path, p.uses...)
}

// use names further files.
func (p *ourPage) use(t testing.TB, fields map[string]any, uses ...string) {
	t.Helper()
	request := map[string]any{"command": "uses", "uses": uses}
	maps.Copy(request, fields)
	text, _ := json.Marshal(request)
	p.uses = append(p.uses, uses...)
	p.say(t, string(text))
}

// again closes the connection and opens one to another server, where the page
// says what it was told last.
func (p *ourPage) again(t testing.TB, r *running) *ourPage {
	t.Helper()
	p.conn.CloseNow()
	return r.info(t, p.path, map[string]any{"token": "E.1", "seen": p.last.Seen, "digest": p.last.Digest, "uses": p.uses})
}

// site makes a root with files in it.
func site(t testing.TB, names ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range names {
		write(t, dir, name, "<p>"+name)
	}
	return dir
}

// save gives files other content, and tells of them and of the directories among
// the paths.
func (r *running) save(t testing.TB, dir string, paths ...string) {
	t.Helper()
	for _, path := range paths {
		text, err := os.ReadFile(filepath.Join(dir, path))
		if err == nil {
			write(t, dir, path, string(text)+"\n")
		}
	}
	r.Refresh(paths...)
}

func TestAChangeAffectsThePagesThatUseTheFile(t *testing.T) {
	dir := site(t, "a.html", "b/index.html", "x.css", "y.css", "x.svg", "app.js", "d.json", "notes", "é ü.webp")
	run := serve(t, Options{Root: dir})
	a := run.open(t, "/a.html", "/x.css", "/x.svg", "/app.js", "/gone.png")
	b := run.open(t, "/b/", "/y.css", "/%C3%A9%20%c3%bc.webp", "/d.json", "/notes", "/b/../x.css")
	none := run.open(t, "/a")
	tests := []struct{ changed, a, b, none string }{
		{"x.css", "/x.css", "/x.css", ""},
		{"y.css", "", "/y.css", ""},
		{"x.svg", "/x.svg", "", ""},
		{"app.js", "/app.js !", "", ""},
		{"d.json", "", "/d.json !", ""},
		{"notes", "", "/notes !", ""},
		{"a.html", "/a.html !", "", "/a.html !"},
		{"b/index.html", "", "/b/index.html !", ""},
		{"x.svg x.css", "/x.css /x.svg", "/x.css", ""},
		{"x.css app.js y.css", "/app.js !", "/x.css /y.css", ""},
		{"x.css d.json a.html", "/a.html !", "/d.json !", "/a.html !"},
		{"é ü.webp|y.css", "", "/y.css /%C3%A9%20%C3%BC.webp", ""},
		{"other.js other.css b.html", "", "", ""},
		{"gone.png", "", "", ""},
		{"b/", "", "/b/ !", ""},
		{"./", "/ !", "/ !", "/ !"},
	}
	for _, tt := range tests {
		paths := strings.Fields(tt.changed)
		if strings.Contains(tt.changed, "|") {
			paths = strings.Split(tt.changed, "|")
		}
		run.save(t, dir, paths...)
		for p, want := range map[*ourPage]string{a: tt.a, b: tt.b, none: tt.none} {
			if want == "" {
				p.expectNothing(t)
			} else {
				p.is(t, want)
			}
			if strings.HasSuffix(want, "!") {
				p.load(t, run)
			}
		}
	}
	// A file that was not there when the page asked for it has come.
	write(t, dir, "gone.png", "png")
	run.Recheck("gone.png")
	a.is(t, "/gone.png")
	b.expectNothing(t)
}

// What some open page shows or uses is worth waiting for, and nothing else is.
func TestConcerns(t *testing.T) {
	dir := site(t, "index.html", "a.html", "x.css", "other.css", "app.log", "data.json", "pic.png")
	run := serve(t, Options{Root: dir})
	check := func(who, concern, others string) {
		t.Helper()
		for want, names := range map[bool]string{true: concern, false: others} {
			for name := range strings.FieldsSeq(names) {
				if got := run.Concerns(name); got != want {
					t.Errorf("%s: Concerns(%q) is %v, want %v", who, name, got, want)
				}
			}
		}
	}
	check("no page is open", "", "index.html a.html x.css app.log data.json")

	p := run.open(t, "/a.html", "/x.css", "/later.js")
	check("a page that says what it uses", "a.html x.css later.js", "index.html other.css app.log data.json .env")
	p.conn.CloseNow()
	run.awaitBrowsers(t, 0)

	c := run.dial(t)
	c.greet(t, run.url("/"))
	c.sync(t)
	check("a page that does not", "index.html x.css other.css data.json pic.png", "a.html app.log .env")
}

// What a stock client hears of all this is hello and reload.
func TestAStockClientHearsReloadsOnly(t *testing.T) {
	run := serve(t, Options{Root: site(t, "a.html", "a.css")})
	stock := run.dial(t)
	stock.greet(t, run.url("/a.html"))
	stock.say(t, `{"command":"uses","uses":["/a.css"]}`)
	stock.say(t, `{"command":"info","url":"`+run.url("/a.html")+`","path":"/a.html","uses":["/a.css"],"seen":"E.1"}`)
	run.SetError("job", &PageError{Title: "failed"})
	run.Recheck("a.css", "a.html")
	stock.expectNothing(t)
	run.Refresh("a.css", "b.js")
	stock.expect(t, "/b.js !")
}

// Our client on a page of another server hears the origin's rule in our
// messages.
func TestOurClientElsewhere(t *testing.T) {
	for _, opts := range []Options{{Root: site(t)}, {}} {
		run := serve(t, opts)
		from := run.hub.Cursor()
		run.Refresh("a.css")
		p := run.info(t, "", map[string]any{"url": "http://elsewhere/", "token": livereload.PageToken{Cursor: from}.String()})
		p.is(t, "/a.css")
		if p.last.Digest != "" {
			t.Errorf("a page without uses has the digest %s", p.last.Digest)
		}
		run.Refresh("any.html", "b.css")
		p.is(t, "/any.html !")
		run.Refresh("any.js", "b.css") // the page goes already
		p.expectNothing(t)
		p = run.info(t, "", map[string]any{"url": "http://elsewhere/"})
		p.is(t, "at")
		run.Refresh("any.log")
		p.expectNothing(t)
		run.Refresh("\xff.css")
		p.is(t, "/%FF.css !")
	}
}

// A page of another origin, which may listen, does not get to ask about files.
func TestAStrangersPageSaysNothing(t *testing.T) {
	run := serve(t, Options{Root: site(t, "a.html"), AllowOrigins: []string{"https://example.com"}})
	for origin, want := range map[string]int{run.url(""): 1, "https://example.com": 0, "http://127.0.0.1:1": 0} {
		c := run.dial(t, "Origin", origin)
		c.say(t, ourClientHello)
		c.hear(t)
		c.say(t, `{"command":"info","url":"`+run.url("/a.html")+`","path":"/a.html","uses":["/secret"]}`)
		c.hear(t)
		if p := run.hub.Snapshot(1, 1).Pages[0]; p.Used != want {
			t.Errorf("%s: the page uses %d files, want %d", origin, p.Used, want)
		}
		c.conn.CloseNow()
		run.awaitBrowsers(t, 0)
	}
}

// A page names what it finds as it goes on.
func TestUsesAreLearned(t *testing.T) {
	dir := site(t, "a.html", "x.css", "y.js", "z.js")
	run := serve(t, Options{Root: dir})
	p := run.open(t, "/a.html")
	run.Refresh("x.css")
	p.expectNothing(t)
	before := p.last.Digest
	p.use(t, map[string]any{"age": 0.5}, "/x.css")
	p.is(t, "/x.css") // it may have been read before the change
	if p.last.Digest == before {
		t.Error("the digest does not cover the new file")
	}
	run.Refresh("x.css")
	p.is(t, "/x.css")
	p.use(t, nil, "/x.css", "/x.css") // nothing new
	p.is(t, "at")
	run.Refresh("y.js")
	p.use(t, map[string]any{"age": 4000}, "/y.js")
	p.is(t, "/y.js !")
}

// A page reports what its worker has loaded when the server has told it. It may be late, and
// the file have changed since it was loaded.
func TestUsesOfWorkersAreLearnedLate(t *testing.T) {
	run := serve(t, Options{Root: site(t, "a.html", "w.js", "x.json")})
	p := run.open(t, "/a.html", "/w.js")
	run.get(t, "GET", "/x.json", "Referer", run.url("/w.js"), "Sec-Fetch-Dest", "empty")
	if got := p.hear(t); !strings.Contains(got, `"tried"`) || !strings.Contains(got, "/x.json") {
		t.Fatalf("the page is told %s", got)
	}
	run.Refresh("x.json")
	p.expectNothing(t)
	time.Sleep(300 * time.Millisecond) // more than the age, and what a message may take
	p.use(t, map[string]any{"age": 1}, "/x.json")
	p.is(t, "/x.json !")
}

func TestAPageTurnsToAnotherURL(t *testing.T) {
	run := serve(t, Options{Root: site(t, "a.html", "b.html", "x.css")})
	p := run.open(t, "/a.html", "/x.css")
	p.say(t, `{"command":"url","url":"`+run.url("/b.html")+`","path":"/b.html"}`)
	p.is(t, "at")
	run.Refresh("a.html")
	p.expectNothing(t)
	run.Refresh("x.css")
	p.is(t, "/x.css")
	p.say(t, `{"command":"url","url":"http://127.0.0.1:1/"}`) // outside
	p.is(t, "at")
	run.Refresh("b.html")
	p.expectNothing(t)
	p.say(t, `{"command":"url","url":"`+run.url("/b.html")+`","path":"/b.html"}`)
	p.is(t, "at")
	run.Refresh("b.html")
	p.is(t, "/b.html !")
}

// A page may name as much as it likes, of whatever shape.
func TestUsesOfNonsense(t *testing.T) {
	dir := site(t, "a.html", "x.css")
	run := serve(t, Options{Root: dir})
	hostile := []string{
		"", "x.css", "//x.css", "/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/%", "/%zz", "/a%00b", "/.git/config",
		"/%2Egit", "/" + strings.Repeat("a/", 5000), "/" + strings.Repeat("%", 10), "list:/", "/list:/", "http://x/", "\x00", "/\xff", "/x.css/", "/x.css/.",
	}
	p := run.open(t, "/a.html", hostile...)
	run.Refresh("x.css")
	p.is(t, "/x.css") // by //x.css
	for _, u := range p.uses {
		if use, ok := urlpath.Parse(u); ok && (strings.Contains(use, "/.") || strings.Contains(use, "%00") || !strings.HasPrefix(use, "/")) {
			t.Errorf("%q became %q", u, use)
		}
	}
	t.Run("too many", func(t *testing.T) {
		p := run.open(t, "/a.html")
		for i := 0; i <= 4096; i += 1000 {
			p.use(t, nil, numbered(1000, fmt.Sprintf("/%d.%%d.css", i))...)
			p.is(t, "at")
		}
		run.Refresh("other.css")
		p.is(t, "/other.css") // it may be used
		run.Refresh("other.html")
		p.is(t, "/other.html !")
		run.Refresh("other.log")
		p.expectNothing(t)
		if p.last.Digest != "" {
			t.Error("a digest of what is not known")
		}
	})
	t.Run("too long", func(t *testing.T) {
		p := run.open(t, "/a.html")
		for i := range 40 {
			p.use(t, nil, numbered(5, fmt.Sprintf("/%s%d.%%d", strings.Repeat("x", 4000), i))...)
			p.is(t, "at")
		}
		if p.last.Digest != "" {
			t.Error("names of 800 KiB are known")
		}
	})
	t.Run("says that there are too many", func(t *testing.T) {
		p := run.info(t, "/a.html", map[string]any{"all": true})
		p.is(t, "at")
		run.Refresh("other.css")
		p.is(t, "/other.css")
	})
	for name, frame := range map[string]string{
		"uses of numbers": `{"command":"uses","uses":[1]}`,
		"uses no list":    `{"command":"uses","uses":"/a"}`,
		"path no text":    `{"command":"info","path":7}`,
		"age no number":   `{"command":"uses","age":"old"}`,
	} {
		t.Run(name, func(t *testing.T) {
			p := run.open(t, "/a.html")
			p.say(t, frame)
			p.closed(t, websocket.StatusInvalidFramePayloadData)
		})
	}
	t.Run("uses before info", func(t *testing.T) {
		c := run.dial(t)
		c.say(t, ourClientHello)
		c.hear(t)
		c.say(t, `{"command":"uses","uses":["/x.css"]}`)
		c.say(t, `{"command":"url","path":"/x.css"}`)
		c.expectNothing(t)
	})
}
