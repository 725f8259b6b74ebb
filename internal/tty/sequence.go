package tty

// A sequence is what has come of the bytes that keys such as arrows and F2 send: ESC, then [
// with parameters and a final byte, or O and a final byte (CSI and SS3 of ECMA-48). They end
// with a letter that may be a key of its own. The zero sequence has nothing.
type sequence byte

const escape = 0x1b

// has reports whether a byte is part of such a sequence, and not a key. Escape alone is none
// either.
func (s *sequence) has(c byte) bool {
	before := *s
	*s = 0
	switch {
	case c == escape, before == escape && (c == '[' || c == 'O'):
		*s = sequence(c)
	case before == '[' && c >= ' ' && c < '@': // a parameter
		*s = before
	case before != '[' && before != 'O', c < ' ': // what follows Escape alone is a key, as with Alt
		return false
	}
	return true
}
