package httpd

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Links that lead out of the root are followed, and what is not to be served is not served
// there either.
func TestFollowSymlinks(t *testing.T) {
	out := tree(t,
		"shared/x.css", "x", "shared/sub/y.css", "y", "shared/.env", "secret", "shared/private.key", "secret", "shared/private.key.bak", "secret",
		".hidden/open/z.css", "z", ".hidden/.deep/w.css", "secret", "one.css", "one", ".dot.css", "secret")
	parent := t.TempDir()
	root := filepath.Join(parent, "site")
	write(t, parent, "beside.css", "beside")
	write(t, root, "inside.css", "inside")
	for link, target := range map[string]string{
		"shared": out + "/shared", "one.css": out + "/one.css", "beside.css": "../beside.css", "back.css": root + "/inside.css", "up": "..",
		"store": out + "/.hidden/open", "hidden": out + "/.hidden", "env.css": out + "/shared/.env", "dot.css": out + "/.dot.css", "deep": out + "/.hidden/.deep",
		"key.css": out + "/shared/private.key", "all": "/", "loop.css": root + "/loop.css", "later.css": out + "/later.css",
		"environ.css": "/proc/self/environ", "kernel.css": "/sys/kernel/notes",
	} {
		symlink(t, target, filepath.Join(root, link))
	}
	symlink(t, "shared", filepath.Join(out, "again"))
	symlink(t, out+"/again", filepath.Join(root, "again"))
	symlink(t, "../one.css", filepath.Join(out, "shared/up.css"))
	symlink(t, "private.key", filepath.Join(out, "shared/link.css"))

	follow := Options{Root: root, FollowSymlinks: true, Private: []string{out + "/shared/private.key"}}
	run := serve(t, follow)
	bodies := map[string]string{
		"/shared/x.css": "x", "/shared/sub/y.css": "y", "/one.css": "one", "/beside.css": "beside", "/back.css": "inside", "/store/z.css": "z",
		"/again/x.css": "x", "/shared/up.css": "one", "/up/beside.css": "beside", "/up/site/one.css": "one", "/up/site/up/site/inside.css": "inside",
		"/all" + out + "/one.css": "one", "/all" + root + "/inside.css": "inside",
	}
	for path, want := range bodies {
		if resp, body := run.get(t, "GET", path); resp.StatusCode != http.StatusOK || body != want {
			t.Errorf("%s: %s %q, want %q", path, resp.Status, body, want)
		}
	}
	for _, path := range []string{
		"/shared/.env", "/env.css", "/dot.css", "/deep/w.css", "/hidden/open/z.css", "/key.css", "/shared/private.key", "/shared/private.key.bak", "/shared/link.css",
		"/all" + out + "/shared/private.key", "/all" + out + "/.dot.css", "/loop.css", "/later.css", "/environ.css", "/all/proc/self/environ", "/kernel.css",
	} {
		if resp, body := run.get(t, "GET", path); resp.StatusCode != http.StatusNotFound || strings.Contains(body, "secret") {
			t.Errorf("%s: %s %q, want 404", path, resp.Status, body)
		}
	}
	if _, list := run.get(t, "GET", "/shared/"); !strings.Contains(list, "sub/") || strings.Contains(list, ".env") || strings.Contains(list, "private.key") {
		t.Errorf("the list of a linked directory is %s", list)
	}

	// What a link leads to can be another directory, and the root can be replaced.
	check(t, os.Remove(root+"/one.css"))
	symlink(t, out+"/shared/sub/y.css", root+"/one.css")
	if _, body := run.get(t, "GET", "/one.css"); body != "y" {
		t.Errorf("a link that leads elsewhere: %q", body)
	}
	check(t, os.Rename(root, root+".old"))
	symlink(t, root+".old", root)
	if _, body := run.get(t, "GET", "/back.css"); body != "inside" {
		t.Errorf("in a root that is a link: %q", body)
	}

	follow.FollowSymlinks = false
	check(t, run.Change(follow))
	for path := range bodies {
		if resp, body := run.get(t, "GET", path); resp.StatusCode != http.StatusNotFound {
			t.Errorf("by default, %s: %s %q", path, resp.Status, body)
		}
	}
}

// What a link leads to is compressed as other files are, and is looked for each time: no
// connection answers with it, nor is it kept. What is private is not what a file is compressed to.
func TestFollowedLinksAreNotKept(t *testing.T) {
	text := strings.Repeat("p { color: red }\n", 200)
	out := tree(t, "x.css", text+"x", "y.css", text+"y", "d/x.css", text+"x", "e/x.css", text+"y", "private.key", text+"secret")
	root := tree(t, "a.css", text)
	symlink(t, out+"/x.css", root+"/one.css")
	symlink(t, out+"/d", root+"/dir")
	symlink(t, out+"/private.key", root+"/a.css.br")
	opts := Options{Root: root, FollowSymlinks: true, Compress: true, Private: []string{out + "/private.key"}}
	run := serve(t, opts, func(s *Server) { s.warm() })
	conn := run.dialPlain(t)
	ask := func(path, want string) {
		t.Helper()
		for range 3 {
			resp, body := askOn(t, conn, conn.lines, "GET "+path+" HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: br\r\n\r\n")
			if got := decoded(t, resp, body); resp.Header.Get("Content-Encoding") != "br" || got != want {
				t.Errorf("%s: %v %.100q", path, resp.Header, strings.TrimPrefix(got, text))
			}
		}
	}
	ask("/one.css", text+"x")
	ask("/dir/x.css", text+"x")
	if kept := len(run.current.Load().hot.files); kept+int(run.fast.Load()) > 0 {
		t.Errorf("%d files are kept, and %d requests were answered with them", kept, run.fast.Load())
	}
	ask("/a.css", text)
	if run.fast.Load() == 0 {
		t.Error("no other file is kept")
	}
	for link, target := range map[string]string{"one.css": "y.css", "dir": "e"} {
		remove(t, root, link)
		symlink(t, out+"/"+target, root+"/"+link)
	}
	ask("/one.css", text+"y")
	ask("/dir/x.css", text+"y")
	remove(t, root, "one.css")
	symlink(t, out+"/private.key", root+"/one.css")
	run.status(t, http.StatusNotFound, "GET", "/one.css", "Accept-Encoding", "br")

	opts.Precompressed = true
	run.change(t, opts)
	run.warm()
	ask("/a.css", text)
	write(t, out, "x.gz", "packed")
	symlink(t, out+"/x.gz", root+"/a.css.gz")
	if resp, body := run.get(t, "GET", "/a.css", "Accept-Encoding", "gzip"); resp.Header.Get("Content-Encoding") != "gzip" || body != "packed" {
		t.Errorf("a compressed file by a link: %v", resp.Header)
	}
}

// A page hears of changes of a file outside of the root by the name that it uses.
func TestChangesOutsideAreTold(t *testing.T) {
	out := tree(t, "x.css", "1", "b.html", "1")
	root := tree(t, "a.html", "a")
	symlink(t, out, root+"/shared")
	run := serve(t, Options{Root: root, FollowSymlinks: true})
	style, page := run.open(t, "/a.html", "/shared/x.css"), run.open(t, "/shared/b")
	write(t, out, "x.css", "2")
	run.Refresh("shared/x.css")
	if got := style.hear(t); !strings.Contains(got, `"files":["/shared/x.css"]`) {
		t.Errorf("told %s", got)
	}
	write(t, out, "b.html", "2")
	run.Refresh("shared/b.html")
	if got := page.hear(t); !strings.Contains(got, `"reload":true`) {
		t.Errorf("told %s", got)
	}
	check(t, os.Remove(root+"/shared"))
	run.Recheck("shared")
	if got := style.hear(t); !strings.Contains(got, "/shared/x.css") {
		t.Errorf("without the link told %s", got)
	}

	symlink(t, root+"/a.html", root+"/back.css")
	back := run.open(t, "/x", "/back.css")
	write(t, root, "a.html", "new")
	run.Refresh("a.html")
	if got := back.hear(t); !strings.Contains(got, `"files":["/back.css"]`) {
		t.Errorf("of a link that leads back into the root told %s", got)
	}
}
