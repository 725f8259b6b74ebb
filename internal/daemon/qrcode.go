package daemon

import (
	"strings"

	"rsc.io/qr"
)

// quietZone is how many light modules are around a QR code. The standard has four; all
// readers tried are content with two, and a terminal has few lines.
const quietZone = 2

// A codeImage is a QR code for a terminal. The zero value is empty.
type codeImage struct{ code *qr.Code }

// qrCode returns the QR code of an address, which is empty for one that is too long.
func qrCode(address string) codeImage {
	code, err := qr.Encode(address, qr.L)
	if err != nil {
		return codeImage{}
	}
	return codeImage{code}
}

// width is how many columns the code takes.
func (c codeImage) width() int {
	if c.code == nil {
		return 0
	}
	return c.code.Size + 2*quietZone
}

// String returns lines of text in black and white, each of which has two rows of modules.
func (c codeImage) String() string {
	const blackOnWhite, reset = "\x1b[38;5;16;48;5;231m", "\x1b[0m"
	blocks := map[[2]bool]string{{true, true}: "█", {true, false}: "▀", {false, true}: "▄", {false, false}: " "}

	var b strings.Builder
	for y := 0; y < c.width(); y += 2 {
		b.WriteString(blackOnWhite)
		for x := range c.width() {
			isBlack := func(y int) bool { return c.code.Black(x-quietZone, y-quietZone) } // false outside
			b.WriteString(blocks[[2]bool{isBlack(y), isBlack(y + 1)}])
		}
		b.WriteString(reset + "\n")
	}
	return b.String()
}
