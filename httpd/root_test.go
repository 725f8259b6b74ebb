package httpd

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/execlog/execlogd/httpd/internal/livereload"
)

// Hidden means hidden: a link publishes nothing that has a hidden name itself.
// What is in a hidden directory is published by a link that names it, as
// releases, pnpm and ConfigMaps need.
func TestLinksToHiddenFiles(t *testing.T) {
	root := tree(t,
		".env", "secret", ".git/config", "secret", ".git/.ssh/key", "secret", "in/.env", "secret",
		".releases/42/index.html", "release 42", "..2026_11/map.txt", "of a ConfigMap",
		"node_modules/.pnpm/m@1/node_modules/m/m.js", "module")
	for name, target := range map[string]string{
		"env.txt": ".env", "chain.txt": "env.txt", "git": ".git", "round": ".git/../.git", "dots": ".git/./", "in/up.txt": "../.env",
		"indir": "in", "ssh": ".git/.ssh", "index.html": ".env", "env.html": ".env", "404.html": ".env", "back": ".git/.ssh/..",
		"current": ".releases/42", "..data": "..2026_11", "map.txt": "..data/map.txt", "node_modules/m": ".pnpm/m@1/node_modules/m",
		"copy": ".releases/42/index.html",
	} {
		symlink(t, target, filepath.Join(root, name))
	}
	run := serve(t, Options{Root: root, NoLiveReload: true})
	run.refuses(t,
		"/env.txt", "/chain.txt", "/git/config", "/git/", "/git", "/round/config", "/dots/config", "/in/up.txt", "/indir/.env",
		"/ssh/key", "/index.html", "/", "/env", "/env.html", "/404.html", "/back/config", "/back/.ssh/key", "/none")
	for path, want := range map[string]string{
		"/current/": "release 42", "/current/index.html": "release 42", "/copy": "release 42", "/map.txt": "of a ConfigMap", "/node_modules/m/m.js": "module",
	} {
		run.shows(t, want, path)
	}
	if _, list := run.get(t, "GET", "/in/"); strings.Contains(list, "up.txt") {
		t.Errorf("the listing shows a link to a hidden file: %s", list)
	}
}

// Private files are not served by any name, and what a path led to before
// stays private.
func TestPrivateFiles(t *testing.T) {
	root := t.TempDir()
	conf := filepath.Join(root, "site.toml")
	write(t, root, "site.toml", "secret one")
	write(t, root, "in/a.txt", "a")
	for _, backup := range []string{"site.toml~", "site.toml.bak", "site.toml.gz", "#site.toml#"} {
		write(t, root, backup, "secret copy")
	}
	write(t, root, "site.tomls", "another")
	write(t, root, "in/site.toml~", "elsewhere")
	link := func(name string) {
		t.Helper()
		check(t, os.Link(conf, filepath.Join(root, name)))
	}
	link("hard.txt")
	link("in/index.html")
	link("404.html")
	symlink(t, "site.toml", root+"/soft.txt")
	symlink(t, "..", root+"/in/up")
	run := serve(t, Options{Root: root, NoLiveReload: true, Private: []string{conf, root + "/none.toml"}})
	run.refuses(t, "/site.toml", "/hard.txt", "/in/", "/in/index.html", "/404.html", "/soft.txt", "/in/up/site.toml", "/none",
		"/site.toml~", "/site.toml.bak", "/site.toml.gz", "/%23site.toml%23")

	// Saved by rename, in place, and by delete and create: each time what there
	// is now is private, and every earlier file that still has a name.
	write(t, root, ".new", "secret two")
	check(t, os.Rename(root+"/.new", conf))
	link("second.txt")
	run.refuses(t, "/site.toml", "/hard.txt", "/second.txt")
	check(t, os.Remove(conf))
	run.refuses(t, "/second.txt")
	write(t, root, "site.toml", "secret three")
	link("third.txt")
	run.refuses(t, "/site.toml", "/hard.txt", "/second.txt", "/third.txt", "/soft.txt")

	for path, want := range map[string]string{"/in/a.txt": "a", "/site.tomls": "another", "/in/site.toml~": "elsewhere"} {
		run.shows(t, want, path)
	}
	_, list := run.get(t, "GET", "/")
	if strings.Contains(strings.ReplaceAll(list, "./site.tomls", ""), "./site.toml") || strings.Contains(list, "hard.txt") || !strings.Contains(list, "site.tomls") {
		t.Errorf("the listing shows private files: %s", list)
	}

	// The list is that of the options of the moment.
	other := t.TempDir() + "/other.toml"
	write(t, filepath.Dir(other), "other.toml", "secret")
	check(t, os.Link(other, root+"/other.txt"))
	run.status(t, 200, "GET", "/other.txt")
	run.change(t, Options{Root: root, NoLiveReload: true, Private: []string{other}})
	run.refuses(t, "/other.txt", "/third.txt")
}

// A private file that was replaced is held open only as long as it has a name.
func TestPrivateFilesAreForgotten(t *testing.T) {
	dir := t.TempDir()
	conf := filepath.Join(dir, "site.toml")
	var known privateFiles
	defer known.close()
	for i := range 5 {
		write(t, dir, "new", "secret")
		check(t, os.Rename(filepath.Join(dir, "new"), conf))
		if info := known.note(conf); info == nil || !known.have(info) {
			t.Fatal("the private file is not known")
		}
		if n := len(known.files); n != 1 {
			t.Fatalf("after %d saves %d files are held open, want that of now", i+1, n)
		}
	}

	for i := range 2 * maxPrivate {
		check(t, os.Rename(conf, fmt.Sprint(conf, i)))
		write(t, dir, "site.toml", "secret")
		known.note(conf)
	}
	if n := len(known.files); n != maxPrivate {
		t.Errorf("%d files that have names are held open, want %d", n, maxPrivate)
	}
}

// What a page says it uses is looked at as a request would: a private file, a
// FIFO and a socket are not there.
func TestPagesLearnNothingOfPrivateFiles(t *testing.T) {
	root := tree(t, "site.toml", "secret")
	opened := fifo(t, root+"/pipe")
	run := serve(t, Options{Root: root, Private: []string{root + "/site.toml"}})
	now, _ := run.acquire()
	defer now.root.release()
	for _, use := range []string{"/site.toml", "/pipe"} {
		if seen := now.fileState(use); seen.Kind != livereload.Missing {
			t.Errorf("%s is %v, want absent", use, seen.Kind)
		}
	}
	notOpened(t, "looking at it", opened)
}

// fifo makes a FIFO to which somebody wants to write, and returns a channel that
// is closed when it is opened to be read. Whoever opens it is not kept waiting: a
// server that does so fails the test at once.
func fifo(t testing.TB, name string) (opened <-chan struct{}) {
	t.Helper()
	check(t, syscall.Mkfifo(name, 0o644))
	own := must(os.OpenFile(name, unix.O_PATH, 0))(t) // by which it is reached when it has another name
	path := fmt.Sprintf("/proc/self/fd/%d", own.Fd())

	var once sync.Once
	first, ended := make(chan struct{}), make(chan struct{})
	var over atomic.Bool
	go func() {
		defer close(ended)
		for !over.Load() {
			w, err := os.OpenFile(path, os.O_WRONLY, 0) // returns when somebody opens it to read
			if err != nil {
				t.Error(err)
				return
			}
			if !over.Load() {
				once.Do(func() { close(first) })
			}
			w.Close()
		}
	}()
	t.Cleanup(func() {
		defer own.Close()
		over.Store(true)
		for {
			r, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
			if err != nil {
				t.Error(err)
				return
			}
			select {
			case <-ended:
				r.Close()
				return
			case <-time.After(time.Millisecond): // the writer was not there yet
				r.Close()
			}
		}
	})
	return first
}

// notOpened fails the test if one of the FIFOs was opened.
func notOpened(t testing.TB, by string, fifos ...<-chan struct{}) {
	t.Helper()
	for i, opened := range fifos {
		select {
		case <-opened:
			t.Fatalf("%s opened FIFO %d", by, i)
		default:
		}
	}
}

// Only regular files are opened: to open a FIFO lets its writer go, whose data
// is lost or who gets EPIPE.
func TestOnlyRegularFiles(t *testing.T) {
	root := t.TempDir()
	var fifos []<-chan struct{}
	for _, name := range []string{"fifo.html", "404.html", "in/index.html", "in/x"} {
		os.MkdirAll(filepath.Dir(filepath.Join(root, name)), 0o755)
		fifos = append(fifos, fifo(t, filepath.Join(root, name)))
	}
	symlink(t, "fifo.html", root+"/link.html")
	check(t, os.Mkdir(root+"/index.html", 0o755))
	write(t, root, "a.txt", "")
	socket := must(net.Listen("unix", root+"/socket"))(t)
	defer socket.Close()
	if os.Geteuid() == 0 {
		check(t, unix.Mknod(root+"/null", unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	}
	run := serve(t, Options{Root: root})
	for _, path := range []string{"/fifo.html", "/fifo", "/link.html", "/link", "/404.html", "/none", "/in/index.html", "/socket", "/null", "/in/x"} {
		for _, method := range []string{"GET", "HEAD"} {
			run.status(t, 404, method, path)
			notOpened(t, method+" "+path, fifos...)
		}
	}
	if _, list := run.get(t, "GET", "/"); strings.Contains(list, "fifo") || strings.Contains(list, "socket") || strings.Contains(list, "null") || !strings.Contains(list, "a.txt") {
		t.Errorf("listing: %s", list)
	}
	run.get(t, "GET", "/in/")
	p := run.open(t, "/", "/fifo.html", "/404.html")
	run.Refresh("fifo.html", "404.html")
	run.Recheck("fifo.html", "404.html")
	p.expectNothing(t)
	notOpened(t, "a page that uses it", fifos...)
}

// A FIFO that takes a file's place again and again is never opened either:
// there is no moment between the look and the open.
func TestAFileThatIsAFIFONowAndThen(t *testing.T) {
	root := tree(t, ".file", "content")
	opened := fifo(t, root+"/.fifo")
	run := serve(t, Options{Root: root, NoLiveReload: true})
	stop := repeat(func(i int) {
		os.Link(filepath.Join(root, []string{".file", ".fifo"}[i%2]), root+"/.new")
		os.Rename(root+"/.new", root+"/flip.txt")
	})
	defer stop()
	run.flips(t, func(string) { notOpened(t, "a request", opened) })
}

// The root is what its path leads to at the time of a request.
func TestARootThatIsReplacedIsServed(t *testing.T) {
	top := t.TempDir()
	at := func(name string) string { return filepath.Join(top, name) }
	for _, release := range []string{"1", "2"} {
		check(t, os.Mkdir(at(release), 0o755))
		write(t, at(release), "f.txt", release)
	}
	check(t, os.Symlink(at("1"), at("root")))
	run := serve(t, Options{Root: at("root")})
	run.shows(t, "1", "/f.txt") // at first

	check(t, os.Symlink(at("2"), at("tmp")))
	check(t, os.Rename(at("tmp"), at("root")))
	run.shows(t, "2", "/f.txt") // after the link was turned

	check(t, os.RemoveAll(at("2")))
	run.status(t, 404, "GET", "/f.txt") // after it was deleted

	check(t, os.Mkdir(at("2"), 0o755))
	write(t, at("2"), "f.txt", "2 again")
	run.shows(t, "2 again", "/f.txt") // after it was made again
}
