package status

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/execlog/execlogd/httpd/internal/livereload"
)

var noon = time.UnixMilli(1_700_000_000_000)

func TestPageRows(t *testing.T) {
	rows := pageRows([]livereload.OpenPage{
		{URL: "http://HOST/b?secret=1", Title: " A\ttitle\n" + strings.Repeat("€", 100), Remote: "10.0.0.7", Browser: "Firefox", Reports: true, Known: true, Used: 7, Uses: []string{"/x%20y.css", "/a.js"}},
		{URL: "http://host/a/", Remote: "127.0.0.1", Since: noon.Add(time.Second), Reports: true, Known: true},
		{URL: "http://host:80/a/", Remote: "::1", Since: noon, Reports: true},
		{URL: "https://other:1/a/", Remote: "?"},
	}, "host")
	want := []pageRow{
		{"/a/ 0", link{"/a/", "http://host:80/a/"}, "", "", "", noon, "may use any file", nil, 0},
		{"/a/ 1", link{"/a/", "http://host/a/"}, "", "", "", noon.Add(time.Second), "no other file", nil, 0},
		{"/b 0", link{"/b", "http://HOST/b"}, "A title " + strings.Repeat("€", (maxPageTitle-8)/3) + "…", "10.0.0.7", "Firefox", time.Time{}, "7 files", []string{"/x y.css", "/a.js"}, 5},
		{"other:1/a/ 0", link{"other:1/a/", "https://other:1/a/"}, "", "", "", time.Time{}, "does not say", nil, 0},
	}
	if !reflect.DeepEqual(rows, want) {
		t.Errorf("got  %+v\nwant %+v", rows, want)
	}
}

func TestLinesBreakInPaths(t *testing.T) {
	for path, want := range map[string]string{
		"": "", "/": "/", "a.md": "a.md", "/srv/www/": "/srv/<wbr>www/<wbr>", "a/b": "a/<wbr>b", "<b>/&/c": "&lt;b&gt;/<wbr>&amp;/<wbr>c",
	} {
		if got := breakable(path); string(got) != want {
			t.Errorf("%q is %q, want %q", path, got, want)
		}
	}
}

func TestEffects(t *testing.T) {
	list := effects([]livereload.AffectedPage{
		{URL: "http://h/b", Reason: livereload.Uses, File: "/x.css"},
		{URL: "http://h/a", Reason: livereload.Shows, Reload: true, File: "/a.html"},
		{URL: "http://h/a?x", Reason: livereload.Shows, Reload: true, File: "/a.html"},
		{URL: "http://h/a", Reason: livereload.MayUse, File: "/x.css", MoreFiles: 2},
		{URL: "nonsense", Reason: livereload.MayUse, Reload: true, File: "/a.js"},
	}, "h")
	want := []effect{
		{link{"/a", "http://h/a"}, "fetches x.css and 2 others, which it may use, again in place"},
		{link{"/a", "http://h/a"}, "is loaded again: it shows a.html (2 tabs)"},
		{link{"/b", "http://h/b"}, "fetches x.css, which it uses, again in place"},
		{link{"nonsense", ""}, "is loaded again: it may use a.js"},
	}
	if !reflect.DeepEqual(list, want) {
		t.Errorf("got  %+v\nwant %+v", list, want)
	}
}

// someRuns are a run of each kind.
var someRuns = []Run{
	{ID: 9, Route: "serve", Command: "server -v", Start: noon, Took: time.Hour, State: "running", Outcome: "ready"},
	{
		ID: 8, Route: "build<b>", Command: `sh -c "<script>alert(1)</script>"`, Paths: []string{"a.md", "b\xff.md"}, Batch: 7,
		Start: noon, Took: 1234567 * time.Microsecond, State: "failed", Outcome: "exit status 1", Output: []byte("</pre><script>\xff\n"),
	},
	{ID: 7, Route: "check", Command: "true", Paths: []string{"a.md"}, Batch: 1, Start: noon, Took: time.Second, State: "done", Outcome: "done", LeftBehind: "left running: java (7)"},
	{ID: 6, Route: "stopped", Start: noon, State: "stopped", Outcome: "stopped"},
	{ID: 5, Route: "thumbs", Machine: "worker<7>", Start: noon, Took: time.Second, State: "done", Outcome: "done"},
}

func renderMain(t testing.TB, s Snapshot, owner bool) string {
	t.Helper()
	main, err := new(Renderer).Main(s, Viewer{Host: "host", Owner: owner})
	if err != nil {
		t.Fatal(err)
	}
	return string(main)
}

func TestRuns(t *testing.T) {
	main := renderMain(t, Snapshot{Runs: someRuns}, true)
	for _, want := range []string{
		`<li data-key="9 1700000000000" data-state="running">`, ">ready<", ">server -v<",
		`data-state="failed"`, ">build&lt;b&gt;<", ">exit status 1 after 1.235s<", "&lt;script&gt;alert(1)", ">b\ufffd.md<", ">and 5 more files<", "&lt;/pre&gt;&lt;script&gt;\ufffd\n</pre>",
		`data-state="done"`, ">done after 1s; left running: java (7)<",
		`data-state="stopped"`, ">stopped after 0s<",
		`>thumbs</span> <span class="machine">on worker&lt;7&gt;</span> <span class="outcome">done after 1s<`,
		`<time datetime="2023-11-14T22:13:20.000Z">22:13:20 UTC</time>`,
	} {
		if !strings.Contains(main, want) {
			t.Errorf("no %q in %s", want, main)
		}
	}
	if n := strings.Count(main, `class="machine"`); n != 1 {
		t.Errorf("%d runs were on other machines, want 1", n)
	}
	if strings.Contains(main, "<script") {
		t.Errorf("output became markup: %s", main)
	}
}

// Whoever is not the owner sees that something has run and whether it failed, and
// nothing of the machine.
func TestOthersSeeLittle(t *testing.T) {
	s := Snapshot{
		Runs:    someRuns,
		Watches: []Watch{{"/srv/www", 7, 2}},
	}
	s.Pages = []livereload.OpenPage{{URL: "http://host/a", Title: "Accounts", Remote: "10.0.0.7", Browser: "Firefox"}}
	owners, others := renderMain(t, s, true), renderMain(t, s, false)
	for _, private := range []string{"10.0.0.7", "in Firefox", "Accounts", "server -v", "alert(1)", "a.md", "exit status", "/pre&gt;", "java", "/srv", "worker"} {
		if !strings.Contains(owners, private) || strings.Contains(others, private) {
			t.Errorf("%q is for the owner alone, who sees\n%s\nand others see\n%s", private, owners, others)
		}
	}
	for _, public := range []string{">serve<", ">ready<", ">failed after 1.235s<", ">7 files<", ">done after 1s<", ">1 file<", ">www<"} {
		if !strings.Contains(others, public) {
			t.Errorf("no %q in %s", public, others)
		}
	}
}

// However much there is, little is shown.
func TestPageIsBounded(t *testing.T) {
	long := strings.Repeat("x", 100_000)
	var s Snapshot
	s.Open, s.Errors = 500, []*livereload.PageError{{Title: long, Text: long, Paths: []string{long}}}
	for range MaxPages {
		s.Pages = append(s.Pages, livereload.OpenPage{URL: "http://host/" + long[:2048], Title: long, Known: true, Used: 5, Uses: []string{long}})
	}
	run := Run{Route: long, Command: long, Outcome: long, LeftBehind: long, Output: []byte(long)}
	for range 2 * maxRunPaths {
		run.Paths = append(run.Paths, long)
		run.Batch++
	}
	for range 2 * MaxRuns {
		s.Runs = append(s.Runs, run)
	}

	v := newView(s, Viewer{Host: "host", Owner: true})
	if len(v.Runs) != MaxRuns || len(v.Runs[0].Paths) != maxRunPaths || v.Runs[0].More != "and 20 more files" || v.MorePages != 400 {
		t.Errorf("%d runs, of %d files %s; %d more pages", len(v.Runs), len(v.Runs[0].Paths), v.Runs[0].More, v.MorePages)
	}
	if n := len(renderMain(t, s, true)); n > 768<<10 {
		t.Errorf("%d bytes", n)
	}
}

func TestLastOf(t *testing.T) {
	const limit = MaxRunOutput
	line := strings.Repeat("x", 99) + "\n"
	tests := []struct{ name, text, want string }{
		{"nothing", "", ""},
		{"all that fits", strings.Repeat("x", limit), strings.Repeat("x", limit)},
		{"whole lines", strings.Repeat(line, 100), strings.Repeat(line, limit/100)},
		{"the end of a long line", strings.Repeat("x", 2*limit), strings.Repeat("x", limit)},
		{"also of the last", strings.Repeat("x", 2*limit) + "\n", strings.Repeat("x", limit-1) + "\n"},
		{"whole characters", strings.Repeat("€", limit), strings.Repeat("€", limit/3)},
		{"what is no text", "a\xff\n", "a\ufffd\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := lastOf(tt.text, limit); got != tt.want {
				t.Errorf("got %d bytes %.40q, want %d", len(got), got, len(tt.want))
			}
		})
	}
}

func FuzzLastOf(f *testing.F) {
	f.Add("a\nb", uint16(1))
	f.Add("\xe2\x82\xac\n\xff", uint16(100))
	f.Fuzz(func(t *testing.T, piece string, times uint16) {
		text := strings.Repeat(piece, 1+int(times)%100)
		got := lastOf(text, 100)
		if !utf8.ValidString(got) || !strings.HasSuffix(strings.ToValidUTF8(text, "\ufffd"), got) {
			t.Errorf("%.40q is not the end of %.40q", got, text)
		}
		if got == "" && utf8.ValidString(text) && text != "" {
			t.Errorf("nothing of %.40q", text)
		}
	})
}

// What pages say of themselves is text, and no link leads to a script.
func TestURLsAreNotTrusted(t *testing.T) {
	var s Snapshot
	for _, url := range []string{
		"javascript:alert(1)", "http://x/</title><script>alert(1)</script>", "data:text/html,<script>", "file:///tmp/a.html", "://",
		"http://host//evil.example/x", "http://user:secret@x/", "HTTP://host", strings.Repeat("http://long/", 4000),
	} {
		s.Pages = append(s.Pages, livereload.OpenPage{URL: url, Title: "</bdi></title><script>"})
	}
	main := renderMain(t, s, true)
	for _, bad := range []string{"<script", `href="javascript`, `href="data`, `href="file`, "secret"} {
		if strings.Contains(main, bad) {
			t.Errorf("%s in %s", bad, main)
		}
	}
	if n := strings.Count(main, "<tr data-key"); n != len(s.Pages) {
		t.Errorf("%d pages are listed, want %d", n, len(s.Pages))
	}
}

func FuzzLinkTo(f *testing.F) {
	for _, href := range []string{"http://h/a?b#c", "javascript:alert(1)", "http://h//evil.example/", "http://u:p@h/%zz", "http:", ""} {
		f.Add(href)
	}
	f.Fuzz(func(t *testing.T, href string) {
		l := linkTo(href, "h")
		if l.Name == "" || len(l.Name) > 4*maxText {
			t.Errorf("%q has the name %q", href, l.Name)
		}
		if l.Href != "" && !strings.HasPrefix(l.Href, "http://") && !strings.HasPrefix(l.Href, "https://") {
			t.Errorf("%q links to %q", href, l.Href)
		}
		if strings.ContainsAny(l.Href, "?#") {
			t.Errorf("%q has a query or fragment: %q", href, l.Href)
		}
	})
}

// What was rendered is used again for the same snapshot and viewer alone.
func TestRendererTellsSnapshotsApart(t *testing.T) {
	var r Renderer
	viewers := []Viewer{{Host: "host", Owner: true}, {Host: "host", Owner: false}, {Host: "other", Owner: true}}
	for i := range 2 * maxRenderings {
		s := Snapshot{Watches: []Watch{{Root: "/srv/www"}}}
		s.Open, s.Pages = i, []livereload.OpenPage{{URL: fmt.Sprintf("http://host/%d", i)}}
		for range 2 {
			for _, v := range viewers {
				v.Host += fmt.Sprint(i / 4)
				got, err := r.Main(s, v)
				want, _ := render("main", s, v)
				if err != nil || string(got) != string(want) {
					t.Fatalf("%+v is shown to %+v as %s, %v", s, v, got, err)
				}
			}
		}
	}
	if len(r.last) > maxRenderings {
		t.Errorf("%d renderings are kept", len(r.last))
	}
}

// BenchmarkMain is what each status page costs at each change, with much to
// show.
func BenchmarkMain(b *testing.B) {
	s := Snapshot{Runs: someRuns}
	for i := range MaxPages {
		p := livereload.OpenPage{URL: fmt.Sprintf("http://host/%d.html", i), Reports: true, Known: true, Used: 2 * MaxUses}
		for j := range MaxUses {
			p.Uses = append(p.Uses, fmt.Sprintf("/%d.js", j))
		}
		s.Pages = append(s.Pages, p)
	}
	for i := range 50 {
		c := livereload.Change{Number: uint64(i)}
		for j := range 20 {
			c.Files = append(c.Files, fmt.Sprintf("%d.js", j))
			c.Affected = append(c.Affected, livereload.AffectedPage{URL: s.Pages[j].URL, Reason: livereload.Uses, Reload: true, File: "/1.js"})
		}
		s.Changes = append(s.Changes, c)
	}
	b.ReportAllocs()
	for b.Loop() {
		renderMain(b, s, true)
	}
}
