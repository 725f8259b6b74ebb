package config

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/execlog/execlogd/inotify"
)

func TestParseConfig(t *testing.T) {
	tests := []struct {
		name, args string
		want       func(*Config)
	}{
		{"nothing", "", func(c *Config) {}},
		{"a root and a port", "-root /srv/www -port 80", func(c *Config) { c.Root, c.Port = "/srv/www", 80 }},
		{"a relative root is made absolute", "-root a/../b", func(c *Config) { c.Root = filepath.Join(c.Root, "b") }},
		{"a free port", "-port 0", func(c *Config) { c.Port = 0 }},
		{"live reload only", "-static=false", func(c *Config) { c.Static = false }},
		{"pages left alone", "-inject=false", func(c *Config) { c.Inject = false }},
		{"no waiting", "-delay 0 -debounce 0s", func(c *Config) { c.Delay, c.Debounce = none, none }},
		{"two dashes", "--host ::1 --debounce 1s", func(c *Config) { c.Host, c.Debounce = "::1", time.Second }},
		{"ignored names add to the default", "-ignore a -ignore b/*", func(c *Config) { c.Ignore = []string{"a", "b/*"} }},
		{"an empty pattern drops the default", "-ignore= -ignore b", func(c *Config) { c.Hidden, c.Ignore = []string{}, []string{"b"} }},
		{"strangers let in", "-allow-host a -allow-host .b -allow-origin null", func(c *Config) { c.AllowHosts, c.AllowOrigins = []string{"a", ".b"}, []string{"null"} }},
		{"logs", "-log-level debug -log-format json", func(c *Config) { c.LogLevel, c.LogFormat = slog.LevelDebug, "json" }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			want, _, err := Parse("execlogd", "", nil)
			if err != nil {
				t.Fatal(err)
			}
			tt.want(&want)
			got, _, err := Parse("execlogd", "", strings.Fields(tt.args))
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
		{"-root=", "-root is empty: want a directory"},
		{"-host=", "-host is empty: want an address"},
		{"-watch-config", "-watch-config without -config: name a file"},
		{"-control x", "-control without -config: the socket is for the runs of routes"},
		{"-port x", `-port is "x": want a number`},
		{"-delay 5", `-delay is "5": want a time with its unit, not negative, as in "100ms", "2s" or "1m30s"`},
		{"-port 65536", `-port is "65536": want a number from 0 to 65535`},
		{"-port -1", `-port is "-1": want a number from 0 to 65535`},
		{"-delay -1s", `-delay is "-1s": want a time with its unit, not negative`},
		{"-log-level loud", `-log-level is "loud": want one of debug, error, info, warn`},
		{"-log-format xml", `-log-format is "xml": want one of auto, json, text`},
		{"-static=false -livereload=false", "leave nothing to do"},
	}
	for _, tt := range tests {
		_, _, err := Parse("execlogd", "", strings.Fields(tt.args))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %s", tt.args, err, tt.want)
			continue
		}
		if _, ok := errors.AsType[UsageError](err); !ok || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %q, want a usage error in one line", tt.args, err)
		}
	}
}

func TestHelpNamesEveryFlagWithItsDefault(t *testing.T) {
	_, _, help := Parse("execlogd", "", []string{"-help"})
	if _, ok := errors.AsType[HelpError](help); !ok {
		t.Fatal(help)
	}
	for _, want := range []string{
		"-root directory", "(default the current one)", "-host address", "(default 127.0.0.1)", "-port port", "(default 8000)",
		"-static", "-livereload", "(default true)", "-delay duration", "(default 100ms)", "-debounce duration", "(default 200ms)",
		"-ignore pattern", "-allow-host name", "-allow-origin origin", "-log-level level", "(default info)",
		"-log-format format", "(default auto)", "-version",
	} {
		if !strings.Contains(help.Error(), want) {
			t.Errorf("no %q in\n%s", want, help)
		}
	}
}

func TestCheckDir(t *testing.T) {
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
		err := CheckDir("root", tt.root, "name another with -root")
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", tt.root, err, tt.want)
		}
	}
}

// Pages wait longer for names than for content: what was created is about to be written.
func TestPageRoutes(t *testing.T) {
	cfg := mustParse(t, "[server]\ndelay = '5ms'\ndebounce = '1s'\nafter = 'x'\n"+wrongRoute("reload = true"))
	routes := cfg.PageRoutes(nil, nil, func(path string) bool { return path == "a" })
	reload, names := routes[0], routes[1]
	if reload.Delay != 5*time.Millisecond || names.Delay != defaultDelay+time.Second || names.Debounce != time.Second {
		t.Errorf("delays %v and %v, debounce %v", reload.Delay, names.Delay, names.Debounce)
	}
	if want := []string{"x", "x"}; !slices.Equal(reload.After, want) || !slices.Equal(names.After, want) {
		t.Errorf("after %q and %q, want %q", reload.After, names.After, want)
	}
	if !reload.WaitsFor(inotify.Event{Path: "a"}) || names.WaitsFor(inotify.Event{Path: "b"}) {
		t.Error("they wait for other files than those of pages")
	}
}

// Neither the file nor a link to it is served.
func TestConfigurationIsPrivate(t *testing.T) {
	dir := t.TempDir()
	real, link := filepath.Join(dir, "real.toml"), filepath.Join(dir, "x.toml")
	if err := os.WriteFile(real, []byte("[server]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("real.toml", link); err != nil {
		t.Fatal(err)
	}
	cfg, err := Read(link)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := cfg.HTTP(nil, nil).Private, []string{link, real}; !slices.Equal(got, want) {
		t.Errorf("private are %q, want %q", got, want)
	}
}

// A service starts with execlogd unless the file, or -postpone, says no.
func TestServicesStart(t *testing.T) {
	for text, want := range map[string]bool{"": false, "start = true": true, "service = true": true, "start = false\nservice = true": false} {
		if got := mustParse(t, wrongRoute(text)).Routes[0].Start; got != want {
			t.Errorf("%s: starts %v, want %v", text, got, want)
		}
	}
	if run, err := ParseRun("", "", []string{"-postpone", "-signal", "hup", "x"}); err != nil || run.Start {
		t.Errorf("with -postpone starts %v, %v", run.Start, err)
	}
}
