package httpd

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// String writes a record for tests.
func (rec record) String() string {
	var s strings.Builder
	s.WriteString(fmt.Sprint(rec.number))
	for _, f := range rec.files {
		s.WriteString(" " + f)
	}
	var pages []string
	for _, c := range rec.pages {
		effect := c.file
		if c.reload {
			effect += " !"
		}
		_, path, _ := strings.Cut(strings.TrimPrefix(c.url, "http://"), "/")
		pages = append(pages, fmt.Sprintf("/%s %s %s", path, [...]string{"may use", "shows", "uses"}[c.why], effect))
	}
	slices.Sort(pages)
	return s.String() + ": " + strings.Join(pages, ", ")
}

func TestSnapshot(t *testing.T) {
	run := serve(t, Options{Root: site(t, "a.html", "x.css")})
	stirred := run.hub.stirred()
	a := run.open(t, "/a.html", "/x.css", "/none.png")
	<-stirred
	stock := run.dial(t)
	stock.greet(t, run.url("/b.html"))
	stirred = run.hub.stirred()
	run.Refresh("x.css")
	<-stirred
	a.is(t, "/x.css")
	run.Refresh("a.html", "y.js")
	run.Recheck("a.html")
	run.SetError("job", &PageError{Title: "failed"})

	shot := run.hub.snapshot(10, 10)
	if shot.open != 2 || len(shot.pages) != 2 || len(shot.errors) != 1 {
		t.Fatalf("got %+v", shot)
	}
	p, q := shot.pages[0], shot.pages[1]
	if p.url != run.url("/a.html") || p.remote != "127.0.0.1" || !p.ours || !p.known || p.since == 0 || !slices.Equal(p.uses, []string{"/x.css", "/none.png"}) {
		t.Errorf("our page: %+v", p)
	}
	if q.url != run.url("/b.html") || q.ours || q.known || len(q.uses) != 0 {
		t.Errorf("the stock page: %+v", q)
	}
	want := []string{
		"3 a.html: ",
		"2 a.html y.js: /a.html shows /a.html !, /b.html may use /y.js !",
		"1 x.css: /a.html uses /x.css, /b.html may use /x.css",
	}
	for i, r := range shot.changes {
		if r.when == 0 || r.names != (i == 0) || r.String() != want[i] {
			t.Errorf("got %s, want %s", r, want[i])
		}
	}
	if one := run.hub.snapshot(1, 1); one.open != 2 || len(one.pages) != 1 {
		t.Errorf("asked for one page, got %d", len(one.pages))
	}
}

// However much happens, little of it is kept.
func TestRecordsAreBounded(t *testing.T) {
	var h hub
	for range 100 {
		h.seenAs(h.join(), strings.Repeat("x", 1<<16), "[::1]:5")
	}
	var paths []string
	for i := range 100 {
		paths = append(paths, fmt.Sprintf("%d.js", i))
	}
	for range 2 * maxRecords {
		h.broadcast(newChange(paths), nil)
	}
	shot := h.snapshot(1, 1)
	r := shot.changes[0]
	if len(shot.changes) != maxRecords || r.number != 2*maxRecords || len(r.files)+r.more != 100 || len(r.files) != maxRecordFiles ||
		len(r.pages)+r.others != 100 || len(r.pages) != maxRecordPages || len(shot.pages[0].url) != longestShownURL || shot.pages[0].remote != "::1" {
		t.Errorf("%d changes; the last: %+v", len(shot.changes), r)
	}
}
