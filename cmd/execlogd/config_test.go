package main

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestParseConfig(t *testing.T) {
	tests := []struct {
		name, args string
		want       func(*config)
	}{
		{"nothing", "", func(c *config) {}},
		{"a root and a port", "-root /srv/www -port 80", func(c *config) { c.root, c.port = "/srv/www", 80 }},
		{"a relative root is made absolute", "-root a/../b", func(c *config) { c.root = filepath.Join(c.root, "b") }},
		{"a free port", "-port 0", func(c *config) { c.port = 0 }},
		{"live reload only", "-static=false", func(c *config) { c.static = false }},
		{"pages left alone", "-inject=false", func(c *config) { c.inject = false }},
		{"no waiting", "-delay 0 -debounce 0s", func(c *config) { c.delay, c.debounce = 0, 0 }},
		{"two dashes", "--host ::1 --debounce 1s", func(c *config) { c.host, c.debounce = "::1", time.Second }},
		{"ignored names add to the default", "-ignore a -ignore b/*", func(c *config) { c.ignore = []placed{{is: "a"}, {is: "b/*"}} }},
		{"an empty pattern drops the default", "-ignore= -ignore b", func(c *config) { c.hidden, c.ignore = []string{}, []placed{{is: "b"}} }},
		{"strangers let in", "-allow-host a -allow-host .b -allow-origin null", func(c *config) { c.allowHosts, c.allowOrigins = []string{"a", ".b"}, []string{"null"} }},
		{"logs", "-log-level debug -log-format json", func(c *config) { c.logLevel, c.logFormat = "debug", "json" }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			want, err := parseConfig(nil)
			if err != nil {
				t.Fatal(err)
			}
			tt.want(&want)
			got, err := parseConfig(strings.Fields(tt.args))
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("got  %+v\nwant %+v", got, want)
			}
		})
	}
}

func TestUsageErrors(t *testing.T) {
	tests := []struct{ args, want string }{
		{"-nonsense", "flag provided but not defined: -nonsense"},
		{"-root=", "-root is empty: name a directory"},
		{"-host=", "-host is empty: name an address"},
		{"-port x", `invalid value "x" for flag -port`},
		{"-delay 5", `invalid value "5" for flag -delay: want a time with its unit, as in "100ms", "2s" or "1m30s"`},
		{"-port 65536", "-port 65536: a port is from 0 to 65535"},
		{"-port -1", "-port -1: a port is from 0 to 65535"},
		{"-delay -1s", "-delay -1s: a delay is not negative"},
		{"-debounce -1s", "-debounce -1s: a time is not negative"},
		{"-log-level loud", `-log-level "loud": want debug, info, warn, error`},
		{"-log-format xml", `-log-format "xml": want auto, text, json`},
		{"-static=false -livereload=false", "leave nothing to do"},
		{"/srv/www", "the directory to serve is -root /srv/www"},
	}
	for _, tt := range tests {
		_, err := parseConfig(strings.Fields(tt.args))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %s", tt.args, err, tt.want)
			continue
		}
		if status := exitStatus(err); status != 2 || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: status %d and %q, want 2 and one line", tt.args, status, err)
		}
	}
}

func TestHelpNamesEveryFlagWithItsDefault(t *testing.T) {
	cfg, err := parseConfig([]string{"-help"})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"-root directory", `(default ".")`, "-host address", `(default "127.0.0.1")`, "-port port", "(default 8000)",
		"-static", "-livereload", "(default true)", "-delay duration", "(default 100ms)", "-debounce duration", "(default 200ms)",
		"-ignore pattern", "-allow-host name", "-allow-origin origin", "-log-level level", `(default "info")`,
		"-log-format format", `(default "auto")`, "-version",
	} {
		if !strings.Contains(cfg.print, want) {
			t.Errorf("no %q in\n%s", want, cfg.print)
		}
	}
}

func TestCheckRoot(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	tests := []struct{ root, want string }{
		{dir, ""},
		{filepath.Join(dir, "missing"), "does not exist: create it, or name another with -root"},
		{file, "is not a directory: name another with -root"},
		{filepath.Join(file, "below"), "does not exist: create it, or name another with -root"},
	}
	for _, tt := range tests {
		err := checkRoot(tt.root)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", tt.root, err, tt.want)
		}
	}
}

func TestExitStatus(t *testing.T) {
	for err, want := range map[error]int{
		nil:                               0,
		errors.New("x"):                   1,
		usagef("x"):                       2,
		errors.Join(errors.New("y"), nil): 1,
	} {
		if got := exitStatus(err); got != want {
			t.Errorf("%v: status %d, want %d", err, got, want)
		}
	}
}
