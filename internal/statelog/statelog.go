// Package statelog keeps the state of a part of the daemon in a file that outlives the
// process: a memfd in the descriptor store of systemd, or a file in a state directory.
//
// The file is current at every moment: when Append has returned, the record is there also
// after kill -9. After a power failure the last records may be missing, or all of them.
// Numbers have the byte order of the machine.
package statelog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A file consists of a header, the shared memory, and records, all else being zero:
//
//	0           magic
//	startField  8 bytes: where the first record is, and 8: where those of the last Rewrite end
//	sharedAt    SharedSize bytes of shared memory
//	recordsAt   records, unless they have been moved on
//
// A record is its length and the CRC-32C of length and content, 4 bytes each, and its
// content. The first one that has no length or a wrong CRC ends the list.
const (
	magic        = "execlogd state 1"
	startField   = len(magic)
	headerSize   = startField + 16
	sharedAt     = 64 << 10 // a multiple of the page size, which is up to 64 KiB
	SharedSize   = 128 << 10
	recordsAt    = sharedAt + SharedSize
	recordHeader = 8
)

// minGrowth is by how many bytes a log grows at least before it is to be rewritten.
const minGrowth = 256 << 10

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// A Log is a list of records in a file, and a piece of memory that the file shares. Its
// methods must not be called by several goroutines at once.
type Log struct {
	file       *os.File
	start, end int64 // of the records in the file
	rewritten  int64 // where those of the last Rewrite end
	buf        []byte
	shared     []byte
	broken     error
}

// Memory returns an empty file in memory. It is gone when the last descriptor is closed.
func Memory(name string) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_NOEXEC_SEAL)
	if errors.Is(err, unix.EINVAL) { // before Linux 6.3, which may require the flag (vm.memfd_noexec)
		fd, err = unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	}
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// Open returns the log in a file, and its records in the order in which they were appended.
// They share one piece of memory. A file that is empty, damaged or of another format becomes an
// empty log. The file must be open for reading and writing, and belongs to the Log until
// Close, which leaves it open.
func Open(file *os.File) (*Log, [][]byte, error) {
	l := &Log{file: file, start: recordsAt, end: recordsAt, rewritten: recordsAt}
	info, err := file.Stat()
	if err != nil {
		return nil, nil, err
	}
	records, err := l.load(info.Size())
	if err != nil {
		return nil, nil, err
	}

	// What follows the last record was not written completely.
	size := max(l.end, recordsAt)
	if err := errors.Join(file.Truncate(size), l.allocate(), l.writeHeader()); err != nil {
		return nil, nil, err
	}
	if l.shared, err = mmap(file); err != nil {
		return nil, nil, err
	}
	return l, records, nil
}

// allocate has the file system reserve the blocks of header and shared memory: on a full one, an
// access to memory without a block is a SIGBUS.
func (l *Log) allocate() error {
	conn, err := l.file.SyscallConn()
	if err != nil {
		return err
	}
	ctlErr := conn.Control(func(fd uintptr) { err = unix.Fallocate(int(fd), 0, 0, recordsAt) })
	if errors.Is(err, unix.EOPNOTSUPP) { // then what is written has blocks
		b := make([]byte, recordsAt)
		if _, err = l.file.ReadAt(b, 0); err == nil {
			_, err = l.file.WriteAt(b, 0)
		}
	} else if err != nil {
		err = &os.PathError{Op: "fallocate", Path: l.file.Name(), Err: err}
	}
	return errors.Join(ctlErr, err)
}

// load reads the records of a file of so many bytes.
func (l *Log) load(size int64) (records [][]byte, err error) {
	header := make([]byte, headerSize)
	if _, err := l.file.ReadAt(header, 0); errors.Is(err, io.EOF) || err == nil && string(header[:startField]) != magic {
		return nil, l.file.Truncate(0)
	} else if err != nil {
		return nil, err
	}
	start := int64(binary.NativeEndian.Uint64(header[startField:]))
	rewritten := int64(binary.NativeEndian.Uint64(header[startField+8:]))
	if start < recordsAt || rewritten < start || rewritten > size {
		return nil, l.file.Truncate(0)
	}

	data := make([]byte, size-start)
	if _, err := l.file.ReadAt(data, start); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	rest := data
	for {
		record, ok := cut(rest)
		end := start + int64(len(data)-len(rest))
		if !ok && end < rewritten {
			return nil, l.file.Truncate(0)
		}
		if !ok {
			l.start, l.end, l.rewritten = start, end, rewritten
			return records, nil
		}
		records = append(records, record)
		rest = rest[recordHeader+len(record):]
	}
}

// cut returns the content of the record at the start of b.
func cut(b []byte) (content []byte, ok bool) {
	if len(b) < recordHeader {
		return nil, false
	}
	length := binary.NativeEndian.Uint32(b)
	if length == 0 || uint64(length) > uint64(len(b)-recordHeader) {
		return nil, false
	}
	content = b[recordHeader : recordHeader+length]
	return content, binary.NativeEndian.Uint32(b[4:]) == checksum(b[:4], content)
}

func checksum(length, content []byte) uint32 {
	return crc32.Update(crc32.Checksum(length, castagnoli), castagnoli, content)
}

// appendRecord appends a record to b.
func appendRecord(b, content []byte) []byte {
	at := len(b)
	b = binary.NativeEndian.AppendUint32(b, uint32(len(content)))
	b = binary.NativeEndian.AppendUint32(b, checksum(b[at:at+4], content))
	return append(b, content...)
}

func (l *Log) writeHeader() error {
	header := binary.NativeEndian.AppendUint64([]byte(magic), uint64(l.start))
	header = binary.NativeEndian.AppendUint64(header, uint64(l.rewritten))
	_, err := l.file.WriteAt(header, 0)
	return err
}

func mmap(file *os.File) (shared []byte, err error) {
	conn, err := file.SyscallConn()
	if err != nil {
		return nil, err
	}
	ctlErr := conn.Control(func(fd uintptr) {
		// The pages are there from the start, so that a system call that stores in them, and has
		// taken something from a queue for that, never fails because of them.
		shared, err = unix.Mmap(int(fd), sharedAt, SharedSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE)
	})
	if err != nil {
		err = os.NewSyscallError("mmap", err)
	}
	return shared, errors.Join(ctlErr, err)
}

// Append adds a record, which is not empty. After an error the file holds nothing, so that no
// state is taken for current that is not, and every further call returns that error.
func (l *Log) Append(content []byte) error {
	if l.broken != nil {
		return l.broken
	}
	l.buf = appendRecord(l.buf[:0], content)
	if _, err := l.file.WriteAt(l.buf, l.end); err != nil {
		return l.fail(err)
	}
	l.end += int64(len(l.buf))
	return nil
}

// fail makes the log unusable.
func (l *Log) fail(err error) error {
	// The mapped memory must stay part of the file: an access beyond its end is a SIGBUS.
	_, startErr := l.file.WriteAt(make([]byte, headerSize), 0)
	l.broken = errors.Join(fmt.Errorf("write state: %w", err), startErr)
	return l.broken
}

// Grown reports whether the records should be replaced by a Rewrite, since most of them are of
// the past. It counts bytes only.
func (l *Log) Grown() bool {
	return l.broken == nil && l.end-l.rewritten > l.rewritten-l.start+minGrowth
}

// Rewrite replaces all records. At every moment the file holds all of the old ones, or all of
// the new ones. Errors are those of Append.
func (l *Log) Rewrite(contents ...[]byte) error {
	if l.broken != nil {
		return l.broken
	}
	var b []byte
	for _, content := range contents {
		b = appendRecord(b, content)
	}

	// They go in front of the old records if there is room, otherwise behind them. A list ends
	// at a gap of zeros.
	const gap = recordHeader
	oldStart, oldEnd := l.start, l.end
	start := int64(recordsAt)
	if start+int64(len(b))+gap > oldStart {
		start = (oldEnd + gap + 4095) &^ 4095
	}
	if _, err := l.file.WriteAt(append(b, make([]byte, gap)...), start); err != nil {
		return l.fail(err)
	}
	l.start, l.end = start, start+int64(len(b))
	l.rewritten = l.end
	if err := l.writeHeader(); err != nil {
		return l.fail(err)
	}

	// The old records are not needed any more.
	if l.end <= oldStart {
		if err := l.file.Truncate(max(l.end, recordsAt)); err != nil {
			return l.fail(err)
		}
		return nil
	}
	return l.punch(oldStart, start-oldStart)
}

// punch gives back the memory of a part of the file, where the file system can.
func (l *Log) punch(at, size int64) error {
	conn, err := l.file.SyscallConn()
	if err != nil {
		return l.fail(err)
	}
	return conn.Control(func(fd uintptr) {
		unix.Fallocate(int(fd), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, at, size)
	})
}

// Shared returns SharedSize bytes of memory that are part of the file: what is stored in them
// is there after the end of the process. They are zero in a new file, and not to be used after
// Close. The log does not use them itself.
func (l *Log) Shared() []byte { return l.shared }

// Word returns the number at an index of Shared that is a multiple of 8, for atomic access.
func (l *Log) Word(at int) *atomic.Uint64 {
	return (*atomic.Uint64)(unsafe.Pointer(&l.shared[at]))
}

// Close ends the use of the file, and leaves it open.
func (l *Log) Close() error {
	if l.shared == nil {
		return nil
	}
	err := unix.Munmap(l.shared)
	l.shared = nil
	l.broken = os.ErrClosed
	return os.NewSyscallError("munmap", err)
}
