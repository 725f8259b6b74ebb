package main

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sort"
	"time"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"

	"github.com/execlog/execlogd/inotify"
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

// said is the mistake, without the file if it is a flag's.
func (m mistake) said() string {
	if m.at == (place{}) {
		return m.text
	}
	return m.Error()
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

// A value is a value of a TOML file.
type value struct {
	is      any    // a string, int64, float64, bool, *array, *table, or a date or time of go-toml
	called  string // its key, or that of the array that it is in
	keyAt   place  // of the key, or of the element of an array
	valueAt place  // zero if the parser does not say
}

// A table has values by their keys.
type table struct {
	members  map[string]value
	explicit bool // it has a [header]
	dotted   bool // it was made by a dotted key, which others may add to
	inline   bool // nothing may be added
}

// An array has values in their order.
type array struct {
	elements []value
	tables   bool // each has a [[header]], and more may come
}

func newTable() *table { return &table{members: make(map[string]value)} }

// maxDepth bounds how deep tables and arrays are nested, dotted keys included.
// What is deeper is no configuration, and would be slow to look at.
const maxDepth = 32

// parseTOML reads a file, in time that is linear in its length: the parser of
// go-toml cuts it into keys and values, and what they make together is put
// together here, where each has its place.
func parseTOML(file string, text []byte) (value, mistakes) {
	d := &decoder{root: newTable(), newlines: []int{-1}}
	for i, c := range text {
		if c == '\n' {
			d.newlines = append(d.newlines, i)
		}
	}
	d.parser.Reset(text)
	if err := d.decode(); err != nil {
		m, ok := errors.AsType[mistake](err)
		if !ok {
			m.text = err.Error()
		}
		m.file = file
		return value{}, mistakes{m}
	}
	return value{is: d.root}, nil
}

// A decoder puts the values of a file together. Its errors are mistakes without
// the name of the file.
type decoder struct {
	parser   unstable.Parser
	newlines []int // where they are; the first is before the file
	root     *table
}

// place is where a byte is.
func (d *decoder) place(offset int) place {
	line := sort.SearchInts(d.newlines, offset)
	return place{line, offset - d.newlines[line-1]}
}

// placeOf is where a node begins, if the parser says.
func (d *decoder) placeOf(n *unstable.Node) place {
	if n.Raw.Length == 0 {
		return place{}
	}
	return d.place(int(n.Raw.Offset))
}

func wrongAt(at place, format string, args ...any) error {
	return mistake{at: at, text: fmt.Sprintf(format, args...)}
}

func (d *decoder) decode() error {
	open, depth := d.root, 0
	for d.parser.NextExpression() {
		var err error
		if n := d.parser.Expression(); n.Kind == unstable.KeyValue {
			err = d.keyValue(open, depth, n)
		} else {
			open, depth, err = d.header(n)
		}
		if err != nil {
			return err
		}
	}
	err := d.parser.Error()
	if e, ok := errors.AsType[*unstable.ParserError](err); ok {
		return wrongAt(d.place(int(d.parser.Range(e.Highlight).Offset)), "%s", e.Message)
	}
	return err
}

// header opens the table of a [header] or [[header]]. A key in it that is an array
// of tables means the last of them.
func (d *decoder) header(n *unstable.Node) (t *table, depth int, err error) {
	t = d.root
	for keys := n.Key(); ; {
		keys.Next()
		key, at := string(keys.Node().Data), d.placeOf(keys.Node())
		if depth++; depth > maxDepth {
			return nil, 0, tooDeep(key, at)
		}
		old, there := t.members[key]
		if keys.IsLast() {
			t, err = t.open(key, at, n.Kind == unstable.ArrayTable)
			return t, depth, err
		}
		if !there {
			old = value{is: newTable(), called: key, keyAt: at}
			t.members[key] = old
		}
		if a, ok := old.is.(*array); ok && a.tables {
			old = a.elements[len(a.elements)-1]
		}
		next, ok := old.is.(*table)
		if !ok || next.inline {
			return nil, 0, defined(key, at, old)
		}
		t = next
	}
}

// open is the table in t that a header names by its last key.
func (t *table) open(key string, at place, isArray bool) (*table, error) {
	old, there := t.members[key]
	opened := newTable()
	opened.explicit = true
	new := value{is: opened, called: key, keyAt: at}
	switch is := old.is.(type) {
	case *array:
		if isArray && is.tables {
			is.elements = append(is.elements, new)
			return opened, nil
		}
	case *table:
		if !isArray && !is.explicit && !is.dotted && !is.inline {
			is.explicit = true
			return is, nil
		}
	}
	if there {
		return nil, defined(key, at, old)
	}
	if isArray {
		new.is = &array{elements: []value{new}, tables: true}
	}
	t.members[key] = new
	return opened, nil
}

// keyValue adds a value to a table, at a depth of the file.
func (d *decoder) keyValue(t *table, depth int, n *unstable.Node) error {
	for keys := n.Key(); keys.Next(); {
		key, at := string(keys.Node().Data), d.placeOf(keys.Node())
		if depth++; depth > maxDepth {
			return tooDeep(key, at)
		}
		old, there := t.members[key]
		if keys.IsLast() {
			if there {
				return defined(key, at, old)
			}
			v, err := d.value(n.Value(), key, at, depth)
			if err != nil {
				return err
			}
			t.members[key] = v
			return nil
		}
		if !there {
			old = value{is: &table{members: make(map[string]value), dotted: true}, called: key, keyAt: at}
			t.members[key] = old
		}
		next, ok := old.is.(*table)
		if !ok || !next.dotted {
			return defined(key, at, old)
		}
		t = next
	}
	return nil
}

func (d *decoder) value(n *unstable.Node, key string, keyAt place, depth int) (v value, err error) {
	v = value{called: key, keyAt: keyAt, valueAt: d.placeOf(n)}
	switch n.Kind {
	case unstable.String:
		v.is = string(n.Data)
	case unstable.Bool:
		v.is = string(n.Data) == "true"
	case unstable.Array:
		v.is, err = d.array(n, v, depth)
	case unstable.InlineTable:
		t := newTable()
		for members := n.Children(); err == nil && members.Next(); {
			err = d.keyValue(t, depth, members.Node())
		}
		t.inline, v.is = true, t
	default: // of those there are few, so that go-toml may judge each as a file
		is := make(map[string]any)
		if toml.Unmarshal(append([]byte("value = "), n.Data...), &is) != nil {
			return v, wrongAt(cmp.Or(v.valueAt, keyAt), "%s is no number, date or time", n.Data)
		}
		v.is = is["value"]
	}
	return v, err
}

// array reads the array of which v is to be the value. An element whose place the
// parser does not say has that of the array.
func (d *decoder) array(n *unstable.Node, v value, depth int) (*array, error) {
	if depth++; depth > maxDepth {
		return nil, tooDeep(v.called, v.at())
	}
	a := new(array)
	for nodes := n.Children(); nodes.Next(); {
		element, err := d.value(nodes.Node(), v.called, cmp.Or(d.placeOf(nodes.Node()), v.keyAt), depth)
		if err != nil {
			return nil, err
		}
		a.elements = append(a.elements, element)
	}
	return a, nil
}

func tooDeep(key string, at place) error {
	return wrongAt(at, "%q is nested deeper than %d tables and arrays: put it higher up", key, maxDepth)
}

func defined(key string, at place, old value) error {
	return wrongAt(at, "key %q is already defined in line %d: keep one of them", key, old.keyAt.line)
}

// key is the place of the key that names a value.
func (v value) key() place { return v.keyAt }

// at is the place of the value itself, or of its key.
func (v value) at() place { return cmp.Or(v.valueAt, v.keyAt) }

// name is the key of a value, or of the array that it is in.
func (v value) name() string { return v.called }

// label is the name for people.
func (v value) label() string { return inotify.Quote(v.called) }

// elements are what is in an array.
func (v value) elements() ([]value, bool) {
	a, ok := v.is.(*array)
	if !ok {
		return nil, false
	}
	return a.elements, true
}

// members are what is in a table, in the order of their names.
func (v value) members() (values []value, ok bool) {
	t, ok := v.is.(*table)
	if !ok {
		return nil, false
	}
	for _, key := range slices.Sorted(maps.Keys(t.members)) {
		values = append(values, t.members[key])
	}
	return values, true
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
	case *array:
		return "an array"
	case *table:
		return "a table"
	case time.Time, toml.LocalDate, toml.LocalTime, toml.LocalDateTime:
		return "a date or time"
	}
	return fmt.Sprintf("a %T", v.is)
}
