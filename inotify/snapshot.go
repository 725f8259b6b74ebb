package inotify

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// ErrSnapshot says that a snapshot cannot be used: it is damaged, of another
// version of its format, or of another boot. New and Add are left then, with
// everything below the roots to be taken as changed.
var ErrSnapshot = errors.New("snapshot of inotify state cannot be used")

// A snapshot begins with snapshotMagic, the version of its format and the
// CRC-32C, little endian, of all that follows:
//
//	boot id (16 bytes), intact (1 byte)
//	varint good, in ns since 1970
//	uvarint seal, mask
//	devices: count, each uvarint major, minor, leaves
//	trees: count, each string path, uvarint count of directories, each
//		uvarint steps from the parent of the one before (not for the top)
//		varint difference of wd and of ino to the one before, uvarint device
//		string name (not for the top)
//	roots: count, each string path, uvarint mask, number of the directory
//	other watches: count, each uvarint wd
//
// where a count is a uvarint, a string a uvarint length and its bytes, and a
// directory's number its place among all, from 1. Parents come first.
const (
	snapshotMagic   = "inotree\n"
	snapshotVersion = 1
	snapshotHeader  = len(snapshotMagic) + 1 + 4
)

// minNode is the least that a directory below a top takes in a snapshot.
const minNode = 6

// maxDevices is how many devices the nodes of a tree can tell apart.
const maxDevices = 1 << 16

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// A snapshot is what a Watcher knows at a moment when nothing is in doubt.
type snapshot struct {
	boot       [16]byte
	intact     bool // nothing was left to repair
	consistent time.Time
	sentinel   int32 // its IN_IGNORED was queued then, when the queue was empty
	mask       Mask
	devs       []device
	tree       *tree
	rootPaths  map[id]string
	roots      []savedRoot
	others     []int32 // watches that are not of the tree
}

type savedRoot struct {
	path string
	mask Mask
	node id // 0 while the root is missing
}

// encode numbers the directories anew, so that the tree that is decoded has
// no holes.
func (s *snapshot) encode() []byte {
	b := make([]byte, snapshotHeader, snapshotHeader+1024+len(s.tree.names)+12*s.tree.count)
	copy(b, snapshotMagic)
	b[len(snapshotMagic)] = snapshotVersion
	b = append(b, s.boot[:]...)
	b = appendBool(b, s.intact)
	b = binary.AppendVarint(b, s.consistent.UnixNano())
	b = binary.AppendUvarint(b, uint64(s.sentinel))
	b = binary.AppendUvarint(b, uint64(s.mask))
	b = binary.AppendUvarint(b, uint64(len(s.devs)))
	for _, d := range s.devs {
		b = binary.AppendUvarint(b, uint64(d.major))
		b = binary.AppendUvarint(b, uint64(d.minor))
		b = appendBool(b, d.leaves)
	}
	b, numbers := s.appendTrees(b)
	b = binary.AppendUvarint(b, uint64(len(s.roots)))
	for _, r := range s.roots {
		b = appendString(b, r.path)
		b = binary.AppendUvarint(b, uint64(r.mask))
		b = binary.AppendUvarint(b, uint64(numbers[r.node]))
	}
	b = binary.AppendUvarint(b, uint64(len(s.others)))
	for _, wd := range s.others {
		b = binary.AppendUvarint(b, uint64(wd))
	}
	binary.LittleEndian.PutUint32(b[snapshotHeader-4:], crc32.Checksum(b[snapshotHeader:], castagnoli))
	return b
}

// appendTrees also returns the numbers that the directories got, by id.
func (s *snapshot) appendTrees(b []byte) (_ []byte, numbers []id) {
	t := s.tree
	numbers = make([]id, len(t.nodes))
	b = binary.AppendUvarint(b, uint64(len(s.rootPaths)))
	var last id
	var before node
	for _, top := range slices.Sorted(maps.Keys(s.rootPaths)) {
		parent := last + 1
		list := slices.DeleteFunc(t.subtree(nil, top), func(n id) bool {
			x := t.nodes[n]
			if n != top && (x.wd <= 0 || numbers[x.parent] == 0) {
				return true
			}
			last++
			numbers[n] = last
			return false
		})
		b = appendString(b, s.rootPaths[top])
		b = binary.AppendUvarint(b, uint64(len(list)))
		for _, n := range list {
			x := t.nodes[n]
			if n != top {
				b = binary.AppendUvarint(b, uint64(numbers[x.parent]-parent))
				parent = numbers[x.parent]
			}
			b = binary.AppendVarint(b, int64(x.wd)-int64(before.wd))
			b = binary.AppendVarint(b, int64(x.ino-before.ino))
			b = binary.AppendUvarint(b, uint64(x.dev))
			if n != top {
				b = appendString(b, t.nameOf(n))
			}
			before = x
		}
	}
	return b, numbers
}

func appendBool(b []byte, v bool) []byte {
	if v {
		return append(b, 1)
	}
	return append(b, 0)
}

func appendString[S string | []byte](b []byte, s S) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// decodeSnapshot believes nothing: what it returns without an error is a tree
// as the Watcher makes them, if perhaps of another world.
func decodeSnapshot(b []byte) (*snapshot, error) {
	switch {
	case len(b) < snapshotHeader || string(b[:len(snapshotMagic)]) != snapshotMagic:
		return nil, fmt.Errorf("%w: it does not begin as one", ErrSnapshot)
	case b[len(snapshotMagic)] != snapshotVersion:
		return nil, fmt.Errorf("%w: its format has version %d, this program reads %d", ErrSnapshot, b[len(snapshotMagic)], snapshotVersion)
	case binary.LittleEndian.Uint32(b[snapshotHeader-4:]) != crc32.Checksum(b[snapshotHeader:], castagnoli):
		return nil, fmt.Errorf("%w: its checksum is wrong", ErrSnapshot)
	}
	d := &snapshotDecoder{rest: b[snapshotHeader:]}
	s := d.snapshot()
	if len(d.rest) > 0 {
		d.fail("%d bytes too many", len(d.rest))
	}
	if d.err != nil {
		return nil, d.err
	}
	return s, nil
}

// A snapshotDecoder takes a snapshot apart. After its first error it returns
// zeros, and counts of zero, so that nobody need ask for the error in between.
type snapshotDecoder struct {
	rest []byte
	err  error
}

func (d *snapshotDecoder) fail(format string, args ...any) {
	d.err = cmp.Or(d.err, fmt.Errorf("%w: %s", ErrSnapshot, fmt.Sprintf(format, args...)))
	d.rest = nil
}

func (d *snapshotDecoder) snapshot() *snapshot {
	s := &snapshot{rootPaths: map[id]string{}}
	copy(s.boot[:], d.bytes(len(s.boot)))
	s.intact = d.bool()
	s.consistent = time.Unix(0, d.varint())
	if s.sentinel = d.wd(); s.sentinel == 0 {
		d.fail("it has no seal")
	}
	s.mask = d.mask()
	s.devs = make([]device, d.count(3, maxDevices))
	for i := range s.devs {
		s.devs[i] = device{major: uint32(d.uvarint(1<<32 - 1)), minor: uint32(d.uvarint(1<<32 - 1)), leaves: d.bool()}
	}
	d.trees(s)
	s.roots = make([]savedRoot, d.count(3, len(d.rest)))
	for i := range s.roots {
		s.roots[i] = savedRoot{path: d.path(), mask: d.mask(), node: id(d.uvarint(uint64(len(s.tree.nodes) - 1)))}
	}
	s.others = make([]int32, d.count(1, len(d.rest)))
	for i := range s.others {
		s.others[i] = d.wd()
	}
	return s
}

func (d *snapshotDecoder) trees(s *snapshot) {
	s.tree = newTree()
	var before node
	for range d.count(5, len(d.rest)) {
		path := d.path()
		count := int(d.uvarint(uint64(1 + len(d.rest)/minNode)))
		if count == 0 {
			d.fail("a tree without a top")
			return
		}
		s.tree.reserve(count)
		top := d.node(s, &before)
		s.rootPaths[top] = path
		parent := top
		for range count - 1 {
			parent += id(d.uvarint(uint64(len(s.tree.nodes)-1) - uint64(parent)))
			n := d.node(s, &before)
			d.attach(s.tree, n, parent)
			if d.err != nil {
				return
			}
		}
	}
}

// node adds a directory that has no place yet; 0 after an error.
func (d *snapshotDecoder) node(s *snapshot, before *node) id {
	wd := int64(before.wd) + d.varint()
	ino := before.ino + uint64(d.varint())
	dev := d.uvarint(uint64(max(len(s.devs), 1) - 1))
	switch {
	case d.err != nil:
		return 0
	case wd <= 0 || wd > 1<<31-1:
		d.fail("watch descriptor %d", wd)
		return 0
	case s.tree.byWd.get(int32(wd)) != 0 || len(s.devs) == 0:
		d.fail("watch descriptor %d comes twice or has no device", wd)
		return 0
	}
	before.wd, before.ino = int32(wd), ino
	return s.tree.add(int32(wd), uint16(dev), ino)
}

func (d *snapshotDecoder) attach(t *tree, n, parent id) {
	name := d.string(unix.NAME_MAX)
	switch {
	case d.err != nil:
	case len(name) == 0 || string(name) == "." || string(name) == ".." || bytes.ContainsAny(name, "/\x00"):
		d.fail("the name %q", name)
	case t.lookup(parent, name) != 0:
		d.fail("the name %q twice in a directory", name)
	default:
		t.attach(n, parent, name)
	}
}

func (d *snapshotDecoder) bytes(n int) []byte {
	if n > len(d.rest) {
		d.fail("it is cut off")
		return nil
	}
	b := d.rest[:n]
	d.rest = d.rest[n:]
	return b
}

func (d *snapshotDecoder) bool() bool {
	return d.uvarint(1) == 1
}

func (d *snapshotDecoder) varint() int64 {
	v, n := binary.Varint(d.rest)
	if n <= 0 {
		d.fail("it is cut off")
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

// uvarint takes a number that is at most limit.
func (d *snapshotDecoder) uvarint(limit uint64) uint64 {
	v, n := binary.Uvarint(d.rest)
	if n <= 0 {
		d.fail("it is cut off")
		return 0
	}
	if v > limit {
		d.fail("the number %d where %d is the most", v, limit)
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

// count takes the count of things that take at least size bytes each, so that
// nothing is allocated for what is not there.
func (d *snapshotDecoder) count(size, limit int) int {
	return int(d.uvarint(uint64(min(limit, len(d.rest)/size))))
}

func (d *snapshotDecoder) wd() int32 {
	return int32(d.uvarint(1<<31 - 1))
}

func (d *snapshotDecoder) mask() Mask {
	return Mask(d.uvarint(1<<32 - 1))
}

// string takes bytes that point into the snapshot.
func (d *snapshotDecoder) string(limit int) []byte {
	return d.bytes(d.count(1, limit))
}

func (d *snapshotDecoder) path() string {
	p := string(d.string(len(d.rest)))
	if d.err == nil && (!filepath.IsAbs(p) || bytes.ContainsRune([]byte(p), 0)) {
		d.fail("the path %q", p)
	}
	return p
}
