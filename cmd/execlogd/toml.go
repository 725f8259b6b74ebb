package main

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// A place is where something is in a file; lines and columns count from 1, and
// columns are bytes. The zero place is nowhere in it.
type place struct{ line, column int }

// A mistake is one thing that is wrong in a file, with what would be right.
type mistake struct {
	file string
	at   place
	text string
}

func (m mistake) Error() string {
	if m.at == (place{}) {
		return fmt.Sprintf("%s: %s", m.file, m.text)
	}
	return fmt.Sprintf("%s:%d:%d: %s", m.file, m.at.line, m.at.column, m.text)
}

func (m mistake) compare(other mistake) int {
	return cmp.Or(cmp.Compare(m.at.line, other.at.line), cmp.Compare(m.at.column, other.at.column))
}

// mistakes is everything that is wrong in a file. As an error it is one line.
type mistakes []mistake

func (ms mistakes) Error() string {
	if len(ms) == 1 {
		return ms[0].Error()
	}
	return fmt.Sprintf("%v (and %d more: execlogd check -config %s lists them)", ms[0], len(ms)-1, ms[0].file)
}

// sorted is the mistakes in the order of the file, or nil when there is none.
func (ms mistakes) sorted() error {
	if len(ms) == 0 {
		return nil
	}
	slices.SortStableFunc(ms, mistake.compare)
	return ms
}

// A value is a value of a TOML file with the path of keys that leads to it.
type value struct {
	is   any // as toml.Unmarshal makes it for an any
	path []string
	doc  *document
}

// A document is a TOML file that could be read.
type document struct {
	// By join of the path, in which elements of arrays are numbers.
	keys, values map[string]place
}

// parseTOML reads a file. What toml.Unmarshal makes of it says what is in it,
// and the parser's nodes say where.
func parseTOML(file string, text []byte) (value, mistakes) {
	root := make(map[string]any)
	if err := toml.Unmarshal(text, &root); err != nil {
		m := mistake{file: file, text: strings.TrimPrefix(err.Error(), "toml: ")}
		if e, ok := errors.AsType[*toml.DecodeError](err); ok {
			m.at.line, m.at.column = e.Position()
		}
		return value{}, mistakes{m}
	}
	doc := &document{keys: make(map[string]place), values: make(map[string]place)}
	doc.index(text)
	return value{is: root, doc: doc}, nil
}

// join is a path as one string, another for each path.
func join(path []string) string { return fmt.Sprintf("%q", path) }

// index notes the places of all keys and values of a file that
// toml.Unmarshal has accepted.
func (d *document) index(text []byte) {
	var p unstable.Parser
	p.Reset(text)
	var table []string             // the one that is open
	length := make(map[string]int) // of arrays of tables
	for p.NextExpression() {
		switch n := p.Expression(); n.Kind {
		case unstable.KeyValue:
			d.indexKeyValue(&p, table, n)
		case unstable.Table:
			table = d.indexHeader(&p, n, length)
		case unstable.ArrayTable:
			table = d.indexHeader(&p, n, length)
			element := strconv.Itoa(length[join(table)])
			length[join(table)]++
			table = append(table, element)
			d.keys[join(table)] = header(&p, n)
		}
	}
}

// indexHeader notes the keys of a [table], and returns its path. A key that
// is an array of tables means the last of them, but for the key that ends an
// [[array]].
func (d *document) indexHeader(p *unstable.Parser, n *unstable.Node, length map[string]int) []string {
	var path []string
	for keys := n.Key(); keys.Next(); {
		path = append(path, string(keys.Node().Data))
		note(d.keys, path, p, keys.Node())
		last := keys.IsLast() && n.Kind == unstable.ArrayTable
		if n := length[join(path)]; n > 0 && !last {
			path = append(path, strconv.Itoa(n-1))
		}
	}
	return path
}

func (d *document) indexKeyValue(p *unstable.Parser, table []string, n *unstable.Node) {
	path := slices.Clone(table)
	for keys := n.Key(); keys.Next(); {
		path = append(path, string(keys.Node().Data))
		note(d.keys, path, p, keys.Node())
	}
	d.indexValue(p, path, n.Value())
}

// indexValue notes where a value is, and what is in it. An array has no place
// of its own in the parser, and keeps that of its key.
func (d *document) indexValue(p *unstable.Parser, path []string, n *unstable.Node) {
	if n.Raw.Length > 0 {
		note(d.values, path, p, n)
	}
	children := n.Children()
	for i := 0; children.Next(); i++ {
		switch n.Kind {
		case unstable.Array:
			element := append(slices.Clone(path), strconv.Itoa(i))
			note(d.keys, element, p, children.Node())
			d.indexValue(p, element, children.Node())
		case unstable.InlineTable:
			d.indexKeyValue(p, path, children.Node())
		}
	}
}

// header is where the last key of a [table] is.
func header(p *unstable.Parser, n *unstable.Node) place {
	var last *unstable.Node
	for keys := n.Key(); keys.Next(); {
		last = keys.Node()
	}
	return startOf(p, last)
}

// note keeps the first place of a path: where a table is opened again is not
// where it is looked for.
func note(places map[string]place, path []string, p *unstable.Parser, n *unstable.Node) {
	key := join(path)
	if _, known := places[key]; !known && n.Raw.Length > 0 {
		places[key] = startOf(p, n)
	}
}

func startOf(p *unstable.Parser, n *unstable.Node) place {
	at := p.Shape(n.Raw).Start
	return place{at.Line, at.Column}
}

// key is the place of the key that names a value, or of what the value is in.
func (v value) key() place {
	for n := len(v.path); n > 0; n-- {
		if at, ok := v.doc.keys[join(v.path[:n])]; ok {
			return at
		}
	}
	return place{}
}

// at is the place of the value itself.
func (v value) at() place {
	if at, ok := v.doc.values[join(v.path)]; ok {
		return at
	}
	return v.key()
}

func (v value) child(key string, is any) value {
	return value{is, append(slices.Clone(v.path), key), v.doc}
}

// elements are what is in an array.
func (v value) elements() ([]value, bool) {
	list, ok := v.is.([]any)
	if !ok {
		return nil, false
	}
	values := make([]value, len(list))
	for i, is := range list {
		values[i] = v.child(strconv.Itoa(i), is)
	}
	return values, true
}

// members are what is in a table, in the order of their names.
func (v value) members() ([]value, bool) {
	table, ok := v.is.(map[string]any)
	if !ok {
		return nil, false
	}
	var values []value
	for _, key := range slices.Sorted(maps.Keys(table)) {
		values = append(values, v.child(key, table[key]))
	}
	return values, true
}

// name is the last key of the path.
func (v value) name() string { return v.path[len(v.path)-1] }

// label is what a value is called: its key, also for what is in an array.
func (v value) label() string {
	last := len(v.path) - 1
	for last > 0 && strings.Trim(v.path[last], "0123456789") == "" {
		last--
	}
	return v.path[last]
}

// kind is what a value is, for people.
func (v value) kind() string {
	switch v.is.(type) {
	case string:
		return "a string"
	case int64:
		return "a number"
	case float64:
		return "a number with a fraction"
	case bool:
		return "true or false"
	case []any:
		return "an array"
	case map[string]any:
		return "a table"
	case time.Time, toml.LocalDate, toml.LocalTime, toml.LocalDateTime:
		return "a date or time"
	}
	return fmt.Sprintf("a %T", v.is)
}
