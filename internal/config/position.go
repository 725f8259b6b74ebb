package config

import (
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// A KeyPath leads from the top of a file to a value, by keys and by the numbers of
// elements in arrays. Its line and column are looked up only when there is something
// to report: see Report. The zero KeyPath is the file as a whole.
type KeyPath struct {
	path  string // each key or number after a NUL
	depth int    // how many there are
	ofKey bool   // the key of the value is meant
	text  string // the element of the array that is this string is meant
}

// Key returns the path of the value of a key in the table at p.
func (p KeyPath) Key(name string) KeyPath {
	return KeyPath{path: p.path + "\x00" + name, depth: p.depth + 1}
}

// Element returns the path of an element of the array at p.
func (p KeyPath) Element(i int) KeyPath { return p.Key(strconv.Itoa(i)) }

// Text returns the path of the first element that is s of the array at p, or of the
// string at p if that is s. There is none for what a flag has added to an array.
func (p KeyPath) Text(s string) KeyPath { return KeyPath{path: p.path, text: s} }

// top returns the first key.
func (p KeyPath) top() string {
	first, _, _ := strings.Cut(strings.TrimPrefix(p.path, "\x00"), "\x00")
	return first
}

// key returns the path of the key of the value at p.
func (p KeyPath) key() KeyPath { return KeyPath{path: p.path, ofKey: true} }

// A location is where a value and its key are. The parser does not tell where arrays
// and inline tables begin: the value of theirs has no length.
type location struct {
	key, value unstable.Range
	text       string // of a string
}

// locations are where the values of a file are, by KeyPath.path.
type locations map[string]location

// find returns where a value is, or the key of the innermost table around it if the
// value is not in the file. If neither is, the range has no length.
func (l locations) find(p KeyPath) unstable.Range {
	if p.text != "" {
		return l.findText(p)
	}

	for path := p.path; path != ""; path = path[:strings.LastIndexByte(path, 0)] {
		loc := l[path]
		if loc.value.Length > 0 && !p.ofKey {
			return loc.value
		}
		if loc.key.Length > 0 {
			return loc.key
		}
	}
	return unstable.Range{}
}

func (l locations) findText(p KeyPath) unstable.Range {
	if one := l[p.path]; one.text == p.text {
		return one.value
	}
	for i := 0; ; i++ {
		loc, ok := l[p.Element(i).path]
		if !ok || loc.text == p.text {
			return loc.value
		}
	}
}

// maxDepth bounds how deep values are located. No key that we know is as deep.
const maxDepth = 8

// A locator walks through a file to find where its values are.
type locator struct {
	found  locations
	tables map[string]int // number of [[headers]], by path
}

// locate returns the locations of the values in a file, up to a syntax error.
func locate(text []byte) locations {
	l := locator{make(locations), make(map[string]int)}
	var parser unstable.Parser
	var table KeyPath

	parser.Reset(text)
	for parser.NextExpression() {
		switch n := parser.Expression(); n.Kind {
		case unstable.Table, unstable.ArrayTable:
			table = l.key(KeyPath{}, n)
		case unstable.KeyValue:
			l.value(l.key(table, n), n.Value())
		}
	}
	return l.found
}

// key locates the key, which may be dotted, of an expression or a header, and returns
// the path of its value. In a header, a key that is an array of tables stands for the
// last of them. If a key is there twice, the first one counts.
func (l *locator) key(at KeyPath, n *unstable.Node) KeyPath {
	for keys := n.Key(); keys.Next() && at.depth < maxDepth; {
		key := location{key: keys.Node().Raw}
		at = at.Key(string(keys.Node().Data))
		l.add(at, key)

		if n.Kind == unstable.ArrayTable && keys.IsLast() {
			l.tables[at.path]++
		}
		if count := l.tables[at.path]; count > 0 {
			at = at.Element(count - 1)
			l.add(at, key)
		}
	}
	return at
}

func (l *locator) add(at KeyPath, loc location) {
	if _, ok := l.found[at.path]; !ok {
		l.found[at.path] = loc
	}
}

// value locates a value whose key is located, and what is in it.
func (l *locator) value(at KeyPath, n *unstable.Node) {
	if at.depth >= maxDepth {
		return
	}

	loc := l.found[at.path]
	loc.value = n.Raw
	if n.Kind == unstable.String {
		loc.text = string(n.Data)
	}
	l.found[at.path] = loc

	switch n.Kind {
	case unstable.Array:
		i := 0
		for elements := n.Children(); elements.Next(); i++ {
			l.value(at.Element(i), elements.Node())
		}
	case unstable.InlineTable:
		for members := n.Children(); members.Next(); {
			l.value(l.key(at, members.Node()), members.Node().Value())
		}
	}
}
