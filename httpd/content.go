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
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/execlog/execlogd/httpd/internal/inject"
)

// wholeLimit is how large a file may be to be read whole before it is sent: as
// much as is looked at of a page anyway. Larger ones are compared with what they
// were when the last byte of them has been read.
const wholeLimit = inject.ScanLimit

// A small file that changes while it is read is read again, for so long in all:
// without a pause at first, as most saves are over in less than a millisecond, and
// so often at least, as on a busy machine a try may take long.
const (
	readPatience  = 100 * time.Millisecond
	quickPatience = 10 * time.Millisecond
	readTries     = 50
)

// errChanging is the error of a file that is changed all the time.
var errChanging = errors.New("the file changes while it is read")

// A contentReader is where the content of a file comes from.
type contentReader interface {
	io.ReadSeeker
	io.ReaderAt
}

// load makes the content of a regular file ready to be sent, and brings what is
// known of the file in line with it. That of a small one is read as it was at
// one moment: what was there before the first byte was read is still there
// after the last.
func (f *file) load() error {
	f.content = f.File
	var text []byte
	start := time.Now()
	for try := 1; f.Size() <= wholeLimit; try++ {
		if int64(len(text)) <= f.Size() {
			text = make([]byte, f.Size()+1) // one more shows that there is more
		}
		n, err := f.ReadAt(text, 0)
		if err != nil && err != io.EOF {
			return err
		}
		before := f.FileInfo
		if f.FileInfo, err = f.Stat(); err != nil {
			return err
		}
		tried := time.Since(start)
		consistent := int64(n) == before.Size() && sameState(before, f.FileInfo)
		switch {
		case consistent && (n > 0 || !isFresh(f.FileInfo, readPatience) || tried >= readPatience):
			f.content, f.checksum = bytes.NewReader(text[:n]), crc32.Checksum(text[:n], castagnoli)
			return nil
		case tried >= readPatience && try >= readTries:
			return &fs.PathError{Op: "read", Path: f.name, Err: errChanging}
		case tried >= quickPatience:
			time.Sleep(time.Millisecond)
		default:
			runtime.Gosched()
		}
	}
	return nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// isFresh reports whether a file was changed so lately that it may be in the
// middle of a save.
func isFresh(info fs.FileInfo, lately time.Duration) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return false
	}
	age := time.Since(time.Unix(stat.Ctim.Unix()))
	return 0 <= age && age < lately
}

// sameState reports whether nothing happened to the content of a file between two
// looks at it, as far as its size and its times tell. The time of the last status
// change counts because programs cannot set it, but not where a name came or went:
// a file that another has replaced by rename is as it was, and complete.
func sameState(a, b fs.FileInfo) bool {
	before, ok := a.Sys().(*syscall.Stat_t)
	after, alsoOK := b.Sys().(*syscall.Stat_t)
	return ok && alsoOK && os.SameFile(a, b) && before.Size == after.Size && before.Mtim == after.Mtim &&
		(before.Ctim == after.Ctim || before.Nlink != after.Nlink)
}

// A write(2) sets the times of a file when it begins, and may take this long.
const longestWrite = 2 * time.Second

// setValidators sets the ETag, and returns the time for Last-Modified. In the middle
// of a write a file has the times that it has afterwards, with other content, so one
// that was not read whole gets neither while that may be: a mixture would be taken
// for the file for as long as it stays as it is.
func (f *file) setValidators(h http.Header, variant string) (modified time.Time) {
	if f.content == f.File && isFresh(f.FileInfo, longestWrite) {
		return time.Time{}
	}
	h.Set("ETag", f.etag(variant))
	return f.ModTime()
}

// etag is made of what changes when the content does, with a checksum of it
// where it was read whole. The time of the last status change is in it because
// the time of modification can be set at will: cp -p and rsync -t do.
func (f *file) etag(variant string) string {
	stat, ok := f.Sys().(*syscall.Stat_t)
	if !ok {
		return ""
	}
	return fmt.Sprintf(`"%x-%x-%x-%x%s"`, stat.Ino, stat.Ctim.Nano(), stat.Size, f.checksum, variant)
}

// guarded is where to write an answer with the content of the file, which must
// be ended by breaks. A file that was read whole needs no guard.
func (f *file) guarded(w http.ResponseWriter) *guard {
	g := &guard{ResponseWriter: w}
	if f.content == f.File {
		g.file = f
	}
	return g
}

// A guard passes an answer on, but for the end of its body, which it keeps until
// the file has been read to that end and is still what it was. Otherwise the
// client would have a mixture of two versions and take it for one of them.
//
// It does without sendfile(2), which sends pages of the kernel's cache: what is
// written to the file later changes what is still on its way, also when the
// file was compared by then. On the loopback interface a copy takes half the
// time, too.
type guard struct {
	http.ResponseWriter
	file    *file // nil: no need
	changed bool
}

// copySize is how much is read at a time.
const copySize = 64 << 10

var copyBuffers = sync.Pool{New: func() any { return new([copySize]byte) }}

// ReadFrom is io.ReaderFrom's, by which net/http and io.Copy send a body.
func (g *guard) ReadFrom(src io.Reader) (written int64, err error) {
	if g.file == nil {
		buf := copyBuffers.Get().(*[copySize]byte)
		defer copyBuffers.Put(buf)
		return io.CopyBuffer(struct{ io.Writer }{g.ResponseWriter}, src, buf[:])
	}
	kept, next := make([]byte, 0, copySize), make([]byte, copySize)
	for more := true; more; {
		n, err := io.ReadFull(src, next)
		more = err == nil
		if !more && !g.file.isUnchanged() {
			g.changed = true
			return written, errChanging
		}
		if err := g.write(kept, &written); err != nil {
			return written, err
		}
		kept, next = next[:n], kept[:copySize]
	}
	return written, g.write(kept, &written)
}

func (g *guard) write(p []byte, written *int64) error {
	n, err := g.Write(p)
	*written += int64(n)
	return err
}

func (f *file) isUnchanged() bool {
	now, err := f.Stat()
	return err == nil && sameState(f.FileInfo, now)
}

// end breaks the connection when the file changed before it was sent whole, so
// that the client knows, and keeps nothing of it.
func (g *guard) end() {
	if g.changed {
		panic(http.ErrAbortHandler)
	}
}
