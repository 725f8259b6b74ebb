package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// A value is a value of a file as go-toml decodes it, or of a flag.
type value struct {
	is    any
	label string // its key or flag, as messages call it
	at    KeyPath
}

// kind names the type of a value in messages.
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
	}
	return "a date or time" // TOML has no other types
}

// A key is a key that a table may have.
type key struct {
	name   string
	decode decoder

	// A key with a help is a flag as well. The help has what the flag takes in
	// backquotes (see keyFlag); the default, if there is one to show, follows it.
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
	Report
	dir string // that relative paths are relative to
}

// wrongType reports that a value is of a type that its key does not take.
func (t *tables) wrongType(v value, want string) {
	t.Add(v.at, "%s is %s: want %s", v.label, v.kind(), want)
}

// table decodes the members of a table, in the order of the keys.
func (t *tables) table(v value, keys []key) {
	members, ok := v.is.(map[string]any)
	if !ok {
		t.Add(v.at.key(), "%s is %s: write it as a table, [%[1]s]", v.label, v.kind())
		return
	}

	known := make(map[string]bool)
	for _, k := range keys {
		known[k.name] = true
		if is, ok := members[k.name]; ok {
			k.decode(t, value{is, k.name, v.at.Key(k.name)})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(members)) {
		if !known[name] && !t.full() {
			t.Add(v.at.Key(name).key(), "unknown key %q: %s", name, meantKey(name, keys))
		}
	}
}

// meantKey says what an unknown key may have been meant to be, in its table or in
// another.
func meantKey(name string, keys []key) string {
	here := keyNames(keys)
	if meant := Nearest(name, here); meant != "" {
		return fmt.Sprintf("is %s meant?", meant)
	}

	for _, table := range []struct {
		name string
		keys []key
	}{
		{"[server]", new(Config).serverKeys()},
		{"a [[route]]", new(Route).keys()},
		{"the top of the file", new(Config).keys()},
	} {
		if meant := Nearest(name, keyNames(table.keys)); meant != "" {
			return fmt.Sprintf("%s belongs to %s; here is %s", meant, table.name, strings.Join(here, ", "))
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
