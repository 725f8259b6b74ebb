package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// checking runs execlogd check on text, in a directory with a program prog, a file
// plain and a directory dir.
func checking(t *testing.T, text string) (out string, err error) {
	t.Helper()
	dir := t.TempDir()
	for name, mode := range map[string]os.FileMode{"prog": 0o755, "plain": 0o644, "x.toml": 0o644} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "dir"), 0o755); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	err = run(t.Context(), []string{"check", "-config", dir + "/x.toml"}, &b, io.Discard)
	return strings.ReplaceAll(b.String(), dir+"/", ""), err
}

// wrongRoute is a [[route]] with text, which has the mistake if there is one.
func wrongRoute(text string) string { return "[[route]]\nname='x'\nrun=['x']\n" + text }

func TestCheckLooksForDirectories(t *testing.T) {
	tests := []struct{ text, want string }{
		{"[server]\nroot = 'dir'\n", "x.toml is right: 0 routes, and a server for dir\n"},
		{"[server]\nroot = 'no'\n", `x.toml:2:8: root "no" does not exist: create it, or name another` + "\n"},
		{"[server]\nroot = 'plain'\n", `x.toml:2:8: root "plain" is not a directory: name another` + "\n"},
		{"[server]\nroot = 'plain/no'\n", `x.toml:2:8: root "plain/no" does not exist: create it, or name another` + "\n"},
		{wrongRoute("root = 'no'"), `x.toml:4:8: root "no" does not exist: create it, or name another, or add wait = true` + "\n"},
		{wrongRoute("dir = 'no'"), `x.toml:4:7: dir "no" does not exist: create it, or name another` + "\n"},
		{"[[route]]\nname = 'x'\nrun = ['sh']", "x.toml is right: 1 route\n"},
		{"[[route]]\nname = 'x'\nrun = ['./prog']", "x.toml is right: 1 route\n"},
		{"[[route]]\nname = 'y'\nrun = ['sh']\n[[route]]\nname = 'x'\nafter = 'y'\nrun = ['./made']", "x.toml is right: 2 routes\n"},
	}
	for _, tt := range tests {
		text := strings.ReplaceAll(tt.text, "run=['x']", "run=['sh']")
		out, err := checking(t, text)
		if out != tt.want || (err == nil) != strings.Contains(tt.want, "is right") || err != nil && exitStatus(err) != 1 {
			t.Errorf("%s\n got %q and %v\nwant %q", text, out, err, tt.want)
		}
	}
}

// The rules of a site are looked at too, and a mistake in them keeps nothing from starting.
func TestCheckLooksAtRuleFiles(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"x.toml": "[server]\nroot = '" + dir + "'\n", "_redirects": "/a /b\n/c\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var b strings.Builder
	err := run(t.Context(), []string{"check", dir + "/x.toml"}, &b, io.Discard)
	if out := b.String(); err != nil || !strings.Contains(out, dir+"/_redirects:2:1: note: \"/c\": want where it leads") || !strings.Contains(out, "is right") {
		t.Errorf("got %q and %v", out, err)
	}
}

func TestCheckReportsAMistakeOnce(t *testing.T) {
	for text, want := range map[string]string{
		"[[route]]\nname = 'a b'\nrun = ['sh']\n":                             `x.toml:2:8: name is "a b": want one word without ", = and what does not print, and not "reload" or "names", as in "build"` + "\n",
		"[[route]]\nname = 'a'\nrun = ['sh']\nshell = 'true'\n":               `x.toml:4:9: route "a" has both run and shell: keep one of them` + "\n",
		"[[route]]\nname = 'a'\nrun = ['sh']\nservice = true\nleave = true\n": `x.toml:5:9: route "a" has leave, which is for commands that end: a service is started again with nothing left of it` + "\n",
		"[[route]]\nname = 'a'\nbuilder = 'hugo'\nrun = ['sh']\ndir = 'no'\n": `x.toml:5:7: dir "no" does not exist: create it, or name another` + "\n",
		"\ufeff[[route]]\nname = 'a'\nrun = ['sh']\n":                         "x.toml is right: 1 route\n",
		"\ufeff[[rout]]\r\nname = 'a'\r\nrun = ['sh']\r\n":                    `x.toml:1:3: unknown key "rout": is route meant?` + "\n",
	} {
		if out, _ := checking(t, text); out != want {
			t.Errorf("%q\n got %q\nwant %q", text, out, want)
		}
	}
}

func TestCheckLooksForPrograms(t *testing.T) {
	tests := []struct{ text, want string }{
		{"run = ['no-such-program']", `x.toml:3:8: route "x": command "no-such-program" is in no directory of PATH (`},
		{"run = ['./no']", `x.toml:3:8: route "x": command "no" is not there: give the path of a program`},
		{"run = ['./plain']", `x.toml:3:8: route "x": command "plain" is not executable: chmod +x it`},
		{"run = ['sh', '-c', 'rm {path}']", `x.toml:3:20: route "x": script "rm {path}" would run the names of files as code`},
		{"run = ['env',\n  'sh', '-c',\n    'rm {path}']", `x.toml:5:5: route "x": script "rm {path}" would run the names of files as code`},
		{"run = ['echo', 'a', 'got {path}']", `x.toml:3:21: route "x": argument "got {path}" may be read as code`},
		{"shell = 'rm {root}/x'", `x.toml:3:9: route "x": script "rm {root}/x" would run the names of files as code`},
		{"run = ['sh']\nenv.PATH = '/no:/where'", `x.toml:3:8: route "x": command "sh" is in no directory of PATH (/no:/where)`},
		{"reload = true", `x.toml:1:3: route "x" has reload = true, and no pages are served: add a [server] table, or take it out`},
	}
	for _, tt := range tests {
		out, err := checking(t, "[[route]]\nname = 'x'\n"+tt.text)
		if !strings.Contains(out, tt.want) || err == nil {
			t.Errorf("%s\n got %q and %v\nwant %q", tt.text, out, err, tt.want)
		}
	}
}

func TestCheckReportsAllMistakesInOrder(t *testing.T) {
	out, err := checking(t, "jobs = 0\n[server]\nroot = 'no'\nport = -1\n[[route]]\nname = 'x'\nrun = ['no-such-program']\nafter = ['y']\ndelay = '1'\n")
	var places []string
	for line := range strings.Lines(out) {
		places = append(places, strings.Join(strings.Split(line, ":")[1:3], ":"))
	}
	if got := strings.Join(places, " "); got != "1:8 3:8 4:8 7:8 8:10 9:9" || err == nil || !strings.HasSuffix(err.Error(), "x.toml: 6 mistakes") {
		t.Errorf("got %s and %v from\n%s", got, err, out)
	}
}

// A file that is no configuration at all is not checked to its end.
func TestCheckStopsAtManyMistakes(t *testing.T) {
	var text strings.Builder
	for i := range 5000 {
		fmt.Fprintf(&text, "a%d = 1\n", i)
	}
	out, err := checking(t, text.String())
	if lines := strings.Count(out, "\n"); lines != 100 || err == nil || !strings.HasSuffix(err.Error(), "x.toml: at least 100 mistakes") {
		t.Errorf("%d lines and %v", lines, err)
	}
}

// With a mistake in the file nothing starts, and the error is one line.
func TestWrongFileStartsNothing(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "x.toml")
	for text, want := range map[string]string{
		"[server]\nport = 'x'\nhost = 1\n": "x.toml:2:8: port is a string: want a number from 0 to 65535, as in 8000 (and 1 more: execlogd check -config ",
		"[server]\nroot = 'no'\n":          "x.toml:2:8: root ",
	} {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		err := run(t.Context(), []string{"-config", file}, io.Discard, io.Discard)
		if err == nil || !strings.Contains(err.Error(), want) || exitStatus(err) != 1 || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: got %v, want %s", text, err, want)
		}
	}
}

// What is served must be named where it is not the working directory: a service has its
// configuration in /etc.
func TestServerWithoutARoot(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "x.toml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	checked := func(args ...string) string {
		var out strings.Builder
		_ = run(t.Context(), append([]string{"check", "-config", file}, args...), &out, io.Discard)
		return strings.ReplaceAll(out.String(), dir, "DIR")
	}
	const wrong = `DIR/x.toml:1:2: [server] has no root, and would serve DIR, where the file is: name the directory to serve, as in root = "/srv/www"` + "\n"
	const right = "DIR/x.toml is right: 0 routes, and a server for DIR\n"

	write("[server]\nport = 0\n")
	if got := checked(); got != wrong {
		t.Errorf("elsewhere: %s", got)
	}
	if err := run(t.Context(), []string{"-config", file}, io.Discard, io.Discard); err == nil || !strings.Contains(err.Error(), "[server] has no root") {
		t.Errorf("the daemon: %v", err)
	}
	if got := checked("-root", dir); got != right {
		t.Errorf("with -root: %s", got)
	}
	write("[server]\nroot = '.'\nport = 0\n")
	if got := checked(); got != right {
		t.Errorf("named: %s", got)
	}
	write("[server]\nport = 0\n")
	t.Chdir(dir)
	if got := checked(); got != right {
		t.Errorf("in the working directory: %s", got)
	}
}

func TestCheckTakesTheFlagsOfTheDaemon(t *testing.T) {
	t.Chdir(t.TempDir())
	var out strings.Builder
	if err := run(t.Context(), []string{"check", "-port", "1234", "-log-level", "debug"}, &out, io.Discard); err != nil {
		t.Error(err)
	}
	if got := out.String(); !strings.HasPrefix(got, "the command line is right: 0 routes, and a server for /") {
		t.Errorf("got %q", got)
	}
}
