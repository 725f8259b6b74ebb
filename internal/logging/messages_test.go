package logging

import (
	"os"
	"regexp"
	"testing"
)

// The catalog and the manual have each ID, and no other.
func TestMessageIDsAreDocumented(t *testing.T) {
	for file, pattern := range map[string]string{
		"../../packaging/systemd/execlogd.catalog": `(?m)^-- ([0-9a-f]{32})$`,
		"../../packaging/man/execlogd.1":           `(?m)^\.It Li ([0-9a-f]{32})$`,
	} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		listed := make(map[string]bool)
		for _, m := range regexp.MustCompile(pattern).FindAllSubmatch(text, -1) {
			listed[string(m[1])] = true
		}
		used := make(map[string]bool)
		for message, id := range MessageIDs {
			used[id] = true
			if !listed[id] {
				t.Errorf("%s does not have %s, which is %q", file, id, message)
			}
		}
		for id := range listed {
			if !used[id] {
				t.Errorf("%s has %s, which no message has", file, id)
			}
		}
	}
}
