package httpd

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// A request for what is not there waits as long as something is being made. Each row says
// what is there, what happens to it once the request waits, and the answer.
func TestRequestsWaitForARebuild(t *testing.T) {
	replace := func(dir, name, content string) error {
		return os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644)
	}
	for _, tt := range []struct {
		name, path string
		files      map[string]string
		happens    func(dir string, rebuilding *atomic.Bool) error
		want       string
	}{
		{"a page that is made", "/a.html", nil, func(dir string, _ *atomic.Bool) error { return replace(dir, "a.html", "made") }, "200 made"},
		{"one without its extension", "/a", nil, func(dir string, _ *atomic.Bool) error { return replace(dir, "a.html", "made") }, "200 made"},
		{"a style sheet", "/a.css", nil, func(dir string, _ *atomic.Bool) error { return replace(dir, "a.css", "made") }, "200 made"},
		{"an index", "/", map[string]string{"x.css": ""}, func(dir string, _ *atomic.Bool) error { return replace(dir, "index.html", "made") }, "200 made"},
		{"a page without content", "/a.html", map[string]string{"a.html": ""}, func(dir string, _ *atomic.Bool) error { return replace(dir, "a.html", "made") }, "200 made"},
		{"one that is not made", "/a.html", nil, func(_ string, rebuilding *atomic.Bool) error { rebuilding.Store(false); return nil }, "404"},
		{"one that stays empty", "/a.html", map[string]string{"a.html": ""}, func(_ string, rebuilding *atomic.Bool) error { rebuilding.Store(false); return nil }, "200 "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			for name, content := range tt.files {
				write(t, dir, name, content)
			}
			var rebuilding atomic.Bool
			asked := make(chan struct{}, 1000)
			run := serve(t, Options{Root: dir, NoInject: true, Rebuilding: func() bool {
				select {
				case asked <- struct{}{}:
				default:
				}
				return rebuilding.Load()
			}})
			rebuilding.Store(true)
			answer := make(chan string, 1)
			go func() { answer <- run.ask(t, tt.path) }()
			for range 3 { // it was not answered, and looks again
				<-asked
			}
			if err := tt.happens(dir, &rebuilding); err != nil {
				t.Fatal(err)
			}
			if got := <-answer; got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// ask returns the status of an answer, and with 200 the body.
func (r *running) ask(t *testing.T, path string) string {
	resp, body := r.get(t, "GET", path)
	if resp.StatusCode != 200 {
		return fmt.Sprint(resp.StatusCode)
	}
	return "200 " + body
}

// What was waited for in vain is not waited for again, before it has been there.
func TestNoRequestWaitsTwiceInVain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	run := serve(t, Options{Root: dir, NoInject: true, Rebuilding: func() bool { return true }})
	took := func(path, want string) time.Duration {
		began := time.Now()
		if got := run.ask(t, path); got != want {
			t.Errorf("%s: got %q, want %q", path, got, want)
		}
		return time.Since(began)
	}
	if d := took("/a.html", "404"); d < maxRebuildWait {
		t.Errorf("it waited %v, want %v", d, maxRebuildWait)
	}
	if d := took("/a.html", "404"); d >= maxRebuildWait {
		t.Errorf("it waited again, %v", d)
	}
	write(t, dir, "a.html", "made")
	took("/a.html", "200 made")
}

// A file that was there a moment ago may be about to be made by a program of which nothing
// is known. One that was never there is not waited for.
func TestRequestsWaitForAFileThatWasThere(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, "d/a.html", "one")
	run := serve(t, Options{Root: dir, NoInject: true})
	if got := run.ask(t, "/d/a.html"); got != "200 one" {
		t.Fatal(got)
	}
	for try := 1; ; try++ {
		os.RemoveAll(filepath.Join(dir, "d"))
		began := time.Now()
		missing := run.ask(t, "/d/b.html")
		took := time.Since(began)
		answer := make(chan string, 1)
		go func() { answer <- run.ask(t, "/d/a.html") }()
		time.Sleep(rebuildPause / 4)
		write(t, dir, "d/a.html", "two")
		again := <-answer
		if missing == "404" && took <= rebuildPause/2 && again == "200 two" {
			break
		}
		// A machine that is busy may take as long as the pause.
		if try == 5 || time.Since(began) < rebuildPause/2 {
			t.Fatalf("one that was never there: %s after %v; one that is made again: %s", missing, took, again)
		}
		run.ask(t, "/d/a.html") // is there
	}
	os.RemoveAll(filepath.Join(dir, "d"))
	if got := run.ask(t, "/d/a.html"); got != "404" {
		t.Errorf("one that is not made again: %s", got)
	}
}

// A page that has waited has seen what was told meanwhile, and need not load again for it.
func TestAPageThatHasWaitedIsNotToldWhatItHasSeen(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	asked := make(chan struct{}, 1000)
	run := serve(t, Options{Root: dir, Rebuilding: func() bool {
		select {
		case asked <- struct{}{}:
		default:
		}
		return true
	}})
	answer := make(chan string, 1)
	go func() { answer <- run.ask(t, "/a.html") }()
	for range 3 {
		<-asked
	}
	run.Refresh("b.html")
	write(t, dir, "a.html", "<title>a</title>")
	waited := <-answer
	if later := run.ask(t, "/a.html"); waited != later || !strings.Contains(later, "livereload.js") {
		t.Errorf("it has\n%s\nand the next one\n%s", waited, later)
	}
}

// So many requests wait, and no more.
func TestFewRequestsWait(t *testing.T) {
	t.Parallel()
	var rebuilding atomic.Bool
	rebuilding.Store(true)
	run := serve(t, Options{Root: t.TempDir(), NoInject: true, Rebuilding: rebuilding.Load})
	answers := make(chan string, maxRebuildWaiting)
	for i := range maxRebuildWaiting {
		go func() { answers <- run.ask(t, fmt.Sprintf("/%d.html", i)) }()
	}
	for run.rebuilds.waiting.Load() < maxRebuildWaiting {
		time.Sleep(time.Millisecond)
	}
	if got := run.ask(t, "/more.html"); got != "404" || len(answers) > 0 {
		t.Errorf("one more: %s, when %d of the others were answered", got, len(answers))
	}
	rebuilding.Store(false)
	for range maxRebuildWaiting {
		<-answers
	}
}
