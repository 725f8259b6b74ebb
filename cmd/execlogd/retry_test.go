package main

import (
	"regexp"
	"testing"
)

func TestRetries(t *testing.T) {
	s := begin(t, `
-- x.toml --
[[route]]
name = "fetch"
match = "*.url"
retries = 2
backoff = "10ms"
shell = "echo x >>tried; [ $(wc -l <tried) = 3 ]"
`)
	s.write("a.url", "1")
	for _, want := range []string{"again=10ms", "again=20ms"} {
		line := s.await("msg=failed")
		if !regexp.MustCompile(`route=fetch path=\S*/a.url .*exit status 1" ` + want + `$`).MatchString(line) {
			t.Errorf("got %s, want %s", line, want)
		}
	}
	s.await("msg=done route=fetch path=" + s.dir + "/a.url")
}

// With -exit-on-failure the last retry counts.
func TestRunRetries(t *testing.T) {
	r := runLine(t, "-retries", "1", "-backoff", "1ms", "-exit-on-failure", "-match", "*.none", "-shell", "exit 3")
	r.next(`execlogd: sh -c "exit 3": exit status 3 after *, again in 1ms`)
	if err := r.wait(); exitStatus(err) != 3 {
		t.Errorf("got %v, want exit status 3", err)
	}
}
