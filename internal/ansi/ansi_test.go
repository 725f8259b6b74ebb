package ansi

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestParse(t *testing.T) {
	tests := []struct{ what, in, want string }{
		{"nothing", "", ""},
		{"plain text", "a\nb\n", "a\nb\n"},
		{"a colour", "\x1b[31mwhy\x1b[m\n", "<red>why<>\n"},
		{"colours and weight", "\x1b[1;92mok\x1b[22m x\x1b[39m y", "<green bold>ok<green> x<> y"},
		{"what changes nothing", "a\x1b[31m\x1b[0mb", "ab"},
		{"black and white", "\x1b[30ma\x1b[97mb\x1b[37mc", "abc"},
		{"grey", "\x1b[90ma\x1b[38;5;244mb", "<grey>ab"},
		{"one of 256 colours", "\x1b[38;5;9ma\x1b[38;5;27mb\x1b[38;5;226mc", "<red>a<blue>b<yellow>c"},
		{"a colour of three shades", "\x1b[38;2;250;20;30ma\x1b[38:2:0:200:220mb", "<red>a<cyan>b"},
		{"a colour with its space", "\x1b[38:2::200:10:1ma\x1b[0;38:2:1:10:200:1:0:1mb\x1b[48:2::1:3:4;1mc", "<red>a<green>b<green bold>c"},
		{"kinds of underline", "\x1b[4:3ma\x1b[4:0mb\x1b[58:2::1:3:4;4:1mc", "<underline>a<>b<underline>c"},
		{"backgrounds", "\x1b[41;31m[\x1b[41;97mERROR\x1b[48;5;3;4m]", "<red>[<>ERROR<underline>]"},
		{"slanted, faint", "\x1b[3;2ma\x1b[23mb", "<faint italic>a<faint>b"},
		{"an unknown sequence", "a\x1b[2K\x1b[?25lb\x1b[>4;1mc\x1b(Bd\x1b7e", "abcde"},
		{"a link", "\x1b]8;;file:///x\x1b\\a.c\x1b]8;;\x1b\\:3 \x1b]0;title\ab", "a.c:3 b"},
		{"a progress bar", "10%\r\x1b[K20%\r\x1b[32m100%\x1b[m\ndone\r\n", "<green>100%<>\ndone\n"},
		{"a progress bar of Windows", "10%\r100%\r", "100%"},
		{"lines of Windows", "a\r\nb\n\nc\rd\n", "a\nb\n\nd\n"},
		{"sequences that are cut off", "a\x1b[3", "a"},
		{"a broken sequence", "a\x1b[3\nb\x1b]8;\nc\x1b", "a\nb\nc"},
		{"other control characters", "a\ab\tc", "a\ab\tc"},
	}
	for _, tt := range tests {
		t.Run(tt.what, func(t *testing.T) {
			if got := outline(Parse(tt.in)); got != tt.want {
				t.Errorf("Parse(%q)\n got %q\nwant %q", tt.in, got, tt.want)
			}
		})
	}
}

// outline writes each change of the style in brackets.
func outline(segments []Segment) string {
	var b strings.Builder
	last := Style{}
	for _, s := range segments {
		if s.Style != last {
			fmt.Fprintf(&b, "<%s>", s.Style)
		}
		b.WriteString(s.Text)
		last = s.Style
	}
	return b.String()
}

// What is left has no escape sequence, no line that was not there, and no character that was
// cut in two; neighbours differ in style; and nothing is left to be parsed.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"\x1b[1;31ma\x1b[m\r\nb\rc", "\x1b]8;;x\x1b\\y\a", "\x1b[38;2;1;2;300mz", "ä\x1b[\xffm"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		segments := Parse(s)
		var text strings.Builder
		for i, segment := range segments {
			if segment.Text == "" || i > 0 && segment.Style == segments[i-1].Style || segment.Style.Colour > Grey {
				t.Fatalf("segment %d of %+v is %+v", i, segments, segment)
			}
			text.WriteString(segment.Text)
		}
		if strings.ContainsAny(text.String(), "\r\x1b") {
			t.Errorf("%q is left", text.String())
		}
		if got, want := strings.Count(text.String(), "\n"), strings.Count(s, "\n"); got != want {
			t.Errorf("%d lines of %d are left: %q", got, want, text.String())
		}
		if utf8.ValidString(s) && !utf8.ValidString(text.String()) {
			t.Errorf("%q is no UTF-8 any more: %q", s, text.String())
		}
		if again := Strip(text.String()); again != text.String() || Strip(s) != text.String() {
			t.Errorf("Strip(%q) = %q, and of what is left %q", s, Strip(s), again)
		}
	})
}
