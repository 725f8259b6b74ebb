package logging

import (
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// colourSequences match what sets a colour or clears the rest of a line.
var colourSequences = regexp.MustCompile(`\x1b\[[0-9;:]*[mK]`)

// Printable returns s with everything escaped that a terminal would act on: control
// characters but the tab, and bytes that are not UTF-8.
func Printable(s string) string {
	unsafe := func(r rune) bool { return r != '\t' && !unicode.IsPrint(r) || r == utf8.RuneError }
	if !strings.ContainsFunc(s, unsafe) {
		return s
	}

	var b strings.Builder
	for i, r := range s {
		if !unsafe(r) {
			b.WriteRune(r)
			continue
		}
		// An invalid byte is one byte of s, though r takes three as UTF-8.
		_, size := utf8.DecodeRuneInString(s[i:])
		quoted := fmt.Sprintf("%q", s[i:i+size])
		b.WriteString(quoted[1 : len(quoted)-1])
	}
	return b.String()
}
