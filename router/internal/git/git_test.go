package git

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// git runs git in a directory, without anybody's settings.
func git(t *testing.T, dir string, stdin string, args ...string) string {
	t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null", "HOME="+dir, "XDG_CONFIG_HOME="+dir)
	cmd.Stdin = strings.NewReader(stdin)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if exit, ok := err.(*exec.ExitError); err != nil && !(ok && exit.ExitCode() == 1 && args[0] == "check-ignore") {
		t.Fatalf("git %s: %v %s", strings.Join(args, " "), err, &stderr)
	}
	return string(out)
}

// gitIgnored is which of the paths git ignores.
func gitIgnored(t *testing.T, dir string, paths []string) map[string]bool {
	t.Helper()
	ignored := make(map[string]bool)
	out := git(t, dir, strings.Join(paths, "\x00")+"\x00", "check-ignore", "-z", "--no-index", "--stdin")
	for path := range strings.SplitSeq(out, "\x00") {
		ignored[path] = path != ""
	}
	return ignored
}

func needGit(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("git is needed:", err)
	}
}

// What is ignored is what git ignores, for random ignore files in a random tree. (A ?
// and a class are one character here and one byte there, which differs beyond ASCII;
// and git 2.39 takes a** for more than the a* that its manual says it is. A class with a slash,
// which may close one that seems open, is none here.)
func TestIgnoreFilesAgreeWithGit(t *testing.T) {
	needGit(t)
	rounds := 60
	if testing.Short() {
		rounds = 10
	}
	for seed := range uint64(rounds) {
		rnd := rand.New(rand.NewPCG(seed, 7))
		top := t.TempDir()
		git(t, top, "", "init", "-q")
		var dirs, paths []string
		names := []string{"a", "b", "ab", "a.o", "foo", "x y", "[a]", "a*", "!b", "#c", `b\`, "{a,b}"}
		pick := func() string { return names[rnd.IntN(len(names))] }
		for range 12 {
			dir := pick()
			for rnd.IntN(2) == 0 {
				dir = filepath.Join(dir, pick())
			}
			if os.MkdirAll(filepath.Join(top, dir), 0o755) == nil {
				dirs = append(dirs, dir)
			}
		}
		for range 40 {
			path := filepath.Join(append(dirs, ".")[rnd.IntN(len(dirs)+1)], pick())
			if _, err := os.Lstat(filepath.Join(top, path)); err != nil {
				write(t, filepath.Join(top, path), "text")
			}
			paths = append(paths, path)
		}
		paths = append(paths, dirs...)
		var all strings.Builder
		for _, file := range append([]string{".git/info/exclude", ".gitignore", ".gitignore"}, dirs[:4]...) {
			if !strings.HasPrefix(filepath.Base(file), ".git") && file != ".git/info/exclude" {
				file = filepath.Join(file, ".gitignore")
			}
			text := randomIgnoreFile(rnd, pick)
			write(t, filepath.Join(top, file), text)
			fmt.Fprintf(&all, "%s:\n%s\n", file, text)
		}

		ignored := gitIgnored(t, top, paths)
		files := newRootFiles(top)
		for _, path := range paths {
			info, err := os.Stat(filepath.Join(top, path))
			if err != nil {
				t.Fatal(err)
			}
			if by, got := files.Ignored(path, info.IsDir()); got != ignored[path] {
				t.Errorf("seed %d: %q (a directory: %t) is ignored: %t, by git: %t; line %d of %s: %q\ngit: %s%s", seed, path, info.IsDir(), got, ignored[path],
					by.Number, by.File, by.Text, git(t, top, path+"\x00", "check-ignore", "-v", "-z", "--no-index", "--stdin"), &all)
			}
		}
		if t.Failed() {
			return
		}
	}
}

// randomIgnoreFile is a few lines of every kind.
func randomIgnoreFile(rnd *rand.Rand, pick func() string) string {
	parts := []string{
		"a", "b", "ab", "foo", "*", "*.o", "a*", "*b", "?", "??", "**", "***", "[ab]", "[!a]", "[^b]*", "[a-b]", "[]a]", "[[:alpha:]]",
		"[![:digit:]]", "[[:punct:]]*", `\*`, `a\*`, `\[a]`, `[\]a]`, "{a,b}", "x y", "x*y", `\#c`, `\!b`, "#c", "!b", `b\\`, `b\`, "é", "[[:nope:]]", "[a-]", "[-a]",
	}
	var text strings.Builder
	for range 1 + rnd.IntN(4) {
		line := parts[rnd.IntN(len(parts))]
		for rnd.IntN(3) == 0 {
			line += "/" + parts[rnd.IntN(len(parts))]
		}
		if rnd.IntN(4) == 0 {
			line = "/" + line
		}
		if rnd.IntN(4) == 0 {
			line += "/"
		}
		if rnd.IntN(4) == 0 {
			line = "!" + line
		}
		line += []string{"", "", "", "", " ", "  ", `\ `, "\t", "\r"}[rnd.IntN(9)]
		text.WriteString(line + "\n")
	}
	return text.String()
}

// The cases that people know, with the line that decides.
func TestIgnoreFiles(t *testing.T) {
	top := t.TempDir()
	for path, text := range map[string]string{
		".git/info/exclude": "notes.txt\nexcluded/\n",
		".gitignore":        "# comment\nnode_modules/\n*.log\n!keep.log\n/web/out\n.env\n",
		"web/.gitignore":    "!notes.txt\ntmp/*\n!tmp/kept\n",
		"web/.ignore":       "fixtures/\n!debug.log\n",
		"web/a/.gitignore":  "!*.log\n",
		"web/site/x":        "",
		"web/link/.ignore":  "*.md\n",
	} {
		write(t, filepath.Join(top, path), text)
	}
	tests := []struct {
		root, path string
		dir        bool
		by         string // empty: not ignored
	}{
		{"", "node_modules", true, ".gitignore:2"},
		{"", "a/node_modules/x/y.js", false, ".gitignore:2"},
		{"", "node_modules", false, ""}, // a file
		{"", "a/b.log", false, ".gitignore:3"},
		{"", "a/keep.log", false, ""},
		{"", "notes.txt", false, ".git/info/exclude:1"},
		{"", "web/notes.txt", false, ""},
		{"", "web/out/x", false, ".gitignore:5"},
		{"", "out/x", false, ""},
		{"web", "out", true, ".gitignore:5"},
		{"web", "b.log", false, ".gitignore:3"},
		{"web", "debug.log", false, ""}, // .ignore is stronger
		{"web", "a/b.log", false, ""},
		{"web", "fixtures/a", false, "web/.ignore:1"},
		{"web", "tmp/x", false, "web/.gitignore:2"},
		{"web", "tmp/kept", false, ""},
		{"web/site", "x.log", false, ".gitignore:3"},
		{"web/site", "fixtures/x", false, "web/.ignore:1"},
		{"web/out", "x.log", false, ""},
		{"excluded/sub", "x.log", false, ""},
		{"excluded/sub", "notes.txt", false, ""},
		{"web/out", "x.html", false, ""}, // the root itself is never ignored, nor what is in it therefore
	}
	for _, tt := range tests {
		if err := os.MkdirAll(filepath.Join(top, tt.root), 0o755); err != nil {
			t.Fatal(err)
		}
		by, ignored := newRootFiles(filepath.Join(top, tt.root)).Ignored(tt.path, tt.dir)
		got := ""
		if ignored {
			rel, _ := filepath.Rel(top, by.File)
			got = fmt.Sprintf("%s:%d", rel, by.Number)
		}
		if got != tt.by {
			t.Errorf("root %q: %s is ignored by %q, want %q", tt.root, tt.path, got, tt.by)
		}
	}
}

// In a further work tree and in a submodule .git is a file.
func TestIgnoreFilesOfFurtherWorkTree(t *testing.T) {
	needGit(t)
	main, further := t.TempDir(), filepath.Join(t.TempDir(), "further")
	git(t, main, "", "init", "-q")
	git(t, main, "", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "--allow-empty", "-m", "first")
	git(t, main, "", "worktree", "add", "-q", further)
	write(t, filepath.Join(main, ".git/info/exclude"), "notes.txt\n")
	if _, ignored := newRootFiles(further).Ignored("notes.txt", false); !ignored {
		t.Error("info/exclude counts for nothing")
	}
}

func write(t testing.TB, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// BenchmarkIgnoreFiles is what it costs to ask for one file whether ignore files
// with 300 lines ignore it.
func BenchmarkIgnoreFiles(b *testing.B) {
	root := b.TempDir()
	var text strings.Builder
	for i := range 100 {
		fmt.Fprintf(&text, "dir%d/\n*.e%d\n/some/path%d/*.x\n", i, i, i)
	}
	write(b, filepath.Join(root, ".gitignore"), text.String())
	files := newRootFiles(root)
	b.ReportAllocs()
	for b.Loop() {
		if _, ignored := files.Ignored("src/pkg/sub/deep/file.go", false); ignored {
			b.Fatal("ignored")
		}
	}
}

// Between the steps of a git command there is no lock, but its directory has changed a
// moment ago.
func TestIsBusy(t *testing.T) {
	const quiet = time.Minute
	for _, tt := range []struct {
		name   string
		locked bool
		age    time.Duration // of the last change of the directory
		busy   bool
	}{
		{"long ago", false, time.Hour, false},
		{"a moment ago", false, 0, true},
		{"in the future, by another clock", false, -time.Hour, false},
		{"with a lock that was left behind", true, time.Hour, true},
	} {
		dir := filepath.Join(t.TempDir(), ".git")
		write(t, filepath.Join(dir, "HEAD"), "")
		if tt.locked {
			write(t, filepath.Join(dir, "index.lock"), "")
		}
		at := time.Now().Add(-tt.age)
		if err := os.Chtimes(dir, at, at); err != nil {
			t.Fatal(err)
		}
		if _, got := FindDir(filepath.Join(dir, "../src")); got != dir {
			t.Errorf("%s: the git directory is %q, want %q", tt.name, got, dir)
		}
		if got := IsBusy(dir, quiet); got != tt.busy {
			t.Errorf("%s: busy: %v, want %v", tt.name, got, tt.busy)
		}
	}
}
