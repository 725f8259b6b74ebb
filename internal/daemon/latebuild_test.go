package daemon

import (
	"testing"
	"time"
)

// A program that has once begun to build later than pages wait for it is waited for
// again: it builds on these changes, and the machine was busy.
func TestBuildThatBeganLate(t *testing.T) {
	s := begin(t, `
-- public/a.html --
<p>one
-- src/a --
-- x.toml --
[server]
root = 'public'
port = 0
[[route]]
name = 'site'
builder = true
outputs = 'public/'
shell = 'mkfifo .build; echo begin; echo ok; while read -r text <.build; do echo begin; echo "$text" >public/a.html; echo ok; done'
begins = '^begin'
succeeds = '^ok'
`)
	s.Await("msg=done route=site")
	build := func(text string) {
		t.Helper()
		s.Write(".build", text+"\n")
	}
	told := s.page("/a.html")

	s.Write("src/a", "1")
	time.Sleep(maxBuildDelay + time.Second)
	build("<p>two")
	s.isTold(told, `"reload"`)

	time.Sleep(2 * sameSave) // so that the build does not have it
	saved := time.Now()
	s.Write("src/a", "2")
	s.Write("public/a.html", "<p>half")
	next := make(chan time.Duration, 1)
	go func() {
		told()
		next <- time.Since(saved)
	}()
	time.Sleep(maxBuildDelay / 2)
	build("<p>three")
	if waited := <-next; waited < maxBuildDelay/2 {
		t.Errorf("a page was told %v after a change, before the build of it", waited)
	}
}
