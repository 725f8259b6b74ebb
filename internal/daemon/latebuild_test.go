package daemon

import (
	"testing"
	"time"
)

// A program that has once begun to build later than pages wait for it is waited for
// again: it builds on these changes, and the machine was busy. The program reads nothing where it
// opens the pipe before the writer of the text before has closed it.
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
shell = 'mkfifo .build; echo begin; echo ok; while :; do if read -r text <.build; then echo begin; echo "$text" >public/a.html; echo ok; fi; done'
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
	s.Await("msg=done route=site") // so that it is known when the build began

	time.Sleep(2 * sameSave) // so that the build does not have it
	saved := time.Now()
	s.Write("src/a", "2")
	time.Sleep(maxBuildDelay / 4) // on a busy machine it is noted later
	s.Write("public/a.html", "<p>half")
	type message struct {
		text  string
		after time.Duration
	}
	next := make(chan message, 1)
	go func() {
		text := told()
		next <- message{text, time.Since(saved)}
	}()
	time.Sleep(maxBuildDelay / 4)
	build("<p>three")
	if m := <-next; m.after < maxBuildDelay/2 {
		t.Errorf("a page was told %v after a change, before the build of it: %s", m.after, m.text)
	}
}
