package daemon

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/execlog/execlogd/internal/testenv"
)

// waysToBuild are ways to run gen.sh for each change of src: by a route, and by a program
// that goes on, with lines that say when it builds and without.
var waysToBuild = []struct{ name, keys string }{
	{"route", "match = 'src/'\nstart = true\nrun = ['sh', 'gen.sh']\n"},
	{"builder", "builder = true\nrun = ['sh', 'watch.sh']\nbegins = '^begin'\nsucceeds = '^end'\n"},
	{"silent builder", "builder = true\nquiet = '1s'\nshell = 'exec sh watch.sh >/dev/null'\n"}, // a busy machine may pause
}

// watchScript builds when the sources are the same for a moment, as such programs do.
const watchScript = `
last= built=
while :; do
	now=$(cat src/* | cksum)
	if [ "$now" = "$last" ] && [ "$now" != "$built" ]; then
		built=$now
		echo begin
		sh gen.sh
		echo end
	fi
	last=$now
	sleep 0.1
done
`

// A generator removes its whole output and takes two seconds to write it again.
func TestSlowBuildIsOneReload(t *testing.T) {
	const generator = `
text=$(cat src/text)
rm -rf public
mkdir public
for i in $(seq 0 99); do
	echo "<title>$text</title>" >public/$i.html
	sleep 0.02
done
`
	testOneReload(t, 100, generator,
		func(dir string) { write(t, dir, "src/text", "first") },
		func(dir string) { write(t, dir, "src/text", "second") })
}

// A checkout changes all sources.
func TestCheckoutOfSourcesIsOneReload(t *testing.T) {
	git := needGit(t)
	testOneReload(t, 200, "rm -rf public; mkdir public; cp src/* public",
		func(dir string) {
			git(dir, "init", "-q", "-b", "first")
			for _, branch := range []string{"second", "first"} {
				git(dir, "checkout", "-q", "--orphan", branch)
				for i := range 200 {
					write(t, dir, fmt.Sprintf("src/%d.html", i), "<title>"+branch+"</title>")
				}
				git(dir, "add", "-A", "src")
				git(dir, "commit", "-q", "-m", branch)
			}
		},
		func(dir string) { git(dir, "checkout", "-q", "second") })
}

// testOneReload builds pages of which each says first, changes the sources so that each says
// second, and wants one reload when all of them do.
func testOneReload(t *testing.T, pages int, generator string, prepare, change func(dir string)) {
	for _, way := range waysToBuild {
		t.Run(way.name, func(t *testing.T) {
			t.Parallel()
			config := "[server]\nroot = 'public'\nport = 0\nafter = ['gen']\n[[route]]\nname = 'gen'\noutputs = 'public/'\n" + way.keys
			s := &session{testenv.Begin(t, func(ctx context.Context, args []string, stderr io.Writer) error {
				prepare(filepath.Dir(args[1]))
				return serve(ctx, args, stderr)
			}, "-- src/ --\n-- gen.sh --\n"+generator+"-- watch.sh --\n"+watchScript+"-- x.toml --\n"+config, "-log-level", "debug"), t}
			last := fmt.Sprintf("/%d.html", pages-1)
			for until := time.Now().Add(testenv.WaitLimit); !strings.Contains(s.get(last), "<title>first</title>"); time.Sleep(10 * time.Millisecond) {
				if time.Now().After(until) {
					t.Fatalf("%s is not there", last)
				}
			}
			s.awaitEnd("public/first.css")
			told := s.page("/1.html")
			stop := s.watchPage("/1.html")
			change(s.Dir)
			s.isTold(told, `"command":"reload"`)
			for i := range pages {
				if got := s.get(fmt.Sprintf("/%d.html", i)); !strings.Contains(got, "<title>second</title>") {
					t.Fatalf("reloaded when page %d was %q", i, got)
				}
			}
			missing := stop()
			if way.name != "silent builder" && missing != "" { // of which nobody knows when it builds
				t.Errorf("a request for a page was answered with %s", missing)
			}
			s.awaitEnd("public/last.css")
			s.isTold(told, "last.css") // and of no other reload before that
		})
	}
}

// awaitEnd makes a file, and returns when pages were told of it, by both routes for
// pages: then nothing is left of what came before it.
func (s *session) awaitEnd(name string) {
	s.t.Helper()
	s.Write(name, "1")
	left := map[string]string{"reload": "msg=changed", "names": "names changed"} // the lines to come, by the route
	for len(left) > 0 {
		line := s.Await("")
		for route, want := range left {
			told := strings.Contains(line, `msg="pages told" route=`+route+" ")
			switch {
			case want == "" && told:
				delete(left, route)
			case want != "" && strings.Contains(line, want) && strings.Contains(line, filepath.Base(name)):
				left[route] = ""
			}
		}
	}
}

// watchPage asks for a page again and again until stop is called, which returns the first
// answer that was none.
func (s *session) watchPage(path string) (stop func() (missing string)) {
	s.t.Helper()
	client := &http.Client{Transport: &http.Transport{}}
	ctx, cancel := context.WithCancel(s.t.Context())
	ended := make(chan string, 1)
	go func() {
		missing := ""
		for missing == "" {
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+path, nil)
			testenv.Check(s.t, err)
			res, err := client.Do(req)
			if err != nil {
				break
			}
			res.Body.Close()
			if res.StatusCode != http.StatusOK {
				missing = res.Status
			}
		}
		ended <- missing
	}()
	return func() string {
		cancel()
		defer client.CloseIdleConnections()
		return <-ended
	}
}

// write saves a file by rename.
func write(t *testing.T, dir, name, text string) {
	t.Helper()
	draft := filepath.Join(dir, ".draft")
	testenv.Check(t, os.WriteFile(draft, []byte(text), 0o644), os.Rename(draft, filepath.Join(dir, name)))
}

// needGit returns a function that runs git in a directory.
func needGit(t *testing.T) func(dir string, args ...string) {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip(err)
	}
	return func(dir string, args ...string) {
		cmd := exec.Command("git", append([]string{"-C", dir, "-c", "user.name=n", "-c", "user.email=e"}, args...)...)
		cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("git %q: %v\n%s", args, err, out)
		}
	}
}
