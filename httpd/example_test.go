package httpd_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"

	"github.com/execlog/execlogd/httpd"
)

// A site is served, with the script in its pages. After a change, Refresh
// tells the pages that are open.
func Example() {
	root, err := os.MkdirTemp("", "site")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(root)
	page := filepath.Join(root, "index.html")
	if err := os.WriteFile(page, []byte("<!doctype html>\n<title>Hello</title>\n"), 0o644); err != nil {
		panic(err)
	}

	server, err := httpd.New(httpd.Options{Root: root})
	if err != nil {
		panic(err)
	}
	defer server.Close()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error)
	go func() { served <- server.Serve(ctx, ln) }()

	resp, err := http.Get("http://" + ln.Addr().String())
	if err != nil {
		panic(err)
	}
	body, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil {
		panic(err)
	}
	fmt.Println(bytes.Contains(body, []byte(`<script src="livereload.js`)))
	server.Refresh("index.html", "style.css")

	stop()
	fmt.Println(<-served)
	// Output:
	// true
	// <nil>
}
