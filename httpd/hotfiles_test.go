package httpd

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// warm has a server keep files however fresh they are. A test then makes sure that each
// change of a file shows in its times: see nextTick.
func (s *Server) warm() *hotFiles {
	hot := s.current.Load().hot
	hot.minAge = 0
	return hot
}

// nextTick waits until a file that is written now has a time that none had before.
func nextTick(t testing.TB, dir string) {
	t.Helper()
	touched := func() int64 {
		write(t, dir, "tick", "")
		return statOf(must(os.Stat(filepath.Join(dir, "tick")))(t)).Ctim.Nano()
	}
	first := touched()
	await(t, func() bool { return touched() != first }, "the time of files does not pass")
}

// isHot says whether the next request for a key is answered out of memory.
func (h *hotFiles) isHot(key string) bool { return h.open(key) != nil }

// answerText is all of an answer that does not depend on the time.
func answerText(w *httptest.ResponseRecorder) string {
	var text strings.Builder
	fmt.Fprintln(&text, w.Code)
	for _, name := range slices.Sorted(maps.Keys(w.Result().Header)) {
		fmt.Fprintln(&text, name, w.Result().Header[name])
	}
	text.WriteString(w.Body.String())
	return text.String()
}

func TestWhatIsKept(t *testing.T) {
	root := tree(t, "a.css", "a", "page.html", "<p>x", "d/index.html", "<p>d", "d/e/f.js", "f", "empty.css", "",
		"large.bin", strings.Repeat("x", wholeLimit+1), "site.toml", "secret", "site.toml.bak", "secret", ".well-known/x.txt", "x")
	symlink(t, "a.css", filepath.Join(root, "link.css"))
	symlink(t, "d", filepath.Join(root, "l"))
	s := newServer(t, Options{Root: root, Private: []string{filepath.Join(root, "site.toml")}})
	hot := s.warm()
	tests := []struct {
		path, key string
		want      bool
	}{
		{"/a.css", "a.css", true},
		{"/page.html", "page.html", true},
		{"/page", "page", true},
		{"/d/", "d/", true},
		{"/d", "d", false},
		{"/d/e/f.js", "d/e/f.js", true},
		{"/.well-known/x.txt", ".well-known/x.txt", true},
		{"/empty.css", "empty.css", false},
		{"/large.bin", "large.bin", false},
		{"/link.css", "link.css", false},
		{"/l/e/f.js", "l/e/f.js", false},
		{"/site.toml", "site.toml", false},
		{"/site.toml.bak", "site.toml.bak", false},
		{"/none", "none", false},
	}
	for _, tt := range tests {
		cold := answerText(s.answer(tt.path))
		if got := hot.isHot(tt.key); got != tt.want {
			t.Errorf("%s is kept: %v", tt.path, got)
		}
		if warm := answerText(s.answer(tt.path)); warm != cold {
			t.Errorf("%s was answered by\n%s\nand then by\n%s", tt.path, cold, warm)
		}
	}

	s.Refresh("a.css", "page.html")
	s.Recheck("d/")
	for _, key := range []string{"a.css", "page", "page.html", "d/", "d/e/f.js"} {
		if _, kept := hot.files[key]; kept {
			t.Errorf("%s is kept after its change was told", key)
		}
	}
	if len(hot.files) != 1 || hot.bytes != fileCost+1 {
		t.Errorf("%d files of %d bytes are kept, want one", len(hot.files), hot.bytes)
	}
}

func TestFreshFilesAreNotKept(t *testing.T) {
	s := newServer(t, Options{Root: tree(t, "a.css", "a")})
	s.answer("/a.css")
	if s.current.Load().hot.isHot("a.css") {
		t.Error("a file is kept whose next change may not show")
	}
}

func TestBoundsOfWhatIsKept(t *testing.T) {
	names := numbered(40, "%d.css")
	root := t.TempDir()
	for _, name := range names {
		write(t, root, name, strings.Repeat("x", 9<<10))
	}
	for _, tt := range []struct {
		name string
		opts Options
		most int
	}{
		{"files", Options{Root: root, CacheFiles: 5}, 5},
		{"bytes", Options{Root: root, CacheBytes: 100 << 10}, 10},
		{"a file is too large for the rest", Options{Root: root, CacheBytes: 20 << 10}, 0},
		{"no bytes", Options{Root: root, CacheBytes: -1}, 0},
		{"no files", Options{Root: root, CacheFiles: -1}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newServer(t, tt.opts)
			hot := s.current.Load().hot
			if hot == nil {
				hot = new(hotFiles)
			}
			hot.minAge = 0
			for _, name := range names {
				if w := s.answer("/" + name); w.Code != http.StatusOK || w.Body.Len() != 9<<10 {
					t.Fatalf("%s: %d with %d bytes", name, w.Code, w.Body.Len())
				}
			}
			if len(hot.files) != tt.most || hot.bytes != int64(tt.most)*(10<<10) {
				t.Errorf("%d files of %d bytes are kept, want %d", len(hot.files), hot.bytes, tt.most)
			}
		})
	}
}

// A private path may come to lead to a file that is kept, which nothing about the file
// shows.
func TestAFileThatBecomesPrivate(t *testing.T) {
	root, private := tree(t, "a.css", "a", "b.css", "b"), filepath.Join(t.TempDir(), "site.toml")
	s := newServer(t, Options{Root: root, Private: []string{private}})
	hot := s.warm()
	is := func(path string, want int) {
		t.Helper()
		if code := s.answer(path).Code; code != want {
			t.Errorf("%s: %d, want %d", path, code, want)
		}
	}
	for range 2 {
		is("/a.css", http.StatusOK)
		is("/b.css", http.StatusOK)
	}
	if !hot.isHot("a.css") {
		t.Fatal("the file is not kept")
	}
	symlink(t, filepath.Join(root, "a.css"), private)
	is("/a.css", http.StatusNotFound)
	for range 2 {
		is("/b.css", http.StatusOK)
	}
	if !hot.isHot("b.css") {
		t.Fatal("the other file is not kept")
	}
	check(t, os.Remove(private))
	symlink(t, filepath.Join(root, "b.css"), private)
	is("/b.css", http.StatusNotFound)
	is("/a.css", http.StatusNotFound) // the path led to it before
}

// A private file that was found between the look at a file and the moment it is kept makes
// what was found out about the file old.
func TestAFileThatBecomesPrivateWhileItIsKept(t *testing.T) {
	root, private := tree(t, "a.css", "a"), filepath.Join(t.TempDir(), "site.toml")
	s := newServer(t, Options{Root: root, Private: []string{private}})
	hot := s.warm()
	s.answer("/a.css")
	if !hot.isHot("a.css") {
		t.Fatal("the file is not kept")
	}
	// The path leads to the file for a moment that another request sees.
	symlink(t, filepath.Join(root, "a.css"), private)
	s.private.note(private)
	check(t, os.Remove(private))
	if code := s.answer("/a.css").Code; code != http.StatusNotFound {
		t.Errorf("got %d, want %d", code, http.StatusNotFound)
	}
}

// Whatever is done to a tree between two requests, a server that keeps files answers as one
// that does not.
func TestNothingStaleIsServed(t *testing.T) {
	dir := t.TempDir()
	trees := []string{filepath.Join(dir, "one"), filepath.Join(dir, "two")}
	outside := filepath.Join(dir, "outside")
	root := filepath.Join(dir, "root")
	check(t, os.Mkdir(outside, 0o755))
	names := []string{"a.css", "b.html", "b", "d/index.html", "d/c.js", "d/e/c.js", "index.html"}
	paths := []string{"/a.css", "/b.html", "/b", "/d/", "/d/c.js", "/d/e/c.js", "/", "/index.html", "/d"}
	for _, tree := range trees {
		for _, name := range names {
			if name != "b" {
				write(t, tree, name, "<p>"+tree+name)
			}
		}
	}
	symlink(t, trees[0], root)

	opts := Options{Root: root, NoLiveReload: true}
	kept := newServer(t, opts)
	opts.CacheFiles = -1
	plain := newServer(t, opts)
	hot := kept.warm()

	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	content := func() string { return "<p>" + strconv.FormatUint(random.Uint64(), 36) }
	var name string // of the file that is changed
	operations := []struct {
		name string
		do   func() error
	}{
		{"write", func() error { return os.WriteFile(name, []byte(content()), 0o644) }},
		{"write as much", func() error {
			text, err := os.ReadFile(name)
			if err != nil || len(text) == 0 {
				return err
			}
			text[len(text)-1]++
			return os.WriteFile(name, text, 0o644)
		}},
		{"write and put the time back", func() error {
			info, err := os.Stat(name)
			if err != nil {
				return err
			}
			if err := os.WriteFile(name, []byte(content()), 0o644); err != nil {
				return err
			}
			return os.Chtimes(name, info.ModTime(), info.ModTime())
		}},
		{"replace", func() error {
			write(t, dir, "new", content())
			return os.Rename(filepath.Join(dir, "new"), name)
		}},
		{"truncate", func() error { return os.Truncate(name, 3) }},
		{"extend", func() error { return os.Truncate(name, 100) }},
		{"chmod", func() error { return os.Chmod(name, os.FileMode(0o600+random.IntN(8))) }},
		{"remove", func() error { return os.Remove(name) }},
		{"link from another name", func() error {
			os.Remove(name)
			return os.Link(filepath.Join(root, "index.html"), name)
		}},
		{"symbolic link in its place", func() error {
			os.Remove(name)
			return os.Symlink(filepath.Join(root, "a.css"), name)
		}},
		{"its directory moves out and is linked", func() error {
			moved := filepath.Join(outside, strconv.FormatUint(random.Uint64(), 36))
			if err := os.Rename(filepath.Dir(name), moved); err != nil {
				return err
			}
			return os.Symlink(moved, filepath.Dir(name))
		}},
		{"its directory is another", func() error {
			os.RemoveAll(filepath.Join(outside, "d"))
			if err := os.Rename(filepath.Dir(name), filepath.Join(outside, "d")); err != nil {
				return err
			}
			write(t, filepath.Dir(name), "c.js", content())
			return nil
		}},
		{"the root is another", func() error {
			slices.Reverse(trees)
			symlink(t, trees[0], filepath.Join(dir, "next"))
			return os.Rename(filepath.Join(dir, "next"), root)
		}},
		{"a directory in place of it", func() error {
			os.Remove(name)
			return os.Mkdir(name, 0o755)
		}},
		{"make it again", func() error {
			os.RemoveAll(name)
			if info, err := os.Lstat(filepath.Dir(name)); err == nil && !info.IsDir() {
				os.Remove(filepath.Dir(name))
			}
			write(t, filepath.Dir(name), filepath.Base(name), content())
			return nil
		}},
	}
	get := func(s *Server, path string) *httptest.ResponseRecorder {
		// Of a proxy, so that nobody looks whether it is the owner's.
		return s.answerTo(at("127.0.0.1:8000", http.MethodGet, path, "localhost", "X-Forwarded-For", "10.0.0.7"))
	}
	hits := 0
	for i := range 500 {
		nextTick(t, dir)
		op := operations[random.IntN(len(operations))]
		if random.IntN(2) == 0 {
			op = operations[len(operations)-1]
		}
		name = filepath.Join(trees[0], names[random.IntN(len(names))])
		if strings.Contains(op.name, "directory") && filepath.Dir(name) == trees[0] {
			name = filepath.Join(trees[0], "d/c.js")
		}
		err := op.do()
		for _, path := range paths {
			want := answerText(get(plain, path))
			for range 2 {
				if got := answerText(get(kept, path)); got != want {
					t.Fatalf("seed %d, step %d: %s %s (%v): %s was answered by\n%s\nwant\n%s", seed, i, op.name, name, err, path, got, want)
				}
			}
		}
		hits += len(hot.files)
	}
	if hits < 500 {
		t.Errorf("%d files were kept in all: this has tested nothing", hits)
	}
}

// A page that is replaced all the time is never older than what was there when it was
// asked for.
func TestNoFileIsOlderThanItsRequest(t *testing.T) {
	root := t.TempDir()
	s := newServer(t, Options{Root: root, NoInject: true})
	s.warm()
	var version atomic.Int64
	next := func(i int) {
		if i%8 == 0 { // so that files are asked for again
			time.Sleep(200 * time.Microsecond)
		}
		write(t, root, "new", fmt.Sprintf("%d %s", i, strings.Repeat("x", i%5000)))
		rename(t, root, "new", "a.txt")
		version.Store(int64(i))
	}
	next(1)
	stop := repeat(func(i int) { next(i + 2) })
	var asking sync.WaitGroup
	for range 4 {
		asking.Go(func() {
			for range 300 {
				before := version.Load()
				body := s.answer("/a.txt").Body.String()
				number, _, _ := strings.Cut(body, " ")
				if got, _ := strconv.ParseInt(number, 10, 64); got < before {
					t.Errorf("version %d when %d was there: %.40q", got, before, body)
					return
				}
			}
		})
	}
	asking.Wait()
	stop()
}
