package inotify

import (
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestMaskNames(t *testing.T) {
	tests := []struct {
		mask Mask
		want string
	}{
		{Create, "create"},
		{Create | IsDir, "create|isdir"},
		{scanMask, "modify|close_write|create"},
		{Overflow | IsDir, "q_overflow|isdir"},
		{Changes, "modify|attrib|close_write|moved_from|moved_to|create|delete|delete_self|move_self"},
		{0, "0x0"},
		{Create | 1<<20, "create|0x100000"},
	}
	for _, tt := range tests {
		if got := tt.mask.String(); got != tt.want {
			t.Errorf("%#x is %q, want %q", uint32(tt.mask), got, tt.want)
		}
	}
}

func TestEveryMaskIsParsedAsItIsWritten(t *testing.T) {
	for set := range Mask(1) << len(maskNames) {
		var mask Mask
		for i, n := range maskNames {
			if set>>i&1 != 0 {
				mask |= n.bit
			}
		}
		if mask == 0 {
			continue
		}
		if got, err := ParseMask(mask.String()); err != nil || got != mask {
			t.Fatalf("%s is parsed as %s, %v", mask, got, err)
		}
	}
}

func TestParseMask(t *testing.T) {
	const hint = ": want names of inotify(7) such as modify, moved_to, create or delete"
	tests := []struct {
		text string
		want Mask
		err  string
	}{
		{"modify", Modify, ""},
		{"IN_MODIFY|IN_CREATE", Modify | Create, ""},
		{"Close_Write, moved_to", CloseWrite | MovedTo, ""},
		{"modify,,modify", Modify, ""},
		{"", 0, `no event in ""` + hint},
		{" | ", 0, `unknown event " "` + hint},
		{"modify|changed", 0, `unknown event "changed"` + hint},
		{"0x2", 0, `unknown event "0x2"` + hint},
	}
	for _, tt := range tests {
		got, err := ParseMask(tt.text)
		if text := errorText(err); got != tt.want || text != tt.err {
			t.Errorf("ParseMask(%q) is %s, %q, want %s, %q", tt.text, got, text, tt.want, tt.err)
		}
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestEventText(t *testing.T) {
	tests := []struct {
		event Event
		want  string
	}{
		{Event{Path: "a/new", From: "a/old", Mask: MovedTo}, "moved_to a/new from a/old"},
		{Event{Path: ".", Mask: DeleteSelf | IsDir}, "delete_self|isdir ."},
		{Event{Path: "ä/ö", Mask: Create}, "create ä/ö"},
		{Event{Path: "two words", Mask: Create}, `create "two words"`},
		{Event{Path: "a\nb\xff", Mask: Create}, `create "a\nb\xff"`},
		{Event{Path: `"`, Mask: Create}, `create "\""`},
	}
	for _, tt := range tests {
		if got := tt.event.String(); got != tt.want {
			t.Errorf("got %s, want %s", got, tt.want)
		}
	}
	if got, want := (Event{Root: "/srv/www", Path: "a/f"}).Name(), "/srv/www/a/f"; got != want {
		t.Errorf("the name is %q, want %q", got, want)
	}
	if got, want := (Event{Root: "/srv/www", Path: "."}).Name(), "/srv/www"; got != want {
		t.Errorf("the root's name is %q, want %q", got, want)
	}
}

// FuzzQuote checks that a quoted path is one printable word from which the path can be
// parsed.
func FuzzQuote(f *testing.F) {
	for _, path := range []string{"", "a/b", "two words", "\xff\n", `"`, `\`, "ä", "\u2028", "'"} {
		f.Add(path)
	}
	f.Fuzz(func(t *testing.T, path string) {
		q := Quote(path)
		if strings.ContainsAny(q, "\n\r\t\x1b") || !utf8.ValidString(q) {
			t.Errorf("%q is quoted as %q", path, q)
		}
		if q == path && !strings.Contains(path, " ") {
			return
		}
		if back, err := strconv.Unquote(q); err != nil || back != path {
			t.Errorf("%q is quoted as %s, which is %q, %v", path, q, back, err)
		}
	})
}

func FuzzParseMask(f *testing.F) {
	for _, text := range []string{"", "modify", "IN_MODIFY|IN_ISDIR", "create, moved_to", "0x1", "in_in_create"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		mask, err := ParseMask(text)
		if err != nil {
			return
		}
		if again, err := ParseMask(mask.String()); err != nil || again != mask {
			t.Errorf("%q is %s, which is %s, %v", text, mask, again, err)
		}
	})
}
