package main

import (
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"path/filepath"
	"strings"
	"testing"
)

// The line at the start has the address at which the owner sees all, which stays
// good when the configuration is loaded anew. No other line has the token, nor
// has what systemd shows to every user.
func TestOwnersAddress(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "notify")
	notices, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer notices.Close()
	t.Setenv("NOTIFY_SOCKET", socket)
	const text = "[server]\nport = 0\n[[route]]\nname = 'build'\nmatch = '*.md'\nstart = true\nrun = ['echo', 'private']\n"
	s := begin(t, "-- index.html --\n-- x.toml --\n"+text, "-log-level", "debug")
	line := s.await("execlogd: status page ")
	page := strings.TrimPrefix(line, "execlogd: status page ")
	address, token, _ := strings.Cut(page, "?token=")
	if address != s.url+"/.execlogd/" || len(token) < 26 {
		t.Fatalf("got %q", line)
	}
	s.await("msg=done route=build")

	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Jar: jar, Transport: &http.Transport{DisableKeepAlives: true}}
	look := func(url string) string {
		req, err := http.NewRequestWithContext(t.Context(), "GET", url, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Forwarded-For", "10.0.0.7")
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(body)
	}
	if strings.Contains(look(address), "echo private") {
		t.Error("a visitor sees the command")
	}
	if !strings.Contains(look(page), "echo private") {
		t.Error("the owner does not see the command")
	}
	s.write("x.toml", text+"\nstdin = 'none'\n[[route]]\nname = 'other'\nmatch = '*.txt'\nrun = ['true']\n")
	hangup(t)
	s.await(`msg="configuration loaded"`)
	if !strings.Contains(look(address), "echo private") {
		t.Error("the owner's cookie is not good any more")
	}
	if !strings.Contains(look(page), "echo private") {
		t.Error("the address is not good any more")
	}

	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	for line := range s.lines {
		s.seen = append(s.seen, line)
	}
	for _, seen := range s.seen {
		if strings.Contains(seen, token) && seen != line {
			t.Errorf("the token is in %q", seen)
		}
	}
	buf := make([]byte, 1<<16)
	for stopping := false; !stopping; {
		n, err := notices.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		stopping = strings.Contains(string(buf[:n]), "STOPPING=1")
		if strings.Contains(string(buf[:n]), token) {
			t.Errorf("systemd is told %q", buf[:n])
		}
	}
}

// A server that comes with a later configuration has its owner told then.
func TestOwnersAddressComesWithTheServer(t *testing.T) {
	s := begin(t, "-- site/index.html --\n-- x.toml --\n"+oneRoute)
	s.write("x.toml", "[server]\nroot = 'site'\nport = 0\n")
	hangup(t)
	s.awaitAll("execlogd: status page http://127.0.0.1:", `msg="configuration loaded"`)
	for _, line := range s.seen[:1] {
		if strings.Contains(line, "token") {
			t.Errorf("without a server: %q", line)
		}
	}
}
