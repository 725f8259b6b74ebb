package dirtree

import (
	"hash/maphash"
	"slices"
)

// A PathBuilder puts together the paths of names in a Tree, from each subscribed
// directory that they lie below. It keeps the path of the last directory, and the
// strings that it made last: the same few files are written again and again.
//
// S is what the caller keeps of the subscriptions of a directory.
type PathBuilder[S any] struct {
	tree          *Tree
	subscriptions map[ID]S // the caller's

	dir       ID // whose path is in buf
	version   uint64
	known     bool // dir lies below a root
	matches   []Match[S]
	buf       []byte // the path of dir; a name in it is appended
	dirLen    int    // of the path of dir in buf
	name      []byte // in dir; empty means dir itself
	ancestors []ID

	seed  maphash.Seed
	cache [512]cachedPath // by a hash of directory and name
}

// A Match is a subscribed directory at or above a place.
type Match[S any] struct {
	Dir           ID
	Start         int // where the path from Dir starts; see Path
	Subscriptions S
}

// A cachedPath is a string made for a name in a directory. It is right as long
// as the tree has that version.
type cachedPath struct {
	path    string
	dir     ID
	version uint64
	start   int
	nameLen int // of the name at the end of path
}

// NewPathBuilder returns a PathBuilder for t. The map has the subscriptions of
// the directories with the flag Subscribed.
func NewPathBuilder[S any](t *Tree, subscriptions map[ID]S) *PathBuilder[S] {
	return &PathBuilder[S]{tree: t, subscriptions: subscriptions, seed: maphash.MakeSeed()}
}

// Locate selects the place name in the directory n, or n itself when name is
// empty, for the other methods. It reports whether its path is known. The name
// must not change until the next Locate.
func (b *PathBuilder[S]) Locate(n ID, name []byte) bool {
	if n != b.dir || b.version != b.tree.version {
		b.build(n)
	}
	b.name = name
	return b.known
}

// Matches returns the subscribed directories at or above the place, the nearest
// first. They are valid until the next Locate.
func (b *PathBuilder[S]) Matches() []Match[S] { return b.matches }

// build makes the path of n.
func (b *PathBuilder[S]) build(n ID) {
	b.dir, b.version = n, b.tree.version
	b.ancestors, b.matches, b.buf = b.ancestors[:0], b.matches[:0], b.buf[:0]
	for x := n; x != 0; x = b.tree.nodes[x].parent {
		b.ancestors = append(b.ancestors, x)
	}

	for i, x := range slices.Backward(b.ancestors) {
		if i < len(b.ancestors)-1 {
			b.append(b.tree.Name(x))
		}
		if !b.tree.Has(x, Subscribed) {
			continue
		}
		start := len(b.buf)
		if start > 0 {
			start++ // the slash that follows
		}
		b.matches = append(b.matches, Match[S]{x, start, b.subscriptions[x]})
	}

	slices.Reverse(b.matches)
	b.dirLen = len(b.buf)
	b.known = b.tree.Has(b.ancestors[len(b.ancestors)-1], Root)
}

func (b *PathBuilder[S]) append(name []byte) {
	if len(b.buf) > 0 {
		b.buf = append(b.buf, '/')
	}
	b.buf = append(b.buf, name...)
}

// fullPath is the path of the place from its root.
func (b *PathBuilder[S]) fullPath() []byte {
	b.buf = b.buf[:b.dirLen]
	if len(b.name) > 0 {
		b.append(b.name)
	}
	return b.buf
}

// Hash returns a number, never 0, that identifies the path of the place.
func (b *PathBuilder[S]) Hash() uint64 {
	return maphash.Bytes(b.seed, b.fullPath()) | 1
}

// RelativeTo returns the path of the place from dir; it is empty when dir is not
// among the matches.
func (b *PathBuilder[S]) RelativeTo(dir ID) string {
	for i := range b.matches {
		if b.matches[i].Dir == dir {
			return b.Path(b.matches[i].Start)
		}
	}
	return ""
}

// Path returns the path of the place from the Start of a match on; "." when it is
// the subscribed directory itself.
func (b *PathBuilder[S]) Path(start int) string {
	// The end of the name is enough to tell most files of a directory apart.
	hash := uint64(len(b.name))
	for _, c := range b.name[max(0, len(b.name)-8):] {
		hash = hash<<8 | uint64(c)
	}
	hash = (hash + uint64(b.dir)<<40) * 0x9e3779b97f4a7c15 >> 32
	c := &b.cache[hash%uint64(len(b.cache))]
	if c.dir == b.dir && c.version == b.version && c.start == start && c.path[len(c.path)-c.nameLen:] == string(b.name) {
		return c.path
	}

	path := b.fullPath()
	if start >= len(path) {
		return "."
	}
	if c.path != string(path[start:]) { // it is often the same in another version of the tree
		c.path = string(path[start:])
	}
	c.dir, c.version, c.start, c.nameLen = b.dir, b.version, start, len(b.name)
	return c.path
}
