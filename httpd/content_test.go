package httpd

import (
	"bytes"
	"cmp"
	"io"
	"io/fs"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// rewrite saves a file in place, as all of one letter and all of the other in
// turn, as fast as it can, until stop is called. Both are a page behind the
// head, if it is one.
func rewrite(t testing.TB, name, head string, size int) (stop func()) {
	t.Helper()
	save := func(i int) {
		if err := os.WriteFile(name, []byte(head+strings.Repeat(string("AB"[i%2]), size)), 0o644); err != nil {
			t.Error(err)
		}
	}
	save(1)
	return repeat(save)
}

// A page that is saved in place in a loop: whatever comes with a status of
// success and whole is one version of the file, and one ETag is one content.
// Cut answers are left to those that a file is too large for.
func TestAFileThatIsRewrittenWhileItIsSent(t *testing.T) {
	const head = "<!doctype html><title>x</title>"
	tests := []struct {
		name, file, head string
		size             int
		path             string
		headers          []string
	}{
		{"a style sheet", "a.css", "", 8 << 10, "/a.css", nil},
		{"a page with the script in it", "a.html", head, 8 << 10, "/a", nil},
		{"a page of many reads", "a.html", head, 200 << 10, "/a.html", nil},
		{"an index", "in/index.html", head, 8 << 10, "/in/", nil},
		{"the page for what is missing", "404.html", head, 8 << 10, "/none", nil},
		{"a range", "a.css", "", 64 << 10, "/a.css", []string{"Range", "bytes=100-60000"}},
		{"several ranges", "a.css", "", 64 << 10, "/a.css", []string{"Range", "bytes=100-20000,30000-50000"}},
		{"a large file", "a.bin", "", 1 << 20, "/a.bin", nil},
		{"a large page", "a.html", head, 1 << 20, "/a.html", nil},
		{"a range of a large file", "a.bin", "", 1 << 20, "/a.bin", []string{"Range", "bytes=100-900000"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			root := t.TempDir()
			check(t, os.MkdirAll(filepath.Dir(filepath.Join(root, tt.file)), 0o755))
			stop := rewrite(t, filepath.Join(root, tt.file), tt.head, tt.size)
			defer stop()
			run := serve(t, Options{Root: root})
			large := tt.size > wholeLimit
			bodies := make(map[string]string) // by ETag
			var whole, cut, busy int
			for start := time.Now(); ; {
				if spent := time.Since(start); whole+cut+busy == 150 || spent > 2*time.Second && (whole > 0 || large) || spent > time.Minute {
					break
				}
				resp, body, err := run.tryGet(t, tt.path, tt.headers...)
				switch {
				case err != nil:
					cut++
					continue
				case resp.StatusCode == 503, resp.StatusCode == 416:
					busy++ // 416 while it is empty
					continue
				}
				whole++
				text := strings.NewReplacer(run.element(tt.path), "", run.missingElement(tt.path), "").Replace(body)
				if strings.Contains(text, "A") && strings.Contains(text, "B") && !strings.HasPrefix(resp.Header.Get("Content-Type"), "multipart/") {
					t.Fatalf("%s with %d bytes: %d A and %d B", resp.Status, len(body), strings.Count(text, "A"), strings.Count(text, "B"))
				}
				if parts := resp.Header.Get("Content-Type"); strings.HasPrefix(parts, "multipart/") {
					if strings.Contains(text, "AAAA") && strings.Contains(text, "BBBB") {
						t.Fatal("ranges of two versions in one answer")
					}
					continue
				}
				tag := resp.Header.Get("ETag")
				if before, known := bodies[tag]; known && tag != "" && before != body {
					t.Fatalf("ETag %s for %d and for %d bytes, which begin %.60q and %.60q", tag, len(before), len(body), before, body)
				}
				bodies[tag] = body
			}
			t.Logf("%d whole, %d cut, %d busy", whole, cut, busy)
			if cut > 0 && !large {
				t.Errorf("%d of %d answers were cut", cut, whole+cut+busy)
			}
			if whole == 0 && !large {
				t.Error("no answer was whole")
			}
		})
	}
}

// tryGet is get for an answer that may be cut.
func (r *running) tryGet(t testing.TB, path string, headers ...string) (*http.Response, string, error) {
	t.Helper()
	resp, err := http.DefaultTransport.RoundTrip(request(t, "GET", r.url(path), headers...))
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp, string(body), err
}

// patch writes one byte into a file.
func patch(name string, flag int, at int64) error {
	f, err := os.OpenFile(name, os.O_WRONLY|flag, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	f.Seek(at, io.SeekStart)
	_, err = f.WriteString("B")
	return err
}

// A large file that changes while it is sent: the client has not got all of it when the
// connection breaks. One that loses its name, or gets another, as when it is replaced by
// rename, has not changed: the download goes on to its end.
func TestALargeFileThatChangesWhileItIsSent(t *testing.T) {
	const size = 64 << 20 // more than socket buffers hold
	tests := []struct {
		name   string
		change func(name string) error
		whole  bool
	}{
		{"written in place", func(name string) error { return patch(name, 0, size-1) }, false},
		{"written in place, and given its old time", func(name string) error {
			before, err := os.Stat(name)
			return cmp.Or(err, patch(name, 0, size-1), os.Chtimes(name, time.Time{}, before.ModTime()))
		}, false},
		{"truncated", func(name string) error { return os.Truncate(name, size/2) }, false},
		{"appended to", func(name string) error { return patch(name, os.O_APPEND, 0) }, false},
		{"replaced", func(name string) error {
			return cmp.Or(os.WriteFile(name+".new", []byte("B"), 0o644), os.Rename(name+".new", name))
		}, true},
		{"removed", os.Remove, true},
		{"linked", func(name string) error { return os.Link(name, name+".link") }, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			root := tree(t, "big.zip", strings.Repeat("A", size))
			run := serve(t, Options{Root: root})
			big := run.download(t, "/big.zip")
			check(t, tt.change(filepath.Join(root, "big.zip")))
			if n, err := big.wait(); (err == nil && n == size) != tt.whole {
				t.Errorf("got %d bytes of %d, %v; want all: %v", n, size, err, tt.whole)
			}
			if !tt.whole {
				run.status(t, 200, "HEAD", "/big.zip")
			}
		})
	}
}

// noLength is how middleware that compresses or rewrites answers has them sent: in
// chunks, whose end tells the client that it has all.
type noLength struct{ http.ResponseWriter }

func (w noLength) WriteHeader(code int) {
	w.Header().Del("Content-Length")
	w.ResponseWriter.WriteHeader(code)
}

func (w noLength) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Where the client is not told the length, the end of the answer is not told either.
func TestALargeFileThatChangesWhileItIsSentInChunks(t *testing.T) {
	const size = 64 << 20
	root := tree(t, "big.zip", strings.Repeat("A", size))
	s := newServer(t, Options{Root: root})
	web := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.ServeHTTP(noLength{w}, r) }))
	web.Config.ErrorLog = log.New(io.Discard, "", 0)
	web.Start()
	defer web.Close()
	resp := must(http.Get(web.URL + "/big.zip"))(t)
	defer resp.Body.Close()
	if resp.ContentLength != -1 {
		t.Fatalf("Content-Length %d, want none", resp.ContentLength)
	}

	check(t, os.Truncate(filepath.Join(root, "big.zip"), size/2))
	if n, err := io.Copy(io.Discard, resp.Body); err == nil {
		t.Errorf("got %d bytes of %d: the answer looks whole", n, size)
	}
}

// A large file that was just written may be in the middle of that, with the times
// that it has afterwards: what a client got of it then is not the file for ever.
func TestALargeFileThatWasJustWrittenHasNoValidators(t *testing.T) {
	root := tree(t, "small.zip", "A")
	run := serve(t, Options{Root: root})
	if resp, _ := run.get(t, "GET", "/small.zip"); resp.Header.Get("ETag") == "" || resp.Header.Get("Last-Modified") == "" {
		t.Errorf("a small file, which was read whole: %v", resp.Header)
	}
	start := time.Now()
	write(t, root, "big.zip", strings.Repeat("A", wholeLimit+1))
	for {
		resp, body := run.get(t, "GET", "/big.zip")
		if resp.StatusCode != 200 || len(body) != wholeLimit+1 {
			t.Fatalf("%s with %d bytes", resp.Status, len(body))
		}
		tag, date, took := resp.Header.Values("ETag"), resp.Header.Values("Last-Modified"), time.Since(start)
		switch {
		case took < longestWrite && len(tag)+len(date) > 0:
			t.Fatalf("after %v: ETag %q, Last-Modified %q", took, tag, date)
		case len(tag) == 1 && len(date) == 1 && tag[0] != "":
			return
		case took > longestWrite+time.Minute:
			t.Fatalf("after %v: ETag %q, Last-Modified %q", took, tag, date)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// A file that is rewritten in place, with the same length, and gets its old time of
// modification back, as cp -p and rsync -t do, has another ETag. Of a large file there
// is no checksum to tell.
func TestETagOfAFileWithItsTimePutBack(t *testing.T) {
	root := t.TempDir()
	name := filepath.Join(root, "big.zip")
	write(t, root, "big.zip", strings.Repeat("A", wholeLimit+1))
	past := time.Now().Add(-time.Hour)
	check(t, os.Chtimes(name, past, past))
	s := newServer(t, Options{Root: root})
	etag := func() (string, fs.FileInfo) {
		t.Helper()
		f := must(s.current.Load().open("big.zip"))(t)
		defer f.Close()
		check(t, f.load())
		return f.etag(""), f.FileInfo
	}

	before, old := etag()
	for {
		write(t, root, "big.zip", strings.Repeat("B", wholeLimit+1))
		check(t, os.Chtimes(name, past, past))
		after, now := etag()
		if now.Size() != old.Size() || !now.ModTime().Equal(old.ModTime()) || !os.SameFile(old, now) {
			t.Fatal("size, time of modification and inode are not what they were")
		}
		if now.Sys().(*syscall.Stat_t).Ctim == old.Sys().(*syscall.Stat_t).Ctim {
			continue // within a tick of the kernel's clock
		}
		if after == before {
			t.Errorf("the ETag is %s as before", after)
		}
		return
	}
}

// settledETag waits until a file that was just written has an ETag.
func (r *running) settledETag(t testing.TB, path string) string {
	t.Helper()
	tag := ""
	await(t, func() bool {
		resp, _ := r.get(t, "HEAD", path)
		tag = resp.Header.Get("ETag")
		return tag != ""
	}, path+" has no ETag")
	return tag
}

// What has left for the socket does not change any more, as it would with
// sendfile(2).
func TestWhatWasSentStaysAsItWas(t *testing.T) {
	const size = wholeLimit + 4096
	root := tree(t, "a.bin", strings.Repeat("A", size))
	s := newServer(t, Options{Root: root, NoLiveReload: true})
	sent := make(chan struct{})
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.ServeHTTP(w, r)
		http.NewResponseController(w).Flush()
		close(sent)
	}))
	defer web.Close()
	resp := must(http.Get(web.URL + "/a.bin"))(t)
	defer resp.Body.Close()
	<-sent
	f := must(os.OpenFile(root+"/a.bin", os.O_WRONLY, 0))(t)
	defer f.Close()
	must(f.WriteAt(bytes.Repeat([]byte("B"), size), 0))(t)
	body, err := io.ReadAll(resp.Body)
	if err != nil || len(body) != size || bytes.Contains(body, []byte("B")) {
		t.Errorf("%d bytes, of which %d were written after the file was sent, %v", len(body), bytes.Count(body, []byte("B")), err)
	}
}

// A file that is found empty a moment after it was written is in the middle of
// a save; one that is empty is served so.
func TestEmptyFiles(t *testing.T) {
	root := tree(t, "empty.txt", "")
	run := serve(t, Options{Root: root})
	run.shows(t, "", "/empty.txt")
	write(t, root, "page.txt", "before")
	check(t, os.Truncate(root+"/page.txt", 0))
	truncated := time.Now()
	done := make(chan struct{})
	go func() {
		defer close(done)
		time.Sleep(time.Millisecond) // the pause of an editor between truncate and write
		write(t, root, "page.txt", "after")
	}()
	resp, body := run.get(t, "GET", "/page.txt")
	waited := time.Since(truncated)
	<-done
	if resp.StatusCode != 200 || body != "after" && body != "" {
		t.Errorf("%s %q", resp.Status, body)
	}
	if body == "" && waited < readTimeout/2 { // the kernel's clock for files is not exact
		t.Errorf("it was served empty %v after it became so", waited)
	}
}
