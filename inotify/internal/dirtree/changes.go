package dirtree

import (
	"encoding/binary"
	"errors"
	"math/bits"
	"slices"
)

// A change is what a directory is at a moment: its ID, a changeKind, and unless it is gone its
// watch descriptor, device, inode number and, unless it is a root, its parent and its name.
// Numbers are varints (encoding/binary). The last change of a directory counts, so that it does
// no harm when some are written twice.
type changeKind byte

const (
	changeGone   changeKind = iota // it has no watch, or no known place
	changeRoot                     // it has the flag Root
	changePlaced                   // it has a parent

	changeSilent changeKind = 1 << 6 // it also has the flag Silent
)

// maxID bounds the IDs that Load takes, so that damaged changes cannot use up the memory.
const maxID = 1 << 24

// ErrChanges says that changes are damaged.
var ErrChanges = errors.New("the changes of a tree are damaged")

// Track makes the tree remember which directories change, for AppendChanges.
func (t *Tree) Track() { t.tracks = true }

// changed notes that n is to be written by the next AppendChanges.
func (t *Tree) changed(n ID) {
	if t.tracks && t.nodes[n].flags&unsaved == 0 {
		t.nodes[n].flags |= unsaved
		t.unsaved = append(t.unsaved, n)
	}
}

// AppendChanges appends what has changed since the last call. It appends nothing if the tree is
// as it was. Load makes the tree from all that was appended, in the same order.
func (t *Tree) AppendChanges(b []byte) []byte {
	for _, n := range t.unsaved {
		t.nodes[n].flags &^= unsaved
		b = t.appendChange(b, n)
	}
	t.unsaved = t.unsaved[:0]
	return b
}

// AppendAll appends the whole tree, as the changes that make it out of an empty one.
func (t *Tree) AppendAll(b []byte) []byte {
	b = slices.Grow(b, 32*t.count)
	for n := range t.All() {
		t.nodes[n].flags &^= unsaved
		b = t.appendChange(b, n)
	}
	t.unsaved = t.unsaved[:0]
	return b
}

func (t *Tree) appendChange(b []byte, n ID) []byte {
	x := &t.nodes[n]
	kind := changeGone
	switch {
	case x.WD == 0:
	case x.parent != 0:
		kind = changePlaced
	case x.flags&Root != 0:
		kind = changeRoot
	}

	b = binary.AppendUvarint(b, uint64(n))
	if kind == changeGone {
		return append(b, byte(kind))
	}
	if x.flags&Silent != 0 {
		b = append(b, byte(kind|changeSilent))
	} else {
		b = append(b, byte(kind))
	}
	b = binary.AppendUvarint(b, uint64(x.WD))
	b = binary.AppendUvarint(b, uint64(x.Device))
	b = binary.AppendUvarint(b, x.Ino)
	if kind == changePlaced {
		b = binary.AppendUvarint(b, uint64(x.parent))
		b = binary.AppendUvarint(b, uint64(x.nameLen))
		b = append(b, t.Name(n)...)
	}
	return b
}

// A savedDir is the last change of a directory.
type savedDir struct {
	kind   changeKind
	silent bool
	device uint16
	wd     int32
	parent ID
	ino    uint64
	name   []byte
}

// Load returns the tree that changes describe, and tracks it. Directories have the IDs that they
// had. Those that are not below a root, and those that could not be in a tree, are left out, which
// is a change in its turn. Devices are below devices.
func Load(changes [][]byte, devices int) (*Tree, error) {
	var dirs []savedDir // by ID
	for _, b := range changes {
		for len(b) > 0 {
			n, dir, rest, ok := cutChange(b)
			if !ok || n == 0 || n > maxID || dir.kind != changeGone && int(dir.device) >= devices {
				return nil, ErrChanges
			}
			if grow := int(n) + 1 - len(dirs); grow > 0 {
				dirs = append(dirs, make([]savedDir, grow)...)
			}
			dirs[n], b = dir, rest
		}
	}

	t := New()
	t.Grow(len(dirs))
	t.nodes = t.nodes[:max(len(dirs), 1)]
	t.table = make([]ID, max(len(t.table), 1<<bits.Len(uint(len(dirs)*4/3))))
	for n := len(dirs) - 1; n > 0; n-- {
		t.load(ID(n), dirs[n])
	}
	for n := range t.nodes[1:] {
		t.place(ID(n+1), dirs)
	}
	t.Track()
	for n, dir := range dirs {
		if dir.kind != changeGone && t.nodes[n].flags&free != 0 {
			t.changed(ID(n))
		}
	}
	t.dropUnreachable()
	return t, nil
}

// load enters the directory n, still without a place, or its free node.
func (t *Tree) load(n ID, dir savedDir) {
	if dir.kind == changeGone || dir.wd <= 0 || t.watches.get(dir.wd) != 0 {
		t.nodes[n] = Node{next: t.free, flags: free}
		t.free = n
		return
	}
	t.nodes[n] = Node{Device: dir.device, Ino: dir.ino}
	if dir.kind == changeRoot {
		t.nodes[n].flags |= Root
	}
	if dir.silent {
		t.nodes[n].flags |= Silent
	}
	t.SetWatch(n, dir.wd)
}

// place gives a directory that was loaded its parent and name.
func (t *Tree) place(n ID, dirs []savedDir) {
	dir := dirs[n]
	isThere := func(n ID) bool { return n > 0 && int(n) < len(t.nodes) && t.nodes[n].flags&free == 0 }
	if isThere(n) && dir.kind == changePlaced && isThere(dir.parent) && len(dir.name) > 0 && t.Lookup(dir.parent, dir.name) == 0 {
		t.Attach(n, dir.parent, dir.name)
	}
}

// dropUnreachable removes the directories that are not below a root.
func (t *Tree) dropUnreachable() {
	reachable := make([]bool, len(t.nodes))
	for n := range t.All() {
		if t.Has(n, Root) {
			for _, below := range t.Subtree(n) {
				reachable[below] = true
			}
		}
	}
	for n := range t.All() {
		if !reachable[n] {
			t.Detach(n)
		}
	}
	for n := range t.All() {
		if !reachable[n] {
			t.Remove(n)
		}
	}
}

// cutChange takes the first change off b.
func cutChange(b []byte) (n ID, dir savedDir, rest []byte, ok bool) {
	d := changeDecoder{b}
	n = ID(d.uvarint(maxID))
	kind := changeKind(d.uvarint(uint64(changePlaced | changeSilent)))
	dir.kind, dir.silent = kind&^changeSilent, kind&changeSilent != 0
	if dir.kind != changeGone {
		dir.wd = int32(d.uvarint(1<<31 - 1))
		dir.device = uint16(d.uvarint(1<<16 - 1))
		dir.ino = d.uvarint(1<<64 - 1)
	}
	if dir.kind == changePlaced {
		dir.parent = ID(d.uvarint(maxID))
		length := d.uvarint(255)
		if length <= uint64(len(d.rest)) && d.rest != nil {
			dir.name, d.rest = d.rest[:length:length], d.rest[length:]
		} else {
			d.rest = nil
		}
	}
	return n, dir, d.rest, d.rest != nil
}

// A changeDecoder has no rest after an error.
type changeDecoder struct{ rest []byte }

func (d *changeDecoder) uvarint(limit uint64) uint64 {
	v, n := binary.Uvarint(d.rest)
	if n <= 0 || v > limit {
		d.rest = nil
		return 0
	}
	d.rest = d.rest[n:]
	return v
}
