package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// output returns what a command prints, with DIR for a directory.
func output(t *testing.T, dir string, args ...string) string {
	t.Helper()
	var out strings.Builder
	if err := run(t.Context(), args, &out, io.Discard); err != nil {
		t.Fatalf("%q: %v", args, err)
	}
	return strings.ReplaceAll(out.String(), dir, "DIR")
}

// words returns the words of a command line. In a word, ~ stands for a space.
func words(line string) []string {
	all := strings.Fields(line)
	for i := range all {
		all[i] = strings.ReplaceAll(all[i], "~", " ")
	}
	return all
}

func TestWhy(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	for _, d := range []string{"site/a b", "else"} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for link, to := range map[string]string{"link": "site", "site/out": "../else", "site/in": "."} {
		if err := os.Symlink(to, link); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile("site/.x.toml", []byte("[[route]]\nname = 'each'\nper = 'file'\nrun = ['true']\n[[route]]\nname = 'all'\nrun = ['true']\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ args, want string }{
		{"-root site site/x.css", "route    reload: triggered by modify|moved_to\npages    those that use it fetch it again in place, and so does every page "},
		{"-root site site/x.css", "route    names: triggered by attrib|moved_from|moved_to|create|delete\npages    those that use or show it say when it is gone"},
		{"-root site site/a~b", "pages    those that use or show something in it are loaded again, and so is every page"},
		{"-root site site/.git/x", "route    reload: ignored by the pattern .*\n"},
		{"-root site -ignore *.css site/x.css", "route    reload: ignored by the pattern *.css\n"},
		{"-root site -livereload=false site/x.css", "routes   none: -livereload=false\n"},
		{"-root site x", "root     none: it is not below DIR/site, so nothing happens\n"},
		{"-root site site/x", "path     DIR/site/x (not there now)\n"},
		{"-root site site/a~b", `path     "DIR/site/a b" (a directory)` + "\n"},
		{"-config site/.x.toml site/x", "route    each: triggered by modify|moved_to, or when it is new, empty and closed\n"},
		{"-config site/.x.toml site/x", "route    all: triggered by modify|moved_from|moved_to|create|delete\n"},

		// Symbolic links.
		{"-root link site/a/x.css", "route    reload: triggered by"},
		{"-root site link/x.css", "route    reload: triggered by"},
		{"-root link link/x.css", "route    reload: triggered by"},
		{"-root site site/in/x.css", "route    reload: triggered by"},
		{"-root site site/out/x.css", "root     none: DIR/else/x.css, which it is, is not below DIR/site, so nothing happens"},
		{"-root site site/out", "route    reload: triggered by"}, // the link itself

		// The flags of run.
		{"-match *.go x.go", "route    run: triggered by modify|moved_from|moved_to|create|delete, for the pattern *.go\n"},
		{"-match *.go x.md", "route    run: no pattern matches\n"},
		{"run -ignore *.go x.go", "route    run: ignored by the pattern *.go\n"},
		{"-path . -path below -outputs out/ below/out/x", "root     DIR/below\nroute    run: written by its own runs, for the pattern out/ in its outputs\n"},
		{"-per file x", "route    run: triggered by modify|moved_to, or when it is new, empty and closed\n"},
		{"-changed-only x", "delete, unless it has in it what it had at the last run\n"},
		{"-recursive=false a/x", "route    run: not directly in the root, and recursive is false\n"},
		{"-recursive=false x", "route    run: triggered by modify"},
		{"-path site/.x.toml -match *.go site/.x.toml", "triggered by"}, // every pattern is for a root that is a file
		{"-path else -restart x", "root     none: it is not below DIR/else, so nothing happens\n"},

		// Renames.
		{"-match *.go x.go y.md", "from     DIR/x.go (not there now)\nroot     DIR\nroute    run: triggered by moved_from, for the pattern *.go\n"},
		{"-match *.go x.go y.md", "to       DIR/y.md (not there now)\nroot     DIR\nroute    run: no pattern matches\n"},
		{"-events modify,moved_to x y", "route    run: moved_from is not among its events\n"},
		{"-events modify,moved_to x y", "route    run: triggered by moved_to\n"},
		{"-path . -outputs out/ out out.old", "route    run: an output of its own runs that is renamed, for the pattern out/ in its outputs\n"},
		{"-match *.go site away", "note     what is in the directory counts as renamed as well, each file by its own path\n"},
	} {
		if got := output(t, dir, words("why "+tt.args)...); !strings.Contains(got, tt.want) {
			t.Errorf("%s: no %q in\n%s", tt.args, tt.want, got)
		}
	}
}

// watching runs execlogd watch on a directory, and returns the lines that it prints.
func watching(t *testing.T, args ...string) *bufio.Scanner {
	t.Helper()
	out, stdout := io.Pipe()
	errs, stderr := io.Pipe()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- run(ctx, append([]string{"watch"}, args...), stdout, stderr)
		stdout.Close()
		stderr.Close()
	}()
	ready := bufio.NewScanner(errs)
	if !ready.Scan() || !strings.HasPrefix(ready.Text(), "execlogd: watching ") {
		t.Fatalf("not ready: %q %v", ready.Text(), <-ended)
	}
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return bufio.NewScanner(out)
}

func TestWatchPrintsEvents(t *testing.T) {
	root := t.TempDir()
	out := watching(t, "-events", "create,moved_to", "-ignore", "*.tmp", root)
	for _, name := range []string{"a", "x.tmp", "b\n"} {
		if err := os.WriteFile(filepath.Join(root, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Rename(root+"/a", root+"/c"); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"create " + root + "/a", `create "` + root + `/b\n"`, "moved_to " + root + "/c from " + root + "/a",
	} {
		if !out.Scan() {
			t.Fatal("no more output")
		}
		if got := strings.Join(strings.Fields(out.Text()), " "); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestWatchPrintsJSON(t *testing.T) {
	root := t.TempDir()
	out := watching(t, "-json", "-events", "create", root)
	if err := os.Mkdir(root+"/\xff", 0o755); err != nil {
		t.Fatal(err)
	}
	if !out.Scan() {
		t.Fatal("no output")
	}
	var line eventLine
	if err := json.Unmarshal(out.Bytes(), &line); err != nil {
		t.Fatal(err)
	}
	if line.Root != root || string(line.PathBytes) != "\xff" || !slices.Equal(line.Events, []string{"create", "isdir"}) || line.Time.IsZero() {
		t.Errorf("got %+v", line)
	}
}

func TestWatchPrintsNULs(t *testing.T) {
	root := t.TempDir()
	out := watching(t, "-0", "-events", "create", root)
	out.Split(func(data []byte, _ bool) (int, []byte, error) {
		name, _, ok := bytes.Cut(data, []byte{0})
		if !ok {
			return 0, nil, nil
		}
		return len(name) + 1, name, nil
	})
	for _, name := range []string{"a\n b\xff", "c"} {
		if err := os.WriteFile(filepath.Join(root, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
		if !out.Scan() || out.Text() != root+"/"+name {
			t.Errorf("got %q, want %q", out.Text(), root+"/"+name)
		}
	}
}

func TestWatchNotRecursive(t *testing.T) {
	root := t.TempDir()
	if err := os.Mkdir(root+"/dir", 0o755); err != nil {
		t.Fatal(err)
	}
	out := watching(t, "-recursive=false", "-events", "create", root)
	for _, name := range []string{"dir/below", "last"} {
		if err := os.WriteFile(filepath.Join(root, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if !out.Scan() || !strings.HasSuffix(out.Text(), root+"/last") {
		t.Errorf("got %q, want the event of last first", out.Text())
	}
}

func TestWrongCommandLines(t *testing.T) {
	for _, tt := range []struct {
		args   string
		want   string
		status int
	}{
		{"foobar", "neither a command (check, init, log, relay, reload, retry, run, trigger, watch, why) nor a directory", 2},
		{"chekc", "is check meant?", 2},
		{"serve .", "serve is no command: write execlogd .", 2},
		{"start", "start is no command: write execlogd (", 2},
		{"build", "build is no command: write execlogd trigger build (", 2},
		{"stop", "stop is no command: the key q or Ctrl-C ends a daemon", 2},
		{"logs -f", "logs is no command: write execlogd log -f", 2},
		{"8000", "write execlogd -port 8000", 2},
		{":8000", "write execlogd -port 8000", 2},
		{"0.0.0.0:80", "write execlogd -host 0.0.0.0 -port 80", 2},
		{"http://localhost:3000", "-static=false", 2},
		{"./no-such", "./no-such does not exist: name a directory", 1},
		{"../../README.md", "../../README.md is a regular file: name a directory, as in execlogd ../.., or a configuration", 2},
		{". ..", "the directory to serve is named twice", 2},
		{"-p 8000", "there is no flag -p: write -port 8000 (", 2},
		{"-p=80 .", "there is no flag -p: write -port 80 (", 2},
		{"-p8000", "there is no flag -p8000: write -port 8000 (", 2},
		{"--port8000", "there is no flag -port8000: write -port 8000 (", 2},
		{"-p", "there is no flag -p: write -port PORT (", 2},
		{"--prot 8000", "there is no flag -prot: is -port meant?", 2},
		{"--bind 0.0.0.0", "there is no flag -bind: write -host 0.0.0.0 (", 2},
		{"-o", "there is no flag -o: write -open (", 2},
		{"run -c make", "there is no flag -c: write -clear (", 2},
		{"run -w src make", "there is no flag -w: write -path src (", 2},
		{"run -e go make", "there is no flag -e: write -match '*.go' (", 2},
		{"log --follow", "there is no flag -follow: write -f (", 2},
		{"init -n", "there is no flag -n: write -dry-run (", 2},
		{"-open=maybe", `-open is "maybe": want true or false (`, 2},
		{"-host localhost:80", `-host is "localhost:80": write -host localhost -port 80 (`, 2},
		{"help foo", `what is "foo"?`, 2},
		{"-v", "there is no flag -v: write -version (", 2},
		{"--no-livereload", "there is no flag -no-livereload: write -livereload=false (", 2},
		{"-port", "-port is the last word: write -port PORT (", 2},
		{"-port http", `-port is "http": write -port 80 (`, 2},
		{"-port 8000x", `-port is "8000x": want a number from 0 to 65535, as in 8000 (`, 2},
		{"-port :8000", `-port is ":8000": write -port 8000 (`, 2},
		{"-port localhost:8000", `-port is "localhost:8000": write -host localhost -port 8000 (`, 2},
		{"-delay 100", "-delay is 100, without a unit: write -delay 100ms or -delay 100s (", 2},
		{"-static=no", `-static is "no": write -static=false (`, 2},
		{"-watch-config=off", `-watch-config is "off": write -watch-config=false (`, 2},
		{"-livereload false", "the value of -livereload follows an equals sign: write -livereload=false (", 2},
		{"-open no", "the value of -open follows an equals sign: write -open=false (", 2},
		{"--watch .", "there is no flag -watch: it watches by itself: drop it (", 2},
		{"-daemon", "there is no flag -daemon: it stays in the foreground", 2},
		{"watch -daemon", "there is no flag -daemon (", 2},
		{"check -static no", "the value of -static follows an equals sign: write -static=false (", 2},
		{"watch -events foo", `unknown event "foo"`, 2},
		{"watch -evnts foo", "(execlogd watch -help lists the flags)", 2},
		{"watch -json -0", "drop one of them", 2},
		{"watch -ignore [", "it is no glob", 2},
		{"watch /no/such", "create it, or name another", 1},
		{"why", "takes one path, or two", 2},
		{"why -rot x", "(execlogd why -help lists the flags)", 2},
		{"why -per many x", `-per is "many": want one of file, route`, 2},
		{"why run -config f x", "there is no flag -config", 2},
		{"why -clear", "takes one path", 2},
		{"check x.toml", "x.toml does not exist: name a directory, or a configuration file", 1},
		{"check run", "run does not exist: name a directory, or a configuration file", 1},
		{"check -port x", "-port is \"x\"", 2},
		{"check -root /no/such", `root "/no/such" does not exist`, 1},
		{"reload x", `what is "x"?`, 2},
		{"check -config /no/such", "no such file", 1},
		{"log x", `what is "x"?`, 2},
		{"trigger", "which route is to run?", 2},
		{"retry", "which job is it?", 2},
		{"retry x", `"x" is no ID of a job`, 2},
		{"log -dead -f", "drop -f and -cluster", 2},
		{"run", "what is to run?", 2},
		{"run -match [ true", `pattern "[": it is no glob`, 2},
		{"run -timeout 5 true", "-timeout is 5, without a unit: write -timeout 5ms or -timeout 5s", 2},
		{"run -no true", "(execlogd run -help lists the flags)", 2},
		{"run -path /no/such true", `path "/no/such" does not exist: create it, or name another with -path, or add -wait`, 1},
		{"run no-such-program", `command "no-such-program" is in no directory of PATH`, 1},
		{"run make~&&~./x", "execlogd run -shell 'make && ./x'", 2},
		{"run go~test~./...", "execlogd run -shell 'go test ./...'", 2},
		{"run echo~'a'~>b", `execlogd run -shell 'echo '\''a'\'' >b'`, 2},
		{"run ls|wc", "execlogd run -shell 'ls|wc'", 2},
	} {
		err := run(t.Context(), words(tt.args), io.Discard, io.Discard)
		if err == nil || !strings.Contains(err.Error(), tt.want) || exitStatus(err) != tt.status {
			t.Errorf("%s: %v (%d), want %s (%d)", tt.args, err, exitStatus(err), tt.want, tt.status)
		}
	}
}
