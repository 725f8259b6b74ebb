package httpd

import (
	"bytes"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"
)

// Chromium is asked about the same policies in e2e.
func TestWhichPolicyBlocksTheSocket(t *testing.T) {
	tests := []struct{ policy, blockedBy string }{
		{"", ""},
		{";; ;", ""},
		{"script-src 'none'", ""},
		{"default-src 'self'", ""},
		{"default-src 'none'; connect-src 'self'", ""},
		{"connect-src 'SELF'", ""},
		{"CONNECT-SRC\t*", ""},
		{"connect-src 'self' 'none'", ""},
		{"connect-src ws:", ""},
		{"connect-src WS://HOST:8000", ""},
		{"connect-src ws://host:8000/", ""},
		{"connect-src ws://host:8000/livereload", ""},
		{"connect-src ws://*:*", ""},
		{"connect-src ws://*:8000", ""},
		{"connect-src wss://host:8000/preview/livereload", ""},
		{"connect-src *; connect-src 'none'", ""},
		{"connect-src\u00a0'none'", ""},
		{"connect-srcs 'none'", ""},

		{"default-src 'none'", "default-src 'none'"},
		{"default-src", "default-src"},
		{" Default-Src  https:  data: ;script-src 'self'", "default-src https: data:"},
		{"connect-src", "connect-src"},
		{"connect-src 'none'; default-src *", "connect-src 'none'"},
		{"connect-src 'none'; connect-src *", "connect-src 'none'"},
		{"connect-src self", "connect-src self"},
		{"connect-src http: https:", "connect-src http: https:"},
		{"connect-src host:8000", "connect-src host:8000"},
		{"connect-src *:*", "connect-src *:*"},
		{"connect-src http://host:8000", "connect-src http://host:8000"},
		{"connect-src ws://host", "connect-src ws://host"},
		{"connect-src ws://host:80", "connect-src ws://host:80"},
		{"connect-src ws://other:8000", "connect-src ws://other:8000"},
		{"connect-src ws://host:8000/other", "connect-src ws://host:8000/other"},
		{"connect-src ws://*.host:8000", "connect-src ws://*.host:8000"},
		{"connect-src 'nonce-abc' 'unsafe-inline'", "connect-src 'nonce-abc' 'unsafe-inline'"},
	}
	for _, tt := range tests {
		d, blocked := blocking(tt.policy, "Host:8000")
		if got := d.String(); blocked != (tt.blockedBy != "") || blocked && got != tt.blockedBy {
			t.Errorf("%q is blocked by %q (%v), want %q", tt.policy, got, blocked, tt.blockedBy)
		}
	}
	for _, source := range []string{"ws://example.com", "ws://example.com:80", "wss://example.com", "wss://*.com", "wss://example.com:443"} {
		if d, blocked := blocking("connect-src "+source, "example.com"); blocked {
			t.Errorf("the implied port: blocked by %q", d)
		}
	}
}

// An element in a row is taken for a policy when its content is yes.
func TestWhereAPolicyIs(t *testing.T) {
	const yes, no = `<meta http-equiv="content-security-policy" content="yes">`, `<meta http-equiv="content-security-policy" content="no">`
	tests := []struct{ name, page string }{
		{"in the head", "<!doctype html><html><head>" + yes + "<title>t</title>" + yes + "</head><body>" + no},
		{"without a head", "\ufeff<!doctype html>\n<!-- c -->" + yes + "<p>" + no},
		{"in any case", `<META HTTP-EQUIV=Content-Security-Policy CONTENT='yes'/>`},
		{"spelt with references", `<meta http-equiv="content&#45;security-policy" content="&#121;es">`},
		{"behind other elements", "<base href=/><link rel=x><style>p{}</style><script>'<p>'</script><noscript>" + no + "</noscript>" + yes},
		{"in a comment", "<!-- " + no + " -->"},
		{"in a script", "<script>'" + no + "'</script>"},
		{"in a title", "<title>" + no + "</title>" + yes},
		{"in a template", "<template>" + no + "<p>text<template></template>" + no + "</template>" + yes},
		{"behind text", "text" + no},
		{"behind the head", "<head></head>" + no},
		{"of another kind", `<meta http-equiv="content-security-policy-report-only" content="no"><meta name="content-security-policy" content="no">`},
		{"empty", `<meta http-equiv="content-security-policy" content="">`},
		{"cut off", `<meta http-equiv="content-security-policy" content="no"`},
	}
	for _, tt := range tests {
		want := slices.Repeat([]string{"yes"}, strings.Count(tt.page, yes))
		if !strings.Contains(tt.page, no) && len(want) == 0 && (strings.Contains(tt.page, "'yes'") || strings.Contains(tt.page, "&#121;es")) {
			want = []string{"yes"}
		}
		if got := slices.Collect(policies([]byte(tt.page))); !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", tt.name, got, want)
		}
	}
}

// What a policy blocks is said once, and again when the policy is another.
func TestABlockedPageIsNamedOnce(t *testing.T) {
	root := t.TempDir()
	var log bytes.Buffer
	page := func(policy string) string {
		return `<!doctype html><meta http-equiv="Content-Security-Policy" content="` + policy + `"><p>text`
	}
	write(t, root, "a/index.html", page("default-src https:"))
	write(t, root, "b.html", page("connect-src 'none'"))
	write(t, root, "c.html", page("default-src 'self'"))
	run := serve(t, Options{Root: root, Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	}))})
	for _, path := range []string{"/a/", "/a/index.html", "/b", "/b.html", "/c.html"} {
		run.get(t, "GET", path)
	}
	run.get(t, "GET", "/b.html", "Sec-Fetch-Dest", "empty")
	write(t, root, "b.html", page("connect-src http:"))
	run.get(t, "GET", "/b.html")
	run.stop()
	<-run.done
	const line = `level=WARN msg="page's policy blocks live reload" path=%s directive=%q want=%q` + "\n"
	want := fmt.Sprintf(line, "a/index.html", "default-src https:", "connect-src 'self' https:") +
		fmt.Sprintf(line, "b.html", "connect-src 'none'", "connect-src 'self'") +
		fmt.Sprintf(line, "b.html", "connect-src http:", "connect-src 'self' http:")
	if log.String() != want {
		t.Errorf("got\n%swant\n%s", &log, want)
	}
}

func TestWarningsForget(t *testing.T) {
	var w warnings
	for i := range 3 * maxWarnings {
		if word := fmt.Sprint(i); !w.first(word) || w.first(word) {
			t.Fatalf("%d is said twice, or never", i)
		}
	}
	if len(w.said) > maxWarnings {
		t.Errorf("%d are remembered", len(w.said))
	}
	if !w.first("a", "b") || !w.first("ab") {
		t.Error("words run together")
	}
}

// FuzzPolicies: what is found is what a parser finds in the head, as far as it
// is found before the parser sees a body; and what is advised opens the socket.
func FuzzPolicies(f *testing.F) {
	f.Add(`<head><meta http-equiv=content-security-policy content="connect-src 'none'"><title>t</title>`)
	f.Add("<template><template></template><meta http-equiv=content-security-policy content=a></template><svg>")
	f.Add("<noscript><meta http-equiv=content-security-policy content=a></noscript></head><meta>")
	f.Fuzz(func(t *testing.T, page string) {
		doc, err := html.Parse(strings.NewReader(page))
		if err != nil {
			return
		}
		inHead := make(map[string]bool)
		for n := range doc.Descendants() {
			if n.Data == "meta" && n.Parent != nil && n.Parent.Data == "head" {
				for _, a := range n.Attr {
					inHead[a.Val] = true
				}
			}
		}
		for policy := range policies([]byte(page)) {
			if !inHead[policy] {
				t.Errorf("%q is in no head of %q", policy, page)
			}
			if d, blocked := blocking(policy, "host:8000"); blocked {
				if _, still := blocking(d.opened(), "host:8000"); still {
					t.Errorf("%q blocks as %q does", d.opened(), policy)
				}
			}
		}
	})
}
