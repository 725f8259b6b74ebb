package browser

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/execlog/execlogd/internal/testenv"
)

// program makes a program that notes its arguments in a file, one in brackets each.
func program(t *testing.T, dir, name string, status string) {
	t.Helper()
	script := "#!/bin/sh\nprintf '" + name + "' >>" + dir + "/told\nprintf '[%s]' \"$@\" >>" + dir + "/told\nexit " + status + "\n"
	testenv.Check(t, os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755))
}

func TestOpen(t *testing.T) {
	const url = "http://127.0.0.1:8000/a%20b/?x=$(id);&y=%73"
	for _, tt := range []struct{ name, browser, display, url, told, err string }{
		{"a name of a program", "good", "", url, "good[" + url + "]", ""},
		{"words, and where the URL goes", "good --new %s end", "", url, "good[--new][" + url + "][end]", ""},
		{"the first that succeeds", "none:bad:good:bad", "", url, "bad[" + url + "]good[" + url + "]", ""},
		{"none succeeds", "none:bad", "", url, "bad[" + url + "]", "\"none\", which $BROWSER names, is no program\nbad: exit status 3"},
		{"xdg-open on a desktop", "", ":0", url, "xdg-open[" + url + "]", ""},
		{"without a desktop", "", "", url, "", "there is no display"},
		{"a file", "good", "", "file:///etc/passwd", "", `"file:///etc/passwd" is no address for a browser`},
		{"another scheme", "good", "", "javascript://host/%0aalert(1)", "", `is no address for a browser`},
		{"a flag", "good", "", "--help", "", `"--help" is no address for a browser`},
		{"no server", "good", "", "http:///x", "", `is no address for a browser`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			program(t, dir, "good", "0")
			program(t, dir, "bad", "3")
			program(t, dir, "xdg-open", "0")
			t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
			t.Setenv("BROWSER", tt.browser)
			t.Setenv("DISPLAY", tt.display)
			t.Setenv("WAYLAND_DISPLAY", "")

			err := Open(t.Context(), tt.url)
			if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("error %v, want %s", err, tt.err)
			}
			told, _ := os.ReadFile(dir + "/told")
			if string(told) != tt.told {
				t.Errorf("told %s, want %s", told, tt.told)
			}
		})
	}
}
