package daemon

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/execlog/execlogd/internal/testenv"
	"github.com/execlog/execlogd/job"
)

// Lines are shown of files below a root or the command's directory alone, wherever a link
// leads, and not of hidden files, the configuration, or what is no text.
func TestPlaceInAFile(t *testing.T) {
	dir := t.TempDir()
	site, elsewhere := filepath.Join(dir, "site"), filepath.Join(dir, "elsewhere")
	for path, text := range map[string]string{
		"site/a.txt":                 "1\n2\n3\n4\n5\n6\n7\n8\r\n9",
		"site/sub/b.txt":             "b\n",
		"site/x.toml":                "secret\n",
		"site/.env":                  "secret\n",
		"site/.cache/c.txt":          "secret\n",
		"site/post.md":               "---\ntitle: x\n---\nfirst\nsecond\n",
		"site/zero.txt":              "a\x00b\n",
		"site/long.js":               strings.Repeat("ä", 5000) + "\n",
		"elsewhere/secret.txt":       "secret\n",
		"elsewhere/templates/t.html": "t\n",
	} {
		path = filepath.Join(dir, path)
		testenv.Check(t, os.MkdirAll(filepath.Dir(path), 0o755))
		testenv.Check(t, os.WriteFile(path, []byte(text), 0o644))
	}
	testenv.Check(t, os.Symlink("../elsewhere/secret.txt", filepath.Join(site, "out.txt")))
	testenv.Check(t, os.Symlink("sub/b.txt", filepath.Join(site, "in.txt")))
	testenv.Check(t, syscall.Mkfifo(filepath.Join(site, "pipe.txt"), 0o644))
	files := sourceFiles{roots: []string{site}, config: filepath.Join(site, "x.toml")}

	tests := []struct {
		what    string
		problem job.Problem
		name    string // with the number of the first line, and the lines
		isFound bool
	}{
		{"in the middle", job.Problem{File: "a.txt", Line: 5, Column: 2}, "a.txt:5:2 2 2|3|4|5|6|7|8", true},
		{"the first line", job.Problem{File: "a.txt", Line: 1}, "a.txt:1 1 1|2|3|4", true},
		{"the last line", job.Problem{File: site + "/a.txt", Line: 9}, "a.txt:9 6 6|7|8|9", true},
		{"a line that is not there", job.Problem{File: "a.txt", Line: 10}, "a.txt:10 0 ", true},
		{"no line", job.Problem{File: "a.txt"}, "a.txt 0 ", true},
		{"no file", job.Problem{File: "nope.txt", Line: 1}, "nope.txt:1 0 ", false},
		{"a directory", job.Problem{File: "sub", Line: 1}, "sub:1 0 ", false},
		{"behind the front matter", job.Problem{File: "post.md", BodyLine: 2}, "post.md:5 2 title: x|---|first|second|", true},
		{"a link inside", job.Problem{File: "in.txt", Line: 1}, "in.txt:1 1 b|", true},
		{"a link that leads out", job.Problem{File: "out.txt", Line: 1}, "out.txt:1 0 ", false},
		{"a path that leads out", job.Problem{File: "../elsewhere/secret.txt", Line: 1}, "../elsewhere/secret.txt:1 0 ", false},
		{"another place", job.Problem{File: elsewhere + "/secret.txt", Line: 1}, elsewhere + "/secret.txt:1 0 ", false},
		{"a hidden file", job.Problem{File: ".env", Line: 1}, ".env:1 0 ", true},
		{"a hidden directory", job.Problem{File: ".cache/c.txt", Line: 1}, ".cache/c.txt:1 0 ", true},
		{"the configuration", job.Problem{File: "x.toml", Line: 1}, "x.toml:1 0 ", true},
		{"what is no text", job.Problem{File: "zero.txt", Line: 1}, "zero.txt:1 0 ", true},
		{"a pipe", job.Problem{File: "pipe.txt", Line: 1}, "pipe.txt:1 0 ", false},
	}
	show := func(p job.Problem, dir string) (string, string) {
		got := files.place(p, dir)
		return got.Name + " " + string(rune('0'+got.First)) + " " + strings.Join(got.Excerpt, "|"), got.File
	}
	for _, tt := range tests {
		t.Run(tt.what, func(t *testing.T) {
			name, file := show(tt.problem, site)
			if name != tt.name || (file != "") != tt.isFound {
				t.Errorf("got %q in %q, want %q; found: %v", name, file, tt.name, tt.isFound)
			}
		})
	}

	if name, file := show(job.Problem{File: "t.html", Line: 1}, elsewhere+"/templates"); name != "t.html:1 1 t|" || file != elsewhere+"/templates/t.html" {
		t.Errorf("below the command's directory: got %q in %q", name, file)
	}
	if name, _ := show(job.Problem{File: "a.txt", Line: 1}, elsewhere); name != "a.txt:1 1 1|2|3|4" {
		t.Errorf("relative to a root: got %q", name)
	}
	long := files.place(job.Problem{File: "long.js", Line: 1}, site)
	if len(long.Excerpt[0]) > maxSourceLine+3 {
		t.Errorf("a line of %d bytes is shown", len(long.Excerpt[0]))
	}
}
