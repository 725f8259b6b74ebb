package tty

import "strings"

import "testing"

// Keys that send several bytes are none of the keys that have a meaning.
func TestSequence(t *testing.T) {
	for typed, want := range map[string]string{
		"q":             "q",
		"\x1bOQq":       "q", // F2
		"\x1b[A\x1bOBb": "b", // arrows
		"\x1b[15~o":     "o", // F5
		"\x1b[1;5Qq":    "q", // Ctrl-F2
		"\x1b[200~r":    "r", // a paste begins
		"\x1bq":         "q", // Alt, or Escape before
		"\x1b\x1b[Qr":   "r",
		"\x1b[1\nl":     "\nl", // broken off
		"[OQ":           "[OQ",
	} {
		var s sequence
		var got strings.Builder
		for _, c := range []byte(typed) {
			if !s.has(c) {
				got.WriteString(string(rune(c)))
			}
		}
		if got.String() != want {
			t.Errorf("%q has the keys %q, want %q", typed, got.String(), want)
		}
	}
}
