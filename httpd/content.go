package httpd

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/execlog/execlogd/httpd/internal/inject"
)

// A file may be rewritten in place while it is sent. What a client gets is still one
// version of it. Files of up to wholeLimit bytes, as much as is scanned of a page
// anyway, are read whole before they are sent. Larger ones are compared with what
// they were when the last byte of them has been read.
const wholeLimit = inject.ScanLimit

// A small file that changes while it is read is read again, for readTimeout in all. The
// pause between is short, as most saves take less than a millisecond. It is read at
// least so often, as a read may be slow on a busy machine.
const (
	readTimeout = 100 * time.Millisecond
	readPause   = 100 * time.Microsecond
	minReads    = 50
)

// errChanging is the error of a file that changes all the time.
var errChanging = errors.New("the file changes while it is read")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// load makes the content of a regular file ready to be sent, and updates the file's
// info to match. The content of a small file is that of one moment: the file is the
// same after the last byte was read as before the first.
func (f *file) load() error {
	if f.content != nil {
		return nil
	}
	start := time.Now()
	for try := 1; f.Size() <= wholeLimit; try++ {
		text := make([]byte, f.Size()+1) // one more shows that there is more
		n, err := f.ReadAt(text, 0)
		if err != nil && err != io.EOF {
			return err
		}
		before := f.FileInfo
		if f.FileInfo, err = f.Stat(); err != nil {
			return err
		}

		// Many programs truncate a file before they write it, so one that has just
		// become empty is waited for.
		elapsed := time.Since(start)
		consistent := int64(n) == before.Size() && sameState(before, f.FileInfo)
		complete := n > 0 || !isFresh(f.FileInfo, readTimeout) || elapsed >= readTimeout
		switch {
		case consistent && complete:
			f.text, f.whole = text[:n], true
			f.content = io.NewSectionReader(bytes.NewReader(f.text), 0, int64(n))
			f.checksum = crc32.Checksum(f.text, castagnoli)
			return nil
		case elapsed >= readTimeout && try >= minReads:
			return errChanging
		}
		time.Sleep(readPause)
	}
	f.content = io.NewSectionReader(f.File, 0, f.Size())
	return nil
}

// isFresh reports whether a file changed less than age ago, so that it may be in the
// middle of a save.
func isFresh(info fs.FileInfo, age time.Duration) bool {
	since := time.Since(time.Unix(statOf(info).Ctim.Unix()))
	return 0 <= since && since < age
}

// sameState reports whether the content of a file is the same in two infos of it, as
// far as its size and its times tell. The time of the last status change counts, as
// programs cannot set it, except where a name came or went: a file that another has
// replaced by rename is complete and has not changed.
func sameState(a, b fs.FileInfo) bool {
	before, after := statOf(a), statOf(b)
	return os.SameFile(a, b) && before.Size == after.Size && before.Mtim == after.Mtim &&
		(before.Ctim == after.Ctim || before.Nlink != after.Nlink)
}

// longestWrite is how long one write(2) may take. The kernel sets the times of a file
// when the call begins.
const longestWrite = 2 * time.Second

// setValidators sets the ETag and returns the time for Last-Modified. A file that was
// not read whole gets neither while a write to it may be going on: in the middle of a
// write it has the times that it has afterwards, and what the client got then would be
// taken for the file for as long as the file stays as it is.
func (f *file) setValidators(h http.Header, variant string) (modified time.Time) {
	if !f.whole && isFresh(f.FileInfo, longestWrite) {
		return time.Time{}
	}
	h.Set("ETag", f.etag(variant))
	if now := time.Now(); f.ModTime().After(now) {
		return now // a date is never one to come
	}
	return f.ModTime()
}

// etag is made of what changes when the content does, with a checksum of it if it
// was read whole. It has the time of the last status change, as programs such as
// cp -p and rsync -t set the time of modification at will.
func (f *file) etag(variant string) string {
	stat := statOf(f.FileInfo)
	return fmt.Sprintf(`"%x-%x-%x-%x%s"`, stat.Ino, stat.Ctim.Nano(), stat.Size, f.checksum, variant)
}

// A checkedWriter passes an answer on, except the last bytes of its body. Those it
// keeps until the file has been read to its end and is still what it was. Otherwise
// the client would have a mixture of two versions and take it for one of them, so the
// connection is broken.
//
// It does without sendfile(2), which sends pages of the kernel's cache: what is
// written to the file later would change what is still on its way, even after the file
// was compared. On the loopback interface a copy takes half the time, too.
type checkedWriter struct {
	http.ResponseWriter
	file *file
}

// copySize is how much is read at a time.
const copySize = 64 << 10

var copyBuffers = sync.Pool{New: func() any { return new([copySize]byte) }}

// ReadFrom implements [io.ReaderFrom], by which net/http and io.Copy send a body.
func (c checkedWriter) ReadFrom(src io.Reader) (written int64, err error) {
	first, second := copyBuffers.Get().(*[copySize]byte), copyBuffers.Get().(*[copySize]byte)
	defer copyBuffers.Put(first)
	defer copyBuffers.Put(second)

	kept, next := first[:0], second[:]
	for more := true; more; {
		n, err := io.ReadFull(src, next)
		more = err == nil
		if !more && !c.file.whole && !c.file.isUnchanged() {
			panic(http.ErrAbortHandler)
		}

		sent, err := c.Write(kept)
		written += int64(sent)
		if err != nil {
			return written, err
		}
		kept, next = next[:n], kept[:copySize]
	}
	sent, err := c.Write(kept)
	return written + int64(sent), err
}

func (f *file) isUnchanged() bool {
	now, err := f.Stat()
	return err == nil && sameState(f.FileInfo, now)
}
