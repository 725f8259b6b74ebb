package httpd

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestEditorLinks(t *testing.T) {
	const file = "/home/me/a b/50% #1?&ü.js"
	const escaped = "/home/me/a%20b/50%25%20%231%3F%26%C3%BC.js"
	tests := []struct{ editor, want string }{
		{"", ""},
		{"vscode", "vscode://file" + escaped + ":3:5"},
		{"zed", "zed://file" + escaped + ":3:5"},
		{"idea", "idea://open?file=" + escaped + "&line=3&column=5"},
		{"subl://open?url=file://{file}&line={line}", "subl://open?url=file://" + escaped + "&line=3"},
		{"http://localhost:63342/api/file{file}:{line}", "http://localhost:63342/api/file" + escaped + ":3"},
	}
	for _, tt := range tests {
		e, err := parseEditor(tt.editor)
		if err != nil {
			t.Errorf("%q: %v", tt.editor, err)
		} else if got := e.link(file, 3, 5); got != tt.want {
			t.Errorf("%q: the link is %q, want %q", tt.editor, got, tt.want)
		}
	}
	if got := editors["vscode"].link("/a", 0, 0); got != "vscode://file/a:1:1" {
		t.Errorf("without a line the link is %q", got)
	}
}

// A link must not run a script in the page, however its scheme is spelled.
func TestEditorsThatAreRefused(t *testing.T) {
	for _, tt := range []struct{ editor, why string }{
		{"vim", "one of idea, vscode, zed"},
		{"vscode://file", "{file} is missing"},
		{"x://{path}", "{path}"},
		{"x://{file", "{file"},
		{"x://{file}}", "}"},
		{"{file}:{line}", "no URL"},
		{"x: //{file}", "spaces"},
		{"\tjavascript://{file}", "spaces"},
		{"java\nscript://{file}", "spaces"},
		{"javascript:alert('{file}')", "the scheme javascript"},
		{"JavaScript://{file}", "the scheme javascript"},
		{"data:text/html,{file}", "the scheme data"},
		{"blob:{file}", "the scheme blob"},
	} {
		err := CheckEditor(tt.editor)
		if err == nil || !strings.Contains(err.Error(), tt.why) {
			t.Errorf("%q: %v, want an error with %q", tt.editor, err, tt.why)
		}
	}
	if _, err := New(Options{Editor: "javascript:{file}"}); err == nil {
		t.Error("New takes a scheme that runs scripts")
	}
}

// The owner is told the link and the lines, others the rest.
func TestPlaceIsForTheOwner(t *testing.T) {
	run := serve(t, Options{Root: site(t, "a.html"), Editor: "zed"})
	run.SetError("build", &PageError{
		Title: "bad", Output: "\x1b[31mred\x1b[m \xff", Text: "exit status 1",
		Place: &Place{Name: "a.js:3", File: "/src/a.js", Line: 3, First: 2, Excerpt: []string{"secret 2", "secret <3>"}},
	})
	page := func(header ...string) string {
		t.Helper()
		_, body := run.get(t, "GET", "/.execlogd/", header...)
		return body
	}
	owners, others := page(), page("Via", "1.1 proxy")
	for _, private := range []string{`href="zed://file/src/a.js:3:1"`, "secret 2", `<span class="here"><b>3</b>secret &lt;3&gt;</span>`} {
		if !strings.Contains(owners, private) || strings.Contains(others, private) {
			t.Errorf("%q is for the owner alone, who sees\n%s\nand others see\n%s", private, owners, others)
		}
	}
	for _, viewer := range []struct {
		what    string
		header  []string
		isOwner bool
	}{
		{"a program of the server's user", nil, true},
		{"a page of the server", []string{"Origin", run.url("")}, true},
		{"a page that may listen", []string{"Origin", "http://localhost:1"}, false},
		{"a proxy", []string{"Via", "1.1 proxy"}, false},
	} {
		c := run.dialFor(t, "", viewer.header...)
		c.say(t, ourClientHello)
		c.hear(t)
		c.say(t, `{"command":"info","plugins":{},"url":"`+run.url("/a.html")+`"}`)
		var a answer
		for a.Command != "errors" {
			check(t, json.Unmarshal([]byte(c.hear(t)), &a))
		}
		e := a.Errors[0]
		if e.Title != "bad" || e.Place != "a.js:3" || e.Text != "exit status 1" {
			t.Errorf("%s is told %+v", viewer.what, e)
		}
		if toldHref, toldSource := e.Href == "zed://file/src/a.js:3:1", len(e.Source) == 2; toldHref != viewer.isOwner || toldSource != viewer.isOwner {
			t.Errorf("%s is told %+v; want the link and the lines: %v", viewer.what, e, viewer.isOwner)
		}
	}
	for _, public := range []string{"a.js:3", `<span class="red">red</span>`, "exit status 1"} {
		if !strings.Contains(owners, public) || !strings.Contains(others, public) {
			t.Errorf("%q is for all; the owner sees\n%s\nand others see\n%s", public, owners, others)
		}
	}
}
