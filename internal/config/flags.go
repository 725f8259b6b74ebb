package config

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// A UsageError is a command line that is wrong.
type UsageError struct {
	Err     error
	Command string // whose flags are meant, as in "run"; empty for the daemon
}

func (e UsageError) Error() string {
	command := "execlogd"
	if e.Command != "" {
		command += " " + e.Command
	}
	return fmt.Sprintf("%v (%s -help lists the flags)", e.Err, command)
}

func (e UsageError) Unwrap() error { return e.Err }

// Usagef returns a UsageError.
func Usagef(format string, args ...any) error {
	return UsageError{Err: fmt.Errorf(format, args...)}
}

// A HelpError is the error of -help: the text to print.
type HelpError string

func (e HelpError) Error() string { return string(e) }

// ErrVersion is the error of -version.
var ErrVersion = errors.New("the version was asked for")

// ParseFlags parses flags. Its error is a HelpError, with the usage, or a UsageError.
func ParseFlags(flags *flag.FlagSet, usage string, args []string) error {
	flags.SetOutput(io.Discard) // main prints the error

	err := flags.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		var b strings.Builder
		flags.SetOutput(&b)
		flags.PrintDefaults()
		return HelpError(usage + "\nFlags:\n" + b.String())
	case err != nil:
		return UsageError{Err: err}
	}
	return nil
}

// A keyFlag is a key of a table as a flag: with a dash for each underscore, and
// with a value as in a file, decoded in the same way. Mistakes go to the tables.
//
// The word in backquotes in the help of the key says what the flag takes: `KEY=VALUE`
// is a member of a table, `number` and `port` are numbers, any other word is a string,
// and no word is true or false. A flag for a list is given once for each element.
type keyFlag struct {
	tables *tables
	key    key
}

// defineKeys declares a flag for each key that has a help.
func defineKeys(flags *flag.FlagSet, t *tables, keys []key) {
	for _, k := range keys {
		if k.byDefault != nil {
			k.help += fmt.Sprintf(" (default %v)", k.byDefault)
		}
		if k.help != "" {
			flags.Var(&keyFlag{t, k}, flagName(k.name), k.help)
		}
	}
}

func flagName(key string) string { return strings.ReplaceAll(key, "_", "-") }

// String is empty: the help says what the default is.
func (f *keyFlag) String() string { return "" }

// takes is the word in backquotes; empty if there is none.
func (f *keyFlag) takes() string {
	_, rest, _ := strings.Cut(f.key.help, "`")
	word, _, _ := strings.Cut(rest, "`")
	return word
}

// IsBoolFlag tells package flag that the flag may be without a value.
func (f *keyFlag) IsBoolFlag() bool { return f.takes() == "" }

// Set decodes a value. Its error is always nil, since package flag would add the
// value and the name of the flag to it.
func (f *keyFlag) Set(s string) error {
	var (
		is   any
		err  error
		want string
	)
	switch f.takes() {
	case "":
		want = "true or false"
		is, err = strconv.ParseBool(s)
	case "number", "port":
		want = "a number"
		is, err = strconv.ParseInt(s, 10, 64)
	case "KEY=VALUE":
		want = "KEY=VALUE"
		variable, text, ok := strings.Cut(s, "=")
		is = map[string]any{variable: text}
		if !ok {
			err = strconv.ErrSyntax
		}
	default:
		is = s
	}

	name := "-" + flagName(f.key.name)
	if err != nil {
		f.tables.Add(KeyPath{}, "%s is %q: want %s", name, s, want)
		return nil
	}
	f.key.decode(f.tables, value{is: is, label: name})
	return nil
}

// Patterns is a list of patterns that an empty pattern takes away, with those of
// what is hidden by default.
type Patterns struct {
	Hidden *[]string // nil for none
	List   *[]string
}

// Add adds a pattern.
func (p Patterns) Add(pattern string) {
	if pattern != "" {
		*p.List = append(*p.List, pattern)
		return
	}
	*p.List = nil
	if p.Hidden != nil {
		*p.Hidden = []string{} // nil would be the router's default
	}
}
