package httpd

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// decoded returns the body of an answer without its coding.
func decoded(t testing.TB, resp *http.Response, body string) string {
	t.Helper()
	var r io.Reader
	in := strings.NewReader(body)
	switch coding := resp.Header.Get("Content-Encoding"); coding {
	case "":
		return body
	case "br":
		r = brotli.NewReader(in)
	case "zstd":
		r = must(zstd.NewReader(in))(t)
	case "gzip":
		r = must(gzip.NewReader(in))(t)
	default:
		t.Fatalf("coding %q", coding)
	}
	return string(must(io.ReadAll(r))(t))
}

// age makes files as old as those that are kept in memory.
func age(run *running) {
	run.current.Load().hot.minAge = 0
}

func TestCompressedFiles(t *testing.T) {
	style, large := strings.Repeat("p { color: red }\n", 1000), strings.Repeat("0123456789abcdef\n", 100_000)
	page := "<!doctype html><head></head><p>" + strings.Repeat("text ", 1000)
	root := tree(t, "a.css", style, "small.css", "p {}", "a.png", style, "large.js", large, "p.html", page)
	old := time.Now().Add(-time.Hour)
	check(t, os.Chtimes(root+"/large.js", old, old))
	run := serve(t, Options{Root: root, Compress: true})
	age(run)
	tests := []struct {
		name, path, accept string
		code               int
		coding, vary       string
	}{
		{"what a browser takes", "/a.css", "gzip, deflate, br, zstd", 200, "br", "Accept-Encoding"},
		{"what it likes better", "/a.css", "gzip, br;q=0.5", 200, "gzip", "Accept-Encoding"},
		{"zstd", "/a.css", "zstd", 200, "zstd", "Accept-Encoding"},
		{"nothing", "/a.css", "identity", 200, "", "Accept-Encoding"},
		{"anything", "/a.css", "*", 200, "br", "Accept-Encoding"},
		{"no coding that there is", "/a.css", "deflate, identity;q=0", 406, "", "Accept-Encoding"},
		{"a small file", "/small.css", "br", 200, "", "Accept-Encoding"},
		{"a small file that has to be compressed", "/small.css", "br, *;q=0", 200, "br", "Accept-Encoding"},
		{"an image", "/a.png", "br", 200, "", ""},
		{"a page", "/p.html", "gzip", 200, "gzip", "Sec-Fetch-Dest Accept-Encoding"},
	}
	for _, tt := range tests {
		for range 2 {
			resp, body := run.get(t, "GET", tt.path, "Accept-Encoding", tt.accept, "Sec-Fetch-Dest", "empty")
			h := resp.Header
			if resp.StatusCode != tt.code || h.Get("Content-Encoding") != tt.coding || strings.Join(h["Vary"], " ") != tt.vary || resp.ContentLength != int64(len(body)) {
				t.Errorf("%s: %s, %d bytes, %v", tt.name, resp.Status, len(body), h)
			}
			if tt.code != 200 {
				continue
			}
			if got, want := decoded(t, resp, body), string(must(os.ReadFile(root+tt.path))(t)); got != want {
				t.Errorf("%s: %.100q is served, want %.100q", tt.name, got, want)
			}
			if ranges := h.Get("Accept-Ranges") != ""; ranges != (tt.coding == "") {
				t.Errorf("%s: Accept-Ranges is %q", tt.name, h.Get("Accept-Ranges"))
			}

			etag := h.Get("ETag")
			if !strings.HasSuffix(etag, "-"+tt.coding+`"`) && tt.coding != "" {
				t.Errorf("%s: ETag %s", tt.name, etag)
			}
			head, _ := run.get(t, "HEAD", tt.path, "Accept-Encoding", tt.accept, "Sec-Fetch-Dest", "empty")
			head.Header.Del("Date")
			h.Del("Date")
			if fmt.Sprint(head.Header, head.ContentLength) != fmt.Sprint(h, resp.ContentLength) {
				t.Errorf("%s: HEAD has %v, GET %v", tt.name, head.Header, h)
			}
			same, _ := run.get(t, "GET", tt.path, "Accept-Encoding", tt.accept, "Sec-Fetch-Dest", "empty", "If-None-Match", etag)
			if same.StatusCode != 304 || same.Header.Get("ETag") != etag || same.Header.Get("Content-Encoding") != "" || strings.Join(same.Header["Vary"], " ") != tt.vary {
				t.Errorf("%s: the same is %s, %v", tt.name, same.Status, same.Header)
			}
		}
	}

	resp, body := run.get(t, "GET", "/a.css", "Accept-Encoding", "br", "Range", "bytes=0-3")
	if resp.StatusCode != 200 || decoded(t, resp, body) != style {
		t.Errorf("a range of compressed content: %s", resp.Status)
	}
	if resp, body := run.get(t, "GET", "/a.css", "Range", "bytes=0-3"); resp.StatusCode != 206 || body != style[:4] {
		t.Errorf("a range: %s %q", resp.Status, body)
	}
	if resp, body := run.get(t, "GET", "/a.css", "Accept-Encoding", "br", "If-Match", `"other"`); resp.StatusCode != 412 || body != "" || resp.Header.Get("Content-Encoding") != "" {
		t.Errorf("412: %s, %v", resp.Status, resp.Header)
	}
	first, _ := run.get(t, "GET", "/p.html", "Accept-Encoding", "br", "Accept", "text/html")
	if _, body := run.get(t, "GET", "/p.html", "Accept-Encoding", "br", "Accept", "text/html"); decoded(t, first, body) != strings.Replace(page, "<head>", "<head>"+run.element("/p.html"), 1) {
		t.Errorf("a page that is shown: %v", first.Header)
	}

	// A large file is not compressed while it may be being written.
	resp, body = run.get(t, "GET", "/large.js", "Accept-Encoding", "br")
	if resp.Header.Get("Content-Encoding") != "" || body != large {
		t.Errorf("a large file that is new: %v", resp.Header)
	}

	write(t, root, "a.css", style+"new")
	run.Refresh("a.css")
	if resp, body := run.get(t, "GET", "/a.css", "Accept-Encoding", "br"); decoded(t, resp, body) != style+"new" {
		t.Error("an older version is served")
	}
	run.change(t, Options{Root: root, Compress: true, NoLiveReload: true, Headers: []HeaderRule{{For: "/*", Values: map[string]string{"Cache-Control": "no-transform"}}}})
	if resp, _ := run.get(t, "GET", "/a.css", "Accept-Encoding", "br"); resp.Header.Get("Content-Encoding") != "" {
		t.Errorf("what is not to be transformed: %v", resp.Header)
	}
	run.change(t, Options{Root: root, Compress: true})
	for _, path := range []string{"/.execlogd/", "/none"} {
		if resp, body := run.get(t, "GET", path, "Accept-Encoding", "br", "Accept", "text/html"); resp.Header.Get("Content-Encoding") != "" || len(body) < minCompressed {
			t.Errorf("a page of the server itself, %s: %d bytes, %v", path, len(body), resp.Header)
		}
	}
	run.change(t, Options{Root: root})
	if resp, _ := run.get(t, "GET", "/a.css", "Accept-Encoding", "br"); resp.Header.Get("Content-Encoding")+resp.Header.Get("Vary") != "" {
		t.Errorf("by default: %v", resp.Header)
	}
}

// Connections answer with compressed content by themselves, for those who take it and as long
// as the file is the same.
func TestConnectionsAnswerWithCompressedContent(t *testing.T) {
	style := strings.Repeat("p { color: red }\n", 1000)
	root := tree(t, "a.css", style, "p.html", "<!doctype html><head></head><p>"+style)
	run := serve(t, Options{Root: root, Compress: true}, func(s *Server) { s.warm() })
	plain := plainServer(t, run.Server)
	conn := run.dialPlain(t)
	codings := map[string]string{"br, gzip": "br", "gzip": "gzip", "zstd": "zstd", "identity": ""}
	for accept, coding := range codings {
		for _, what := range []string{"GET /a.css", "HEAD /a.css", "GET /p.html"} {
			request := what + " HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: " + accept + "\r\n\r\n"
			for range 2 {
				askOn(t, conn, conn.lines, request)
			}
			before := run.fast.Load()
			resp, body := askOn(t, conn, conn.lines, request)
			if run.fast.Load() != before+1 || resp.Header.Get("Content-Encoding") != coding || strings.HasPrefix(what, "GET") && !strings.HasSuffix(decoded(t, resp, body), style) {
				t.Errorf("%s by %s: %d answered, %s, %v", what, accept, run.fast.Load()-before, resp.Status, resp.Header)
			}
			cached := strings.TrimSuffix(request, "\r\n") + "If-None-Match: " + resp.Header.Get("ETag") + "\r\n\r\n"
			askOn(t, conn, conn.lines, cached)
			if resp, _ := askOn(t, conn, conn.lines, cached); run.fast.Load() != before+2 || resp.StatusCode != 304 {
				t.Errorf("%s by %s that is known: %s", what, accept, resp.Status)
			}
			for _, text := range []string{request, cached} {
				if got, want := answersTo(t, run.addr, []byte(text)), answersTo(t, plain, []byte(text)); got != want {
					t.Errorf("%q: got\n%q\nwant\n%q", text, got, want)
				}
			}
		}
	}

	nextTick(t, root)
	write(t, root, "a.css", style+"new")
	for accept := range codings {
		resp, body := askOn(t, conn, conn.lines, "GET /a.css HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: "+accept+"\r\n\r\n")
		if decoded(t, resp, body) != style+"new" {
			t.Errorf("an older version is served by %s", accept)
		}
	}
}

func TestPrecompressedFiles(t *testing.T) {
	packed := func(text string) string {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		io.WriteString(z, text)
		z.Close()
		return b.String()
	}
	root := tree(t, "a.js", "a()", "a.js.gz", packed("a()"), "old.js", "new()", "old.js.gz", packed("old()"),
		"p.html", "<p>page", "p.html.gz", packed("<p>page"), "d.js", "d()", "d.js.gz/x", "", ".env.js", "x")
	check(t, os.Symlink(".env.js", root+"/d.js.br"))
	past := time.Now().Add(-time.Hour)
	check(t, os.Chtimes(root+"/old.js.gz", past, past))
	run := serve(t, Options{Root: root, Precompressed: true})
	age(run)
	for range 2 {
		for path, want := range map[string]string{"/a.js": "gzip a()", "/old.js": " new()", "/d.js": " d()", "/p.html": "gzip <p>page"} {
			resp, body := run.get(t, "GET", path, "Accept-Encoding", "br, gzip", "Sec-Fetch-Dest", "empty")
			if got := resp.Header.Get("Content-Encoding") + " " + decoded(t, resp, body); got != want || !strings.Contains(strings.Join(resp.Header["Vary"], " "), "Accept-Encoding") {
				t.Errorf("%s: %q, %v, want %q", path, got, resp.Header, want)
			}
		}
	}
	resp, body := run.get(t, "GET", "/a.js", "Accept-Encoding", "gzip")
	if resp.Header.Get("Content-Type") != "text/javascript; charset=utf-8" || resp.ContentLength != int64(len(body)) {
		t.Errorf("headers %v", resp.Header)
	}
	if same, _ := run.get(t, "GET", "/a.js", "Accept-Encoding", "gzip", "If-None-Match", resp.Header.Get("ETag")); same.StatusCode != 304 {
		t.Errorf("the same is %s", same.Status)
	}
	if resp, body := run.get(t, "GET", "/p.html", "Accept-Encoding", "gzip", "Accept", "text/html"); resp.Header.Get("Content-Encoding") != "" || body != run.element("/p.html")+"<p>page" {
		t.Errorf("a page that is shown: %q, %v", body, resp.Header)
	}

	// One that comes is noticed, also after answers that connections might repeat.
	conn := run.dialPlain(t)
	ask := func() (coding string) {
		io.WriteString(conn, "GET /old.js HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip\r\n\r\n")
		resp := must(http.ReadResponse(conn.lines, nil))(t)
		io.Copy(io.Discard, resp.Body)
		return resp.Header.Get("Content-Encoding")
	}
	if got := ask() + ask(); got != "" {
		t.Errorf("an old one is served: %q", got)
	}
	write(t, root, "old.js.gz", packed("new()"))
	if got := ask(); got != "gzip" {
		t.Errorf("coding %q, want gzip", got)
	}
}

// A page has the script by a URL that depends on where it is shown.
func TestACompressedPageAtSeveralPaths(t *testing.T) {
	page := "<!doctype html><head></head><p>" + strings.Repeat("text ", 1000)
	run := serve(t, Options{Root: tree(t, "index.html", page), SPA: "index.html", Compress: true})
	for _, path := range []string{"/", "/a/b/c", "/a"} {
		resp, body := run.get(t, "GET", path, "Accept-Encoding", "br", "Accept", "text/html")
		if want := strings.Replace(page, "<head>", "<head>"+run.element(path), 1); decoded(t, resp, body) != want {
			t.Errorf("%s: %.200q is served, want %.200q", path, decoded(t, resp, body), want)
		}
	}
}

// Many browsers that ask for a file at once, as after a save, have it compressed once.
func TestCompressedAtOnce(t *testing.T) {
	const browsers = 8
	text := strings.Repeat("0123456789abcdef\n", 250_000)
	root := tree(t, "a.js", text, "b.js", text)
	run := serve(t, Options{Root: root, Compress: true})
	time.Sleep(longestWrite) // a large file that is new is not compressed
	memory := func(path string, browsers int) uint64 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		var asking sync.WaitGroup
		for range browsers {
			asking.Go(func() {
				resp, body := run.get(t, "GET", path, "Accept-Encoding", "br")
				if resp.Header.Get("Content-Encoding") != "br" || len(body) > len(text)/10 {
					t.Errorf("%d bytes, %v", len(body), resp.Header)
				}
			})
		}
		asking.Wait()
		runtime.ReadMemStats(&after)
		return after.TotalAlloc - before.TotalAlloc
	}
	if once, all := memory("/a.js", 1), memory("/b.js", browsers); all > browsers/2*once {
		t.Errorf("for %d at once %d bytes are needed, and for one %d", browsers, all, once)
	}
}

// What is kept has a bound.
func TestEncodings(t *testing.T) {
	e := encodings{maxBytes: 10 << 10}
	for i := range 100 {
		e.add(encodedKey{fmt.Sprint(i), "", "br"}, make([]byte, 1<<10))
		if _, ok := e.texts[encodedKey{fmt.Sprint(i), "", "br"}]; !ok || e.bytes > e.maxBytes {
			t.Fatalf("%d bytes are kept, and this one: %v", e.bytes, ok)
		}
	}
	if e.add(encodedKey{"x", "", "br"}, make([]byte, 11<<10)); len(e.texts) != 8 {
		t.Errorf("%d are kept", len(e.texts))
	}
	for i := range 100 {
		e.add(encodedKey{"x", strings.Repeat("../", i<<10), "br"}, nil)
	}
	size := 0
	for key := range e.texts {
		size += len(key.script)
	}
	if size > int(e.maxBytes) {
		t.Errorf("elements of %d bytes are kept", size)
	}
}
