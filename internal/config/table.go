package config

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// A value is a value of a file as go-toml decodes it, or the text of a flag.
type value struct {
	is    any
	label string // its key or flag, as messages call it
	at    KeyPath
	flag  bool
}

// elements returns the elements of an array.
func (v value) elements() (all []value, isArray bool) {
	array, isArray := v.is.([]any)
	for i, e := range array {
		all = append(all, value{is: e, label: v.label, at: v.at.Element(i)})
	}
	return all, isArray
}

// String is what a value is in messages.
func (v value) String() string {
	switch is := v.is.(type) {
	case string:
		if v.flag {
			return strconv.Quote(is)
		}
		return "a string"
	case int64, bool:
		return fmt.Sprint(is)
	case float64:
		return "a number with a fraction"
	case []any:
		return "an array"
	case map[string]any:
		return "a table"
	}
	return "a date or time" // TOML has no other types
}

// A key is a key that a table may have.
type key struct {
	name   string
	decode decoder

	// A key with a help is a flag as well. The help has a word for what the flag takes
	// in backquotes; without one the flag is true or false. The default, if there is one
	// to show, follows the help.
	byDefault any
	help      string
}

// A decoder stores the value of a key, or reports what the value should be.
type decoder func(*tables, value)

// Tables decodes tables by their keys.
//
// It takes what go-toml makes of a file without a type to decode into. With one,
// go-toml stops at the first value of a wrong type, also takes keys in upper case,
// and needs quadratic time for unknown keys. Here every mistake is reported, with
// what would be right.
type tables struct {
	*Report
	dir string // that relative paths are relative to
}

// unwanted reports a value that its key does not take.
func (t *tables) unwanted(v value, want string) {
	t.Add(v.at, "%s is %v: want %s", v.label, v, want)
}

// table decodes the members of a table, in the order of the keys.
func (t *tables) table(v value, keys []key) {
	members, ok := v.is.(map[string]any)
	if !ok {
		t.Add(v.at.key(), "%s is %v: write it as a table, [%[1]s]", v.label, v)
		return
	}

	known := make(map[string]bool)
	for _, k := range keys {
		known[k.name] = true
		if is, ok := members[k.name]; ok {
			k.decode(t, value{is: is, label: k.name, at: v.at.Key(k.name)})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(members)) {
		if !known[name] && !t.full() {
			t.Add(v.at.Key(name).key(), "unknown key %q: %s", name, meantKey(name, keys))
		}
	}
}

// otherKeys are keys of other programs, with what they may be here.
var otherKeys = map[string]string{
	"command": "run", "cmd": "run", "exec": "run", "script": "shell",
	"watch": "match", "files": "match", "paths": "match", "pattern": "match", "patterns": "match", "glob": "match", "include": "match",
	"exclude": "ignore", "output": "outputs", "depends": "after", "needs": "after",
	"directory": "root dir", "cwd": "dir", "path": "root", "address": "host", "bind": "host", "listen": "host",
}

// meantKey says what an unknown key may have been meant to be, in its table or in
// another.
func meantKey(name string, keys []key) string {
	here := keyNames(keys)
	for meant := range strings.FieldsSeq(otherKeys[strings.ToLower(name)]) {
		if slices.Contains(here, meant) {
			return fmt.Sprintf("is %s meant?", meant)
		}
	}
	if meant := Nearest(name, here); meant != "" {
		return fmt.Sprintf("is %s meant?", meant)
	}

	for _, other := range []struct {
		table string
		keys  []key
	}{{"[server]", new(Config).serverKeys()}, {"a [[site]]", new(Config).siteKeys()}, {"a [[route]]", new(Route).keys()}, {"the top of the file", new(Config).keys()}} {
		if meant := Nearest(name, keyNames(other.keys)); meant != "" {
			return fmt.Sprintf("%s belongs to %s; here is %s", meant, other.table, strings.Join(here, ", "))
		}
	}
	return "want one of " + strings.Join(here, ", ")
}

func keyNames(keys []key) (names []string) {
	for _, k := range keys {
		names = append(names, k.name)
	}
	return names
}
