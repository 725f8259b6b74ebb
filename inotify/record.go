package inotify

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"iter"
)

// A record is one struct inotify_event as read(2) returns it. Its name points
// into the buffer that was read.
type record struct {
	wd     int32
	mask   Mask
	cookie uint32
	name   []byte
}

// recordHeader is the size of struct inotify_event before its name.
const recordHeader = 16

// records yields the records in buf in the kernel's order. The kernel never
// returns part of a record, so one that does not fit is an error and the
// last thing yielded.
func records(buf []byte) iter.Seq2[record, error] {
	return func(yield func(record, error) bool) {
		for len(buf) > 0 {
			rec, size, err := cutRecord(buf)
			if !yield(rec, err) || err != nil {
				return
			}
			buf = buf[size:]
		}
	}
}

// cutRecord decodes the record at the start of buf and returns its size.
func cutRecord(buf []byte) (record, int, error) {
	if len(buf) < recordHeader {
		return record{}, 0, fmt.Errorf("inotify record cut off after %d of %d bytes", len(buf), recordHeader)
	}
	nameLen := binary.NativeEndian.Uint32(buf[12:])
	if uint64(nameLen) > uint64(len(buf)-recordHeader) {
		return record{}, 0, fmt.Errorf("inotify record of %d bytes holds %d", recordHeader+uint64(nameLen), len(buf))
	}
	size := recordHeader + int(nameLen)
	name := buf[recordHeader:size]
	if end := bytes.IndexByte(name, 0); end >= 0 {
		name = name[:end] // padded with NUL
	}
	return record{
		wd:     int32(binary.NativeEndian.Uint32(buf[0:])),
		mask:   Mask(binary.NativeEndian.Uint32(buf[4:])),
		cookie: binary.NativeEndian.Uint32(buf[8:]),
		name:   name,
	}, size, nil
}
