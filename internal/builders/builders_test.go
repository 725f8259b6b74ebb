package builders

import (
	"path"
	"regexp"
	"slices"
	"testing"

	"github.com/execlog/execlogd/router"
)

// What is in the table can be used as it is.
func TestTable(t *testing.T) {
	var names []string
	for _, b := range All() {
		if !regexp.MustCompile(`^[a-z0-9-]+$`).MatchString(b.Name) || slices.Contains(names, b.Name) {
			t.Errorf("%q is no name, or there are two", b.Name)
		}
		names = append(names, b.Name)
		if (len(b.Run) == 0) == (len(b.Example) == 0) {
			t.Errorf("%s: want something to run, or else an example of that", b.Name)
		}
		for _, p := range slices.Concat(b.Begins, b.Succeeds, b.Fails) {
			if _, err := regexp.Compile(p); err != nil {
				t.Errorf("%s: %v", b.Name, err)
			}
		}
		if b.Once && len(slices.Concat(b.Begins, b.Succeeds, b.Fails)) > 0 {
			t.Errorf("%s: its exit status says how a build ended, not its lines", b.Name)
		}
		for _, p := range b.Match {
			if err := router.CheckPattern(p); err != nil {
				t.Errorf("%s: %v", b.Name, err)
			}
		}
		for _, p := range b.Files {
			if _, err := path.Match(p, ""); err != nil {
				t.Errorf("%s: %q: %v", b.Name, p, err)
			}
		}
		if path.IsAbs(b.Output) || b.Output != "" && path.Clean(b.Output) != b.Output {
			t.Errorf("%s: output %q is not a clean path in the project", b.Name, b.Output)
		}
		if len(b.Files)+len(b.Packages) == 0 && b.Script == "" {
			t.Errorf("%s: nothing says that a project uses it", b.Name)
		}
	}
	for _, name := range Names() {
		if b, ok := Find(name); !ok || b.Name != name {
			t.Errorf("%s is not found", name)
		}
	}
	if b, ok := Find("make"); ok {
		t.Errorf("found %v", b)
	}
}
