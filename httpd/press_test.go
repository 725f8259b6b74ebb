package httpd

import (
	"fmt"
	"strings"
	"testing"
)

// Frames are as RFC 6455 has them: one byte for the kind, one, three or nine
// for the length, no mask.
func TestAPressMakesFrames(t *testing.T) {
	var p press
	for _, n := range []int{0, 1, 125, 126, 65535, 65536, 300_000} {
		text := []byte(strings.Repeat("x", n))
		head := fmt.Sprintf("\x81%c", n)
		switch {
		case n > 65535:
			head = fmt.Sprintf("\x81\x7f\x00\x00\x00\x00%s", bigEndian(n, 4))
		case n > 125:
			head = fmt.Sprintf("\x81\x7e%s", bigEndian(n, 2))
		}
		for range 2 {
			if got := string(p.frame(text)); got != head+string(text) {
				t.Errorf("%d bytes: a frame of %d that begins %x, want %x", n, len(got), got[:min(len(got), 10)], head)
			}
		}
	}
	first := p.frame([]byte("first"))
	p.frame([]byte("other"))
	if string(first) != "\x81\x05first" {
		t.Errorf("a frame became %q", first)
	}
}

func bigEndian(n, size int) string {
	var b strings.Builder
	for i := size - 1; i >= 0; i-- {
		b.WriteByte(byte(n >> (8 * i)))
	}
	return b.String()
}
