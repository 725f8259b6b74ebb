package diagnostic

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"
)

var update = flag.Bool("update", false, "write what is found into testdata")

// site is the directory in which the programs of testdata ran.
const site = "/home/me/site"

// Each file has what a program has written, of the version that it names, with the
// place and the message that are to be found. "+2" is the second line behind the
// front matter. After a change, -update writes what is found: read the diff.
func TestFindInOutputs(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no outputs (%v)", err)
	}
	for _, name := range files {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			program, rest, _ := strings.Cut(string(text), "\n")
			want, output, ok := strings.Cut(rest, "\n\n")
			if !ok || !strings.HasPrefix(program, "program: ") {
				t.Fatalf("%s has no head", name)
			}

			d := Find(output, site)
			place := d.Place(site)
			if d.BodyLine > 0 {
				place += fmt.Sprintf(" +%d", d.BodyLine)
			}
			got := strings.TrimRight("place: "+place, " ") + "\nmessage: " + d.Message
			if got == want {
				return
			}
			if *update {
				if err := os.WriteFile(name, []byte(program+"\n"+got+"\n\n"+output), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			t.Errorf("in the output of %s:\n got %s\nwant %s", strings.TrimPrefix(program, "program: "), got, want)
		})
	}
}

func TestFind(t *testing.T) {
	tests := []struct{ what, output, place, message string }{
		{"no output", "", "", ""},
		{"nothing but space", " \n\n", "", ""},
		{"a sentence", "cannot open the disk\n", "", "cannot open the disk"},
		{"the last line, before what passes the failure on", "rendering\nno template\nmake: *** [all] Error 1\n", "", "no template"},
		{"only what passes the failure on", "make: *** [Makefile:2: all] Error 1\n", "", "make: *** [Makefile:2: all] Error 1"},
		{"an error among other lines", "ok\nError: no such theme: x\nsee the manual\n", "", "no such theme: x"},
		{"an error before warnings", "a.c:1:2: warning: unused\nb.c:3: error: undefined\n", "b.c:3", "undefined"},
		{"a warning alone", "a.c:1:2: warning: unused\n", "a.c:1:2", "unused"},
		{"a message before its notes", "b.c:3:1: note: declared here\na.c:1:2: redefined\n", "a.c:1:2", "redefined"},
		{"a file of the site before another", "/opt/x/a.go:1:2: bad\n" + site + "/a.go:3:4: worse\n", "a.go:3:4", "worse"},
		{"a path with a space", site + "/my notes/a.md:3: no end\n", "my notes/a.md:3", "no end"},
		{"a message that begins with a quote", "a.c:2:16: error: ‘x’ undeclared\n", "a.c:2:16", "‘x’ undeclared"},
		{"an option", "a.sh:2: -x: no such option\n", "a.sh:2", "-x: no such option"},
		{"a time", "12:30:45: failed\n", "", "12:30:45: failed"},
		{"an address", "127.0.0.1:8000: connection refused\nlocalhost:80: refused\nexample.com:443: refused\nhttp://a.b/c.js:3: refused\n", "", "http://a.b/c.js:3: refused"},
		{"the shell of a command", "/bin/sh: 1: hugoo: not found\n", "", "/bin/sh: 1: hugoo: not found"},
		{"a line that is none", "a.go:99999999999: bad\n", "a.go", "bad"},
		{"colours, and a link", "\x1b[1m\x1b]8;;file:///a\x1b\\a.go\x1b]8;;\x1b\\:3:\x1b[m \x1b[31merror:\x1b[m bad\n", "a.go:3", "bad"},
		{"columns of a terminal", "a.go:3: bad\tand\x00worse\n", "a.go:3", "bad and worse"},
		{"a long message", "a.go:3: " + strings.Repeat("ä", 300) + "\n", "a.go:3", strings.Repeat("ä", 120) + "…"},
		{"PHP", "PHP Parse error:  syntax error, unexpected end of file in " + site + "/a.php on line 3\n", "a.php:3", "PHP Parse error: syntax error, unexpected end of file"},
		{"Tailwind CSS", "\x1b[31mError:\x1b[39m\n\x1b[2m┌\x1b[22m\n\x1b[2m│\x1b[22m CssSyntaxError: " + site + "/in.css:1:24: Missing closing } at b\n", "in.css:1:24", "Missing closing } at b"},
		{"Hugo of today", `ERROR Rebuild failed: "` + site + `/layouts/index.html:2:3": execute of template failed at <.Nope>: can't evaluate field Nope` + "\n", "layouts/index.html:2:3", "<.Nope>: can't evaluate field Nope"},
		{"a library before a file of the site", "node_modules/x/a.d.ts(1,2): error TS1: bad\nsrc/a.ts(3,4): error TS2: worse\n", "src/a.ts:3:4", "worse"},
		{"Java", "src/A.java:3: error: ';' expected\n", "src/A.java:3", "';' expected"},
		{"TypeScript in webpack", "ERROR in src/a.ts:1:14\nTS2322: Type 'string' is not assignable to type 'number'.\n", "src/a.ts:1:14", "TS2322: Type 'string' is not assignable to type 'number'."},
		{"PostCSS", "CssSyntaxError: " + site + "/a.css:3:5: Unknown word\n", "a.css:3:5", "Unknown word"},
		{"Zola 0.22", "Error: Failed to build the site\nError: Reason: \n* Failed to parse \"" + site + "/templates/base.html\"\n  --> 54:7\n   |\n54 |   <h1>{% x %}</h1>\n   |       ^---\n   |\n   = unexpected tag; expected some content\n", "templates/base.html:54:7", "unexpected tag; expected some content"},
		{"Zola 0.23", "ERROR Failed to build the site\nERROR Reason: error: Invalid value: expected a string, got none\n --> templates/tags/single.html:9:30\n  |\n9 | {{ x }}\n", "templates/tags/single.html:9:30", "Invalid value: expected a string, got none"},
	}
	for _, tt := range tests {
		t.Run(tt.what, func(t *testing.T) {
			d := Find(tt.output, site)
			if place := d.Place(site); place != tt.place || d.Message != tt.message {
				t.Errorf("Find(%q)\n got %q at %q\nwant %q at %q", tt.output, d.Message, place, tt.message, tt.place)
			}
		})
	}
}

// A place is in the output, a message is one short line, and a longer output takes no
// more than its share.
func FuzzFind(f *testing.F) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		_, output, _ := strings.Cut(string(text), "\n\n")
		f.Add(output, site)
	}
	f.Add("a.go:3:5: bad\n", "")
	f.Fuzz(func(t *testing.T, output, dir string) {
		d := Find(output, dir)
		if d.File == "" && (d.Line != 0 || d.BodyLine != 0 || d.Column != 0) || d.Line < 0 || d.Column < 0 || d.BodyLine < 0 {
			t.Errorf("a place without a file, or a negative one: %+v", d)
		}
		if !strings.Contains(linesText(output), d.File) {
			t.Errorf("%q is not in %q", d.File, output)
		}
		if len(d.Message) > maxMessage+len("…") || strings.ContainsAny(d.Message, "\n\r\x1b\x00") || !utf8.ValidString(d.Message) {
			t.Errorf("the message is %q", d.Message)
		}
		if strings.TrimSpace(d.Message) != d.Message {
			t.Errorf("the message has space around it: %q", d.Message)
		}
	})
}

func linesText(output string) string { return strings.Join(linesOf(output), "\n") }

// Lines that nearly match are what takes longest.
func BenchmarkFind(b *testing.B) {
	text, err := os.ReadFile("testdata/webpack.txt")
	if err != nil {
		b.Fatal(err)
	}
	output := strings.Repeat(string(text), (64<<10)/len(text)+1)
	b.SetBytes(int64(len(output)))
	for b.Loop() {
		Find(output, site)
	}
}
