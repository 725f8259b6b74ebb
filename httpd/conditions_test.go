package httpd

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

// exchange sends a request as it is, and returns the answer. Lines are the header's, beside
// Host.
func (r *running) exchange(t testing.TB, method, path string, lines ...string) (*http.Response, string) {
	t.Helper()
	conn := r.connect(t)
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(5 * time.Second))
	header := strings.Join(append([]string{"Host: localhost", "Connection: close"}, lines...), "\r\n")
	fmt.Fprintf(conn, "%s %s HTTP/1.1\r\n%s\r\n\r\n", method, path, header)
	resp := must(http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method}))(t)
	return resp, string(must(io.ReadAll(resp.Body))(t))
}

// Conditions and ranges as RFC 9110 has them, for GET and, but for ranges, HEAD alike. E is
// the ETag of the file, D its date.
func TestConditionsByTheBook(t *testing.T) {
	root := tree(t, "a.bin", "0123456789", "empty.bin", "")
	saved := time.Now().Add(-time.Hour).Truncate(time.Second)
	check(t, os.Chtimes(root+"/a.bin", saved, saved))
	run := serve(t, Options{Root: root})
	first, _ := run.exchange(t, "GET", "/a.bin")
	etag := first.Header.Get("ETag")
	date := func(d time.Duration) string { return saved.Add(d).UTC().Format(http.TimeFormat) }
	if got := first.Header.Get("Last-Modified"); got != date(0) {
		t.Errorf("Last-Modified %q, want %q", got, date(0))
	}

	const all = "200 0123456789"
	notModified, failed := "304 ", "412 "
	tests := []struct {
		name, header string // lines are divided by |
		want         string // of GET: the status, the part if there is one, and the body
	}{
		{"a range", "Range: bytes=2-4", "206 2-4/10 234"},
		{"to the end", "Range: bytes=7-", "206 7-9/10 789"},
		{"a suffix", "Range: bytes=-3", "206 7-9/10 789"},
		{"a suffix that is longer than the file", "Range: bytes=-30", "206 0-9/10 0123456789"},
		{"an end beyond that of the file", "Range: bytes=8-100", "206 8-9/10 89"},
		{"a start and an end of any length", "Range: bytes=0000000000000000000000008-99999999999999999999999", "206 8-9/10 89"},
		{"one byte", "Range: bytes=0-0", "206 0-0/10 0"},
		{"the unit in capitals", "Range: BYTES=2-4", "206 2-4/10 234"},
		{"the unit in any case", "Range: bYtes=2-4", "206 2-4/10 234"},
		{"blanks and empty elements", "Range: bytes= ,2-4 ,,", "206 2-4/10 234"},
		{"one of two is beyond the end", "Range: bytes=50-,2-4", "206 2-4/10 234"},
		{"one of two is empty", "Range: bytes=-0,2-4", "206 2-4/10 234"},
		{"an empty suffix", "Range: bytes=-0", "416 */10"},
		{"an empty suffix of many digits", "Range: bytes=-000", "416 */10"},
		{"a start beyond the end", "Range: bytes=10-", "416 */10"},
		{"a start that no number has", "Range: bytes=99999999999999999999999-", "416 */10"},
		{"overlapping ranges that are more than the file", "Range: bytes=0-,0-,0-", all},
		{"another unit", "Range: lines=2-4", all},
		{"no unit", "Range: 2-4", all},
		{"the end before the start", "Range: bytes=4-2", all},
		{"no range", "Range: bytes=", all},
		{"no number", "Range: bytes=a-b", all},
		{"a sign", "Range: bytes=+2-4", all},
		{"only a dash", "Range: bytes=-", all},
		{"one is no range", "Range: bytes=0-1,x", all},
		{"two lines", "Range: bytes=0-1|Range: bytes=2-4", all},

		{"If-Range of this version", "Range: bytes=2-4|If-Range: E", "206 2-4/10 234"},
		{"If-Range of another", `Range: bytes=2-4|If-Range: "x"`, all},
		{"If-Range with a weak tag", "Range: bytes=2-4|If-Range: W/E", all},
		{"If-Range with the date", "Range: bytes=2-4|If-Range: D", all},
		{"If-Range with a later date", "Range: bytes=2-4|If-Range: D+1", all},
		{"If-Range with nonsense", "Range: bytes=2-4|If-Range: x", all},
		{"If-Range without a range", `If-Range: "x"`, all},

		{"If-None-Match", "If-None-Match: E", notModified},
		{"If-None-Match, weak", "If-None-Match: W/E", notModified},
		{"If-None-Match in a list", `If-None-Match: "x", E`, notModified},
		{"If-None-Match in a second line", `If-None-Match: "x"|If-None-Match: E`, notModified},
		{"If-None-Match of all", "If-None-Match: *", notModified},
		{"If-None-Match of another", `If-None-Match: "x"`, all},
		{"If-None-Match counts, not the date", `If-None-Match: "x"|If-Modified-Since: D+1`, all},
		{"If-None-Match counts, not the earlier date", "If-None-Match: E|If-Modified-Since: D-1", notModified},
		{"If-None-Match comes before a range", "If-None-Match: E|Range: bytes=2-4", notModified},
		{"If-Modified-Since the date", "If-Modified-Since: D", notModified},
		{"If-Modified-Since later", "If-Modified-Since: D+1", notModified},
		{"If-Modified-Since earlier", "If-Modified-Since: D-1", all},
		{"If-Modified-Since nonsense", "If-Modified-Since: x", all},

		{"If-Match", "If-Match: E", all},
		{"If-Match of all", "If-Match: *", all},
		{"If-Match in a second line", `If-Match: "x"|If-Match: E`, all},
		{"If-Match of another", `If-Match: "x"`, failed},
		{"If-Match, weak", "If-Match: W/E", failed},
		{"If-Match counts, not the date", "If-Match: E|If-Unmodified-Since: D-1", all},
		{"If-Match and a range", "If-Match: E|Range: bytes=2-4", "206 2-4/10 234"},
		{"If-Match comes before a range", `If-Match: "x"|Range: bytes=2-4`, failed},
		{"If-Match comes before If-None-Match", `If-Match: "x"|If-None-Match: E`, failed},
		{"If-Unmodified-Since the date", "If-Unmodified-Since: D", all},
		{"If-Unmodified-Since earlier", "If-Unmodified-Since: D-1", failed},
	}
	values := strings.NewReplacer("E", etag, "D+1", date(time.Second), "D-1", date(-time.Second), "D", date(0))
	for _, tt := range tests {
		var lines []string
		for line := range strings.SplitSeq(tt.header, "|") {
			name, value, _ := strings.Cut(line, ": ")
			if !strings.Contains(name, "Range") || strings.HasPrefix(name, "If") {
				value = values.Replace(value)
			}
			lines = append(lines, name+": "+value)
		}
		resp, body := run.exchange(t, "GET", "/a.bin", lines...)
		got := fmt.Sprint(resp.StatusCode, " ")
		if part, ok := strings.CutPrefix(resp.Header.Get("Content-Range"), "bytes "); ok {
			got += part
			if resp.StatusCode == 206 {
				got += " "
			}
		}
		if resp.StatusCode < 300 {
			got += body
		}
		if got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
		if resp.StatusCode == 304 && (body != "" || resp.Header.Get("ETag") != etag) {
			t.Errorf("%s: 304 with %q and ETag %q", tt.name, body, resp.Header.Get("ETag"))
		}

		// HEAD has no ranges, and is GET without its body in all else.
		if strings.Contains(tt.header, "Range") {
			if i := strings.Index(tt.want, " "); tt.want[:i] == "206" || tt.want[:i] == "416" {
				resp, _ = run.exchange(t, "GET", "/a.bin")
			}
		}
		head, none := run.exchange(t, "HEAD", "/a.bin", lines...)
		if none != "" || head.StatusCode != resp.StatusCode || resp.StatusCode == 200 && head.ContentLength != resp.ContentLength {
			t.Errorf("%s: HEAD is %s with length %d and body %q, GET %s with %d", tt.name, head.Status, head.ContentLength, none, resp.Status, resp.ContentLength)
		}
		for _, name := range []string{"ETag", "Last-Modified", "Content-Type", "Cache-Control", "Vary", "Accept-Ranges", "Content-Range"} {
			if head.Header.Get(name) != resp.Header.Get(name) {
				t.Errorf("%s: %s is %q for HEAD and %q for GET", tt.name, name, head.Header.Get(name), resp.Header.Get(name))
			}
		}
	}

	resp, body := run.exchange(t, "GET", "/a.bin", "Range: Bytes=0-1,-2")
	if kind := resp.Header.Get("Content-Type"); resp.StatusCode != 206 || !strings.HasPrefix(kind, "multipart/byteranges; boundary=") ||
		!strings.Contains(body, "Content-Range: bytes 0-1/10\r\n") || !strings.Contains(body, "\r\n\r\n01\r\n") || !strings.Contains(body, "\r\n\r\n89\r\n") {
		t.Errorf("several ranges: %s %s %q", resp.Status, kind, body)
	}
	if resp, body := run.exchange(t, "GET", "/empty.bin", "Range: bytes=0-"); resp.StatusCode != 200 || body != "" {
		t.Errorf("a range of an empty file: %s %q", resp.Status, body)
	}
}

// The date of a file says nothing of a page whose script element has another token now,
// and is none of the future.
func TestDatesOfPages(t *testing.T) {
	root := tree(t, "a.html", "<p>", "later.txt", "l")
	past, later := time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	check(t, os.Chtimes(root+"/a.html", past, past))
	check(t, os.Chtimes(root+"/later.txt", later, later))
	run := serve(t, Options{Root: root})
	resp, _ := run.exchange(t, "GET", "/a.html", "Sec-Fetch-Dest: document")
	etag, date := resp.Header.Get("ETag"), resp.Header.Get("Last-Modified")
	run.Refresh("other.css")
	for _, line := range []string{"If-None-Match: " + etag, "If-Modified-Since: " + date, "If-Unmodified-Since: " + past.Add(-time.Hour).UTC().Format(http.TimeFormat)} {
		if resp, _ := run.exchange(t, "GET", "/a.html", "Sec-Fetch-Dest: document", line); resp.StatusCode != 200 {
			t.Errorf("%s after a change: %s", line, resp.Status)
		}
	}
	if resp, _ := run.exchange(t, "GET", "/a.html", "Sec-Fetch-Dest: empty", "If-Modified-Since: "+date); resp.StatusCode != 304 || date == "" {
		t.Errorf("without the script, since %q: %s", date, resp.Status)
	}

	resp, _ = run.exchange(t, "GET", "/later.txt")
	if modified := must(http.ParseTime(resp.Header.Get("Last-Modified")))(t); modified.After(time.Now()) {
		t.Errorf("last modified %v, which is to come", modified)
	}
}

// OPTIONS says which methods there are, and so does the refusal of others.
func TestMethods(t *testing.T) {
	run := serve(t, Options{Root: tree(t, "a.txt", "a")})
	const allow = "GET, HEAD, OPTIONS"
	for _, target := range []string{"/a.txt", "/none", "/", "/.execlogd/", "*"} {
		resp, body := run.exchange(t, "OPTIONS", target)
		if resp.StatusCode != 204 || resp.Header.Get("Allow") != allow || body != "" || resp.Header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("OPTIONS %s: %s %v %q", target, resp.Status, resp.Header, body)
		}
	}
	for _, method := range []string{"POST", "PUT", "DELETE", "PROPFIND", "get"} {
		if resp, _ := run.exchange(t, method, "/a.txt"); resp.StatusCode != 405 || resp.Header.Get("Allow") != allow {
			t.Errorf("%s: %s, Allow %q", method, resp.Status, resp.Header.Get("Allow"))
		}
	}
	for _, method := range []string{"GET", "PUT"} {
		if resp, _ := run.exchange(t, method, "*"); resp.StatusCode != 400 {
			t.Errorf("%s *: %s", method, resp.Status)
		}
	}
}

// FuzzByteRanges: what is not ignored is a list that ServeContent parses.
func FuzzByteRanges(f *testing.F) {
	for _, seed := range []string{"bytes=0-1", "bytes=-0", "Bytes=1-,-2", "bytes=99999999999999999999-", "lines=1-2", "bytes", "bytes=5-4", "bytes=,"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		ranges := byteRanges([]string{text})
		if ranges == "" {
			return
		}
		if again := byteRanges([]string{ranges}); again != ranges {
			t.Errorf("%q became %q became %q", text, ranges, again)
		}
		if strings.Trim(ranges, "bytes=0123456789,-") != "" {
			t.Errorf("%q became %q", text, ranges)
		}
	})
}
