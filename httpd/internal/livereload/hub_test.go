package livereload

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/execlog/execlogd/httpd/internal/urlpath"
)

// The rows are changes that come while a browser does not read, separated by
// bars, and the update it then finds.
func TestWhatABrowserMissedIsMerged(t *testing.T) {
	many := func(from, to int) string {
		var names []string
		for i := from; i < to; i++ {
			names = append(names, fmt.Sprintf("%d.css", i))
		}
		return strings.Join(names, " ")
	}
	tests := []struct{ name, changes, want string }{
		{"nothing", "", ""},
		{"one sheet", "a.css", "/a.css"},
		{"sheets add up", "a.css | b.css", "/a.css /b.css"},
		{"a sheet twice is one", "a.css | a.css b.css", "/a.css /b.css"},
		{"sheets stay ahead of images", "a.png | b.css", "/b.css /a.png"},
		{"a reload beats what waits", "a.css | a.js", "/a.js !"},
		{"a reload is not beaten by what follows", "a.js | a.css", "/a.js !"},
		{"the first reload stays", "a.js | b.js", "/a.js !"},
		{"what affects no page changes nothing", "a.css | a.log", "/a.css"},
		{"too many become a reload", many(0, 20) + " | " + many(20, 40), "/0.css !"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := New(Config{}, nil)
			s := h.join()
			defer h.leave(s)
			for changed := range strings.SplitSeq(tt.changes, "|") {
				h.broadcast(newChange(strings.Fields(changed)), nil)
			}
			if got := told(h.taken(s)); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if left := h.taken(s); !left.isEmpty() {
				t.Errorf("%q is still there", told(left))
			}
		})
	}
}

// opened is a page of our client that shows and uses files.
func (h *Hub) opened(shows string, uses ...string) *client {
	c := h.join()
	c.extended = true
	h.enter(c, report{shows: []string{shows}, named: uses})
	return c
}

// taken empties a mailbox and returns its update.
func (h *Hub) taken(s *client) update {
	h.mu.Lock()
	defer h.mu.Unlock()
	u := s.pending
	s.pending = update{}
	return u
}

// What a change affects does not count for the next one.
func TestChangesAreMatchedOneByOne(t *testing.T) {
	h := New(Config{}, nil)
	c := h.opened("/a.html", "/a.css", "/b.css", "/c.js")
	defer h.leave(c)
	for _, tt := range []struct{ change, want string }{
		{"a.css", "/a.css"},
		{"b.css", "/b.css"},
		{"a.css b.css", "/a.css /b.css"},
		{"c.js", "/c.js !"},
		{"b.css", "/b.css"},
		{"d.css", ""},
	} {
		h.broadcast(newChange(strings.Fields(tt.change)), nil)
		if got := told(h.taken(c)); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.change, got, tt.want)
		}
	}
}

// However pages come, name files and go, a file knows its pages.
func TestSubscribersKeepTheirIndexes(t *testing.T) {
	h := New(Config{}, nil)
	rng := rand.New(rand.NewPCG(1, 2))
	some := func() (paths []string) {
		for range rng.IntN(5) {
			paths = append(paths, fmt.Sprintf("/%d", rng.IntN(6)))
		}
		return paths
	}
	var clients []*client
	for range 5000 {
		if len(clients) == 0 || rng.IntN(4) == 0 {
			clients = append(clients, h.join())
		}
		i := rng.IntN(len(clients))
		s := clients[i]
		switch rng.IntN(5) {
		case 0:
			h.leave(s)
			clients = slices.Delete(clients, i, i+1)
		case 1:
			h.enter(s, report{shows: some(), named: some()})
		case 2:
			h.setShown(s, some())
		default:
			h.nameUses(s, some())
		}
		for i, s := range h.nonReporting {
			if s.nonReporting != i+1 || s.page.reported {
				t.Fatal("a page that does not report has the index of another")
			}
		}
		users := 0
		for s := range h.clients {
			for i, u := range s.page.shows {
				users++
				if u.subscribers[s.page.showsIndex[i]] != (subscriber{s, ^int32(i)}) || h.resources[u.path] != u {
					t.Fatal("what a page shows does not know it")
				}
			}
			for i, u := range s.page.uses {
				users++
				if u.subscribers[s.page.usesIndex[i]] != (subscriber{s, int32(i)}) || h.resources[u.path] != u {
					t.Fatal("what a page uses does not know it")
				}
			}
		}
		for _, u := range h.resources {
			users -= len(u.subscribers)
		}
		if users != 0 {
			t.Fatalf("%d users are left", users)
		}
	}
	for _, s := range clients {
		h.leave(s)
	}
	if len(h.resources) > 0 || len(h.nonReporting) > 0 {
		t.Errorf("%d files are used when no page is left, and %d pages do not report", len(h.resources), len(h.nonReporting))
	}
}

// Each browser gets what affects its page, when it has taken what came before;
// who takes nothing delays nobody.
func TestBrowsersAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		h := New(Config{}, nil)
		urls := []string{"/a", "/b", "/slow"}
		heard := make([]string, len(urls))
		for i, url := range urls {
			s := h.join()
			h.setPage(s, page{located: true, files: urlpath.FilesOf(url)})
			defer h.leave(s)
			h.open(s, func() {
				heard[i] += fmt.Sprintf("%s@%v ", told(h.taken(s)), time.Since(start))
				if url == "/slow" {
					time.AfterFunc(time.Minute, func() { h.sent(s) })
				} else {
					h.sent(s)
				}
			})
		}
		if n := h.broadcast(newChange([]string{"a.html", "slow.html"}), nil); n != 2 {
			t.Errorf("told %d browsers, want 2", n)
		}
		synctest.Wait()
		h.broadcast(newChange([]string{"x.css"}), nil)
		synctest.Wait()
		time.Sleep(90 * time.Second)
		h.broadcast(newChange([]string{"y.css"}), nil)
		time.Sleep(time.Hour)
		synctest.Wait()
		want := []string{
			"/a.html !@0s /x.css@0s /y.css@1m30s ",
			"/x.css@0s /y.css@1m30s ",
			"/slow.html !@0s /x.css@1m0s /y.css@2m0s ",
		}
		for i, url := range urls {
			if heard[i] != want[i] {
				t.Errorf("%s\n got %q\nwant %q", url, heard[i], want[i])
			}
		}
		if h.senders != 0 {
			t.Errorf("%d senders are left", h.senders)
		}
	})
}

// A change costs as much memory with a thousand pages as with ten, whether it
// affects them or not.
func TestAPageCostsABroadcastNoMemory(t *testing.T) {
	allocs := func(pages int, changed string) float64 {
		h := New(Config{}, nil)
		for i := range pages {
			if i%2 == 0 {
				h.opened("/a", "/a.css", "/b.css")
			} else {
				h.join()
			}
		}
		c := newChange([]string{changed, "c.css"})
		for range 2 * maxHistory {
			h.broadcast(c, nil) // all that is kept is there
		}
		return testing.AllocsPerRun(10, func() { h.broadcast(c, nil) })
	}
	for _, changed := range []string{"a.css", "other.css", "a.html"} {
		// What else runs may allocate meanwhile, but not as often as there are pages.
		if few, many := allocs(2*maxAffected, changed), allocs(1000, changed); many > few+50 {
			t.Errorf("%s: %v allocations for 1000 pages, %v for %d", changed, many, few, 2*maxAffected)
		}
	}
}

// With ten thousand pages, of which most show the same few files and use the
// same twenty, one change is to cost at most 2 ms, and no memory for a page
// that it does not affect.
func BenchmarkBroadcast(b *testing.B) {
	const pages, each = 10_000, 20
	for _, bm := range []struct {
		name  string
		paths []string
		ours  bool
	}{
		{"ours/nobody", []string{"other.js"}, true},
		{"ours/css of all", []string{"0.css"}, true},
		{"ours/css of few", []string{"a.css"}, true},
		{"ours/html of few", []string{"a/index.html"}, true},
		{"ours/mix", []string{"a.html", "1.css", "c.png", "2.css", "a.css"}, true},
		{"stock/css", []string{"style.css"}, false},
		{"stock/html", []string{"a/index.html"}, false},
		{"stock/mix", []string{"a.html", "b.css", "c.png", "d.css"}, false},
	} {
		b.Run(bm.name, func(b *testing.B) {
			h := New(Config{}, nil)
			for i := range pages {
				letter := fmt.Sprintf("%c", 'a'+i%26)
				if !bm.ours {
					h.setPage(h.join(), page{located: true, files: urlpath.FilesOf("/" + letter + "/")})
					continue
				}
				uses := []string{"/" + letter + ".css"}
				for j := range each {
					uses = append(uses, fmt.Sprintf("/%d.css", j))
				}
				h.opened("/"+letter+"/", uses...)
			}
			c := newChange(bm.paths)
			told := 0
			b.ReportAllocs()
			for b.Loop() {
				told = h.broadcast(c, nil)
				b.StopTimer()
				for s := range h.clients {
					s.pending = update{}
				}
				b.StartTimer()
			}
			b.ReportMetric(float64(told), "told")
		})
	}
}

// The messages of a change are written while others wait for the hub.
func BenchmarkTake(b *testing.B) {
	h := New(Config{}, nil)
	var clients []*client
	for i := range 1000 {
		s := h.opened(fmt.Sprintf("/%d/", i), "/a.css", "/b.js", "/c.png")
		h.resources[fmt.Sprintf("/%d/", i)].state.Sum = uint64(i) << 50
		s.catchingUp = false // it is introduced
		clients = append(clients, s)
	}
	u := update{assets: newChange([]string{"a.css"}).assets}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		s := clients[i%len(clients)]
		s.pending = u
		if frames := h.take(s); frames == nil {
			b.Fatal("nothing")
		}
	}
}

// Who was told to load again need not be told again.
func TestAPageThatReloadsIsNotToldToReload(t *testing.T) {
	h := New(Config{}, nil)
	stays, leaves := h.join(), h.join()
	leaves.reloading = true
	c := newChange([]string{"/"})
	c.lost = true
	if told := h.broadcast(c, nil); told != 1 {
		t.Errorf("told %d pages, want 1", told)
	}
	if stays.pending.reload == nil || leaves.pending.reload != nil {
		t.Error("told the wrong one")
	}
}

// Names are bounded in all; a page with few of them is always known exactly.
func TestNamesAreBounded(t *testing.T) {
	h := New(Config{}, nil)
	var clients []*client
	add := func(names int) *client {
		s := h.join()
		var named []string
		for i := range names {
			named = append(named, fmt.Sprintf("/%d/%d", len(clients), i))
		}
		h.enter(s, report{named: named})
		clients = append(clients, s)
		return s
	}
	for range maxNames / maxUses {
		if !add(maxUses).page.reported {
			t.Fatalf("page %d of %d files is not known", len(clients), maxUses)
		}
	}
	for range 20 {
		if s := add(maxUses); s.page.reported || len(s.page.uses) > 0 {
			t.Error("a page with many files more is known")
		}
		if s := add(10); !s.page.reported || len(s.page.uses) != 10 {
			t.Error("a page with few files more is not known")
		}
	}
	if n := len(h.resources); n > maxNames+20*fewUses {
		t.Errorf("%d names are known", n)
	}
	for _, s := range clients {
		h.leave(s)
	}
	if len(h.resources) > 0 {
		t.Errorf("%d names are known of no page", len(h.resources))
	}
	if !add(maxUses).page.reported {
		t.Error("when the others are gone, a page with many files is not known")
	}
}
