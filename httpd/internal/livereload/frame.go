package livereload

import (
	"encoding/binary"
	"slices"
)

// The first byte of a whole text message, and what in the second byte says that
// the length is in the next two or eight bytes (RFC 6455, section 5.2).
const (
	finalText = 0x81
	length16  = 126
	length64  = 127
)

// textFrame returns a message as a server sends it: one websocket frame, without
// a mask and not compressed. The bytes are the same on every connection, so that
// pages share a frame. Nobody may change it.
func textFrame(text []byte) []byte {
	frame := appendTextHeader(make([]byte, 0, maxHeader+len(text)), len(text))
	return append(frame, text...)
}

const maxHeader = 1 + 1 + 8

// appendTextHeader adds what is ahead of the n bytes of a message in its frame.
func appendTextHeader(b []byte, n int) []byte {
	switch {
	case n < length16:
		return append(b, finalText, byte(n))
	case n <= 0xffff:
		return binary.BigEndian.AppendUint16(append(b, finalText, length16), uint16(n))
	default:
		return binary.BigEndian.AppendUint64(append(b, finalText, length64), uint64(n))
	}
}

// joinFrames puts frames one behind the other, to be written at once. A single
// one, which is the usual case, is not copied.
func joinFrames(frames ...[]byte) []byte {
	var joined []byte
	for _, frame := range frames {
		switch {
		case len(frame) == 0:
		case joined == nil:
			joined = slices.Clip(frame) // what is added must not get into the shared frame's array
		default:
			joined = append(joined, frame...)
		}
	}
	return joined
}
