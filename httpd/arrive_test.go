package httpd

import (
	"strings"
	"testing"
	"time"
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
				if p.last.Seen != second.hub.now().String() {
					t.Errorf("the page's position is %s, and the server's %s", p.last.Seen, second.hub.now())
				}
			})
			t.Run("same server", func(t *testing.T) {
				dir, run, p := open(t)
				tt.meantime(t, dir)
				run.Refresh(tt.changed...)
				p.again(t, run).is(t, strings.Split(tt.same, "|")...)
			})
			t.Run("after many changes", func(t *testing.T) {
				dir, run, p := open(t)
				tt.meantime(t, dir)
				run.Refresh(tt.changed...)
				for range maxPast {
					run.Refresh("other.html")
				}
				p.again(t, run).is(t, strings.Split(tt.tooMany, "|")...)
			})
		})
	}
}

// Where the same page opens again and again, it is told to load itself again
// once at most: the badge that it then has is of the server that it meets.
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
	t.Run("without a badge", func(t *testing.T) {
		write(t, dir, "x.css", "!!")
		second.Refresh("x.css")
		for range 3 {
			p := second.info(t, "/a.html", map[string]any{"badge": "", "uses": []string{"/x.css"}})
			p.is(t, "at")
		}
	})
}

// A page that was served and never connected has no digest. Then its files
// must not be younger than its badge.
func TestTheTimeOfServingDecidesWithoutADigest(t *testing.T) {
	dir := site(t, "a.html", "x.css", "d/")
	now := time.Now().UnixMilli()
	tests := []struct {
		name   string
		served int64
		uses   []string
		want   string
	}{
		{"served after all files", now + setBack/2, []string{"/x.css", "/none.css"}, "at"},
		{"served before a file changed", now - 5000, []string{"/x.css"}, " !"},
		{"served before its own file changed", now - 5000, nil, " !"},
		{"served before something else came or went beside what is not there", now - 5000, []string{"/none.css"}, " !"},
		{"served at a time that is yet to come, as the clock was set back", now + 3600_000, []string{"/x.css"}, " !"},
		{"served by a server that did not say when", 0, []string{"/x.css"}, " !"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newServer(t, Options{Root: dir})
			slot := s.hub.join()
			defer s.hub.leave(slot)
			s.hub.adopt(slot)
			b := badge{position: position{"EARLIER", 7, tt.served}}
			s.hub.meet(slot, request{Path: "/a.html", Uses: tt.uses}, b)
			if got := answers(t, s.hub.take(slot)); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// Names that come and go between the serving of a page and its socket.
func TestNamesChangeBeforeTheSocketOpens(t *testing.T) {
	tests := []struct {
		name   string
		served int64 // ms before the change
		do     func(t *testing.T, dir string)
		path   string
		want   string
	}{
		{"a file was deleted", 5000, func(t *testing.T, dir string) { remove(t, dir, "x.css") }, "x.css", "at | errors: /x.css is gone"},
		{"its own file was deleted", 5000, func(t *testing.T, dir string) { remove(t, dir, "a.html") }, "a.html", "at | errors: /a.html is gone"},
		{"a file came", 5000, func(t *testing.T, dir string) { write(t, dir, "none.css", "!") }, "none.css", "/none.css"},
		{"another file came", 5000, func(t *testing.T, dir string) { write(t, dir, "other.css", "!") }, "other.css", "at"},
		{"a file came before the page was served", -500, func(t *testing.T, dir string) { write(t, dir, "none.css", "!") }, "none.css", "at"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := site(t, "a.html", "x.css")
			s := newServer(t, Options{Root: dir})
			s.hub.age(tt.served)
			b := badge{position: s.hub.now()}
			tt.do(t, dir)
			s.Recheck(tt.path)
			slot := s.hub.join()
			defer s.hub.leave(slot)
			s.hub.adopt(slot)
			s.hub.meet(slot, request{Path: "/a.html", Uses: []string{"/x.css", "/none.css"}}, b)
			if got := answers(t, s.hub.take(slot)); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// What was found after the last message is no part of its digest.
func TestUsesFoundWhileThePageWasAway(t *testing.T) {
	dir := site(t, "a.html", "x.css")
	first := serve(t, Options{Root: dir})
	first.hub.age(-setBack / 2) // the files are older than all this
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
