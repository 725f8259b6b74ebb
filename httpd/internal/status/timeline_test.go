package status

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/execlog/execlogd/httpd/internal/livereload"
	"golang.org/x/net/html"
)

// after returns a time by what is on a stopwatch that starts at noon.
func after(d time.Duration) time.Time { return noon.Add(d) }

func describe(marks []mark) (list []string) {
	for _, m := range marks {
		list = append(list, strings.Join(strings.Fields(fmt.Sprint(m.Kind, " at ", m.X, " ", m.Width, " ", m.Title)), " "))
	}
	return list
}

// The end is the latest that happened, and 6 seconds more; a second is a third of a
// percent.
func TestTimeline(t *testing.T) {
	var s Snapshot
	s.Changes = []livereload.Change{
		{Time: after(294 * time.Second), Files: []string{"a.html", "b.html", "c.html", "d.html"}, MoreFiles: 2, Reloads: 2, Affected: make([]livereload.AffectedPage, 3)},
		{Time: after(144 * time.Second), Files: []string{"style.css"}, Affected: make([]livereload.AffectedPage, 1)},
		{Time: after(0), Names: true, Files: []string{""}},
		{Time: after(-time.Second), Files: []string{"before.html"}},
	}
	s.Builds = []Run{
		{Route: "deploy", Start: after(270 * time.Second), Took: 23 * time.Second, State: "running", Outcome: "running"},
		{Route: "serve", Start: after(60 * time.Second), Took: time.Hour, State: "running", Ready: true, Outcome: "ready"},
		{Route: "worker", Start: after(-time.Hour), Took: time.Hour + 90*time.Second, State: "failed", Ready: true, Outcome: "died: signal: killed"},
		{Route: "lint", Start: after(30 * time.Second), Took: 3 * time.Second, State: "failed", Outcome: "exit status 1", Problem: "no such name"},
		{Route: "build", Start: after(-30 * time.Second), Took: time.Minute, State: "done", Outcome: "done"},
		{Route: "early", Start: after(-time.Minute), Took: time.Second, State: "done", Outcome: "done"},
	}
	tl := newTimeline(s)
	if !tl.From.Equal(noon) || !tl.To.Equal(after(5*time.Minute)) || tl.Summary != "3 changes, 5 builds (2 failed), 2 pages loaded again" {
		t.Errorf("from %v to %v: %s", tl.From, tl.To, tl.Summary)
	}
	for _, tt := range []struct {
		name      string
		got, want []string
	}{
		{"lines", tl.Lines, []string{"20.00%", "40.00%", "60.00%", "80.00%"}},
		{"changes", describe(tl.Changes), []string{
			"change at 0.00% / came or went", "change at 48.00% style.css changed", "change at 98.00% a.html, b.html, c.html and 3 more files changed",
		}},
		{"reloads", describe(tl.Reloads), []string{
			"in-place at 48.00% 1 page updated in place, for style.css", "reload at 98.00% 2 pages loaded again, for a.html, b.html, c.html and 3 more files",
		}},
		{"builds", describe(tl.Builds), []string{
			"done at 0.00% 10.00% build: done after 1m0s",
			"failed at 10.00% 1.00% lint: exit status 1 after 3s: no such name",
			"failed at 30.00% 0.40% worker: died: signal: killed after 1h1m30s",
			"running at 20.00% 0.40% serve: ready",
			"running at 90.00% 6.67% deploy: running", // shown in steps of five seconds
		}},
	} {
		if !slices.Equal(tt.got, tt.want) {
			t.Errorf("%s\n got %q\nwant %q", tt.name, tt.got, tt.want)
		}
	}
}

// picture returns the svg element of a rendered timeline, as a browser has it, or nil.
func picture(t testing.TB, main string) *html.Node {
	t.Helper()
	doc, err := html.Parse(strings.NewReader(main))
	if err != nil {
		t.Fatal(err)
	}
	for n := range doc.Descendants() {
		if n.Data == "svg" {
			return n
		}
	}
	return nil
}

// elements returns the texts of the elements of one name beneath a node.
func elements(n *html.Node, name string) (texts []string) {
	for n := range n.Descendants() {
		if n.Type != html.ElementNode || n.Data != name {
			continue
		}
		var text strings.Builder
		for inner := range n.Descendants() {
			if inner.Type == html.TextNode {
				text.WriteString(inner.Data)
			}
		}
		texts = append(texts, text.String())
	}
	return texts
}

// Each mark says what it is, in words that nobody else wrote as markup. One of a build
// that has failed has a shape of its own.
func TestTimelinePicture(t *testing.T) {
	if svg := picture(t, renderMain(t, Snapshot{}, true)); svg != nil {
		t.Errorf("there is a picture of nothing")
	}

	const evil = `</title></svg><script>"'&`
	var s Snapshot
	s.Changes = []livereload.Change{{Time: noon, Files: []string{evil}, Reloads: 1}}
	s.Builds = []Run{
		{Route: evil, Start: noon, State: "failed", Outcome: evil, Problem: "private " + evil},
		{Route: "build", Start: noon, State: "done", Outcome: "done"},
	}
	const at = ", 22:13:20 UTC"
	for _, owner := range []bool{true, false} {
		svg := picture(t, renderMain(t, s, owner))
		want := []string{evil + " changed" + at, "build: done after 0s" + at, evil + ": " + evil + " after 0s: private " + evil + at, "1 page loaded again, for " + evil + at}
		if !owner {
			want[2] = evil + ": failed after 0s" + at
		}
		if got := elements(svg, "title"); !slices.Equal(got, want) {
			t.Errorf("the owner is it: %v; marks\n got %q\nwant %q", owner, got, want)
		}
		if n := len(elements(svg, "path")); n != 1 {
			t.Errorf("%d builds have the shape of one that has failed", n)
		}
		if n := len(elements(svg, "script")); n != 0 {
			t.Error("a name became markup")
		}
	}
}

func TestTimelineIsBounded(t *testing.T) {
	long := strings.Repeat("x", 100_000)
	var s Snapshot
	for range 50 {
		s.Changes = append(s.Changes, livereload.Change{Time: noon, Files: []string{long, long, long, long}, Reloads: 1})
	}
	for range 10 * MaxBuilds {
		s.Builds = append(s.Builds, Run{Route: long, Start: noon, State: "failed", Outcome: long, Problem: long})
	}
	main := renderMain(t, s, true)
	if n := len(elements(picture(t, main), "title")); n != 50+MaxBuilds+50 {
		t.Errorf("%d marks", n)
	}
	svg := main[strings.Index(main, "<svg"):strings.LastIndex(main, "</svg>")]
	if len(svg) > 100<<10 {
		t.Errorf("%d bytes", len(svg))
	}
}
