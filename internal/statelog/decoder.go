package statelog

import "encoding/binary"

// A Decoder takes the content of a record apart that consists of unsigned varints
// (encoding/binary) and of strings as AppendString writes them. After an error it is Bad, has no
// Rest and returns zeros, so that no caller need check in between.
type Decoder struct {
	Rest []byte
	Bad  bool
}

// AppendString appends the length of a string, as an unsigned varint, and its bytes.
func AppendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// Uvarint takes a number.
func (d *Decoder) Uvarint() uint64 {
	v, n := binary.Uvarint(d.Rest)
	if n <= 0 {
		d.Rest, d.Bad = nil, true
		return 0
	}
	d.Rest = d.Rest[n:]
	return v
}

// Count takes the count of things that take at least size bytes each, so that nothing is
// allocated for what is not there.
func (d *Decoder) Count(size int) int {
	n := d.Uvarint()
	if n > uint64(len(d.Rest)/size) {
		d.Rest, d.Bad = nil, true
		return 0
	}
	return int(n)
}

// String takes a string.
func (d *Decoder) String() string {
	n := d.Count(1)
	s := string(d.Rest[:n])
	d.Rest = d.Rest[n:]
	return s
}
