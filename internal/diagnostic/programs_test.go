package diagnostic

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Programs that are there, whatever their version, with mistakes in what they read.
func TestFindInWhatProgramsWrite(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod":    "module x\n\ngo 1.26\n",
		"x.go":      "package x\n\nfunc f() { missing() }\n",
		"c/c.c":     "int f(void) {\n  return missing;\n}\n",
		"a.py":      "import b\nb.f()\n",
		"b.py":      "import json\ndef f():\n    json.loads('{')\n",
		"a.js":      "require('./b')()\n",
		"b.js":      "module.exports = () => {\n  null.missing\n}\n",
		"mk/b":      "out\n",
		"broken.sh": "echo\nif then\n",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct{ command, place, message string }{
		{"go vet ./...", "x.go:3:12", "undefined: missing"},
		{"gcc -fdiagnostics-color=always -c c/c.c -o c.o", "c/c.c:2:10", "undeclared"},
		{"make -f mk/b", "mk/b:1", "missing separator"},
		{"python3 a.py", "b.py:3", "JSONDecodeError"},
		{"node a.js", "b.js:2:8", "TypeError"},
		{"sh broken.sh", "broken.sh:2", "yntax error"},
	}
	for _, tt := range tests {
		t.Run(strings.Fields(tt.command)[0], func(t *testing.T) {
			argv := strings.Fields(tt.command)
			if _, err := exec.LookPath(argv[0]); err != nil {
				t.Skip(err)
			}
			cmd := exec.Command(argv[0], argv[1:]...)
			cmd.Dir = dir
			cmd.Env = append(os.Environ(), "LC_ALL=C")
			output, err := cmd.CombinedOutput()
			if err == nil {
				t.Fatalf("%s has not failed: %s", tt.command, output)
			}
			d := Find(string(output), dir)
			if place := d.Place(dir); place != tt.place || !strings.Contains(d.Message, tt.message) {
				t.Errorf("%q at %q, want %q at %q, in\n%s", d.Message, place, tt.message, tt.place, output)
			}
		})
	}
}
