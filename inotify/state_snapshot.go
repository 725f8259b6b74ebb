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

	"github.com/execlog/execlogd/inotify/internal/dirtree"
)

// ErrSnapshot says that a snapshot cannot be used: it is damaged, of another
// version of its format, or of another boot. The caller is left with New and Add,
// and must take everything below the roots as changed.
var ErrSnapshot = errors.New("snapshot of inotify state cannot be used")

// A snapshot begins with snapshotMagic, the version of its format and the
// CRC-32C, little endian, of all that follows:
//
//	boot id (16 bytes), intact (1 byte)
//	varint consistent, in ns since 1970
//	uvarint sentinel, mask
//	devices: count, each uvarint major, minor, countsSubdirs
//	trees: count, each string path, uvarint count of directories, each
//		uvarint difference of the parent's number to that of the one before (not for the root)
//		varint difference of wd and of ino to the one before, uvarint device
//		string name (not for the root)
//	roots: count, each string path, uvarint mask, number of the directory
//	other watches: count, each uvarint wd
//
// where a count is a uvarint, a string is a uvarint length and its bytes, and the
// number of a directory is its place among all, from 1. Parents come first.
const (
	snapshotMagic   = "inotree\n"
	snapshotVersion = 1
	snapshotHeader  = len(snapshotMagic) + 1 + 4
)

// minDirSize is the least that a directory below a root takes in a snapshot.
const minDirSize = 6

// maxDevices is how many devices the nodes of a tree can tell apart; see dirtree.Node.
const maxDevices = 1 << 16

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// A snapshot is what a Watcher knows at a moment when nothing is pending.
type snapshot struct {
	boot       [16]byte
	intact     bool // nothing was pending
	consistent time.Time
	sentinel   int32 // see handover
	mask       Mask
	devices    []device
	tree       *dirtree.Tree
	rootPaths  map[dirtree.ID]string
	roots      []savedRoot
	others     []int32 // watches that are not of the tree
}

type savedRoot struct {
	path string
	mask Mask
	dir  dirtree.ID // 0 while the root is missing
}

// encode numbers the directories anew, so that the tree that is decoded has no unused IDs.
func (s *snapshot) encode() []byte {
	b := make([]byte, snapshotHeader, snapshotHeader+1024+32*s.tree.Watches())
	copy(b, snapshotMagic)
	b[len(snapshotMagic)] = snapshotVersion
	b = append(b, s.boot[:]...)
	b = appendBool(b, s.intact)
	b = binary.AppendVarint(b, s.consistent.UnixNano())
	b = binary.AppendUvarint(b, uint64(s.sentinel))
	b = binary.AppendUvarint(b, uint64(s.mask))
	b = binary.AppendUvarint(b, uint64(len(s.devices)))
	for _, d := range s.devices {
		b = binary.AppendUvarint(b, uint64(d.major))
		b = binary.AppendUvarint(b, uint64(d.minor))
		b = appendBool(b, d.countsSubdirs)
	}

	b, numbers := s.appendTrees(b)
	b = binary.AppendUvarint(b, uint64(len(s.roots)))
	for _, r := range s.roots {
		b = appendString(b, r.path)
		b = binary.AppendUvarint(b, uint64(r.mask))
		b = binary.AppendUvarint(b, uint64(numbers[r.dir]))
	}
	b = binary.AppendUvarint(b, uint64(len(s.others)))
	for _, wd := range s.others {
		b = binary.AppendUvarint(b, uint64(wd))
	}

	binary.LittleEndian.PutUint32(b[snapshotHeader-4:], crc32.Checksum(b[snapshotHeader:], castagnoli))
	return b
}

// appendTrees also returns the numbers that the directories got, by ID.
func (s *snapshot) appendTrees(b []byte) (_ []byte, numbers []dirtree.ID) {
	t := s.tree
	numbers = make([]dirtree.ID, t.Len())
	b = binary.AppendUvarint(b, uint64(len(s.rootPaths)))
	var last dirtree.ID
	var before dirtree.Node
	for _, root := range slices.Sorted(maps.Keys(s.rootPaths)) {
		parent := last + 1
		list := slices.DeleteFunc(t.Subtree(root), func(n dirtree.ID) bool {
			if n != root && (t.Node(n).WD <= 0 || numbers[t.Parent(n)] == 0) {
				return true
			}
			last++
			numbers[n] = last
			return false
		})

		b = appendString(b, s.rootPaths[root])
		b = binary.AppendUvarint(b, uint64(len(list)))
		for _, n := range list {
			x := t.Node(n)
			if n != root {
				above := numbers[t.Parent(n)]
				b = binary.AppendUvarint(b, uint64(above-parent))
				parent = above
			}
			b = binary.AppendVarint(b, int64(x.WD)-int64(before.WD))
			b = binary.AppendVarint(b, int64(x.Ino-before.Ino))
			b = binary.AppendUvarint(b, uint64(x.Device))
			if n != root {
				b = appendString(b, t.Name(n))
			}
			before = *x
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

// decodeSnapshot trusts nothing in b. What it returns without an error is a tree as the
// Watcher makes them, though it need not be the tree of this machine.
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
// zeros, and counts of zero, so that no caller need check for the error in between.
type snapshotDecoder struct {
	rest []byte
	err  error
}

func (d *snapshotDecoder) fail(format string, args ...any) {
	d.err = cmp.Or(d.err, fmt.Errorf("%w: %s", ErrSnapshot, fmt.Sprintf(format, args...)))
	d.rest = nil
}

func (d *snapshotDecoder) snapshot() *snapshot {
	s := &snapshot{rootPaths: map[dirtree.ID]string{}}
	copy(s.boot[:], d.bytes(len(s.boot)))
	s.intact = d.bool()
	s.consistent = time.Unix(0, d.varint())

	if s.sentinel = d.wd(); s.sentinel == 0 {
		d.fail("it has no sentinel")
	}
	s.mask = d.mask()
	s.devices = make([]device, d.count(3, maxDevices))
	for i := range s.devices {
		s.devices[i] = device{major: uint32(d.uvarint(1<<32 - 1)), minor: uint32(d.uvarint(1<<32 - 1)), countsSubdirs: d.bool()}
	}
	d.trees(s)

	s.roots = make([]savedRoot, d.count(3, len(d.rest)))
	for i := range s.roots {
		s.roots[i] = savedRoot{path: d.path(), mask: d.mask(), dir: dirtree.ID(d.uvarint(uint64(s.tree.Len() - 1)))}
	}
	s.others = make([]int32, d.count(1, len(d.rest)))
	for i := range s.others {
		s.others[i] = d.wd()
	}
	return s
}

func (d *snapshotDecoder) trees(s *snapshot) {
	s.tree = dirtree.New()
	var before dirtree.Node
	for range d.count(5, len(d.rest)) {
		path := d.path()
		count := int(d.uvarint(uint64(1 + len(d.rest)/minDirSize)))
		if count == 0 {
			d.fail("a tree without a root")
			return
		}
		s.tree.Grow(count)
		root := d.dir(s, &before)
		s.rootPaths[root] = path
		parent := root

		for range count - 1 {
			parent += dirtree.ID(d.uvarint(uint64(s.tree.Len()-1) - uint64(parent)))
			n := d.dir(s, &before)
			d.attach(s.tree, n, parent)
			if d.err != nil {
				return
			}
		}
	}
}

// dir adds a directory that has no place yet. It returns 0 after an error.
func (d *snapshotDecoder) dir(s *snapshot, before *dirtree.Node) dirtree.ID {
	wd := int64(before.WD) + d.varint()
	ino := before.Ino + uint64(d.varint())
	dev := d.uvarint(uint64(max(len(s.devices), 1) - 1))

	switch {
	case d.err != nil:
		return 0
	case wd <= 0 || wd > 1<<31-1:
		d.fail("watch descriptor %d", wd)
		return 0
	case s.tree.ByWatch(int32(wd)) != 0 || len(s.devices) == 0:
		d.fail("watch descriptor %d comes twice or has no device", wd)
		return 0
	}
	before.WD, before.Ino = int32(wd), ino
	return s.tree.Add(int32(wd), uint16(dev), ino)
}

func (d *snapshotDecoder) attach(t *dirtree.Tree, n, parent dirtree.ID) {
	name := d.string(unix.NAME_MAX)
	switch {
	case d.err != nil:
	case len(name) == 0 || string(name) == "." || string(name) == ".." || bytes.ContainsAny(name, "/\x00"):
		d.fail("the name %q", name)
	case t.Lookup(parent, name) != 0:
		d.fail("the name %q twice in a directory", name)
	default:
		t.Attach(n, parent, name)
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
