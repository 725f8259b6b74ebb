package httpd

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/execlog/execlogd/httpd/internal/livereload"
)

// An asked is a request and what it is answered with.
type asked struct{ name, path, dest, want string }

// answers compares the status of answers, with where they lead or what their body is.
func (r *running) answers(t *testing.T, tests ...asked) {
	t.Helper()
	for _, tt := range tests {
		resp, body := r.get(t, "GET", tt.path, "Sec-Fetch-Dest", tt.dest)
		got := fmt.Sprint(resp.StatusCode, " ", strings.NewReplacer(r.element(tt.path), "", r.missingElement(tt.path), "").Replace(body))
		if location := resp.Header.Get("Location"); location != "" {
			got = fmt.Sprint(resp.StatusCode, " ", location)
			if resp.Header.Get("Cache-Control") != "no-cache" && !strings.HasSuffix(location, "/") {
				t.Errorf("%s: %s may be kept: %v", tt.name, location, resp.Header)
			}
		}
		if strings.HasPrefix(tt.want, "404") && tt.want != got && len(tt.want) == 3 {
			got = got[:3]
		}
		if got != tt.want {
			t.Errorf("%s: %s %s: got %s, want %s", tt.name, tt.dest, tt.path, got, tt.want)
		}
		head, _ := r.get(t, "HEAD", tt.path, "Sec-Fetch-Dest", tt.dest)
		if head.StatusCode != resp.StatusCode || head.ContentLength != resp.ContentLength && resp.StatusCode != 301 && resp.StatusCode != 302 || head.Header.Get("Vary") != resp.Header.Get("Vary") {
			t.Errorf("%s: HEAD is %s, %v; GET %s, %v", tt.name, head.Status, head.Header, resp.Status, resp.Header)
		}
	}
}

func TestFallbackPage(t *testing.T) {
	root := tree(t, "index.html", "app", "a.css", "a", "about.html", "about", "docs/x.html", "x", ".env", "secret")
	run := serve(t, Options{Root: root, SPA: "index.html"})
	run.answers(t,
		asked{"the page", "/", "document", "200 app"},
		asked{"a route of the application", "/users/42", "document", "200 app"},
		asked{"with a slash", "/users/42/", "document", "200 app"},
		asked{"with a query", "/users?x=1", "document", "200 app"},
		asked{"with a dot", "/users/john.doe", "document", "200 app"},
		asked{"below a file", "/a.css/x", "document", "200 app"},
		asked{"in a frame", "/users/42", "iframe", "200 app"},
		asked{"a page that is not there", "/none.html", "document", "200 app"},
		asked{"a file", "/a.css", "document", "200 a"},
		asked{"another page", "/about", "document", "200 about"},
		asked{"a directory", "/docs", "document", "302 ./docs/"},
		asked{"a style sheet that is missing", "/none.css", "style", "404 not found\n"},
		asked{"a style sheet that somebody opens", "/none.css", "document", "404"},
		asked{"what a script fetches", "/api/users", "empty", "404 not found\n"},
		asked{"a hidden file", "/.env", "document", "404"},
	)
	if resp, _ := run.get(t, "GET", "/users/42", "Sec-Fetch-Dest", "document"); resp.Header.Get("Vary") != "Sec-Fetch-Dest" || resp.Header.Get("ETag") == "" {
		t.Errorf("headers %v", resp.Header)
	}
	if resp, _ := run.get(t, "GET", "/api/users", "Sec-Fetch-Dest", "empty"); resp.Header.Get("Vary") != "Sec-Fetch-Dest" {
		t.Errorf("headers of what is fetched: %v", resp.Header)
	}

	check(t, os.Remove(root+"/index.html"))
	run.answers(t, asked{"no fallback page", "/users/42", "document", "404"})
	run.change(t, Options{Root: root, SPA: "docs/x.html", NoLiveReload: true})
	run.answers(t, asked{"another one, and nothing else", "/users/42", "document", "200 x"})
	if resp, _ := run.get(t, "GET", "/users/42", "Sec-Fetch-Dest", "document"); resp.Header.Get("Vary") != "Sec-Fetch-Dest" {
		t.Errorf("headers without live reload: %v", resp.Header)
	}
}

func TestCleanURLs(t *testing.T) {
	root := tree(t, "index.html", "top", "a.html", "a", "b.html", "b", "b/x.txt", "x", "d/index.html", "d", "d/c d.html", "c",
		"index.html.html", "double", "a:b.html", "colon", "x.htm", "htm")
	run := serve(t, Options{Root: root, CleanURLs: true})
	run.answers(t,
		asked{"a page", "/a.html", "document", "301 ./a"},
		asked{"at its clean URL", "/a", "document", "200 a"},
		asked{"the query stays", "/a.html?x=%20&y", "document", "301 ./a?x=%20&y"},
		asked{"the index", "/index.html", "document", "301 ./"},
		asked{"an index below", "/d/index.html", "document", "301 ./"},
		asked{"a page below", "/d/c%20d.html", "document", "301 ./c%20d"},
		asked{"a name with a colon", "/a:b.html", "document", "301 ./a:b"},
		asked{"a directory of that name is shown there", "/b.html", "document", "200 b"},
		asked{"two extensions", "/index.html.html", "document", "200 double"},
		asked{"another extension", "/x.htm", "document", "200 htm"},
		asked{"what a script fetches", "/a.html", "empty", "200 a"},
		asked{"what is not there", "/none.html", "document", "404"},
	)
	for _, dest := range []string{"document", "empty"} {
		if resp, _ := run.get(t, "GET", "/a.html", "Sec-Fetch-Dest", dest); resp.Header.Get("Vary") != "Sec-Fetch-Dest" {
			t.Errorf("%s: headers %v", dest, resp.Header)
		}
	}
}

func TestErrorPages(t *testing.T) {
	root := tree(t, "a.txt", "a", "errors/404.html", "none of ours", "403.html", "not yours", "404.html", "the usual one")
	check(t, os.Chmod(root, 0o755))
	openToAll(t, root)
	check(t, os.Chmod(root+"/a.txt", 0))
	s := newServer(t, Options{Root: root, ErrorPages: map[int]string{404: "errors/404.html", 403: "403.html"}})
	asNobody(t, func() {
		for _, tt := range []struct {
			path, accept, want string
			code               int
		}{
			{"/a.txt", "text/html", "not yours", 403},
			{"/a.txt", "*/*", "this file may not be read by the server\n", 403},
			{"/none", "text/html", "none of ours", 404},
			{"/none", "*/*", "not found\n", 404},
		} {
			rec := s.answerTo(at("127.0.0.1:8000", "GET", tt.path, "127.0.0.1:8000", "Accept", tt.accept))
			body := rec.Body.String()
			if i := strings.Index(body, "</script>"); i >= 0 {
				body = body[i+len("</script>"):]
			}
			if rec.Code != tt.code || body != tt.want {
				t.Errorf("%s for %s: %d %q, want %d %q", tt.path, tt.accept, rec.Code, body, tt.code, tt.want)
			}
		}
	})
	for _, wrong := range []Options{
		{ErrorPages: map[int]string{200: "a.html"}},
		{ErrorPages: map[int]string{404: "../a.html"}},
		{ErrorPages: map[int]string{404: ""}},
		{SPA: "/index.html"},
		{SPA: ".index.html"},
		{SPA: "."},
		{Redirects: []Redirect{{From: "a", To: "/b"}}},
		{Redirects: []Redirect{{From: "/a"}}},
		{Headers: []HeaderRule{{For: "/*", Values: map[string]string{"Date": "x"}}}},
	} {
		if _, err := New(wrong); err == nil {
			t.Errorf("%+v is accepted", wrong)
		}
	}
}

func TestRules(t *testing.T) {
	root := tree(t, "index.html", "top", "a.html", "a", "d/index.html", "d", "en/404.html", "en: none", "gone.html", "gone",
		"_redirects", "/option /file\n/file /a 302\n/shop/* https://shop.example/:splat 302\n/en/* /en/404.html 404\n/old /gone 410\n/app/* /d/ 200\n/nothing /none 200\n/a /forced 302!\n/hidden /.env 200\n",
		".env", "secret")
	run := serve(t, Options{Root: root, Redirects: []Redirect{{From: "/option", To: "/d/"}, {From: "/d/x/:y", To: "/d", Status: 200}}})
	run.answers(t,
		asked{"an option counts first", "/option", "document", "301 ./d/"},
		asked{"a line of the file", "/file", "document", "302 ./a"},
		asked{"for all", "/file", "empty", "302 ./a"},
		asked{"another site", "/shop/x/y", "document", "302 https://shop.example/x/y"},
		asked{"with the query", "/shop?q=1", "document", "302 https://shop.example/?q=1"},
		asked{"a page for 404", "/en/none", "document", "404 en: none"},
		asked{"a page for 404 that a script gets", "/en/none", "empty", "404 en: none"},
		asked{"the file itself", "/en/404.html", "document", "200 en: none"},
		asked{"gone", "/old", "document", "410 gone"},
		asked{"another file", "/app/x/y", "document", "200 d"},
		asked{"another file, whose directory is named", "/d/x/1", "document", "200 d"},
		asked{"another file that is not there", "/nothing", "document", "404"},
		asked{"another file that is hidden", "/hidden", "document", "404"},
		asked{"in place of a file", "/a", "document", "302 ./forced"},
		asked{"from below", "/option/", "document", "301 ../d/"},
		asked{"the file of rules", "/_redirects", "document", "404"},
		asked{"no rule", "/x", "empty", "404 not found\n"},
	)
	if _, list := run.get(t, "GET", "/"); strings.Contains(list, "_redirects") {
		t.Errorf("listed: %s", list)
	}

	// The file counts as it is.
	write(t, root, "_redirects", "/file /d/ 302\n")
	run.answers(t, asked{"another line", "/file", "document", "302 ./d/"}, asked{"a line that is gone", "/old", "document", "404"})
	check(t, os.Rename(root+"/_redirects", root+"/x"))
	run.answers(t, asked{"no file", "/file", "document", "404"}, asked{"the options stay", "/option", "document", "301 ./d/"})
	check(t, os.Rename(root+"/x", root+"/_redirects"))
	run.answers(t, asked{"the file is back", "/file", "document", "302 ./d/"})
	run.change(t, Options{Root: root, NoRuleFiles: true})
	run.answers(t, asked{"a file like others", "/_redirects", "document", "200 /file /d/ 302\n"}, asked{"without rules", "/file", "document", "404"})
}

// A directory without an index page is no file: what a redirect says of it comes before its
// list.
func TestRulesForDirectories(t *testing.T) {
	root := tree(t, "en/index.html", "en", "docs/intro.html", "intro", "app/x.js", "x", "plain/x.txt", "x",
		"_redirects", "/ /en/ 302\n/docs /docs/intro\n/app/* /en/ 200\n/en/ /docs/ 302\n/plain /none 200\n")
	run := serve(t, Options{Root: root, SPA: "en/index.html"})
	run.answers(t,
		asked{"the root", "/", "document", "302 ./en/"},
		asked{"without the slash", "/docs", "document", "302 ./docs/"},
		asked{"another directory", "/docs/", "document", "301 ../docs/intro"},
		asked{"another file", "/app/", "document", "200 en"},
		asked{"a file in it", "/app/x.js", "script", "200 x"},
		asked{"one with an index page", "/en/", "document", "200 en"},
	)
	if resp, body := run.get(t, "GET", "/plain/", "Sec-Fetch-Dest", "document"); resp.StatusCode != 200 || !strings.Contains(body, "x.txt") {
		t.Errorf("the list of a directory: %s %s", resp.Status, body)
	}

	p := run.browse(t, "/app/")
	nextTick(t, root)
	write(t, root, "en/index.html", "saved")
	run.Refresh("en/index.html")
	if got := p.hear(t); !strings.Contains(got, `"reload":true`) {
		t.Errorf("a page that shows another file in place of a list: got %s", got)
	}
}

// A mistake is logged once, with its line, and not again when another line has changed.
func TestMistakesInRulesAreLogged(t *testing.T) {
	var log lockedLog
	root := tree(t, "_redirects", "/a /b\nnonsense\n", "_headers", "/*\n  Connection: close\n  X-A: b\n")
	run := serve(t, Options{Root: root, Logger: log.logger()})
	for _, text := range []string{"/a /c\nnonsense\n", "/a /d\nnonsense\n/x\n"} {
		run.get(t, "GET", "/")
		run.get(t, "GET", "/a")
		write(t, root, "_redirects", text)
	}
	run.get(t, "GET", "/")
	for want, n := range map[string]int{`path=_redirects line=2 err="\"nonsense\": want where it leads`: 1, "path=_redirects line=3": 1, `path=_headers line=2 err="Connection is set by the server"`: 1, "rule ignored": 3} {
		if got := strings.Count(log.String(), want); got != n {
			t.Errorf("%s is logged %d times, want %d:\n%s", want, got, n, log.String())
		}
	}
	if resp, _ := run.get(t, "GET", "/"); resp.Header.Get("X-A") != "b" {
		t.Errorf("headers %v", resp.Header)
	}

	write(t, root, "_redirects", strings.Repeat("#\n", MaxRuleFile/2)+"/a /b\n")
	run.status(t, 404, "GET", "/a")
	if !strings.Contains(log.String(), "path=_redirects line=0 err=\"the file has more than") {
		t.Errorf("a file that is too large is not logged:\n%s", log.String())
	}
	write(t, root, "_redirects", strings.Repeat("#\n", wholeLimit)+"/a /b\n")
	run.status(t, 301, "GET", "/a")

	outside := tree(t, "secret", "/a /secret\n")
	check(t, os.Remove(root+"/_redirects"))
	symlink(t, filepath.Join(outside, "secret"), root+"/_redirects")
	run.status(t, 404, "GET", "/a")
}

func TestHeaderRules(t *testing.T) {
	var log lockedLog
	root := tree(t, "a.html", "<p>", "a.js", "//", "a.dat", "<p>", "_headers",
		"/*\n  X-Frame-Options: DENY\n  X-A: file\n/*.js\n  Cache-Control: max-age=60\n  Strict-Transport-Security: max-age=60\n/a.dat\n  Content-Type: text/html\n/a.dat/x\n  Content-Type: image/png\n/a\n  Content-Security-Policy: connect-src 'none'\n")
	opts := Options{Root: root, Logger: log.logger(), Headers: []HeaderRule{{For: "/*", Values: map[string]string{"x-a": "option"}}}}
	run := serve(t, opts)
	for _, path := range []string{"/a.html", "/a.js", "/none", "/", "/a"} {
		for _, headers := range [][]string{nil, {"If-None-Match", "*"}, {"Range", "bytes=1-"}} {
			resp, _ := run.get(t, "GET", path, headers...)
			if h := resp.Header; h.Get("X-Frame-Options") != "DENY" || h.Get("X-A") != "option" {
				t.Errorf("%s %q: %s, headers %v", path, headers, resp.Status, h)
			}
		}
	}
	for _, path := range []string{"/livereload.js", "/.execlogd/"} {
		if resp, _ := run.get(t, "GET", path); resp.Header.Get("X-A") != "" {
			t.Errorf("%s: headers %v", path, resp.Header)
		}
	}
	resp, body := run.get(t, "GET", "/a.dat", "Sec-Fetch-Dest", "document")
	if resp.Header.Get("Content-Type") != "text/html; charset=utf-8" || !strings.Contains(body, "livereload.js") {
		t.Errorf("a type of its own: %v %s", resp.Header, body)
	}
	if !strings.Contains(log.String(), `directive="connect-src 'none'"`) {
		t.Errorf("a policy that forbids live reload is not logged: %s", log.String())
	}

	write(t, root, "404.html", "<p>none")
	if resp, _ := run.get(t, "GET", "/a.dat/x", "Sec-Fetch-Dest", "document"); resp.StatusCode != 404 || resp.Header.Get("Content-Type") != "text/html; charset=utf-8" {
		t.Errorf("the page for what is missing: %s, headers %v", resp.Status, resp.Header)
	}

	// With live reload a file must not be kept without asking.
	if resp, _ := run.get(t, "GET", "/a.js"); resp.Header.Get("Cache-Control") != "no-cache" || resp.Header["Strict-Transport-Security"] != nil {
		t.Errorf("headers %v", resp.Header)
	}
	opts.NoLiveReload = true
	run.change(t, opts)
	if resp, _ := run.get(t, "GET", "/a.js"); resp.Header.Get("Cache-Control") != "max-age=60" || resp.Header.Get("Strict-Transport-Security") != "max-age=60" {
		t.Errorf("without live reload: headers %v", resp.Header)
	}
}

// What was answered out of memory is not any more once a rule or a file at the path says
// otherwise. All requests come on one connection, each three times.
func TestRulesCountForFilesInMemory(t *testing.T) {
	root := tree(t, "index.html", "app", "a.css", "a", "b.html", "b", "c.html", "c")
	run := serve(t, Options{Root: root, SPA: "index.html", CleanURLs: true})
	run.warm()
	conn := run.connect(t)
	conn.SetDeadline(time.Now().Add(time.Minute))
	answers := bufio.NewReader(conn)
	ask := func(path string) (got string) {
		for range 3 {
			fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Dest: document\r\n\r\n", path)
			resp := must(http.ReadResponse(answers, nil))(t)
			body := string(must(io.ReadAll(resp.Body))(t))
			got = fmt.Sprint(resp.StatusCode, " ", withoutScript(body), resp.Header.Get("Location"), " ", resp.Header.Get("X-A"))
			if resp.StatusCode == 404 {
				got = "404"
			}
		}
		return strings.TrimSpace(got)
	}
	remove := func(name string) func() { return func() { check(t, os.RemoveAll(filepath.Join(root, name))) } }
	save := func(name, text string) func() { return func() { write(t, root, name, text) } }
	for _, tt := range []struct {
		do         func()
		path, want string
	}{
		{nil, "/users/42", "200 app"},
		{save("users/42.html", "own"), "/users/42", "200 own"},
		{remove("users"), "/users/42", "200 app"},
		{save("index.html", "app 2"), "/users/42", "200 app 2"},
		{nil, "/a.css", "200 a"},
		{save("_headers", "/*\n  X-A: b\n"), "/a.css", "200 a b"},
		{save("_headers", "/*\n  X-A: c\n"), "/a.css", "200 a c"},
		{nil, "/users/42", "200 app 2 c"},
		{remove("_headers"), "/a.css", "200 a"},
		{save("_redirects", "/a.css /c 200!\n/r/* /b 200\n"), "/a.css", "200 c"},
		{nil, "/r/1", "200 b"},
		{save("_redirects", "/a.css /x 302!\n/r/* /c 200\n"), "/a.css", "302 ./x"},
		{nil, "/r/1", "200 c"},
		{save("r/1", "own"), "/r/1", "200 own"},
		{nil, "/_redirects", "404"},
		{remove("_redirects"), "/a.css", "200 a"},
		{nil, "/b.html", "301 ./b"},
		{save("b/x", ""), "/b.html", "200 b"},
		{remove("b"), "/b.html", "301 ./b"},
	} {
		nextTick(t, root)
		if tt.do != nil {
			tt.do()
		}
		if got := ask(tt.path); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.path, got, tt.want)
		}
	}
}

// A page that shows the file of another path reloads when that file changes, and when its
// own path gets a file.
func TestPagesOfOtherFilesAreTold(t *testing.T) {
	root := tree(t, "index.html", "app", "errors.html", "none", "d/index.html", "d", "x.css", "x",
		"_redirects", "/r/* /d/index.html 200\n/q/* /d 200\n/n/* /gone.html 404\n/f/a /d/index.html 200!\n", "gone.html", "gone", "f/a.html", "own")
	run := serve(t, Options{Root: root, SPA: "index.html", ErrorPages: map[int]string{404: "errors.html"}})
	saved := func(name string) func() {
		return func() {
			write(t, root, name, "saved for "+t.Name()+fmt.Sprint(run.hub.Cursor().Number))
			run.Refresh(name)
		}
	}
	created := func(name string) func() {
		return func() {
			write(t, root, name, "created")
			run.Recheck(name)
			run.Refresh(name)
		}
	}
	const told, quiet = `"reload":true`, ""
	tests := []struct {
		name, page string
		do         func()
		want       string
	}{
		{"the fallback page", "/users/42", saved("index.html"), told},
		{"the fallback page, with a slash", "/users/42/", saved("index.html"), told},
		{"a rewrite", "/r/1", saved("d/index.html"), told},
		{"a rewrite to a directory", "/q/1/2", saved("d/index.html"), told},
		{"a page for 404", "/n/1", saved("gone.html"), told},
		{"in place of a file", "/f/a", saved("d/index.html"), told},
		{"the file in whose place it is", "/f/a", saved("f/a.html"), quiet},
		{"the fallback page is not this one", "/r/1", saved("index.html"), quiet},
		{"a file at the path", "/users/43", created("users/43.html"), told},
		{"an index at the path", "/users/44/", created("users/44/index.html"), told},
		{"a rule leads to another file", "/r/2", func() {
			write(t, root, "_redirects", "/r/* /index.html 200\n")
			run.Refresh("_redirects")
		}, told},
		{"a rule is saved and leads to the same", "/r/3", func() {
			write(t, root, "_redirects", "/r/* /index.html 200 # here\n")
			run.Refresh("_redirects")
		}, quiet},
	}
	for _, tt := range tests {
		old(t, root)
		p, before := run.browse(t, tt.page, "/x.css"), livereload.PageToken{Cursor: run.hub.Cursor()}.String()
		other := run.dial(t)
		other.greet(t, run.url(tt.page))
		tt.do()
		if tt.want == quiet {
			write(t, root, "x.css", tt.name)
			run.Refresh("x.css") // is told first if nothing else was
			if got := p.hear(t); !strings.Contains(got, `"reload":false,"files":["/x.css"]`) {
				t.Errorf("%s: got %s", tt.name, got)
			}
			continue
		}
		if got := p.hear(t); !strings.Contains(got, tt.want) {
			t.Errorf("%s: got %s, want %s", tt.name, got, tt.want)
		}
		late := run.info(t, tt.page, map[string]any{"uses": []string{}, "token": before})
		if got := late.hear(t); !strings.Contains(got, tt.want) {
			t.Errorf("%s, missed: got %s, want %s", tt.name, got, tt.want)
		}
		if strings.Contains(tt.name, "rule") {
			continue
		}
		if got := other.hear(t); !strings.Contains(got, `"command":"reload"`) {
			t.Errorf("%s, with another client: got %s", tt.name, got)
		}
	}
}

// So does a page that does not report what it uses.
func TestOtherClientsOfOtherFilesAreTold(t *testing.T) {
	root := tree(t, "index.html", "app", "d/index.html", "d", "_redirects", "/r/* /d/ 200\n")
	run := serve(t, Options{Root: root, SPA: "index.html"})
	for file, page := range map[string]string{"index.html": "/users/42", "d/index.html": "/r/1"} {
		p := run.dial(t)
		p.greet(t, run.url(page))
		write(t, root, file, "saved")
		run.Refresh(file)
		p.expect(t, "/"+file+" !")
	}
}

// A page that shows the site's own page for an error reloads when that changes.
func TestErrorPagesAreTold(t *testing.T) {
	root := tree(t, "errors/none.html", "none", "403.html", "not yours")
	run := serve(t, Options{Root: root, ErrorPages: map[int]string{404: "errors/none.html", 403: "403.html"}})
	for file, token := range map[string]livereload.PageToken{"errors/none.html": {Missing: true}, "403.html": {Failed: http.StatusForbidden}} {
		token.Cursor = run.hub.Cursor()
		p := run.info(t, "/none", map[string]any{"uses": []string{}, "token": token.String()})
		p.is(t, "at")
		write(t, root, file, "saved")
		run.Refresh(file)
		if got := p.hear(t); !strings.Contains(got, `"reload":true`) {
			t.Errorf("%s: got %s", file, got)
		}
	}
}
