package e2e

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The other examples are tested by testdata/example-*.txtar.

// examples/goserver: the server is compiled and restarted after a change, and its own
// page shows the new version, or the error.
func TestExampleGoServer(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("go"); err != nil {
		t.Skipf("no compiler: %v", err)
	}
	browser := startChromium(t)
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("../examples/goserver")); err != nil {
		t.Fatal(err)
	}
	port, app := freePort(t), freePort(t)
	change(t, dir, "execlogd.toml", "9000", app)
	change(t, dir, "main.go", ":8000/", ":"+port+"/")
	d, err := startDaemon(t, dir, "-config", "execlogd.toml", "-port", port)
	if err != nil {
		t.Fatal(err)
	}
	said := func(line string) {
		t.Helper()
		if err := eventually(t.Context(), "execlogd to say "+line, func() bool { return strings.Contains(d.stderr.String(), line) }); err != nil {
			t.Fatal(err)
		}
	}
	said("msg=done route=server")
	p := open(t, browser, "http://127.0.0.1:"+app+"/")
	p.shows(heading, "Hello")

	change(t, dir, "main.go", `"Hello"`, `"Good morning"`)
	p.shows(heading, "Good morning")
	p.sameLoads(2)

	// A compile error does not stop the running server.
	change(t, dir, "main.go", `"Good morning"`, `"Good evening`)
	p.shows(panel+"?.textContent.includes('compile: newline in string')", "true")
	p.shows(panel+"?.textContent.includes('go: exit status 1')", "true")
	p.shows(panel+"?.textContent.includes('main.go:26:48: newline in string')", "true")
	p.shows(heading, "Good morning")
	p.do("fetch('/').then(r => r.text()).then(text => window.fetched = text)")
	p.shows("window.fetched?.includes('Good morning')", "true")
	p.sameLoads(2)

	change(t, dir, "main.go", `"Good evening`, `"Good evening"`)
	p.shows(heading, "Good evening")
	p.shows(panel, "undefined")
	p.sameLoads(3)
}

const heading = "document.querySelector('h1').textContent"

// change replaces old in a file everywhere, and saves it by rename.
func change(t *testing.T, dir, name, old, with string) {
	t.Helper()
	path := filepath.Join(dir, name)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.ReplaceAll(string(text), old, with)
	if changed == string(text) {
		t.Fatalf("%s has no %s", name, old)
	}
	if err := replace(path, changed); err != nil {
		t.Fatal(err)
	}
}

// freePort returns a port that is free at the moment.
func freePort(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return fmt.Sprint(ln.Addr().(*net.TCPAddr).Port)
}

// uploads are ways to put a file into a folder. Each is a script that runs in the
// folder and makes a file called $1 with a total of 7.50. While the file is open,
// pauses are longer than the delay of the route; while it is not, they are much
// shorter.
var uploads = []struct{ name, script string }{
	{"monday", `(printf 'item,price\ntea,3\n'; sleep 6; printf 'cake,4.5\n') >"$1"`},
	{"stalled", `exec >"$1"; printf 'item,price\ntea,3\n'; sleep 7; printf 'cake,4.5\n'; sleep 6`},
	{"trickle", `for c in 'item,' 'price\n' 'tea' ',3\n' cake , 4.5 '\n'; do printf "$c"; sleep 0.5; done >"$1"`},
	{"empty-first", `: >"$1"; sleep 0.2; (printf 'item,price\ntea,3\n'; sleep 6; printf 'cake,4.5\n') >"$1"`},
	{"in-pieces", `for line in item,price tea,3 cake,4.5; do echo $line >>"$1"; sleep 0.2; done`},
	{"two-writers", `exec 3>"$1" 4>>"$1"; printf 'item,price\n' >&3; printf 'tea,3\n' >&4; exec 4>&-; sleep 6; printf 'tea,3\ncake,4.5\n' >&3`},
	{"renamed", `(printf 'item,price\ntea,3\n'; sleep 6; printf 'cake,4.5\n') >"$1.part"; mv "$1.part" "$1"`},
	{"renamed-open", `exec 3>"$1.crdownload"; printf 'item,price\n' >&3; mv "$1.crdownload" "$1"; sleep 6; printf 'tea,3\ncake,4.5\n' >&3`},
	{"hidden", `(printf 'item,price\ntea,3\n'; sleep 6; printf 'cake,4.5\n') >".$1.Xq3"; mv ".$1.Xq3" "$1"`},
	{"copied", `cp ../good "$1"`},
	{"moved", `cp ../good ../new && mv ../new "$1"`},
	{"installed", `install -m 600 ../good "$1"`},
	{"timed", `cp ../good "$1"; sleep 0.3; touch -d 2020-01-01 "$1"; chmod 600 "$1"`},
	{"by-dd", `(printf 'item,price\ntea,3\n'; sleep 6; printf 'cake,4.5\n') | dd of="$1" bs=4 status=none`},
	{"by-rsync", `rsync ../good "$1"`},
	{"by-rsync-in-place", `: >"$1"; exec rsync --inplace --times ../good "$1"`},
	{"by-child", `(sleep 6; printf 'tea,3\ncake,4.5\n') >>"$1" & until [ -e "$1" ]; do sleep 0.01; done; printf 'item,price\n' >>"$1"; wait`},
	{"sub/in-a-directory", `mkdir ../newdir && exec 3>../newdir/in-a-directory.csv && printf 'item,price\ntea,3\n' >&3 && mv ../newdir sub && sleep 6 && printf 'cake,4.5\n' >&3`},
	{"renamed-directory/csv", `mkdir part.part && exec 3>part.part/csv.csv && printf 'item,price\ntea,3\n' >&3 && mv part.part renamed-directory && sleep 6 && printf 'cake,4.5\n' >&3`},
	{"preallocated", `truncate -s 26 "$1" && exec 1<>"$1" && sleep 6 && cat ../good`},
}

// examples/inbox: each file is processed once, when it is complete, however it is
// uploaded, and also if the upload began before execlogd was started.
func TestInboxWorksOnWholeFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("../examples/inbox")); err != nil {
		t.Fatal(err)
	}
	// On a busy machine the pause between two writers can be as long as the delay of
	// the example.
	config, err := os.ReadFile(filepath.Join(dir, "execlogd.toml"))
	if err != nil {
		t.Fatal(err)
	}
	const short, long = `delay = "1s"`, `delay = "4s"`
	if n := strings.Count(string(config), short); n != 1 {
		t.Fatalf("the example has %s %d times, want once", short, n)
	}
	write(t, dir, map[string]string{"execlogd.toml": strings.Replace(string(config), short, long, 1)})
	write(t, dir, map[string]string{"good": "item,price\ntea,3\ncake,4.5\n"})
	inbox := filepath.Join(dir, "inbox")
	begin := func(name, script string) {
		t.Helper()
		cmd := exec.Command("sh", "-c", script, "sh", name)
		cmd.Dir = inbox
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := cmd.Wait(); err != nil {
				t.Errorf("%s: %v", script, err)
			}
		})
	}
	begin("early.csv", uploads[0].script)
	if err := eventually(t.Context(), "the first upload to begin", func() bool {
		info, err := os.Stat(filepath.Join(inbox, "early.csv"))
		return err == nil && info.Size() > 0
	}); err != nil {
		t.Fatal(err)
	}
	d, err := launch(t, dir, "-config", "execlogd.toml", "-log-format", "json")
	if err != nil {
		t.Fatal(err)
	}
	if err := eventually(t.Context(), "execlogd to watch", func() bool { return strings.Contains(d.stderr.String(), "watching") }); err != nil {
		t.Fatal(err)
	}
	all := []string{"early.csv"}
	for _, u := range uploads {
		begin(u.name+".csv", u.script)
		all = append(all, u.name+".csv")
	}
	runs := func(name string) int {
		return strings.Count(d.stderr.String(), fmt.Sprintf(`"route":"upload","path":"%s"`, filepath.Join(inbox, name)))
	}
	for _, name := range all {
		if err := eventually(t.Context(), "a run for "+name, func() bool { return runs(name) > 0 }); err != nil {
			t.Error(err)
		}
	}
	for _, name := range all {
		total, err := os.ReadFile(filepath.Join(dir, "done", name+".total"))
		if err != nil || string(total) != "7.50\n" {
			t.Errorf("%s: total %q, error %v", name, total, err)
		}
		if n := runs(name); n != 1 {
			t.Errorf("%s: %d runs", name, n)
		}
	}
}
