package inotify

import (
	"hash/maphash"
	"slices"
)

// An id names a directory in the tree. 0 is none.
type id int32

// A tree is the directories that are watched, as parents and names. A watch
// descriptor is a directory's identity; its path is put together from the
// names above it when somebody asks, so a rename relabels one node whatever
// lies below.
//
// A node that has no parent is either a top, whose path is known from
// elsewhere, or detached: its place is not known at the moment. The tree
// never decides which; see Watcher.
//
// Nodes hold no pointers, so that the garbage collector need not look at
// them, and cost about 50 bytes each beside the name.
type tree struct {
	nodes  []node // nodes[0] is not used
	free   id     // list of unused nodes by next
	count  int
	byWd   wdTable
	names  []byte // of all nodes, one after the other
	wasted int    // bytes in names that no node has
	table  []id   // hash table of attached nodes by parent and name
	filled int    // slots that are not 0
	seed   maphash.Seed

	version uint64 // changes with every path and flag
}

type node struct {
	ino        uint64
	parent     id
	child      id     // the first
	next       id     // sibling
	prev       id     // sibling
	wd         int32  // 0 when the watch has ended
	name       uint32 // where it starts in tree.names
	dev        uint16 // index given by the Watcher
	generation uint16 // the last resync that met it
	len        uint8  // of the name; NAME_MAX is 255
	flags      uint8
}

const (
	flagRoot       = 1 << iota // has no parent, and that is right
	flagSubscribed             // subscriptions start here
)

func newTree() *tree {
	return &tree{nodes: make([]node, 1), table: make([]id, 64), seed: maphash.MakeSeed()}
}

// add makes a detached node for a watch descriptor that the tree does not
// have yet.
func (t *tree) add(wd int32, dev uint16, ino uint64) id {
	n := t.free
	if n != 0 {
		t.free = t.nodes[n].next
	} else {
		n = id(len(t.nodes))
		t.nodes = append(t.nodes, node{})
	}
	t.version++ // n may have been another directory
	t.nodes[n] = node{wd: wd, dev: dev, ino: ino}
	t.byWd.set(wd, n)
	t.count++
	return n
}

// setFlags sets some of n's flags and clears others.
func (t *tree) setFlags(n id, set, clear uint8) {
	t.version++
	t.nodes[n].flags = t.nodes[n].flags&^clear | set
}

// addUnwatched makes a detached node that has no watch.
func (t *tree) addUnwatched(dev uint16, ino uint64) id {
	n := t.add(0, dev, ino)
	t.byWd.set(0, 0)
	t.count--
	return n
}

// setWatch gives a node that has no watch one.
func (t *tree) setWatch(n id, wd int32) {
	t.nodes[n].wd = wd
	t.byWd.set(wd, n)
	t.count++
}

// reserve makes room for count more nodes.
func (t *tree) reserve(count int) {
	t.nodes = slices.Grow(t.nodes, count)
	for len(t.table)*3 < (t.filled+count)*4 {
		t.grow()
	}
}

// reserveMore makes room for count more nodes, and for as many as there are if that
// takes a copy: a scan that has found so many may find as many again.
func (t *tree) reserveMore(count int) {
	if len(t.nodes)+count > cap(t.nodes) {
		t.nodes = slices.Grow(t.nodes, max(count, len(t.nodes)))
	}
	if len(t.names)+count*16 > cap(t.names) {
		t.names = slices.Grow(t.names, max(count*16, len(t.names)))
	}
}

// trim gives back what expect took too much.
func (t *tree) trim() {
	if cap(t.nodes) > len(t.nodes)+len(t.nodes)/4 {
		t.nodes = slices.Clone(t.nodes)
	}
	if cap(t.names) > len(t.names)+len(t.names)/4 {
		t.names = slices.Clone(t.names)
	}
}

// endWatch says that n, which must have no children, is not watched any more. It
// keeps its place until somebody takes it away.
func (t *tree) endWatch(n id) {
	x := &t.nodes[n]
	t.byWd.set(x.wd, 0)
	x.wd, x.ino = 0, 0
	t.count--
}

// remove forgets n, which must have no children.
func (t *tree) remove(n id) {
	t.detach(n)
	if t.nodes[n].wd != 0 {
		t.endWatch(n)
	}
	t.nodes[n] = node{next: t.free}
	t.free = n
}

// attach puts the detached node n into parent under name, where no node may be.
func (t *tree) attach(n, parent id, name []byte) {
	t.version++
	x := &t.nodes[n]
	x.name, x.len = uint32(len(t.names)), uint8(len(name))
	t.names = append(t.names, name...)
	x.parent, x.prev, x.next = parent, 0, t.nodes[parent].child
	if x.next != 0 {
		t.nodes[x.next].prev = n
	}
	t.nodes[parent].child = n
	t.index(n)
}

// detach takes n, with all below it, out of its parent. It does nothing to a
// node that has none.
func (t *tree) detach(n id) {
	x := &t.nodes[n]
	if x.parent == 0 {
		return
	}
	t.version++
	t.unindex(n)
	if x.prev != 0 {
		t.nodes[x.prev].next = x.next
	} else {
		t.nodes[x.parent].child = x.next
	}
	if x.next != 0 {
		t.nodes[x.next].prev = x.prev
	}
	t.wasted += int(x.len)
	x.parent, x.prev, x.next, x.len = 0, 0, 0, 0
	t.compact()
}

// compact drops the unused names once they are most of all names.
func (t *tree) compact() {
	if t.wasted < 4096 || t.wasted < len(t.names)/2 {
		return
	}
	names := make([]byte, 0, len(t.names)-t.wasted+1024)
	for i := range t.nodes {
		x := &t.nodes[i]
		at := uint32(len(names))
		names = append(names, t.names[x.name:x.name+uint32(x.len)]...)
		x.name = at
	}
	t.names, t.wasted = names, 0
}

func (t *tree) nameOf(n id) []byte {
	x := &t.nodes[n]
	return t.names[x.name : x.name+uint32(x.len)]
}

// root is the node above n that has no parent; it may be n.
func (t *tree) root(n id) id {
	for t.nodes[n].parent != 0 {
		n = t.nodes[n].parent
	}
	return n
}

// above says whether a is n or above it.
func (t *tree) above(a, n id) bool {
	for ; n != 0; n = t.nodes[n].parent {
		if n == a {
			return true
		}
	}
	return false
}

// reachable says whether n lies below a top, so that its path is known.
func (t *tree) reachable(n id) bool {
	return t.nodes[t.root(n)].flags&flagRoot != 0
}

// names returns the names from below a, which is above n, down to n.
func (t *tree) namesBelow(a, n id) [][]byte {
	depth := 0
	for x := n; x != a; x = t.nodes[x].parent {
		depth++
	}
	names := make([][]byte, depth)
	for x := n; x != a; x = t.nodes[x].parent {
		depth--
		names[depth] = t.nameOf(x)
	}
	return names
}

// subtree appends n and all below it, parents first.
func (t *tree) subtree(list []id, n id) []id {
	start := len(list)
	list = append(list, n)
	for i := start; i < len(list); i++ {
		for c := t.nodes[list[i]].child; c != 0; c = t.nodes[c].next {
			list = append(list, c)
		}
	}
	return list
}

// lookup finds the node that parent has under name; 0 if there is none.
func (t *tree) lookup(parent id, name []byte) id {
	for i := t.hash(parent, name); ; i++ {
		n := t.table[i&(len(t.table)-1)]
		if n == 0 || t.nodes[n].parent == parent && string(t.nameOf(n)) == string(name) {
			return n
		}
	}
}

func (t *tree) hash(parent id, name []byte) int {
	return int((maphash.Bytes(t.seed, name) ^ uint64(parent)*0x9e3779b97f4a7c15) >> 20)
}

// index enters an attached node into the hash table.
func (t *tree) index(n id) {
	if t.filled*4 >= len(t.table)*3 {
		t.grow()
	}
	t.insert(n)
	t.filled++
}

func (t *tree) insert(n id) {
	i := t.hash(t.nodes[n].parent, t.nameOf(n))
	for t.table[i&(len(t.table)-1)] != 0 {
		i++
	}
	t.table[i&(len(t.table)-1)] = n
}

func (t *tree) grow() {
	old := t.table
	t.table = make([]id, 2*len(old))
	for _, n := range old {
		if n != 0 {
			t.insert(n)
		}
	}
}

// unindex takes n out of the hash table. What follows in the same run of
// filled slots is moved up, so that the table needs no tombstones.
func (t *tree) unindex(n id) {
	last := len(t.table) - 1
	i := t.hash(t.nodes[n].parent, t.nameOf(n))
	for t.table[i&last] != n {
		i++
	}
	i &= last
	t.table[i] = 0
	t.filled--
	for j := (i + 1) & last; t.table[j] != 0; j = (j + 1) & last {
		home := t.hash(t.nodes[t.table[j]].parent, t.nameOf(t.table[j])) & last
		if (j-home)&last >= (j-i)&last {
			t.table[i], t.table[j] = t.table[j], 0
			i = j
		}
	}
}

// A wdTable maps watch descriptors to nodes. The kernel hands descriptors out
// in rising order up to INT_MAX before it starts again, so the table is made
// of pages and gives back those that are empty.
type wdTable struct {
	pages []*wdPage
}

type wdPage struct {
	ids  [1024]id
	used int
}

func (p wdTable) get(wd int32) id {
	page := int(wd) / 1024
	if wd < 0 || page >= len(p.pages) || p.pages[page] == nil {
		return 0
	}
	return p.pages[page].ids[wd%1024]
}

// set maps wd to n; n 0 forgets it.
func (p *wdTable) set(wd int32, n id) {
	at := int(wd) / 1024
	for at >= len(p.pages) {
		p.pages = append(p.pages, nil)
	}
	page := p.pages[at]
	if page == nil {
		page = new(wdPage)
		p.pages[at] = page
	}
	slot := &page.ids[wd%1024]
	switch {
	case *slot == 0 && n != 0:
		page.used++
	case *slot != 0 && n == 0:
		page.used--
	}
	*slot = n
	if page.used == 0 {
		p.pages[at] = nil
	}
}
