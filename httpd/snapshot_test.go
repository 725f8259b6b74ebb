package httpd

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/execlog/execlogd/httpd/internal/livereload"
)

// describe formats a change with the pages that it affected.
func describe(rec livereload.Change) string {
	var s strings.Builder
	s.WriteString(fmt.Sprint(rec.Number))
	for _, f := range rec.Files {
		s.WriteString(" " + f)
	}
	var pages []string
	for _, c := range rec.Affected {
		effect := c.File
		if c.Reload {
			effect += " !"
		}
		_, path, _ := strings.Cut(strings.TrimPrefix(c.URL, "http://"), "/")
		pages = append(pages, fmt.Sprintf("/%s %s %s", path, [...]string{"may use", "shows", "uses"}[c.Reason], effect))
	}
	slices.Sort(pages)
	return s.String() + ": " + strings.Join(pages, ", ")
}

func TestSnapshot(t *testing.T) {
	run := serve(t, Options{Root: site(t, "a.html", "x.css")})
	changed := run.hub.Changed()
	a := run.open(t, "/a.html", "/x.css", "/none.png")
	<-changed
	stock := run.dial(t)
	stock.greet(t, run.url("/b.html"))
	changed = run.hub.Changed()
	run.Refresh("x.css")
	<-changed
	a.is(t, "/x.css")
	run.Refresh("a.html", "y.js")
	run.Recheck("a.html")
	run.SetError("job", &PageError{Title: "failed"})

	shot := run.hub.Snapshot(10, 10)
	if shot.Open != 2 || len(shot.Pages) != 2 || len(shot.Errors) != 1 {
		t.Fatalf("got %+v", shot)
	}
	p, q := shot.Pages[0], shot.Pages[1]
	if p.URL != run.url("/a.html") || p.Remote != "127.0.0.1" || !p.Reports || !p.Known || p.Since.IsZero() || !slices.Equal(p.Uses, []string{"/x.css", "/none.png"}) {
		t.Errorf("our page: %+v", p)
	}
	if q.URL != run.url("/b.html") || q.Reports || q.Known || len(q.Uses) != 0 {
		t.Errorf("the stock page: %+v", q)
	}
	want := []string{
		"3 a.html: ",
		"2 a.html y.js: /a.html shows /a.html !, /b.html may use /y.js !",
		"1 x.css: /a.html uses /x.css, /b.html may use /x.css",
	}
	for i, r := range shot.Changes {
		if r.Time.IsZero() || r.Names != (i == 0) || describe(r) != want[i] {
			t.Errorf("got %s, want %s", describe(r), want[i])
		}
	}
	if one := run.hub.Snapshot(1, 1); one.Open != 2 || len(one.Pages) != 1 {
		t.Errorf("asked for one page, got %d", len(one.Pages))
	}
}
