package main

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const (
	exampleFile = "../../packaging/execlogd.toml"
	manual      = "../../packaging/man/execlogd.1"
	fileManual  = "../../packaging/man/execlogd.toml.5"
)

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// The example is right where what it names is there.
func TestExampleFile(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"public", "images", "api"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(dir, "execlogd.toml")
	if err := os.WriteFile(file, []byte(read(t, exampleFile)), 0o644); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := run(t.Context(), []string{"check", "-config", file}, &out, &out); err != nil {
		t.Error(err)
	}
	if want := file + " is right: 3 routes, and a server for " + dir + "/public\n"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}

// The directories of examples are whole. What they do is tested in e2e.
func TestExampleDirectories(t *testing.T) {
	files, err := filepath.Glob("../../examples/*/execlogd.toml")
	if err != nil || len(files) == 0 {
		t.Fatal("no examples", err)
	}
	for _, file := range files {
		var out strings.Builder
		if err := run(t.Context(), []string{"check", "-config", file}, &out, &out); err != nil {
			t.Errorf("%v\n%s", err, out.String())
		}
		if name := filepath.Base(filepath.Dir(file)); !strings.Contains(read(t, "../../README.md"), "(examples/"+name+")") {
			t.Errorf("README has no %s", name)
		}
	}
}

// The section of a command has its flags. Those that are keys of the configuration are in
// execlogd.toml(5), and those of why are the flags of the daemon and of run.
func TestManualHasEveryCommandAndFlag(t *testing.T) {
	text, keys := read(t, manual), read(t, fileManual)
	sections := strings.Split(text, "\n.It Cm ")
	section := func(verb string) string {
		if verb == "" {
			return sections[0]
		}
		i := slices.IndexFunc(sections, func(s string) bool { return strings.HasPrefix(s, verb+"\n") })
		if i < 0 {
			t.Errorf("execlogd(1) has no %s", verb)
			return ""
		}
		return sections[i]
	}

	verbs := []string{""}
	for verb := range commands {
		verbs = append(verbs, verb)
	}
	for _, verb := range verbs {
		section := section(verb)
		var help strings.Builder
		if err := run(t.Context(), append(strings.Fields(verb), "-help"), &help, io.Discard); err != nil {
			t.Fatal(err)
		}
		for _, flag := range regexp.MustCompile(`(?m)^  -([a-z0-9-]+)`).FindAllStringSubmatch(help.String(), -1) {
			isKey := strings.Contains(keys, "\n.It Ic "+strings.ReplaceAll(flag[1], "-", "_")+"\n")
			if !isKey && verb != "why" && verb != "check" && !regexp.MustCompile(`(?m)^[.](It )?Fl `+flag[1]+`\b`).MatchString(section) {
				t.Errorf("execlogd(1) has no -%s at %q", flag[1], verb)
			}
		}
	}
}

func TestManualsAreWellFormed(t *testing.T) {
	lint := []string{"mandoc", "-Tlint", "-W", "warning"}
	if _, err := exec.LookPath("mandoc"); err != nil {
		lint = []string{"groff", "-mdoc", "-ww", "-z", "-Tutf8"}
	}
	if _, err := exec.LookPath(lint[0]); err != nil {
		t.Skip("neither mandoc nor groff is installed")
	}
	for _, page := range []string{manual, fileManual} {
		out, err := exec.Command(lint[0], append(lint[1:], page)...).CombinedOutput()
		if err != nil || len(out) > 0 {
			t.Errorf("%s %s: %v\n%s", lint[0], page, err, out)
		}
	}
}
