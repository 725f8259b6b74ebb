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

func TestWhy(t *testing.T) {
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "a b"), 0o755); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(root, ".x.toml")
	if err := os.WriteFile(file, []byte("[[route]]\nname = 'each'\nper = 'file'\nrun = ['true']\n[[route]]\nname = 'all'\nrun = ['true']\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	tests := []struct{ args, path, want string }{
		{"", "x.css", "route    reload: triggered by modify|moved_to\npages    those that use it fetch it again in place, and so does every page "},
		{"", "x.css", "route    names: triggered by attrib|moved_from|moved_to|create|delete\npages    those that use or show it say when it is gone"},
		{"", "a b", "pages    those that use or show something in it are loaded again, and so is every page"},
		{"", ".git/x", "route    reload: ignored by the pattern .*\n"},
		{"-ignore *.css", "x.css", "route    reload: ignored by the pattern *.css\n"},
		{"-livereload=false", "x.css", "routes   none: -livereload=false\n"},
		{"", "../x", "root     none: it is not below "},
		{"", "x", "path     " + root + "/x (not there now)\n"},
		{"", "a b", `path     "` + root + `/a b" (a directory)` + "\n"},
		{"-config " + file, "x", "route    each: triggered by modify|moved_to, or when it is new, empty and closed\n"},
		{"-config " + file, "x", "route    all: triggered by modify|moved_from|moved_to|create|delete\n"},
	}
	for _, tt := range tests {
		args := append([]string{"why", "-root", root}, strings.Fields(tt.args)...)
		var out strings.Builder
		if err := run(t.Context(), append(args, root+"/"+tt.path), &out, io.Discard); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(out.String(), tt.want) {
			t.Errorf("%s %s: no %q in\n%s", tt.args, tt.path, tt.want, out.String())
		}
	}
	if err := run(t.Context(), []string{"why"}, io.Discard, io.Discard); exitStatus(err) != 2 {
		t.Errorf("why without a path: %v, want a usage error", err)
	}
}

func TestWhyOfARename(t *testing.T) {
	root := t.TempDir()
	if err := os.Mkdir(filepath.Join(root, "dir"), 0o755); err != nil {
		t.Fatal(err)
	}
	tests := []struct{ args, from, to, want string }{
		{"-path ROOT -match *.go", "x.go", "y.md", "from     ROOT/x.go (not there now)\nroot     ROOT\nroute    run: triggered by moved_from, for the pattern *.go\n"},
		{"-path ROOT -match *.go", "x.go", "y.md", "to       ROOT/y.md (not there now)\nroot     ROOT\nroute    run: no pattern matches\n"},
		{"-path ROOT -events modify,moved_to", "x", "y", "route    run: moved_from is not among its events\n"},
		{"-path ROOT -events modify,moved_to", "x", "y", "route    run: triggered by moved_to\n"},
		{"-path ROOT -outputs out/", "out", "out.old", "route    run: an output of its own runs that is renamed, for the pattern out/ in its outputs\n"},
		{"-path ROOT -match *.go", "dir", "else", "note     what is in the directory counts as renamed as well, each file by its own path\n"},
	}
	for _, tt := range tests {
		args := strings.Fields(strings.ReplaceAll("why "+tt.args, "ROOT", root))
		var out strings.Builder
		if err := run(t.Context(), append(args, filepath.Join(root, tt.from), filepath.Join(root, tt.to)), &out, io.Discard); err != nil {
			t.Fatal(err)
		}
		if got := strings.ReplaceAll(out.String(), root, "ROOT"); !strings.Contains(got, tt.want) {
			t.Errorf("%s %s %s: no %q in\n%s", tt.args, tt.from, tt.to, tt.want, got)
		}
	}
}

func TestWhyTakesTheFlagsOfRun(t *testing.T) {
	root := t.TempDir()
	tests := []struct{ args, path, want string }{
		{"-path ROOT -match *.go", "x.go", "route    run: triggered by modify|moved_from|moved_to|create|delete, for the pattern *.go\n"},
		{"-path ROOT -match *.go", "x.md", "route    run: no pattern matches\n"},
		{"run -path ROOT -ignore *.go", "x.go", "route    run: ignored by the pattern *.go\n"},
		{"-path ROOT -path ROOT/below -outputs out/", "below/out/x", "root     ROOT/below\nroute    run: written by its own runs, for the pattern out/ in its outputs\n"},
		{"-path ROOT -per file", "x", "route    run: triggered by modify|moved_to, or when it is new, empty and closed\n"},
		{"-path ROOT -changed-only", "x", "delete, unless it has in it what it had at the last run\n"},
		{"-path ROOT -recursive=false", "a/x", "route    run: not directly in the root, and recursive is false\n"},
		{"-path ROOT -recursive=false", "x", "route    run: triggered by modify"},
		{"-path ROOT/else -restart", "x", "root     none: it is not below ROOT/else, so nothing happens\n"},
	}
	for _, tt := range tests {
		args := strings.Fields(strings.ReplaceAll("why "+tt.args, "ROOT", root))
		var out strings.Builder
		if err := run(t.Context(), append(args, root+"/"+tt.path), &out, io.Discard); err != nil {
			t.Errorf("%s: %v", tt.args, err)
		}
		if got := strings.ReplaceAll(out.String(), root, "ROOT"); !strings.Contains(got, tt.want) {
			t.Errorf("%s %s: no %q in\n%s", tt.args, tt.path, tt.want, got)
		}
	}
	for args, want := range map[string]string{
		"-per many x":     `-per is "many": want one of file, route`,
		"run -config f x": "not defined: -config",
		"-clear":          "takes one path",
	} {
		err := run(t.Context(), strings.Fields("why "+args), io.Discard, io.Discard)
		if exitStatus(err) != 2 || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want a usage error with %s", args, err, want)
		}
	}
}

func TestWhyFollowsSymbolicLinks(t *testing.T) {
	dir := t.TempDir()
	for _, d := range []string{"site", "else"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for link, to := range map[string]string{"link": "site", "site/out": "../else", "site/in": "."} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct{ root, path, want string }{
		{"link", "site/a/x.css", "route    reload: triggered by"},
		{"site", "link/x.css", "route    reload: triggered by"},
		{"link", "link/x.css", "route    reload: triggered by"},
		{"site", "site/in/x.css", "route    reload: triggered by"},
		{"site", "site/out/x.css", "root     none: DIR/else/x.css, which it is, is not below DIR/site, so nothing happens"},
		{"site", "site/out", "route    reload: triggered by"}, // the link itself
	}
	for _, tt := range tests {
		var out strings.Builder
		if err := run(t.Context(), []string{"why", "-root", filepath.Join(dir, tt.root), filepath.Join(dir, tt.path)}, &out, io.Discard); err != nil {
			t.Fatal(err)
		}
		if got := strings.ReplaceAll(out.String(), dir, "DIR"); !strings.Contains(got, tt.want) {
			t.Errorf("-root %s %s: no %q in\n%s", tt.root, tt.path, tt.want, got)
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

func TestWatchErrors(t *testing.T) {
	for _, tt := range []struct {
		args   []string
		want   string
		status int
	}{
		{[]string{"watch", "-events", "foo"}, `unknown event "foo"`, 2},
		{[]string{"watch", "-evnts", "foo"}, "(execlogd watch -help lists the flags)", 2},
		{[]string{"why", "-rot", "x"}, "(execlogd why -help lists the flags)", 2},
		{[]string{"watch", "-json", "-0"}, "drop one of them", 2},
		{[]string{"watch", "-ignore", "["}, "it is no glob", 2},
		{[]string{"watch", "/no/such"}, "create it, or name another", 1},
		{[]string{"wacht"}, "It is no command (check, log, run, trigger, watch, why)", 2},
	} {
		err := run(t.Context(), tt.args, io.Discard, io.Discard)
		if err == nil || !strings.Contains(err.Error(), tt.want) || exitStatus(err) != tt.status {
			t.Errorf("%v: %v (%d), want %s (%d)", tt.args, err, exitStatus(err), tt.want, tt.status)
		}
	}
}
