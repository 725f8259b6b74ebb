package e2e

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Visitors behind nginx do not see what is for the owner alone, whatever headers they
// send, with the block of docs/service.md and with other configurations. The owner
// sees it at the address with the token.
func TestPrivateBehindNginx(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("nginx"); err != nil {
		t.Skip("no nginx: install it with apt-get install nginx")
	}
	dir := t.TempDir()
	write(t, dir, map[string]string{
		"site/index.html": document("<p>text"),
		"site/style.css":  "",
		"x.toml":          "[server]\nroot = 'site'\nport = 0\nallow_host = 'preview.example.com'\n[[route]]\nname = 'build'\nrun = ['echo', 'private']\nstart = true\nmatch = '*.md'\n",
	})
	d, err := startDaemon(t, dir, "-config", "x.toml")
	if err != nil {
		t.Fatal(err)
	}
	says := regexp.MustCompile(`status page (\S+)/\.execlogd/(\?token=\S+)`)
	var token string
	err = eventually(t.Context(), "the owner's address and a run", func() bool {
		if found := says.FindStringSubmatch(d.stderr.String()); found != nil {
			token = found[2]
		}
		return token != "" && strings.Contains(d.stderr.String(), "done")
	})
	if err != nil {
		t.Fatal(err)
	}
	if page := exchange(t, strings.TrimPrefix(d.URL, "http://"), "GET /.execlogd/ HTTP/1.1\r\nHost: "+strings.TrimPrefix(d.URL, "http://")); !strings.Contains(page, "echo private") {
		t.Errorf("this machine is not shown what has run: %s", page)
	}

	manual, err := os.ReadFile("../docs/service.md")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile(`(?s)    location /preview/ \{.*?\n    \}\n`).Find(manual)
	if !bytes.Contains(block, []byte("proxy_pass http://127.0.0.1:8000/;")) {
		t.Fatalf("docs/service.md has the block %s", block)
	}
	plain := func(lines ...string) string {
		return "location /preview/ { proxy_pass http://127.0.0.1:8000/; " + strings.Join(lines, "; ") + "; }"
	}
	const upgrade = "proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade"
	tests := []struct{ name, block string }{
		{"docs/service.md", string(block)},
		{"X-Forwarded-Host alone", plain("proxy_http_version 1.1", upgrade, "proxy_set_header X-Forwarded-Host $http_host")},
		{"X-Real-IP alone", plain("proxy_http_version 1.1", `proxy_set_header Connection ""`, "proxy_set_header X-Real-IP $remote_addr")},
		{"CF-Connecting-IP alone", plain("proxy_http_version 1.1", `proxy_set_header Connection ""`, "proxy_set_header CF-Connecting-IP $remote_addr")},
		{"X-Forwarded-Proto alone", plain("proxy_http_version 1.1", `proxy_set_header Connection ""`, "proxy_set_header X-Forwarded-Proto $scheme")},
		{"nothing", plain("proxy_set_header Accept $http_accept")},
	}
	if os.Geteuid() == 0 { // the workers of nginx have a user of their own
		tests = append(tests, struct{ name, block string }{"nothing, HTTP/1.1", plain("proxy_http_version 1.1", `proxy_set_header Connection ""`)})
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			front := startNginx(t, strings.ReplaceAll(tt.block, "http://127.0.0.1:8000", d.URL))
			for _, request := range []string{
				"GET /preview/.execlogd/ HTTP/1.0",
				"GET /preview/.execlogd/ HTTP/1.1\r\nHost: preview.example.com",
				"GET /preview/.execlogd/ HTTP/1.1\r\nHost: localhost",
				"GET /preview/.execlogd/ HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For:",
				"GET /preview/.execlogd/ HTTP/1.1\r\nHost: localhost\r\nConnection: close, X-Forwarded-For, X-Forwarded-Host",
			} {
				if page := exchange(t, front, request); !strings.Contains(page, "Exec log") || strings.Contains(page, "echo private") || strings.Contains(page, dir) {
					t.Errorf("%q gets %s", request, page)
				}
			}

			jar, err := cookiejar.New(nil)
			if err != nil {
				t.Fatal(err)
			}
			client := http.Client{Jar: jar, Transport: &http.Transport{DisableKeepAlives: true}}
			resp, err := client.Get("http://" + front + "/preview/.execlogd/" + token)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			page, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(string(page), "echo private") || resp.Request.URL.RawQuery != "" {
				t.Errorf("the owner is led to %s and gets %s", resp.Request.URL, page)
			}
			if cookies := jar.Cookies(&url.URL{Scheme: "http", Host: front, Path: "/preview/"}); len(cookies) > 0 {
				t.Errorf("the site gets %v", cookies)
			}
		})
	}
}

// startNginx runs nginx with a location block until the test ends, and returns
// its address.
func startNginx(t *testing.T, block string) string {
	t.Helper()
	return startNginxHTTP(t, func(addr string) string { return fmt.Sprintf("server { listen %s; %s }", addr, block) })
}

// startNginxHTTP runs nginx with what is in its block http until the test ends, and returns
// the address that it is to listen at.
func startNginxHTTP(t *testing.T, http func(addr string) string) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	ln.Close()
	dir := t.TempDir()
	write(t, dir, map[string]string{"nginx.conf": fmt.Sprintf(`
daemon off;
pid nginx.pid;
error_log stderr;
events {}
http {
	access_log off;
	client_body_temp_path tmp; proxy_temp_path tmp; fastcgi_temp_path tmp; uwsgi_temp_path tmp; scgi_temp_path tmp;
	%s
}
`, http(addr))})
	cmd := exec.Command("nginx", "-p", dir, "-c", filepath.Join(dir, "nginx.conf"))
	said := new(syncBuffer)
	cmd.Stderr = said
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
		if t.Failed() {
			t.Logf("nginx wrote: %s", said)
		}
	})
	err = eventually(t.Context(), "nginx to listen", func() bool {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	if err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	return addr
}

// exchange sends a raw request and returns the answer.
func exchange(t *testing.T, addr, request string) string {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(maxWait))
	if !strings.Contains(request, "Connection:") {
		request += "\r\nConnection: close"
	}
	io.WriteString(conn, request+"\r\n\r\n")
	answer, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	return string(answer)
}
