package httpd

import (
	"os"
	"path/filepath"
	"testing"
)

// The root is what its path leads to at the time of a request.
func TestARootThatIsReplacedIsServed(t *testing.T) {
	top := t.TempDir()
	at := func(name string) string { return filepath.Join(top, name) }
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, release := range []string{"1", "2"} {
		must(os.Mkdir(at(release), 0o755))
		write(t, at(release), "f.txt", release)
	}
	must(os.Symlink(at("1"), at("root")))
	run := serve(t, Options{Root: at("root")})
	expect := func(when string, code int, text string) {
		t.Helper()
		if resp, body := run.get(t, "GET", "/f.txt"); resp.StatusCode != code || code == 200 && body != text {
			t.Errorf("%s: %s %q", when, resp.Status, body)
		}
	}
	expect("at first", 200, "1")

	must(os.Symlink(at("2"), at("tmp")))
	must(os.Rename(at("tmp"), at("root")))
	expect("after the link was turned", 200, "2")

	must(os.RemoveAll(at("2")))
	expect("after it was deleted", 404, "")

	must(os.Mkdir(at("2"), 0o755))
	write(t, at("2"), "f.txt", "2 again")
	expect("after it was made again", 200, "2 again")
}
