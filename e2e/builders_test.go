package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// A builderTest is a small site that a known program builds.
type builderTest struct {
	builder string
	version string            // the command that prints it
	npm     string            // the package, in place of version, for a program from npm
	config  string            // further keys of the route
	root    string            // that it writes to
	files   map[string]string // {text} is the text of the page
	source  string            // the file that has it
	built   string            // the address of the file that has it in the end, if not of the page
	inPlace bool              // that is a style sheet, and the text is the variable --text of the paragraph
	renames bool              // files have other names after each change
	sheet   [2]string         // the source and the address of the style sheet; none if there is none, or its address changes
	broken  string            // a file, and what it is replaced by to break the build
	with    string
	says    string // what the program says then
}

var builderTests = []builderTest{
	{
		builder: "hugo",
		version: "hugo version",
		root:    "public",
		files: map[string]string{
			"hugo.toml":                  "baseURL = 'https://example.org/'\ntitle = 'site'\n",
			"content/_index.md":          "---\ntitle: home\n---\n{text}\n",
			"layouts/_default/list.html": "<!doctype html><link rel=icon href=data:,><link rel=stylesheet href='{{ \"style.css\" | absURL }}'>{{ .Content }}",
			"static/style.css":           "p { z-index: 1 }",
		},
		source: "content/_index.md",
		sheet:  [2]string{"static/style.css", "/style.css"},
		broken: "layouts/_default/list.html", with: "{{ .Nothing }}",
		says: "evaluate field Nothing",
	},
	{
		builder: "jekyll",
		version: "jekyll --version",
		root:    "_site",
		files: map[string]string{
			"_config.yml":           "title: site\nbaseurl: /somewhere\n",
			"index.md":              "---\nlayout: default\n---\n{text}\n",
			"_layouts/default.html": "<!doctype html><link rel=icon href=data:,><link rel=stylesheet href='{{ \"/style.css\" | relative_url }}'>{{ content }}",
			"style.css":             "p { z-index: 1 }",
		},
		source: "index.md",
		sheet:  [2]string{"style.css", "/style.css"},
		broken: "index.md", with: "---\nlayout: default\n---\n{% nothing %}\n",
		says: "Unknown tag 'nothing'",
	},
	{
		builder: "mkdocs",
		version: "mkdocs --version",
		root:    "site",
		files: map[string]string{
			"mkdocs.yml":      "site_name: site\ntheme: {name: null, custom_dir: theme}\nextra_css: [style.css]\n",
			"theme/main.html": "<!doctype html><link rel=icon href=data:,>{% for path in config.extra_css %}<link rel=stylesheet href='{{ path | url }}'>{% endfor %}{{ page.content }}",
			"docs/index.md":   "{text}\n",
			"docs/style.css":  "p { z-index: 1 }",
		},
		source: "docs/index.md",
		sheet:  [2]string{"docs/style.css", "/style.css"},
		broken: "theme/main.html", with: "{{ page.nothing.at.all }}",
		says: "has no attribute 'nothing'",
	},
	{
		builder: "sphinx",
		version: "sphinx-build --version",
		root:    "_build/html",
		files: map[string]string{
			"conf.py":                "project = 'site'\nhtml_theme = 'basic'\nhtml_static_path = ['_static']\ntemplates_path = ['_templates']\n",
			"_templates/layout.html": "<!doctype html><link rel=icon href=data:,><link rel=stylesheet href='{{ pathto(\"_static/style.css\", 1) }}'>{% block body %}{% endblock %}",
			"index.rst":              "site\n====\n\n{text}\n",
			"_static/style.css":      "p { z-index: 1 }",
		},
		source: "index.rst",
		sheet:  [2]string{"_static/style.css", "/_static/style.css"},
		broken: "conf.py", with: "project = (\n",
		says: "There is a syntax error in your configuration file",
	},
}

// Each program that execlogd knows builds a site: what is saved shows, and so does what
// is wrong with it, with as few reloads as there can be. The table is what it took.
func TestBuilders(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var rows []string
	t.Cleanup(func() {
		slices.Sort(rows)
		t.Log("milliseconds until the page shows it\n| builder | version | style sheet | edit | break | mend | reloads for five saves |\n" +
			"| --- | --- | --- | --- | --- | --- | --- |\n" + strings.Join(rows, "\n"))
	})
	for _, tt := range slices.Concat(nodeBuilderTests, builderTests) {
		t.Run(tt.builder, func(t *testing.T) {
			t.Parallel()
			row := testBuilder(t, tt)
			mu.Lock()
			defer mu.Unlock()
			rows = append(rows, row)
		})
	}
}

// testBuilder returns a row of the table.
func testBuilder(t *testing.T, tt builderTest) string {
	dir := t.TempDir()
	version := ""
	if tt.npm != "" {
		version = linkPackages(t, dir, tt.npm)
	} else {
		version = versionOf(t, tt.version)
	}
	with := func(name, text string) string { return strings.ReplaceAll(tt.files[name], "{text}", text) }
	for name := range tt.files {
		write(t, dir, map[string]string{name: with(name, "first")})
	}
	write(t, dir, map[string]string{"execlogd.toml": fmt.Sprintf("[server]\nroot = %q\n\n[[route]]\nbuilder = %q\n%s", tt.root, tt.builder, tt.config)})
	d, err := startDaemon(t, dir, "-config", "execlogd.toml", "-port", "0")
	if err != nil {
		t.Fatal(err)
	}
	done := regexp.MustCompile(`msg=done route=` + tt.builder + ` `)
	if err := eventually(t.Context(), "the first build", func() bool {
		_, err := os.Stat(filepath.Join(dir, tt.root, tt.sheet[1])) // another program may make it
		return err == nil && done.MatchString(d.stderr.String())
	}); err != nil {
		t.Fatal(err)
	}
	p := open(t, startChromium(t), d.URL+"/")
	if tt.renames {
		p.allowErrors("404") // a page between two builds that follow each other
	}
	const style = "getComputedStyle(document.querySelector('p')).zIndex"
	text, reloadsOfAnEdit := "document.querySelector('p').textContent", 1
	if tt.inPlace {
		text, reloadsOfAnEdit = "getComputedStyle(document.querySelector('p')).getPropertyValue('--text').trim()", 0
	}
	p.shows(text, "first")
	p.uses("/" + tt.built)

	// A program may read a file that is saved in place while it is empty, and build twice; and
	// some build for a new file beside their sources, also for a hidden one.
	drafts := t.TempDir()
	saveAs := func(name, content string) {
		t.Helper()
		draft := filepath.Join(drafts, "draft")
		write(t, drafts, map[string]string{"draft": content})
		if err := os.Rename(draft, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	// timed saves a file, and returns how many milliseconds it took until the page showed it.
	timed := func(name, content, expression, want string) string {
		t.Helper()
		began := time.Now()
		saveAs(name, content)
		p.shows(expression, want)
		return fmt.Sprint(time.Since(began).Milliseconds())
	}
	styled := ""
	if tt.sheet[0] != "" {
		p.shows(style, "1")
		p.uses(tt.sheet[1])
		// On a machine that is busy the first build may be noted after the page was opened.
		for want, again := 2, true; again && want < 5; want++ {
			loads := p.state().infos
			styled = timed(tt.sheet[0], fmt.Sprintf("p { z-index: %d }", want), style, fmt.Sprint(want))
			again = p.state().infos != loads
		}
	}
	loads := p.state().infos
	p.sameLoads(loads)
	began := time.Now()
	edited := timed(tt.source, with(tt.source, "second"), text, "second")
	patience := 15*time.Second + 3*time.Since(began)
	p.sameLoads(loads + reloadsOfAnEdit)

	// A machine that is busy may take long for the saves, and a program may miss the last that
	// comes while it builds, so there is more than one try.
	reloads, saved := -1, ""
	for try := 1; try <= 5 && reloads != reloadsOfAnEdit; try++ {
		loads = p.state().infos
		for i := range 5 {
			saved = fmt.Sprintf("try %d save %d", try, i)
			saveAs(tt.source, with(tt.source, saved))
			time.Sleep(60 * time.Millisecond)
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		err := eventually(ctx, "the last save", func() bool { got, err := p.evaluate(text); return err == nil && got == saved })
		cancel()
		if err != nil {
			continue
		}
		time.Sleep(quietTime) // nothing more must come
		reloads = p.state().infos - loads
	}
	if reloads != reloadsOfAnEdit {
		t.Errorf("five saves at once reloaded the page %d times, want %d", reloads, reloadsOfAnEdit)
	}

	// A build that fails shows what the program says, and the page stays.
	loads = p.state().infos
	broken := timed(tt.broken, tt.with, fmt.Sprintf("%s?.textContent.includes(%q)", panel, tt.says), "true")
	p.shows(text, saved)
	p.sameLoads(loads)
	mended := timed(tt.broken, with(tt.broken, saved), panel, "undefined")
	p.shows(text, saved)
	return fmt.Sprintf("| %s | %s | %s | %s | %s | %s | %d |", tt.builder, version, styled, edited, broken, mended, reloads)
}

// versionOf returns the version that a command prints. Without the command the test is
// skipped.
func versionOf(t *testing.T, command string) string {
	t.Helper()
	args := strings.Fields(command)
	if _, err := exec.LookPath(args[0]); err != nil {
		t.Skipf("Debian's %s is not installed: %v", filepath.Base(args[0]), err)
	}
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", command, err, out)
	}
	return regexp.MustCompile(`\d+\.\d+(\.\d+)?`).FindString(string(out))
}
