package livereload

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A page that was served and never connected has no digest. Then its files
// must not be younger than its token.
func TestTheTimeOfServingDecidesWithoutADigest(t *testing.T) {
	dir := makeFiles(t, "a.html", "x.css")
	now, written := time.Now().UnixMilli(), lookIn(dir, "/x.css").Changed
	tests := []struct {
		name   string
		served int64 // ms since 1970
		uses   []string
		want   string
	}{
		{"served after all files", now + maxClockStep/2, []string{"/x.css", "/none.css"}, "at"},
		{"served before a file changed", now - 5000, []string{"/x.css"}, " !"},
		{"served before its own file changed", now - 5000, nil, " !"},
		{"served before something else came or went beside what is not there", now - 5000, []string{"/none.css"}, " !"},
		{"served at a time that is yet to come, as the clock was set back", now + 3600_000, []string{"/x.css"}, " !"},
		{"served within a tick of the kernel's clock after a file changed", written + ClockTick - 1, []string{"/x.css"}, " !"},
		{"served by a server that did not say when", 0, []string{"/x.css"}, " !"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, got := introduced(t, newHub(dir), Cursor{Epoch: "EARLIER", Number: 7, Time: tt.served}, tt.uses...)
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// Names that come and go between the serving of a page and its socket.
func TestNamesChangeBeforeTheSocketOpens(t *testing.T) {
	tests := []struct {
		name   string
		served int64 // ms before the change
		change string
		want   string
	}{
		{"a file was deleted", 5000, "-x.css", "at | errors: /x.css is gone"},
		{"its own file was deleted", 5000, "-a.html", "at | errors: /a.html is gone"},
		{"a file came", 5000, "+none.css", "/none.css"},
		{"another file came", 5000, "+other.css", "at"},
		{"a file came before the page was served", -500, "+none.css", "at"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := makeFiles(t, "a.html", "x.css")
			h := newHub(dir)
			h.age(tt.served)
			served := h.Cursor()
			if name := tt.change[1:]; tt.change[0] == '+' {
				writeFile(t, dir, name, "!")
			} else if err := os.Remove(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
			h.Recheck([]string{tt.change[1:]})
			if _, got := introduced(t, h, served, "/x.css", "/none.css"); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// introduced opens /a.html, which was served at a moment and uses some files, and returns
// what it is told.
func introduced(t *testing.T, h *Hub, served Cursor, uses ...string) (c *client, told string) {
	t.Helper()
	c = h.join()
	t.Cleanup(func() { h.leave(c) })
	c.extended = true
	h.introduce(c, request{Path: "/a.html", Uses: uses}, PageToken{Cursor: served})
	return c, answers(t, h.take(c))
}

// A page is served, and before its socket is open, things change.
func TestAPageHearsWhatChangedBeforeItsSocketOpened(t *testing.T) {
	many := make([]string, maxHistory+1)
	for i := range many {
		many[i] = "other.html"
	}
	tests := []struct {
		name           string
		before, during []string // one Refresh each
		want           string
	}{
		{"nothing", nil, nil, ""},
		{"only before it was served", []string{"a.html", "x.css"}, nil, ""},
		{"its file", []string{"b.html"}, []string{"a.html"}, "/a.html !"},
		{"another page's file", nil, []string{"b.html"}, ""},
		{"a style sheet, twice", nil, []string{"x.css", "x.css"}, "/x.css"},
		{"a style sheet and its file", nil, []string{"x.css", "a.html"}, "/a.html !"},
		{"more than is remembered", nil, many, "/ !"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			h := newHub(dir)
			for _, p := range tt.before {
				h.Refresh([]string{p})
			}
			seen := h.Cursor()
			for _, p := range tt.during {
				h.Refresh([]string{p})
			}
			c := h.join()
			defer h.leave(c)
			h.catchUpOther(c, newPage("http://h/a.html", isAt("h"), dir), seen)
			if got := told(h.taken(c)); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// answers writes messages as ourPage.is compares them.
func answers(t testing.TB, frames []byte) string {
	t.Helper()
	var all []string
	for _, text := range texts(t, frames) {
		var a reply
		if err := json.Unmarshal(text, &a); err != nil {
			t.Fatalf("message %s: %v", text, err)
		}
		all = append(all, a.String())
	}
	return strings.Join(all, " | ")
}

// age makes the past longer ago.
func (h *Hub) age(ms int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.time -= ms
	for i := range h.history {
		h.history[i].time -= ms
	}
}

// newHub is a hub for the files of a directory.
func newHub(dir string) *Hub {
	look := func(path string) FileState { return lookIn(dir, path) }
	return New(Config{Directory: dir, Enabled: true, Logger: slog.New(slog.DiscardHandler)}, look)
}

// lookIn looks at a file as a server does that has only files, under their own names.
func lookIn(dir, use string) FileState {
	file := filepath.Join(dir, use)
	seen := FileState{Kind: Regular, Name: use[1:]}
	text, err := os.ReadFile(file)
	if err != nil {
		seen.Kind, file = Missing, filepath.Dir(file)
	}
	var stat syscall.Stat_t
	if err := syscall.Stat(file, &stat); err != nil {
		return FileState{}
	}
	seen.Changed = stat.Ctim.Nano() / 1e6
	hash := fnv.New64a()
	fmt.Fprint(hash, use, seen.Kind, string(text))
	seen.Sum = hash.Sum64()
	if seen.Kind == Regular {
		seen.Exact, seen.Version = true, FileVersion{stat.Dev, stat.Ino, stat.Size, stat.Ctim.Nano()}
	}
	return seen
}

// files makes a directory with files in it.
func makeFiles(t testing.TB, names ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range names {
		writeFile(t, dir, name, "<p>"+name)
	}
	return dir
}

func writeFile(t testing.TB, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// A page names what it has found, and when it may have begun to read that. What
// changed since is told, and nothing older.
func TestWhatAPageNamesMayHaveChangedMeanwhile(t *testing.T) {
	dir := makeFiles(t, "a.html", "x.js", "y.js")
	h := newHub(dir)
	c, _ := introduced(t, h, h.Cursor())
	h.Refresh([]string{"x.js"})
	h.age(5000)
	h.Refresh([]string{"y.js"})
	h.age(3000)
	h.addUses(c, []string{"/x.js"}, 4*time.Second)
	if got := answers(t, h.take(c)); got != "at" {
		t.Errorf("a file that changed before it was read: %q", got)
	}
	h.addUses(c, []string{"/y.js"}, 4*time.Second)
	if got := answers(t, h.take(c)); got != "/y.js !" {
		t.Errorf("a file that may have been read before it changed: %q", got)
	}
}

// A bounded number of failed fetches is remembered.
func TestFailedFetchesAreBounded(t *testing.T) {
	h := New(Config{}, nil)
	for i := range 2 * maxFailedFetches {
		h.NoteFailedFetch("http://h/a.html", fmt.Sprint("/", i))
	}
	if n := len(h.fetches); n != maxFailedFetches {
		t.Errorf("%d failed fetches are remembered, want %d", n, maxFailedFetches)
	}
}

// A page that connects is told the failed fetches of the last minute.
func TestFailedFetchesExpire(t *testing.T) {
	h := New(Config{}, nil)
	c := h.join()
	c.url = "http://h/a.html"
	h.NoteFailedFetch(c.url, "/old.json")
	h.fetches[0].time = h.fetches[0].time.Add(-fetchLifetime - time.Second)
	h.addFailedFetches(c)
	if len(c.fetches) > 0 {
		t.Errorf("told %v, which failed more than a minute ago", c.fetches)
	}
	h.NoteFailedFetch(c.url, "/new.json")
	if got := fmt.Sprint(c.fetches); got != "[/new.json]" {
		t.Errorf("told %s, want [/new.json]", got)
	}
}

// A reply is any message of our protocol.
type reply struct {
	Command string
	Reload  bool
	Files   []string
	Errors  []struct{ Title string }
}

// String is the reply in a notation: "at", the files of a change with an exclamation
// mark for a reload, or the titles of errors.
func (r reply) String() string {
	switch r.Command {
	case "change":
		s := strings.Join(r.Files, " ")
		if r.Reload {
			s += " !"
		}
		return s
	case "errors":
		var s strings.Builder
		s.WriteString("errors:")
		for _, e := range r.Errors {
			s.WriteString(" " + e.Title)
		}
		return s.String()
	}
	return r.Command
}

// A page that was served by another machine has missed what was told here since the machine
// knew less, and nothing else, whatever the clocks say.
func TestCatchUpFromAnotherMachine(t *testing.T) {
	tests := []struct {
		name  string
		since time.Duration // from the second change on
		ok    bool
		uses  string
		want  string
	}{
		{"it has both changes", time.Hour, true, "/x.css", "at"},
		{"it has not the second", 0, true, "/x.css", "/x.css"},
		{"it has not the second, which is of another file", 0, true, "/y.css", "at"},
		{"it is older than this server, so the time decides", -time.Hour, true, "/y.css", " !"},
		{"nobody knows, so the time decides", 0, false, "/y.css", " !"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := makeFiles(t, "a.html", "x.css", "y.css")
			h := newHub(dir)
			save := func(name string) {
				writeFile(t, dir, name, tt.name)
				h.Refresh([]string{name})
			}
			save("y.css")
			time.Sleep(5 * time.Millisecond) // the changes have times of their own, in ms
			second := time.Now()
			save("x.css")
			config := *h.config.Load()
			config.Since = func(position string) (time.Time, bool) {
				return second.Add(tt.since), tt.ok && position == "x-1"
			}
			h.config.Store(&config)

			// The clock of the other machine is an hour behind.
			served := Cursor{"OTHER", 7, time.Now().Add(-time.Hour).UnixMilli(), "x-1"}
			if _, got := introduced(t, h, served, tt.uses); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}
