package bus

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/execlog/execlogd/inotify"
)

// encode returns a message of machine m with changes of some paths.
func encode(t testing.TB, edit func(*message)) []byte {
	t.Helper()
	m := message{Format: format, Machine: "m", Number: 1, Changes: []change{{Path: []byte("a/b"), Mask: inotify.Modify}}}
	edit(&m)
	data, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestParse(t *testing.T) {
	path := func(p string) func(*message) { return func(m *message) { m.Changes[0].Path = []byte(p) } }
	tests := []struct {
		name string
		edit func(*message)
		ok   bool
	}{
		{"a change", func(*message) {}, true},
		{"a name that is not UTF-8", path("\xff"), true},
		{"a rename", func(m *message) { m.Changes[0].Mask, m.Changes[0].From = inotify.MovedTo, []byte("c") }, true},
		{"a directory", func(m *message) { m.Changes[0].Mask = inotify.Create | inotify.IsDir }, true},
		{"nothing but a loss", func(m *message) { m.Changes, m.Lost = nil, 1 }, true},

		{"a path above the root", path("../a"), false},
		{"a path that leads above the root", path("a/../../b"), false},
		{"an absolute path", path("/etc/passwd"), false},
		{"the root", path("."), false},
		{"no path", path(""), false},
		{"a path that is not clean", path("a//b"), false},
		{"a path with a slash at its end", path("a/"), false},
		{"a path with NUL", path("a\x00b"), false},
		{"a path that is too long", path(strings.Repeat("a/", maxPath/2) + "b"), false},
		{"an old path above the root", func(m *message) { m.Changes[0].Mask, m.Changes[0].From = inotify.MovedTo, []byte("../c") }, false},
		{"an old path without a rename", func(m *message) { m.Changes[0].From = []byte("c") }, false},
		{"an event of the kernel that is not sent", func(m *message) { m.Changes[0].Mask |= inotify.Open }, false},
		{"an overflow in a change", func(m *message) { m.Changes[0].Mask = inotify.Overflow }, false},
		{"no event", func(m *message) { m.Changes[0].Mask = inotify.IsDir }, false},
		{"another format", func(m *message) { m.Format = 2 }, false},
		{"another machine", func(m *message) { m.Machine = "n" }, false},
		{"no number", func(m *message) { m.Number = 0 }, false},
		{"nothing at all", func(m *message) { m.Changes = nil }, false},
		{"too many changes", func(m *message) { m.Changes = make([]change, maxEvents+1) }, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := parse(encode(t, tt.edit), "m"); (err == nil) != tt.ok {
				t.Errorf("error %v", err)
			}
		})
	}
	for _, junk := range []string{"", "null", "[]", `"text"`, "{", strings.Repeat(" ", maxMessageBytes+1)} {
		if _, err := parse([]byte(junk), "m"); err == nil {
			t.Errorf("%.20q is a message", junk)
		}
	}
}

// What parse lets through, a sender would send.
func FuzzParse(f *testing.F) {
	f.Add(encode(f, func(*message) {}))
	f.Add(encode(f, func(m *message) { m.Changes[0].Path = []byte("../x") }))
	f.Add([]byte(`{"v":1,"m":"m","n":1,"l":5}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := parse(data, "m")
		if err != nil {
			return
		}
		for _, c := range m.Changes {
			if e := c.event("/root"); !isSent(e) || !strings.HasPrefix(e.Name(), "/root/") || e.Mask&^sentMask != 0 {
				t.Errorf("event %v, which nobody sends", e)
			}
		}
	})
}
