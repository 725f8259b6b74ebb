package daemon

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/execlog/execlogd/httpd"
	"github.com/execlog/execlogd/inotify"
	"github.com/execlog/execlogd/internal/config"
	"github.com/execlog/execlogd/internal/runnable"
	"github.com/execlog/execlogd/internal/testenv"
	"github.com/execlog/execlogd/job"
	"github.com/execlog/execlogd/router"
)

// An error of a file goes when a run of it succeeds, and when the file is gone: then no
// run of it comes any more.
func TestPageErrorsOfFiles(t *testing.T) {
	server, err := httpd.New(httpd.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	site := httptest.NewServer(server)
	defer site.Close()
	shown := func() string {
		t.Helper()
		res, err := http.Get(site.URL + "/.execlogd/")
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, name := range []string{"one", "two", "whole"} {
			if strings.Contains(string(body), "is wrong in "+name) {
				names = append(names, name)
			}
		}
		return strings.Join(names, " ")
	}

	dir := t.TempDir()
	e := &pageErrors{sites: []waitingPages{{server, []string{"check", "build"}}}}
	run := func(name string, failed bool) {
		r := router.Run{Route: "check", Events: []inotify.Event{{Root: dir, Path: name}}, Outcome: router.Succeeded}
		if failed {
			r.Outcome, r.Err = router.Failed, errors.New("something is wrong in "+name)
		}
		e.note(r, true)
	}
	for _, name := range []string{"one", "two", "three"} {
		testenv.Check(t, os.WriteFile(filepath.Join(dir, name), nil, 0o644))
	}
	failed := &job.Error{Run: job.Run{
		Argv: []string{"make"}, Err: errors.New("something is wrong in whole"),
		Output: []byte("\x1b[31mwhy\x1b[m\r\n"), Problem: job.Problem{Message: "why"},
	}}
	e.note(router.Run{Route: "build", Events: []inotify.Event{{Root: dir, Path: "."}}, Outcome: router.Failed, Err: failed}, false)
	if shown := e.shown[errorSource{"build", ""}]; shown.Title != "build: why" || shown.Text != "make: something is wrong in whole" {
		t.Errorf("pages show %+v, want what the output says, and then how the command ended", shown)
	}
	run("one", true)
	run("two", true)
	if got := shown(); got != "one two whole" {
		t.Fatalf("errors of %q are shown, want of all", got)
	}
	run("one", false)
	if got := shown(); got != "two whole" {
		t.Errorf("after a success, errors of %q are shown", got)
	}
	testenv.Check(t, os.Remove(filepath.Join(dir, "two")))
	run("three", false)
	if got := shown(); got != "whole" {
		t.Errorf("after a file is gone, errors of %q are shown", got)
	}
}

// A service that has died is shown also when the success of its start is noted only then.
func TestPageErrorOfADeathStays(t *testing.T) {
	server, err := httpd.New(httpd.Options{})
	testenv.Check(t, err)
	defer server.Close()
	service := runnable.Route{Route: &config.Route{Route: router.Route{Name: "app"}, IsService: true}, Runnable: new(runnable.Runnable)}
	e := &pageErrors{sites: []waitingPages{{server, []string{"app"}}}, all: []runnable.Route{service}}
	e.set("app", "", errors.New("it has died"))
	e.note(router.Run{Route: "app", Outcome: router.Succeeded}, false)
	if len(e.shown) != 1 {
		t.Errorf("pages show %v", e.shown)
	}
}

// Pages of a site that a reload brings show what has failed already of what they wait for.
func TestPageErrorsOfANewSite(t *testing.T) {
	const config = `
[server]
root = "public"
port = 0
after = "build"
[[route]]
name = "build"
match = "*.never"
start = true
shell = "echo it is wrong; exit 1"
`
	s := begin(t, "-- public/ --\n-- docs/ --\n-- x.toml --"+config)
	s.Await("msg=failed route=build")
	s.Reload(config + "[[site]]\nhost = 'docs.localhost'\nroot = 'docs'\nafter = 'build'\n")
	if _, body := s.Get("/.execlogd/", "docs.localhost"); !strings.Contains(body, `<dd id="wrong">1</dd>`) {
		t.Errorf("its pages show nothing: %s", body)
	}
}
