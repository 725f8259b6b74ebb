package config

import (
	"sort"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// A KeyPath leads from the top of a file to a value, by keys and by the numbers of
// elements in arrays. Its line and column are looked up only when there is something
// to report: see Report. The zero KeyPath is the file as a whole.
type KeyPath struct {
	path  string // each key or number after a NUL
	ofKey bool   // the key of the value is meant
	text  string // the element of the array that is this string is meant
}

// Key returns the path of the value of a key in the table at p.
func (p KeyPath) Key(name string) KeyPath { return KeyPath{path: p.path + "\x00" + name} }

// Element returns the path of an element of the array at p.
func (p KeyPath) Element(i int) KeyPath { return p.Key(strconv.Itoa(i)) }

// Text returns the path of the first element that is s of the array at p, or of the
// string at p if that is s. There is none for what a flag has added to an array.
func (p KeyPath) Text(s string) KeyPath { return KeyPath{path: p.path, text: s} }

// key returns the path of the key of the value at p.
func (p KeyPath) key() KeyPath { return KeyPath{path: p.path, ofKey: true} }

// A position is a line and a column, in bytes, that count from 1. The zero position
// is in no file.
type position struct{ line, column int }

// A location is where a value and its key are. The parser does not tell where arrays
// and inline tables begin: the value of theirs is zero.
type location struct {
	key, value position
	text       string // of a string
}

// locations are where the values of a file are, by KeyPath.path.
type locations map[string]location

// find returns the position of a value, or of the innermost table around it if the
// value is not in the file.
func (l locations) find(p KeyPath) position {
	if p.text != "" {
		return l.findText(p)
	}

	// A key that is not in the file is reported where its table begins.
	for path := p.path; path != ""; path = path[:strings.LastIndexByte(path, 0)] {
		loc, ok := l[path]
		switch {
		case !ok:
			continue
		case p.ofKey || loc.value == position{}:
			return loc.key
		}
		return loc.value
	}

	return position{}
}

func (l locations) findText(p KeyPath) position {
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
	parser   unstable.Parser
	newlines []int // offsets; the first is before the file
	found    locations
	tables   map[string]int // number of [[headers]], by path
}

// locate returns the locations of the values in a file, up to a syntax error. If a
// key is there twice, the first one counts.
func locate(text []byte) locations {
	l := locator{found: make(locations), tables: make(map[string]int), newlines: []int{-1}}
	for i, c := range text {
		if c == '\n' {
			l.newlines = append(l.newlines, i)
		}
	}

	var table KeyPath
	l.parser.Reset(text)
	for l.parser.NextExpression() {
		switch n := l.parser.Expression(); n.Kind {
		case unstable.Table, unstable.ArrayTable:
			table = l.header(n)
		case unstable.KeyValue:
			l.keyValue(table, n, 0)
		}
	}
	return l.found
}

// header returns the path of the table that a [header] or [[header]] opens. A key
// that is an array of tables stands for the last of them.
func (l *locator) header(n *unstable.Node) KeyPath {
	var table KeyPath
	depth := 0

	for keys := n.Key(); keys.Next() && depth < maxDepth; depth++ {
		at := location{key: l.position(keys.Node())}
		table = table.Key(string(keys.Node().Data))
		l.add(table, at)

		if keys.IsLast() && n.Kind == unstable.ArrayTable {
			l.tables[table.path]++
		}

		if count := l.tables[table.path]; count > 0 {
			table = table.Element(count - 1)
			l.add(table, at)
		}
	}

	return table
}

// keyValue locates the key, which may be dotted, and the value of an expression in a
// table.
func (l *locator) keyValue(at KeyPath, n *unstable.Node, depth int) {
	var key position
	keys := n.Key()

	for ; keys.Next() && depth < maxDepth; depth++ {
		key = l.position(keys.Node())
		at = at.Key(string(keys.Node().Data))
		if !keys.IsLast() {
			l.add(at, location{key: key})
		}
	}

	if depth < maxDepth {
		l.value(at, key, n.Value(), depth)
	}
}

// value locates a value, and what is in it.
func (l *locator) value(at KeyPath, key position, n *unstable.Node, depth int) {
	loc := location{key: key, value: l.position(n)}
	if n.Kind == unstable.String {
		loc.text = string(n.Data)
	}
	l.add(at, loc)
	if depth >= maxDepth {
		return
	}

	switch n.Kind {
	case unstable.Array:
		i := 0
		for elements := n.Children(); elements.Next(); i++ {
			l.value(at.Element(i), key, elements.Node(), depth+1)
		}
	case unstable.InlineTable:
		for members := n.Children(); members.Next(); {
			l.keyValue(at, members.Node(), depth+1)
		}
	}
}

func (l *locator) add(at KeyPath, loc location) {
	if _, ok := l.found[at.path]; !ok {
		l.found[at.path] = loc
	}
}

// position returns where a node begins; zero if the parser does not tell.
func (l *locator) position(n *unstable.Node) position {
	if n.Raw.Length == 0 {
		return position{}
	}
	line := sort.SearchInts(l.newlines, int(n.Raw.Offset))
	return position{line, int(n.Raw.Offset) - l.newlines[line-1]}
}
