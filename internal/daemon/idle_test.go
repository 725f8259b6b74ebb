package daemon

import (
	"testing"
	"time"
)

// The daemon ends when it has had nothing to do for so long, which is not while a page is
// open, nor while there are routes.
func TestIdleExit(t *testing.T) {
	const served = "[server]\nroot = 'site'\nport = 0\n"
	const route = "[[route]]\nname = 'r'\nmatch = '*.md'\nrun = ['true']\n"
	s := begin(t, "-- site/ --\n-- x.toml --\n"+served)
	page := s.connect(`{"command":"hello","protocols":["http://livereload.com/protocols/official-7"]}`)
	goesOn := func(why string) {
		t.Helper()
		for quiet := time.After(300 * time.Millisecond); ; {
			select {
			case line, ok := <-s.Log:
				if !ok {
					t.Fatalf("it has ended, with %s", why)
				}
				s.Seen = append(s.Seen, line)
			case <-quiet:
				return
			}
		}
	}

	s.Reload("idle_exit = '50ms'\n" + served)
	goesOn("a page")
	s.Reload("idle_exit = '50ms'\n" + served + route)
	page.CloseNow()
	goesOn("a route")
	s.Load("idle_exit = '50ms'\n" + served)
	s.Await("msg=stopping", `cause="nothing to do for 50ms"`)
	s.Stop()
}
