package config

import (
	"sort"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// A Place names a value of a configuration file, or the key of a value. Positions
// are looked up only when there is something to report: see Report. The zero Place
// is the file as a whole.
type Place struct {
	path  string // keys and numbers of elements, each after a NUL
	ofKey bool   // the key is meant
	text  string // the element of the array that is this string is meant
}

// Key is the place of the value of a key in the table at p.
func (p Place) Key(name string) Place { return Place{path: p.path + "\x00" + name} }

// Element is the place of an element of the array at p.
func (p Place) Element(i int) Place { return p.Key(strconv.Itoa(i)) }

// Text is the place of the first element of the array at p, or of the string at p,
// that is s. It is in no file if there is none, as for what a flag has added.
func (p Place) Text(s string) Place { return Place{path: p.path, text: s} }

// key is the place of the key of the value at p.
func (p Place) key() Place { return Place{path: p.path, ofKey: true} }

// A position is a line and a column, in bytes, that count from 1. The zero position
// is in no file.
type position struct{ line, column int }

// A location is where a value is. The parser does not say where arrays and inline
// tables begin: their value is zero.
type location struct {
	key, value position
	text       string // of a string
}

// locations are where the values of a file are, by the paths of their Places.
type locations map[string]location

// find returns the position of a place. What is not in the file is looked for in
// the tables around it.
func (l locations) find(p Place) position {
	if p.text != "" {
		return l.findText(p)
	}
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

func (l locations) findText(p Place) position {
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

// maxPath bounds the depth of what is located. No key that we know is as deep.
const maxPath = 8

// A locator walks through a file to find where its values are.
type locator struct {
	parser   unstable.Parser
	newlines []int // offsets; the first is before the file
	found    locations
	tables   map[string]int // number of [[headers]] by path
}

// locate returns the locations of the values in a file, up to a syntax error. Of
// a key that is there twice it is the first.
func locate(text []byte) locations {
	l := locator{found: make(locations), tables: make(map[string]int), newlines: []int{-1}}
	for i, c := range text {
		if c == '\n' {
			l.newlines = append(l.newlines, i)
		}
	}

	var table Place
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

// header returns the place of the table that a [header] or [[header]] opens. A key
// that is an array of tables stands for the last of them.
func (l *locator) header(n *unstable.Node) Place {
	var table Place
	depth := 0
	for keys := n.Key(); keys.Next() && depth < maxPath; depth++ {
		at := location{key: l.position(keys.Node())}
		table = table.Key(string(keys.Node().Data))
		l.add(table, at)
		if keys.IsLast() && n.Kind == unstable.ArrayTable {
			l.tables[table.path]++
		}
		if last := l.tables[table.path]; last > 0 {
			table = table.Element(last - 1)
			l.add(table, at)
		}
	}
	return table
}

// keyValue locates a value in a table, and what is in it.
func (l *locator) keyValue(table Place, n *unstable.Node, depth int) {
	var key position
	for keys := n.Key(); keys.Next(); depth++ {
		if depth >= maxPath {
			return
		}
		key = l.position(keys.Node())
		table = table.Key(string(keys.Node().Data))
		l.add(table, location{key: key})
	}
	l.value(table, key, n.Value(), depth)
}

func (l *locator) value(at Place, key position, n *unstable.Node, depth int) {
	loc := location{key: key, value: l.position(n)}
	if n.Kind == unstable.String {
		loc.text = string(n.Data)
	}
	if known, ok := l.found[at.path]; !ok || known == (location{key: key}) {
		l.found[at.path] = loc
	}
	if depth >= maxPath {
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

func (l *locator) add(at Place, loc location) {
	if _, ok := l.found[at.path]; !ok {
		l.found[at.path] = loc
	}
}

// position is where a node begins; zero if the parser does not say.
func (l *locator) position(n *unstable.Node) position {
	if n.Raw.Length == 0 {
		return position{}
	}
	line := sort.SearchInts(l.newlines, int(n.Raw.Offset))
	return position{line, int(n.Raw.Offset) - l.newlines[line-1]}
}
