package main

import (
	"flag"
	"fmt"
	"strconv"
	"strings"
)

// A keyFlag is a key of a table as a flag: with a dash for each underscore, and
// with the value as a file would have it, read by the same setter. What is wrong
// with a value becomes a mistake of the reader.
//
// The word in backquotes in the key's help says what the flag takes: `KEY=VALUE`
// is an entry of a table, `number` a number, no word at all is true or false, and
// any other word a string. A key that takes a list is given once for each element.
type keyFlag struct {
	r   *reader
	key key
}

// defineKeys declares a flag for each key that is not for files alone.
func defineKeys(flags *flag.FlagSet, r *reader, keys []key) {
	for _, k := range keys {
		if k.flag != "" {
			flags.Var(&keyFlag{r, k}, flagName(k.name), k.flag)
		}
	}
}

// flagName is the flag of a key.
func flagName(key string) string { return strings.ReplaceAll(key, "_", "-") }

// String is nothing: the help says what the default is.
func (f *keyFlag) String() string { return "" }

// takes is the word in backquotes; empty when there is none.
func (f *keyFlag) takes() string {
	_, rest, _ := strings.Cut(f.key.flag, "`")
	word, _, _ := strings.Cut(rest, "`")
	return word
}

// IsBoolFlag says to package flag that the flag may stand without a value.
func (f *keyFlag) IsBoolFlag() bool { return f.takes() == "" }

// Set reads a value. The error is always nil: package flag would say the value
// and the name of the flag once more.
func (f *keyFlag) Set(s string) error {
	name := "-" + flagName(f.key.name)
	is, want := any(s), ""
	var err error
	switch f.takes() {
	case "":
		is, err = strconv.ParseBool(s)
		want = "true or false"
	case "number":
		is, err = strconv.ParseInt(s, 10, 64)
		want = "a number"
	case "KEY=VALUE":
		variable, text, ok := strings.Cut(s, "=")
		is = &table{members: map[string]value{variable: {is: text, called: variable}}}
		if !ok {
			err = strconv.ErrSyntax
		}
		want = "KEY=VALUE"
	}
	if err != nil {
		f.r.wrong(place{}, "%s is %q: want %s", name, s, want)
		return nil
	}
	f.key.set(f.r, value{is: is, called: name})
	return nil
}

// byDefault is the end of a help that names the default.
func byDefault(is any) string { return fmt.Sprintf(" (default %v)", is) }
