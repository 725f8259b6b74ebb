package daemon

import (
	"strings"
	"testing"
)

// Each character of a code is two modules, one above the other, black on white with light
// ones around them.
func TestQRCode(t *testing.T) {
	c := qrCode("http://192.0.2.7:8000/")
	lines := strings.Split(strings.TrimSuffix(c.String(), "\n"), "\n")
	isBlack := func(x, y int) bool {
		text, ok := strings.CutPrefix(lines[y/2], "\x1b[38;5;16;48;5;231m")
		text, ended := strings.CutSuffix(text, "\x1b[0m")
		modules := []rune(text)
		if !ok || !ended || len(modules) != c.width() {
			t.Fatalf("line %d is %q, want %d modules in black on white", y/2, lines[y/2], c.width())
		}
		return modules[x] == '█' || y%2 == 0 && modules[x] == '▀' || y%2 == 1 && modules[x] == '▄'
	}
	if len(lines) != (c.width()+1)/2 {
		t.Fatalf("%d lines for %d rows", len(lines), c.width())
	}
	for y := range c.width() {
		for x := range c.width() {
			if got, want := isBlack(x, y), c.code.Black(x-2, y-2); got != want {
				t.Fatalf("module %d,%d: black %t, want %t in\n%s", x, y, got, want, c)
			}
		}
	}
	if !isBlack(2, 2) || isBlack(1, 1) || isBlack(3, 3) {
		t.Errorf("no corner of a code in\n%s", c)
	}

	if long := qrCode(strings.Repeat("x", 4000)); long.width() != 0 || long.String() != "" {
		t.Errorf("a code for an address that is too long:\n%s", long)
	}
}
