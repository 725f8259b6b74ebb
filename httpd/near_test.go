package httpd

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// The page about what is not there links to what may have been meant, if its reader may
// know the names.
func TestNearNames(t *testing.T) {
	root := tree(t,
		"about.html", "", "abacus.html", "", ".abuot.html", "", "style.css", "", "photo.jpeg", "",
		"docs/install.html", "", "docs/sub/x", "", "site/index.html", "", "site/contact.html", "", "linked/contact.html", "", "kept/index.html", "", "kept/contact.html", "")
	symlink(t, "/etc/hostname", root+"/linked/index.html")
	symlink(t, "../about", root+"/aboit.html")
	run := serve(t, Options{Root: root, Private: []string{root + "/kept/index.html"}})
	tests := []struct{ path, want string }{
		{"/abuot.html", "./about.html"},
		{"/abuot", "./about.html"},
		{"/About.HTML", "./about.html"},
		{"/photo.png", "./photo.jpeg"},
		{"/stlye.css", "./style.css"},
		{"/docz", "./docs/"},
		{"/docs/instal.html", "./install.html"},
		{"/docs/sbu/", ".././sub/"},
		{"/nothing-like-it", ""},
		{"/none/about.html", ""},
		{"/site/contakt.html", "./contact.html"},
		{"/linked/contakt.html", "./contact.html"},
		{"/kept/contakt.html", "./contact.html"},
	}
	for _, tt := range tests {
		for _, stranger := range []bool{false, true} {
			headers, want := []string{"Accept", "text/html"}, tt.want
			if stranger {
				headers = append(headers, "Via", "1.1 proxy")
				if strings.HasSuffix(tt.path, "/contakt.html") {
					want = "" // the index page hides the names, even if it is not served itself
				}
			}
			resp, body := run.get(t, "GET", tt.path, headers...)
			_, list, _ := strings.Cut(body, `<ul class="near">`)
			list, _, _ = strings.Cut(list, "</ul>")
			if got := strings.Join(hrefs(list), " "); resp.StatusCode != 404 || got != want {
				t.Errorf("%s, stranger %v: got %d %q, want %q", tt.path, stranger, resp.StatusCode, got, want)
			}
		}
	}
}

// In a large directory of names of one kind not each of them is opened, nor compared at length.
func TestNearNamesInALargeDirectory(t *testing.T) {
	root := t.TempDir()
	for i := range maxNearEntries {
		check(t, os.WriteFile(fmt.Sprintf("%s/photograph-of-the-holidays-%04d.jpg", root, i), nil, 0o644))
	}
	run := serve(t, Options{Root: root})
	ask := func() {
		_, body := run.get(t, "GET", "/photograph-of-the-holidays-123.jpg", "Accept", "text/html")
		if !strings.Contains(body, `"./photograph-of-the-holidays-0123.jpg"`) {
			t.Error("the nearest name is not there")
		}
	}
	if n := testing.AllocsPerRun(1, ask) / maxNearEntries; n > 10 {
		t.Errorf("%.0f allocations for each name", n)
	}
}

// A list of a large directory comes in pages, and has a filter.
func TestLargeListing(t *testing.T) {
	root := t.TempDir()
	const files = 2*listingPage + 5
	for i := range files {
		check(t, os.WriteFile(fmt.Sprintf("%s/f%05d.txt", root, i), make([]byte, i%7), 0o644))
	}
	write(t, root, "z/x", "")
	symlink(t, "../..", root+"/out")
	run := serve(t, Options{Root: root})
	tests := []struct {
		query string
		rows  int
		has   []string
		no    []string
	}{
		{"", listingPage, []string{`"./z/"`, `"./f00000.txt"`, "Page 1 of 3", `"./?page=2"`, "1 directory, 2005 files</p>"}, []string{"Previous", "f02004", `"./out`}},
		{"?page=2", listingPage, []string{"Page 2 of 3", "First", "Last"}, []string{`"./z/"`}},
		{"?page=3", files + 1 - 2*listingPage, []string{"f02004", "Page 3 of 3"}, []string{"Next"}},
		{"?page=99", files + 1 - 2*listingPage, []string{"Page 3 of 3"}, nil},
		{"?page=-1", listingPage, []string{"Page 1 of 3"}, nil},
		{"?sort=size&order=desc&page=2", listingPage, []string{"Page 2 of 3", `"./?order=desc&amp;page=3&amp;sort=size"`, "kB</p>"}, nil},
		{"?q=F0010", 10, []string{"f00100", `value="F0010"`, "10 files, ", `"./?q=F0010&amp;sort=size&amp;order=desc"`}, []string{"Page"}},
		{"?q=nothing%22%3E", 0, []string{"No name here has “nothing&#34;&gt;” in it"}, []string{"<table>"}},
	}
	for _, tt := range tests {
		_, body := run.get(t, "GET", "/"+tt.query)
		if n := strings.Count(body, `<th scope="row">`); n != tt.rows {
			t.Errorf("%s: %d rows, want %d", tt.query, n, tt.rows)
		}
		for _, text := range tt.has {
			if !strings.Contains(body, text) {
				t.Errorf("%s: no %s", tt.query, text)
			}
		}
		for _, text := range tt.no {
			if strings.Contains(body, text) {
				t.Errorf("%s: %s", tt.query, text)
			}
		}
		if len(body) > 400<<10 {
			t.Errorf("%s: %d bytes", tt.query, len(body))
		}
	}
}
