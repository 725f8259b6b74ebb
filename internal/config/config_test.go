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

// Each flag of the daemon has the effect of the key with its name.
func TestFlagsAreKeysOfTheFile(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	tests := []struct {
		flags, text string
		want        func(*Config)
	}{
		{"", "[server]", func(*Config) {}},
		{"-root /srv/../www", "[server]\nroot = '/srv/../www'", func(c *Config) { c.Root = "/www" }},
		{"-root a/../b", "[server]\nroot = 'a/../b'", func(c *Config) { c.Root = filepath.Join(dir, "b") }},
		{"--host ::1 -port 0", "server = { host = '::1', port = 0 }", func(c *Config) { c.Host, c.Port, c.AnyPort = "::1", 0, false }},
		{"-static=false", "server.static = false", func(c *Config) { c.Static = false }},
		{"-livereload=false -inject=0", "[server]\nlivereload = false\ninject = false", func(c *Config) { c.LiveReload, c.Inject = false, false }},
		{"-delay 0 -debounce 1m", "[server]\ndelay = '0s'\ndebounce = '1m'", func(c *Config) { c.Delay, c.Debounce = none, time.Minute }},
		{"-ignore a", "[server]\nignore = 'a'", func(c *Config) { c.Ignore = []string{"a"} }},
		{"-ignore= -ignore a -ignore b/**", "[server]\nignore = ['', 'a', 'b/**']", func(c *Config) {
			c.Hidden, c.Ignore = []string{}, []string{"a", "b/**"}
		}},
		{"-allow-host a -allow-host .b -allow-origin null", "[server]\nallow_host = ['a', '.b']\nallow_origin = ['null']", func(c *Config) { c.AllowHosts, c.AllowOrigins = []string{"a", ".b"}, []string{"null"} }},
		{"-cors=http://a -cors=http://b:1", "[server]\ncors = ['http://a', 'http://b:1']", func(c *Config) { c.CORS = []string{"http://a", "http://b:1"} }},
		{"-cors", "[server]\ncors = true", func(c *Config) { c.CORS = []string{"*"} }},
		{"-cors=false", "[server]\ncors = false", func(*Config) {}},
		{"-log-level debug -log-format json", "log_level = 'debug'\nlog_format = 'json'\n[server]", func(c *Config) { c.LogLevel, c.LogFormat = slog.LevelDebug, "json" }},
	}
	for _, tt := range tests {
		want := defaultConfig(dir)
		tt.want(&want)
		if got, _, err := Parse("execlogd", "", strings.Fields(tt.flags)); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v\n got %+v\nwant %+v", tt.flags, err, got, want)
		}

		want.File, want.Text = "x.toml", []byte(tt.text)
		want.namesRoot = strings.Contains(tt.text, "root =")
		if got, wrong := parse("x.toml", dir, want.Text); wrong != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v\n got %+v\nwant %+v", tt.text, wrong, got, want)
		}
	}
}

func TestUsageErrors(t *testing.T) {
	t.Setenv("HOME", "/home/me")
	tests := []struct{ args, want string }{
		{"-nonsense", "there is no flag -nonsense"},
		{"-root=", "-root is empty: want a directory"},
		{"-root=~/site", `-root is "~/site", and only a shell knows what ~ is, at the beginning of a word: write /home/me/site`},
		{"-watch-config", "-watch-config without -config: name a file"},
		{"-control x", "-control without -config: the socket is for the runs of routes"},
		{"-port x", `-port is "x": want a number from 0 to 65535`},
		{"-port 65536", `-port is "65536": want a number from 0 to 65535, as in 8000`},
		{"-log-level loud", `-log-level is "loud": want one of debug, error, info, warn`},
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
		"-root directory", "(default the current one)", "(default 127.0.0.1)", "-port port", "(default 8000, or the next one that is free)", "-static\n", "(default true)",
		"-delay duration", "(default 100ms)", "(default 200ms)", "-allow-host name", "-log-level level", "(default info)", "-version\n",
	} {
		if !strings.Contains(help.Error(), want) {
			t.Errorf("no %q in\n%s", want, help)
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

// Neither the file nor a link to it is served, and no file that would be used if it was not
// for flags.
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
	if got, want := cfg.HTTP(nil, nil).Private, []string{filepath.Join(dir, DefaultFile), link, real}; !slices.Equal(got, want) {
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
