package config

import (
	"fmt"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/execlog/execlogd/internal/builders"
	"github.com/execlog/execlogd/router"
)

const (
	exampleFile = "../../packaging/execlogd.toml"
	manual      = "../../packaging/man/execlogd.toml.5"
)

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// What the example file has in comments is the default.
func TestExampleFileNamesTheDefaults(t *testing.T) {
	text := read(t, exampleFile)
	all := regexp.MustCompile(`(?m)^#([a-z_]+ = )`).ReplaceAllString(text, " $1")
	as, is := mustParse(t, text), mustParse(t, all)
	as.Text, is.Text = nil, nil
	as.Routes[0].Hold = router.DefaultHold
	as.AnyPort = false             // the port is asked for, if only by its default
	as.Routes[0].StopAtOnce = true // with a grace, whatever it is
	if !reflect.DeepEqual(as, is) {
		t.Errorf("as it is        %+v\nwith the comments %+v", as, is)
	}
	for _, name := range keyNames(slices.Concat(new(Config).keys(), new(Bus).keys(), new(Config).serverKeys())) {
		if !strings.Contains(all, name) && name != "jobs" && name != "control" {
			t.Errorf("no %s in the example", name)
		}
	}
	for _, name := range keyNames(new(Route).keys()) {
		if !strings.Contains(all, name+" = ") && name != "shell" && name != "dir" {
			t.Errorf("no %s in the example", name)
		}
	}
}

func TestManualHasEveryKey(t *testing.T) {
	text := read(t, manual)
	for _, keys := range [][]key{new(Config).keys(), new(Bus).keys(), new(Config).serverKeys(), new(Config).siteKeys(), new(Route).keys()} {
		for _, name := range keyNames(keys) {
			if name != "server" && name != "bus" && name != "route" && name != "site" && !strings.Contains(text, "\n.It Ic "+name+"\n") {
				t.Errorf("execlogd.toml(5) has no %s", name)
			}
		}
	}
}

func TestDocumentsNameEveryBuilder(t *testing.T) {
	text, document := read(t, manual), read(t, "../../docs/builders.md")
	for _, b := range builders.All() {
		if !strings.Contains(text, "\n.Li "+b.Name+" ") && !strings.Contains(text, "\n.Li "+b.Name+"\n") {
			t.Errorf("execlogd.toml(5) has no %s", b.Name)
		}
		if row := fmt.Sprintf("\n| `%s` | %s", b.Name, b.Version); !strings.Contains(document, row) {
			t.Errorf("docs/builders.md has no %q", row)
		}
	}
}

func TestExamplesInTheManual(t *testing.T) {
	blocks := regexp.MustCompile(`(?s)\n\.Bd -literal[^\n]*\n(.*?)\n\.Ed`).FindAllStringSubmatch(read(t, manual), -1)
	if len(blocks) == 0 {
		t.Fatal("no examples")
	}
	for _, b := range blocks {
		mustParse(t, strings.ReplaceAll(b[1], `\(dq`, `"`))
	}
}
