// Package dirtree holds the directories that a watcher watches as a tree of
// parents and names. It makes no system calls.
package dirtree

import (
	"hash/maphash"
	"iter"
	"slices"
)

// An ID identifies a directory of a Tree. 0 is none. The ID of a removed
// directory is used again.
type ID int32

// A Tree is a set of directories. Its watch descriptor identifies a directory,
// not its path: each node knows its parent and its name, and a path is put
// together when it is needed. So a rename changes one node, however much lies
// below it.
//
// A directory without a parent is either a root, whose path the caller knows, or
// detached: its place is not known at the moment. The caller marks roots with
// Root.
//
// Nodes hold no pointers, so the garbage collector does not scan them. One takes
// about 50 bytes and its name. A Tree must not be used by several goroutines
// at once.
type Tree struct {
	nodes   []Node // nodes[0] is not used
	free    ID     // list of free nodes, linked by next
	count   int    // of nodes with a watch
	watches watchTable

	names  []byte // the names of all nodes, one after the other
	wasted int    // bytes of names that belong to no node any more

	table  []ID // hash table of the attached nodes, by parent and name
	filled int  // used slots of table
	seed   maphash.Seed

	version uint64 // changes with every path and flag; see PathBuilder

	tracks  bool // see Track
	unsaved []ID // with the flag unsaved
}

// A Node is what a Tree knows of one directory.
type Node struct {
	Ino        uint64
	WD         int32  // watch descriptor; 0 when it has none. Changed by the Tree alone.
	Device     uint16 // given by the caller
	Generation uint16 // given by the caller; see Watcher.resync

	nameLen uint8 // NAME_MAX is 255
	flags   Flags
	name    uint32 // where the name starts in Tree.names

	parent, child, next, prev ID // child is the first one; next and prev are siblings
}

// Flags mark a directory.
type Flags uint8

const (
	Root       Flags = 1 << iota // it has no parent, and its path is known
	Subscribed                   // subscriptions start here
	Silent                       // what is in it was not reported when it was found
	free                         // the node is not in use
	unsaved                      // AppendChanges is to write it
)

// New returns an empty Tree.
func New() *Tree {
	return &Tree{nodes: make([]Node, 1), table: make([]ID, 64), seed: maphash.MakeSeed()}
}

// Add returns a new detached directory with a watch descriptor that the tree
// does not have yet; with 0 it has no watch.
func (t *Tree) Add(wd int32, device uint16, ino uint64) ID {
	n := t.free
	if n != 0 {
		t.free = t.nodes[n].next
	} else {
		n = ID(len(t.nodes))
		t.nodes = append(t.nodes, Node{})
	}
	t.version++ // n may have been another directory

	t.nodes[n] = Node{Device: device, Ino: ino, flags: t.nodes[n].flags & unsaved}
	if wd != 0 {
		t.SetWatch(n, wd)
	}
	return n
}

// SetWatch gives a directory without a watch one.
func (t *Tree) SetWatch(n ID, wd int32) {
	t.nodes[n].WD = wd
	t.watches.set(wd, n)
	t.count++
	t.changed(n)
}

// EndWatch notes that n, which must have no children, is not watched any more.
// It keeps its place until it is removed or detached.
func (t *Tree) EndWatch(n ID) {
	x := &t.nodes[n]
	if x.WD != 0 {
		t.watches.set(x.WD, 0)
		t.count--
	}
	x.WD, x.Ino = 0, 0
	t.changed(n)
}

// EndWatches takes the watch descriptors of all directories away.
func (t *Tree) EndWatches() {
	for n := range t.All() {
		t.nodes[n].WD = 0
		t.changed(n)
	}
	t.watches, t.count = watchTable{}, 0
}

// Remove takes n, which must have no children, out of the tree.
func (t *Tree) Remove(n ID) {
	t.Detach(n)
	t.EndWatch(n)
	t.nodes[n] = Node{next: t.free, flags: free | t.nodes[n].flags&unsaved}
	t.free = n
}

// Attach gives the detached directory n a parent and a name, which no other
// child of that parent may have.
func (t *Tree) Attach(n, parent ID, name []byte) {
	t.version++
	x := &t.nodes[n]
	x.name, x.nameLen = uint32(len(t.names)), uint8(len(name))
	t.names = append(t.names, name...)

	x.parent, x.prev, x.next = parent, 0, t.nodes[parent].child
	if x.next != 0 {
		t.nodes[x.next].prev = n
	}
	t.nodes[parent].child = n

	if t.filled*4 >= len(t.table)*3 {
		t.growTable()
	}
	t.insert(n)
	t.filled++
	t.changed(n)
}

// Detach takes n, with all below it, away from its parent. It does nothing to a
// directory without one.
func (t *Tree) Detach(n ID) {
	x := &t.nodes[n]
	if x.parent == 0 {
		return
	}
	t.version++
	t.delete(n)

	if x.prev != 0 {
		t.nodes[x.prev].next = x.next
	} else {
		t.nodes[x.parent].child = x.next
	}
	if x.next != 0 {
		t.nodes[x.next].prev = x.prev
	}
	t.wasted += int(x.nameLen)
	x.parent, x.prev, x.next, x.nameLen = 0, 0, 0, 0
	t.changed(n)
	t.compactNames()
}

// compactNames drops the wasted bytes once they are most of all names.
func (t *Tree) compactNames() {
	if t.wasted < 4096 || t.wasted < len(t.names)/2 {
		return
	}
	names := make([]byte, 0, len(t.names)-t.wasted+1024)
	for i := range t.nodes {
		name := t.Name(ID(i))
		t.nodes[i].name = uint32(len(names))
		names = append(names, name...)
	}
	t.names, t.wasted = names, 0
}

// Grow makes room for count more directories, and for as many as there are if
// that takes a copy: a scan that has found so many may find as many again.
func (t *Tree) Grow(count int) {
	if len(t.nodes)+count > cap(t.nodes) {
		t.nodes = slices.Grow(t.nodes, max(count, len(t.nodes)))
	}
	if len(t.names)+count*16 > cap(t.names) {
		t.names = slices.Grow(t.names, max(count*16, len(t.names)))
	}
}

// Trim gives back what Grow took too much.
func (t *Tree) Trim() {
	if cap(t.nodes) > len(t.nodes)+len(t.nodes)/4 {
		t.nodes = slices.Clone(t.nodes)
	}
	if cap(t.names) > len(t.names)+len(t.names)/4 {
		t.names = slices.Clone(t.names)
	}
}

// Node returns the node of n. It is valid until the next Add or Trim.
func (t *Tree) Node(n ID) *Node { return &t.nodes[n] }

// Len returns a number that is above every ID of the tree.
func (t *Tree) Len() int { return len(t.nodes) }

// All yields every directory, in no order. Directories may be removed meanwhile.
func (t *Tree) All() iter.Seq[ID] {
	return func(yield func(ID) bool) {
		for n := 1; n < len(t.nodes); n++ {
			if t.nodes[n].flags&free == 0 && !yield(ID(n)) {
				return
			}
		}
	}
}

// Contains reports whether there is a directory with this ID.
func (t *Tree) Contains(n ID) bool {
	return n > 0 && int(n) < len(t.nodes) && t.nodes[n].flags&free == 0
}

// Watches counts the directories with a watch.
func (t *Tree) Watches() int { return t.count }

// ByWatch returns the directory with a watch descriptor, or 0.
func (t *Tree) ByWatch(wd int32) ID { return t.watches.get(wd) }

// Parent returns the directory that n is in; 0 if it is a root or detached.
func (t *Tree) Parent(n ID) ID { return t.nodes[n].parent }

// Child returns the first of the directories in n, in no order, or 0.
func (t *Tree) Child(n ID) ID { return t.nodes[n].child }

// Children returns the directories in n, in no order.
func (t *Tree) Children(n ID) (ids []ID) {
	for c := t.nodes[n].child; c != 0; c = t.nodes[c].next {
		ids = append(ids, c)
	}
	return ids
}

// Name returns the name of n in its parent. It is valid until the tree changes.
func (t *Tree) Name(n ID) []byte {
	x := &t.nodes[n]
	return t.names[x.name : x.name+uint32(x.nameLen)]
}

// Has reports whether n has a flag.
func (t *Tree) Has(n ID, flag Flags) bool { return t.nodes[n].flags&flag != 0 }

// SetFlags sets some flags of n and clears others.
func (t *Tree) SetFlags(n ID, set, clear Flags) {
	t.version++
	t.nodes[n].flags = t.nodes[n].flags&^clear | set
	t.changed(n)
}

// Top returns the directory above n that has no parent, which may be n.
func (t *Tree) Top(n ID) ID {
	for t.nodes[n].parent != 0 {
		n = t.nodes[n].parent
	}
	return n
}

// Encloses reports whether dir is n or a directory above n.
func (t *Tree) Encloses(dir, n ID) bool {
	for ; n != 0; n = t.nodes[n].parent {
		if n == dir {
			return true
		}
	}
	return false
}

// Reachable reports whether n lies at or below a root, so that its path is known.
func (t *Tree) Reachable(n ID) bool { return t.Has(t.Top(n), Root) }

// NamesBelow returns the names from below dir, which must enclose n, down to n.
// They are valid until the tree changes.
func (t *Tree) NamesBelow(dir, n ID) [][]byte {
	depth := 0
	for x := n; x != dir; x = t.nodes[x].parent {
		depth++
	}
	names := make([][]byte, depth)
	for x := n; x != dir; x = t.nodes[x].parent {
		depth--
		names[depth] = t.Name(x)
	}
	return names
}

// Subtree returns n and all directories below it, parents first.
func (t *Tree) Subtree(n ID) []ID {
	list := []ID{n}
	for i := 0; i < len(list); i++ {
		for c := t.nodes[list[i]].child; c != 0; c = t.nodes[c].next {
			list = append(list, c)
		}
	}
	return list
}

// HashName returns a number, never 0, that depends on a name and on owner. It is
// the same for the life of the tree.
func (t *Tree) HashName(owner uint64, name []byte) uint64 {
	return maphash.Bytes(t.seed, name) ^ owner*0x9e3779b97f4a7c15 | 1
}

// Lookup returns the directory that parent has under name, or 0.
func (t *Tree) Lookup(parent ID, name []byte) ID {
	for i := t.slot(parent, name); ; i++ {
		n := t.table[i&(len(t.table)-1)]
		if n == 0 || t.nodes[n].parent == parent && string(t.Name(n)) == string(name) {
			return n
		}
	}
}

// slot returns where the search for a directory in the hash table begins, to be
// taken modulo the length of the table.
func (t *Tree) slot(parent ID, name []byte) int {
	return int((maphash.Bytes(t.seed, name) ^ uint64(parent)*0x9e3779b97f4a7c15) >> 20)
}

// insert enters n into the hash table, which must have a free slot.
func (t *Tree) insert(n ID) {
	i := t.slot(t.nodes[n].parent, t.Name(n))
	for t.table[i&(len(t.table)-1)] != 0 {
		i++
	}
	t.table[i&(len(t.table)-1)] = n
}

func (t *Tree) growTable() {
	old := t.table
	t.table = make([]ID, 2*len(old))
	for _, n := range old {
		if n != 0 {
			t.insert(n)
		}
	}
}

// delete takes n out of the hash table. What follows in the same run of filled
// slots is moved up, so that the table needs no tombstones.
func (t *Tree) delete(n ID) {
	last := len(t.table) - 1
	i := t.slot(t.nodes[n].parent, t.Name(n))
	for t.table[i&last] != n {
		i++
	}
	i &= last
	t.table[i] = 0
	t.filled--

	for j := (i + 1) & last; t.table[j] != 0; j = (j + 1) & last {
		home := t.slot(t.nodes[t.table[j]].parent, t.Name(t.table[j])) & last
		if (j-home)&last >= (j-i)&last {
			t.table[i], t.table[j] = t.table[j], 0
			i = j
		}
	}
}
