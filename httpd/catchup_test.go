package httpd

import (
	"strings"
	"testing"
)

// A page is open while the server stops, things happen, and another server of
// the same files starts. Or the same server goes on, and the page was away.
func TestWhatAPageMissedWhileItWasAway(t *testing.T) {
	const gone = "at|errors: /a.html is gone"
	tests := []struct {
		name     string
		meantime func(t *testing.T, dir string)
		changed  []string // what the server that goes on is told
		restart  string   // what the page is told by another server
		same     string   // and by the same
		tooMany  string   // and by the same, after many other changes
	}{
		{"nothing happened", func(*testing.T, string) {}, nil, "at", "at", "at"},
		{"another file changed", func(t *testing.T, dir string) { write(t, dir, "other.css", "!") }, []string{"other.css"}, "at", "at", "at"},
		{"a style sheet changed", func(t *testing.T, dir string) { write(t, dir, "x.css", "!") }, []string{"x.css"}, " !", "/x.css", " !"},
		{"a script changed", func(t *testing.T, dir string) { write(t, dir, "app.js", "!") }, []string{"app.js"}, " !", "/app.js !", " !"},
		{"its own file changed", func(t *testing.T, dir string) { write(t, dir, "a.html", "!") }, []string{"a.html"}, " !", "/a.html !", " !"},
		{"the same size and other content", func(t *testing.T, dir string) {
			write(t, dir, "new", "<p>y.css")
			rename(t, dir, "new", "x.css")
		}, []string{"x.css"}, " !", "/x.css", " !"},
		{"another file with the same content", func(t *testing.T, dir string) {
			write(t, dir, "new", "<p>x.css")
			rename(t, dir, "new", "x.css")
		}, []string{"x.css"}, "at", "/x.css", "at"},
		{"a file that it used was deleted", func(t *testing.T, dir string) { remove(t, dir, "x.css") }, []string{"x.css"}, " !", "at", " !"},
		{"what was missing has come", func(t *testing.T, dir string) { write(t, dir, "gone.js", "!") }, []string{"gone.js"}, " !", "/gone.js !", " !"},
		{"its own file was deleted", func(t *testing.T, dir string) { remove(t, dir, "a.html") }, []string{"a.html"}, gone, gone, gone},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			open := func(t *testing.T) (string, *running, *ourPage) {
				dir := site(t, "a.html", "x.css", "app.js")
				run := serve(t, Options{Root: dir})
				p := run.open(t, "/a.html", "/x.css", "/app.js", "/gone.js")
				p.use(t, nil, "//not/a path", "/x.css")
				p.is(t, "at")
				p.conn.CloseNow()
				run.awaitBrowsers(t, 0)
				return dir, run, p
			}
			t.Run("restart", func(t *testing.T) {
				dir, first, p := open(t)
				first.stop()
				tt.meantime(t, dir)
				second := serve(t, Options{Root: dir})
				p = p.again(t, second)
				p.is(t, strings.Split(tt.restart, "|")...)
				if p.last.Seen != second.hub.Cursor().String() {
					t.Errorf("the page's cursor is %s, and the server's %s", p.last.Seen, second.hub.Cursor())
				}
			})
			for how, want := range map[string]string{"same server": tt.same, "after many changes": tt.tooMany} {
				t.Run(how, func(t *testing.T) {
					dir, run, p := open(t)
					tt.meantime(t, dir)
					run.Refresh(tt.changed...)
					for i := 0; how == "after many changes" && i < 256; i++ {
						run.Refresh("other.html")
					}
					p.again(t, run).is(t, strings.Split(want, "|")...)
				})
			}
		})
	}
}

// Where the same page opens again and again, it is told to load itself again
// once at most: the token that it then has is of the server that it meets.
func TestCatchingUpIsNoLoop(t *testing.T) {
	dir := site(t, "a.html", "x.css")
	first := serve(t, Options{Root: dir})
	p := first.open(t, "/a.html", "/x.css")
	first.stop()
	write(t, dir, "x.css", "!")
	second := serve(t, Options{Root: dir})
	p.again(t, second).is(t, " !")
	for range 3 {
		second.open(t, "/a.html", "/x.css")
	}
	t.Run("without a token", func(t *testing.T) {
		write(t, dir, "x.css", "!!")
		second.Refresh("x.css")
		for range 3 {
			p := second.info(t, "/a.html", map[string]any{"token": "", "uses": []string{"/x.css"}})
			p.is(t, "at")
		}
	})
}

// What was found after the last message is no part of its digest.
func TestUsesFoundWhileThePageWasAway(t *testing.T) {
	dir := site(t, "a.html", "x.css")
	old(t, dir)
	first := serve(t, Options{Root: dir})
	p := first.open(t, "/a.html", "/x.css")
	first.stop()
	p.uses = append(p.uses, "/late.css")
	second := serve(t, Options{Root: dir})
	p = p.again(t, second)
	p.is(t, "at")
	second.stop()
	write(t, dir, "late.css", "!")
	p.again(t, serve(t, Options{Root: dir})).is(t, " !")
}
