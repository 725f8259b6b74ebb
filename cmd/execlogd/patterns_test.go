package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/execlog/execlogd/internal/runnable"
	"github.com/execlog/execlogd/internal/testenv"
	"github.com/execlog/execlogd/router"
)

// siteDir creates a directory with src, docs and a few files, and a link to it.
func siteDir(t *testing.T) (dir, link string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "site")
	for _, name := range []string{"src/main.go", "docs/a.md", "x.md"} {
		path := filepath.Join(dir, name)
		testenv.Check(t, os.MkdirAll(filepath.Dir(path), 0o700))
		testenv.Check(t, os.WriteFile(path, nil, 0o600))
	}
	link = dir + "-link"
	testenv.Check(t, os.Symlink("site", link))
	return dir, link
}

// A pattern that can match nothing is an error that says what is meant, with a position
// if it is in a file.
func TestPatternsThatMatchNothing(t *testing.T) {
	dir, link := siteDir(t)
	for pattern, want := range map[string]string{
		dir + "/out/":   `patterns are relative to the root: write "/out/"`,
		dir + "/*.md":   `patterns are relative to the root: write "/*.md"`,
		dir:             `patterns are relative to the root: write "**"`,
		dir + "/":       `patterns are relative to the root: write "**"`,
		link + "/*.md":  `patterns are relative to the root: write "/*.md"`,
		"*.js,*.ts":     `a comma is part of a name: write {*.js,*.ts}, or several patterns`,
		"*.js, *.ts":    `a comma is part of a name: write {*.js,*.ts}, or several patterns`,
		"src/*.c,docs/": `a comma is part of a name: write {src/*.c,docs/}, or several patterns`,
		"../x":          `".." is in no path: write the pattern relative to the root`,
	} {
		for _, key := range []string{"match", "ignore", "outputs"} {
			file := filepath.Join(dir, "x.toml")
			text := fmt.Sprintf("[[route]]\nname = 'x'\nroot = %q\nrun = ['true']\n%s = ['ok', %q]\n", link, key, pattern)
			testenv.Check(t, os.WriteFile(file, []byte(text), 0o600))
			var out bytes.Buffer
			_ = run(t.Context(), []string{"check", "-config", file}, &out, io.Discard)
			said := fmt.Sprintf("%s: pattern %q: %s", key, pattern, want)
			if at := fmt.Sprintf("x.toml:5:%d: ", len(key)+11); !strings.Contains(out.String(), at+said) {
				t.Errorf("check: %q, want %s", out.String(), at+said)
			}
			for _, command := range [][]string{{"run"}, {"why", "run"}} {
				err := run(t.Context(), append(command, "-path", dir, "-path", link, "-"+key, pattern, "true"), io.Discard, io.Discard)
				if exitStatus(err) != 2 || !strings.Contains(fmt.Sprint(err), said) {
					t.Errorf("%s: %v, want %s", command, err, said)
				}
			}
		}
		err := run(t.Context(), []string{"-root", link, "-port", "0", "-ignore", pattern}, io.Discard, io.Discard)
		if exitStatus(err) != 2 || !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("-ignore: %v, want %s", err, want)
		}
		err = run(t.Context(), []string{"watch", "-ignore", pattern, link}, io.Discard, io.Discard)
		if exitStatus(err) != 2 || !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("watch: %v, want %s", err, want)
		}
		out, err := checking(t, fmt.Sprintf("[server]\nroot = %q\nignore = %q\n", link, pattern))
		if err == nil || !strings.Contains(out, "x.toml:3:10: ignore: pattern ") || !strings.Contains(out, want) {
			t.Errorf("[server]: %q, want %s", out, want)
		}
	}
}

// A pattern that may be wrong has a note, in a file or in a flag.
func TestPatternsThatMayBeWrong(t *testing.T) {
	dir, _ := siteDir(t)
	elsewhere := t.TempDir()
	for pattern, want := range map[string]string{
		"docs":              `it is for the directory itself, and not for what is in it: is "docs/" meant?`,
		"/docs":             `it is for the directory itself, and not for what is in it: is "/docs/" meant?`,
		"./src":             `it is for the directory itself, and not for what is in it: is "./src/" meant?`,
		"*.md ":             `spaces at its ends are part of a name: is "*.md" meant?`,
		`src\main.go`:       `\ takes the meaning from the character after it: is "src/main.go" meant?`,
		`src\*.go`:          `\ takes the meaning from the character after it: is "src/*.go" meant?`,
		"*.md,package.json": `a comma is part of a name: is "{*.md,package.json}" meant?`,
		"x.md, src/main.go": `a comma is part of a name: is "{x.md,src/main.go}" meant?`,
		"src/**.go":         `** beside other characters is *, a part of one name: is "src/**/*.go" meant?`,
		elsewhere + "/*.md": `patterns are relative to the root, and ` + elsewhere + ` is not below that: it needs a root of its own`,
		"~/site/*.md":       `patterns are relative to the root, and ~ is not below that`,
	} {
		text := fmt.Sprintf("[[route]]\nname = 'x'\nroot = %q\nrun = ['true']\nmatch = %q\n", dir, pattern)
		said := fmt.Sprintf("pattern %q in match: %s", pattern, want)
		out, err := checking(t, text)
		if err != nil || !strings.Contains(out, `x.toml:5:9: note: route "x": `+said) || !strings.Contains(out, "is right: 1 route") {
			t.Errorf("check: %q and %v, want %s", out, err, said)
		}
		s := begin(t, "-- x.toml --\n"+text)
		s.Stop()
		for line := range s.Log {
			s.Seen = append(s.Seen, line)
		}
		if all := strings.Join(s.Seen, "\n"); !strings.Contains(strings.ReplaceAll(strings.ReplaceAll(all, `\"`, `"`), `\\`, `\`), "5:9: route \"x\": pattern "+fmt.Sprintf("%q", pattern)[:3]) || !strings.Contains(all, "level=WARN") {
			t.Errorf("daemon: %s, want %s", all, said)
		}
		var why bytes.Buffer
		if err := run(t.Context(), []string{"why", "run", "-path", dir, "-match", pattern, dir + "/x"}, &why, io.Discard); err != nil || !strings.Contains(why.String(), said) {
			t.Errorf("why: %v %q, want %s", err, why.String(), said)
		}
	}
	s := begin(t, "-- x.toml --\n[server]\nroot = '.'\nport = 0\n", "-ignore", "out ")
	if line := strings.Join(s.Seen, "\n"); !strings.Contains(line, `level=WARN msg="pattern \"out \" in ignore: spaces at its ends`) {
		t.Errorf("-ignore: %s", line)
	}
	for _, args := range [][]string{{"-match", "*.md", "-ignore", "*.md"}, {"-match", "out/*.md", "-outputs", "out/"}} {
		r := startRun(t, append(args, "true")...)
		r.next(fmt.Sprintf("execlogd: note: pattern %q in match lets nothing in: the pattern %q keeps all of it out", args[1], args[3]))
		if err := r.stop(); err != nil {
			t.Error(err)
		}
	}
}

// A hidden file that a pattern spells out triggers a route, unless it is ignored by name.
func TestSpelledOutNamesTrigger(t *testing.T) {
	dir := t.TempDir()
	for ignore, want := range map[string]string{"x": "triggered by ", ".*": "ignored by the pattern .*", ".env": "ignored by the pattern .env"} {
		for _, path := range []string{".env", "a/.env"} {
			var out bytes.Buffer
			if err := run(t.Context(), []string{"why", "run", "-path", dir, "-match", ".env", "-ignore", ignore, filepath.Join(dir, path)}, &out, io.Discard); err != nil || !strings.Contains(out.String(), want) {
				t.Errorf("-ignore %s %s: %v %s, want %s", ignore, path, err, out.String(), want)
			}
		}
	}
	if t.Failed() {
		return // nothing will run
	}
	r := startRun(t, "-postpone", "-match", ".env", "--", "sh", "-c", `echo "${EXECLOGD_PATH##*/}"`)
	r.save(".env")
	r.next(".env")
	if err := r.stop(); err != nil {
		t.Error(err)
	}
	s := begin(t, "-- .github/workflows/ --\n-- x.toml --\n[[route]]\nname = 'x'\nmatch = '.github/**/*.yml'\nrun = ['echo', 'ran']\n")
	s.Write(".github/workflows/ci.yml", "x")
	s.Await("msg=done", "ci.yml")
}

// In a tree of very many files there is no note, since not all of them are compared.
func TestUnmatchedInALargeTree(t *testing.T) {
	dir := t.TempDir()
	r, err := router.New(router.Options{}, router.Route{Name: "x", Patterns: []string{"*.x"}, Callback: noCallback})
	if err != nil {
		t.Fatal(err)
	}
	if got := runnable.Unmatched(t.Context(), r, []string{dir}, []string{"x"}); len(got) != 1 {
		t.Errorf("in an empty directory: %v", got)
	}
	for i := range 20_000 {
		f, err := os.Create(filepath.Join(dir, fmt.Sprint(i)))
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	if got := runnable.Unmatched(t.Context(), r, []string{dir}, []string{"x"}); len(got) != 0 {
		t.Errorf("among too many files: %v", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if got := runnable.Unmatched(ctx, r, []string{t.TempDir()}, []string{"x"}); len(got) != 0 {
		t.Errorf("stopped: %v", got)
	}
}

func TestRunSaysThatNoFileMatches(t *testing.T) {
	var said lockedBuffer
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- run(ctx, []string{"run", "-postpone", "-path", t.TempDir(), "-match", "*.x", "true"}, io.Discard, &said)
	}()
	for until := time.Now().Add(testenv.WaitLimit); !strings.Contains(said.String(), "execlogd: note: no file matches yet: *.x\n"); time.Sleep(time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("said %q", said.String())
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// A lockedBuffer holds what was written to it. It may be read and written at once.
type lockedBuffer struct{ text atomic.Value }

func (b *lockedBuffer) String() string { s, _ := b.text.Load().(string); return s }

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.text.Store(b.String() + string(p))
	return len(p), nil
}
