package main

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/execlog/execlogd/internal/config"
	"github.com/execlog/execlogd/internal/testenv"
)

// The daemon is told of flags, of a directory, and of a file in any order, and finds its
// configuration in a directory.
func TestDaemonFlags(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	testenv.Check(t, os.Mkdir("plain", 0o755), os.Mkdir("site", 0o755), os.Mkdir("-dash", 0o755),
		os.WriteFile("site/execlogd.toml", nil, 0o644), os.WriteFile("x.toml", nil, 0o644))
	for _, tt := range []struct{ in, args, want string }{
		{"plain", "", ""},
		{"plain", "-port 80", "-port 80"},
		{"site", "", "-config execlogd.toml -watch-config"},
		{"site", "-port 80 -watch-config=false", "-config execlogd.toml -watch-config -port 80 -watch-config=false"},
		{"site", "-root ../plain", "-root ../plain"},
		{"site", "-config ../x.toml", "-config ../x.toml"},
		{"site", "../plain", "-root ../plain"},
		{"plain", "../site", "-config ../site/execlogd.toml -watch-config"},
		{"plain", "../site -port 80", "-config ../site/execlogd.toml -watch-config -port 80"},
		{"plain", "-port 80 .. -host ::1", "-root .. -port 80 -host ::1"},
		{"plain", "-- ../-dash", "-root ../-dash"},
		{"plain", "../x.toml", "-config ../x.toml"},
		{"site", "-config ../x.toml ../plain", "-root ../plain -config ../x.toml"},
		{"site", "-config ../x.toml .", "-root . -config ../x.toml"},
	} {
		t.Chdir(filepath.Join(dir, tt.in))
		got, err := daemonFlags("execlogd", usage, strings.Fields(tt.args))
		if err != nil || strings.Join(got, " ") != tt.want {
			t.Errorf("in %s: execlogd %s: %q %v, want %s", tt.in, tt.args, got, err, tt.want)
		}
	}

	t.Setenv("NOTIFY_SOCKET", "/nowhere")
	t.Chdir(filepath.Join(dir, "site"))
	if got, err := daemonFlags("execlogd", usage, nil); err != nil || len(got) > 0 {
		t.Errorf("a service uses %q %v, want no file that is not named", got, err)
	}
}

// Commands of another user's file do not run, unless that is asked for.
func TestFileOfAnotherUser(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("it takes root to make a file of another user")
	}
	t.Chdir(t.TempDir())
	testenv.Check(t, os.WriteFile("execlogd.toml", []byte(oneRoute), 0o644), os.Chown("execlogd.toml", 1, 1))
	want := "execlogd.toml belongs to user 1, and its commands would run as user 0: if you trust it, name it with -config"
	for _, args := range []string{"", ".", "check", "why x"} {
		if err := run(t.Context(), strings.Fields(args), io.Discard, io.Discard); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("execlogd %s: %v, want %s", args, err, want)
		}
	}
	for _, args := range []string{"check -config execlogd.toml", "check execlogd.toml", "check -root ."} {
		if err := run(t.Context(), strings.Fields(args), io.Discard, io.Discard); err != nil {
			t.Errorf("execlogd %s: %v", args, err)
		}
	}

	testenv.Check(t, os.Rename("execlogd.toml", "mine.toml"), os.Chown("mine.toml", 0, 0), os.Symlink("mine.toml", "execlogd.toml"), os.Lchown("execlogd.toml", 1, 1))
	if err := run(t.Context(), nil, io.Discard, io.Discard); err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("a link of another user: %v, want %s", err, want)
	}
}

// execlogd in a directory with an execlogd.toml uses it, does not serve or list it, and loads
// it again when it changes. When it is gone, the daemon goes on as before.
func TestFileInTheDirectory(t *testing.T) {
	for _, args := range []string{"", "-config execlogd.toml -watch-config", "."} {
		dir := t.TempDir()
		t.Chdir(dir)
		const text = "[server]\nroot = '.'\nport = 0\n" + oneRoute
		testenv.Check(t, os.WriteFile("execlogd.toml", []byte(text), 0o644), os.WriteFile("a.html", []byte("A"), 0o644))

		ignore := func(ctx context.Context, _ []string, stderr io.Writer) error { // what Begin adds
			return run(ctx, strings.Fields(args), io.Discard, stderr)
		}
		s := testenv.Begin(t, ignore, "")
		if status, body := s.Get("/execlogd.toml", ""); status != 404 {
			t.Errorf("%s: execlogd.toml is served: %d %s", args, status, body)
		}
		if _, body := s.Get("/", ""); !strings.Contains(body, "a.html") || strings.Contains(body, "execlogd.toml") {
			t.Errorf("%s: the listing is %s", args, body)
		}

		testenv.Check(t, os.WriteFile("execlogd.toml", []byte(strings.ReplaceAll(text, "'r'", "'other'")), 0o644))
		s.Await(`msg="configuration loaded"`)
		testenv.Check(t, os.Remove("execlogd.toml"))
		s.Hangup()
		s.Await(`msg="configuration refused`, "execlogd.toml")
		if status, _ := s.Get("/a.html", ""); status != 200 {
			t.Errorf("%s: status %d after the file is gone", args, status)
		}
		s.Stop()
	}
}

// What is not used is not served either.
func TestUnusedFileIsPrivate(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	testenv.Check(t, os.WriteFile("execlogd.toml", []byte(oneRoute), 0o644))
	serve := func(ctx context.Context, _ []string, stderr io.Writer) error {
		return run(ctx, []string{"-root", ".", "-port", "0"}, io.Discard, stderr)
	}
	s := testenv.Begin(t, serve, "")
	if status, body := s.Get("/execlogd.toml", ""); status != 404 {
		t.Errorf("execlogd.toml is served: %d %s", status, body)
	}
}

func TestCheckFindsTheFile(t *testing.T) {
	t.Chdir(t.TempDir())
	testenv.Check(t, os.WriteFile("execlogd.toml", []byte(oneRoute), 0o644), os.WriteFile("x.toml", []byte(oneRoute), 0o644))
	for args, want := range map[string]string{"": "execlogd.toml is right: 1 route\n", ".": "execlogd.toml is right: 1 route\n", "x.toml": "x.toml is right: 1 route\n"} {
		if got := output(t, "/", append([]string{"check"}, strings.Fields(args)...)...); got != want {
			t.Errorf("check %s: %q, want %q", args, got, want)
		}
	}
}

// The words help and version do what the flags do.
func TestHelpAndVersion(t *testing.T) {
	for word, flag := range map[string]string{"version": "-version", "help": "-help", "help log": "log -help", "help run x": "run -help"} {
		if got, want := output(t, "/", strings.Fields(word)...), output(t, "/", strings.Fields(flag)...); got != want {
			t.Errorf("%s prints %q, want %q", word, got, want)
		}
	}
	if help := output(t, "/", "log", "-help"); !regexp.MustCompile(`\nThe manual: man execlogd\n$`).MatchString(help) {
		t.Errorf("the help does not name the manual at its end: %s", help)
	}
}

// The manual of a program that was built is found beside it.
func TestManualCommand(t *testing.T) {
	dir := t.TempDir()
	program, page := filepath.Join(dir, "bin/execlogd"), filepath.Join(dir, "packaging/man/execlogd.1")
	if got := manualCommand(program, dir); got != "man execlogd" {
		t.Errorf("an installed program has %s", got)
	}
	testenv.Check(t, os.MkdirAll(filepath.Dir(page), 0o755), os.WriteFile(page, nil, 0o644))
	for here, want := range map[string]string{dir: "man ./packaging/man/execlogd.1", dir + "/bin": "man " + page} {
		if got := manualCommand(program, here); got != want {
			t.Errorf("in %s: %s, want %s", here, got, want)
		}
	}
}

// A flag of true or false that is followed by its value is no mistake of another kind.
func TestMisplacedValue(t *testing.T) {
	for args, want := range map[string]string{"-static no": "-static=false", "--inject ON": "-inject=true", "-port 1": "", "x false": "", "-static site": ""} {
		flag, word, _ := strings.Cut(args, " ")
		if got := config.MisplacedValue(flag, word); got != want {
			t.Errorf("%s: %q, want %q", args, got, want)
		}
	}
}

// A save of the configuration is no change of a source, unless a pattern says so.
func TestConfigurationIsNoSource(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	for match, want := range map[string]string{"": "route    r: ignored by the pattern /execlogd.toml\n", "match = '*.toml'\n": "route    r: triggered by "} {
		testenv.Check(t, os.WriteFile("execlogd.toml", []byte("[[route]]\nname = 'r'\nrun = ['true']\n"+match), 0o644))
		if out := output(t, dir, "why", "execlogd.toml"); !strings.Contains(out, want) {
			t.Errorf("with %q: %s, want %s", match, out, want)
		}
	}
}
