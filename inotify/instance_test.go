package inotify

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// appendRecord encodes a record as the kernel does, with size bytes for the
// name and its padding.
func appendRecord(buf []byte, rec record, size int) []byte {
	buf = binary.NativeEndian.AppendUint32(buf, uint32(rec.wd))
	buf = binary.NativeEndian.AppendUint32(buf, uint32(rec.mask))
	buf = binary.NativeEndian.AppendUint32(buf, rec.cookie)
	buf = binary.NativeEndian.AppendUint32(buf, uint32(size))
	return append(append(buf, rec.name...), make([]byte, size-len(rec.name))...)
}

func TestRecords(t *testing.T) {
	long := strings.Repeat("n", 255)
	rec := func(wd int32, mask Mask, cookie uint32, name string, size int) []byte {
		return appendRecord(nil, record{wd, mask, cookie, []byte(name)}, size)
	}
	create := rec(1, Create, 0, "f", 16)
	tests := []struct {
		name string
		buf  []byte
		want string // a record a line, in the end the error
	}{
		{"nothing holds nothing", nil, ""},
		{"a record of the directory itself has no name", rec(1, DeleteSelf, 0, "", 0), `1 delete_self 0 ""`},
		{"the padding is no part of the name", create, `1 create 0 "f"`},
		{"a name may fill its field", rec(1, Create, 0, "sixteen bytes it", 16), `1 create 0 "sixteen bytes it"`},
		{"a name has up to 255 bytes", rec(1, Create, 0, long, 256), `1 create 0 "` + long + `"`},
		{"a name has any bytes", rec(1, Create, 0, "\xff\n", 16), `1 create 0 "\xff\n"`},
		{"an overflow has no watch", rec(-1, Overflow, 0, "", 0), `-1 q_overflow 0 ""`},
		{
			"records follow each other", append(rec(1, MovedFrom|IsDir, 7, "a", 16), rec(2, MovedTo|IsDir, 7, "b", 32)...),
			"1 moved_from|isdir 7 \"a\"\n2 moved_to|isdir 7 \"b\"",
		},
		{"half a header is an error", make([]byte, 15), "inotify record cut off after 15 of 16 bytes"},
		{"half a name is an error", create[:31], "inotify record of 32 bytes holds 31"},
		{
			"a length beyond all memory is an error",
			append(make([]byte, 12), 0xff, 0xff, 0xff, 0xff), "inotify record of 4294967311 bytes holds 16",
		},
		{
			"records before an error are yielded",
			append(bytes.Clone(create), 0), "1 create 0 \"f\"\ninotify record cut off after 1 of 16 bytes",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for rec, err := range records(tt.buf) {
				if err != nil {
					got = append(got, err.Error())
				} else {
					got = append(got, fmt.Sprintf("%d %s %d %q", rec.wd, rec.mask, rec.cookie, rec.name))
				}
			}
			if got := strings.Join(got, "\n"); got != tt.want {
				t.Errorf("got\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
}

func TestRecordsCanBeLeft(t *testing.T) {
	one := appendRecord(nil, record{wd: 1}, 0)
	for range records(append(one, one...)) {
		break // the iterator panics if it goes on
	}
}

// FuzzRecords decodes any bytes. Encoded again, the records are the input; nothing is left
// out, and nothing comes from beyond the end.
func FuzzRecords(f *testing.F) {
	f.Add([]byte{})
	f.Add(appendRecord(appendRecord(nil, record{wd: 1, mask: Create, name: []byte("f")}, 16), record{wd: -1, mask: Overflow}, 0))
	f.Add(append(make([]byte, 12), 0xff, 0xff, 0xff, 0xff))
	f.Fuzz(func(t *testing.T, input []byte) {
		// Behind the end there is more that must not be read.
		buf := append(bytes.Clone(input), bytes.Repeat([]byte{'!'}, 300)...)[:len(input)]
		rest := buf
		for rec, err := range records(buf) {
			if err != nil {
				if _, _, again := cutRecord(rest); again == nil {
					t.Fatalf("%v, where a record begins", err)
				}
				return
			}
			size := unix.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(rest[12:]))
			again := appendRecord(nil, rec, size-unix.SizeofInotifyEvent)
			field := len(again) - (size - unix.SizeofInotifyEvent) + len(rec.name)
			if !bytes.Equal(again[:field], rest[:field]) {
				t.Fatalf("%v was %v", again, rest[:size])
			}
			if bytes.IndexByte(rec.name, 0) >= 0 || field < size && rest[field] != 0 {
				t.Fatalf("the name %q ends at the wrong byte of %q", rec.name, rest[unix.SizeofInotifyEvent:size])
			}
			rest = rest[size:]
		}
		if len(rest) != 0 {
			t.Fatalf("%d bytes are left", len(rest))
		}
	})
}

func BenchmarkRecords(b *testing.B) {
	var buf []byte
	for i := range 1000 {
		buf = appendRecord(buf, record{wd: int32(i), mask: Modify, name: []byte("index.html")}, 16)
	}
	b.SetBytes(int64(len(buf)))
	b.ReportAllocs()
	for b.Loop() {
		for _, err := range records(buf) {
			must(b, err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/record")
}
