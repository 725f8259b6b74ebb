package httpd

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// Browsers are asked about the same policies in e2e.
func TestBlockingDirective(t *testing.T) {
	tests := []struct{ policy, want string }{
		{"", ""},
		{";; ;", ""},
		{"script-src 'none'", ""},
		{"default-src 'self'", ""},
		{"default-src 'none'; connect-src 'self'", ""},
		{"connect-src 'SELF'", ""},
		{"CONNECT-SRC\t*", ""},
		{"connect-src 'self' 'none'", ""},
		{"connect-src ws:", ""},
		{"connect-src WSS:", ""},
		{"connect-src https: ws://host:8000/", ""},
		{"connect-src *; connect-src 'none'", ""},
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
		{"connect-src 'nonce-abc' 'unsafe-inline'", "connect-src 'nonce-abc' 'unsafe-inline'"},
	}
	for _, tt := range tests {
		if got, _ := blockingDirective(tt.policy); got != tt.want {
			t.Errorf("%q is blocked by %q, want %q", tt.policy, got, tt.want)
		}
	}
}

// An element in a row is taken for a policy when its content is yes.
func TestMetaPolicies(t *testing.T) {
	const yes, no = `<meta http-equiv="content-security-policy" content="yes">`, `<meta http-equiv="content-security-policy" content="no">`
	tests := []struct {
		name, page string
		want       int
	}{
		{"in the head", "<!doctype html><html><head>" + yes + "<title>t</title>" + yes + "</head><body>" + no, 2},
		{"without a head", "\ufeff<!doctype html>\n<!-- c -->" + yes + "<p>" + no, 1},
		{"in any case", `<META HTTP-EQUIV=Content-Security-Policy CONTENT='yes'/>`, 1},
		{"content spelt with references", `<meta http-equiv="content-security-policy" content="&#121;es">`, 1},
		{"behind other elements", "<base href=/><link rel=x><style>p{}</style><script>'<p>'</script><noscript>" + no + "</noscript>" + yes, 1},
		{"in a comment", "<!-- " + no + " -->", 0},
		{"in a script", "<script>'" + no + "'</script>", 0},
		{"in a title", "<title>" + no + "</title>" + yes, 1},
		{"in a template", "<template>" + no + "<p>text<template></template>" + no + "</template>" + yes, 1},
		{"behind text", "text" + no, 0},
		{"of another kind", `<meta http-equiv="content-security-policy-report-only" content="no"><meta name="content-security-policy" content="no">`, 0},
		{"cut off", `<meta http-equiv="content-security-policy" content="no"`, 0},
	}
	for _, tt := range tests {
		if got, want := metaPolicies([]byte(tt.page)), slices.Repeat([]string{"yes"}, tt.want); !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", tt.name, got, want)
		}
	}
}

// The body of a page with a policy is not parsed at each request.
func TestMetaPoliciesOfALongPage(t *testing.T) {
	page := []byte(`<!doctype html><meta http-equiv="Content-Security-Policy" content="yes"><body>` + strings.Repeat("<p>text", 10_000))
	if n := testing.AllocsPerRun(1, func() { metaPolicies(page) }); n > 1000 {
		t.Errorf("%.0f allocations", n)
	}
	if got := metaPolicies(page); !slices.Equal(got, []string{"yes"}) {
		t.Errorf("got %q", got)
	}
}

// What a policy blocks is said once, and again when the policy is another.
func TestBlockedPageIsLoggedOnce(t *testing.T) {
	root := t.TempDir()
	var log lockedLog
	page := func(policy string) string {
		return `<!doctype html><meta http-equiv="Content-Security-Policy" content="` + policy + `"><p>text`
	}
	write(t, root, "a/index.html", page("default-src https:"))
	write(t, root, "b.html", page("connect-src 'none'"))
	write(t, root, "c.html", page("default-src 'self'"))
	run := serve(t, Options{Root: root, Logger: log.logger()})
	for _, path := range []string{"/a/", "/a/index.html", "/b", "/b.html", "/c.html"} {
		run.get(t, "GET", path)
	}
	run.get(t, "GET", "/b.html", "Sec-Fetch-Dest", "empty")
	write(t, root, "b.html", page("connect-src http:"))
	run.get(t, "GET", "/b.html")
	run.stop()
	<-run.done
	const line = `level=WARN msg="page's policy blocks live reload" path=%s directive=%q want=%q` + "\n"
	want := []string{
		fmt.Sprintf(line, "a/index.html", "default-src https:", "connect-src 'self' https:"),
		fmt.Sprintf(line, "b.html", "connect-src 'none'", "connect-src 'self'"),
		fmt.Sprintf(line, "b.html", "connect-src http:", "connect-src 'self' http:"),
	}
	if got := log.lines(); !slices.Equal(got, want) {
		t.Errorf("got\n%swant\n%s", strings.Join(got, ""), strings.Join(want, ""))
	}
}

func TestWarningsForget(t *testing.T) {
	var w warnings
	logged := 0
	log := func() bool { logged++; return true }
	for i := range 3 * maxWarnings {
		w.once(fmt.Sprint(i), log)
		w.once(fmt.Sprint(i), log)
	}
	if logged != 3*maxWarnings || len(w.logged) > maxWarnings {
		t.Errorf("logged %d lines for %d keys, %d of which are remembered", logged, 3*maxWarnings, len(w.logged))
	}
}

// A log that does not get on with a line keeps no other page waiting.
func TestWarningsDoNotWaitForTheLog(t *testing.T) {
	var w warnings
	w.once("known", func() bool { return true })
	w.once("slow", func() bool {
		other := make(chan struct{})
		go func() {
			defer close(other)
			w.once("known", func() bool { t.Error("a warning was logged again"); return true })
		}()
		select {
		case <-other:
		case <-time.After(10 * time.Second):
			t.Error("another page waits for the log")
		}
		return true
	})
}

// FuzzBlockingDirective: the directive that the log proposes opens the socket.
func FuzzBlockingDirective(f *testing.F) {
	f.Add("connect-src 'none'")
	f.Add("default-src a 'NONE';connect-src *")
	f.Fuzz(func(t *testing.T, policy string) {
		_, want := blockingDirective(policy)
		if blocked, _ := blockingDirective(want); blocked != "" {
			t.Errorf("%q blocks as %q does", want, policy)
		}
	})
}
