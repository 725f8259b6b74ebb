package config

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/execlog/execlogd/httpd"
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
		return UsageError{Err: explainFlag(flags, args, err)}
	}
	return nil
}

// explainFlag returns an error of package flag with what would be right.
func explainFlag(flags *flag.FlagSet, args []string, err error) error {
	rest := flags.Args()
	_, value, _ := strings.Cut(args[max(len(args)-len(rest)-1, 0)], "=")
	if value == "" && len(rest) > 0 && !strings.HasPrefix(rest[0], "-") {
		value = rest[0]
	}

	if name, unknown := strings.CutPrefix(err.Error(), "flag provided but not defined: -"); unknown {
		return UnknownFlag{name, meantFlag(flags, name, value)}
	}
	if name, ok := strings.CutPrefix(err.Error(), "flag needs an argument: -"); ok {
		what, _ := flag.UnquoteUsage(flags.Lookup(name))
		return fmt.Errorf("-%s is the last word: write -%[1]s %s", name, strings.ToUpper(what))
	}
	if _, name, ok := strings.Cut(err.Error(), "invalid boolean value "+strconv.Quote(value)+" for -"); ok {
		name, _, _ = strings.Cut(name, ":")
		if right := booleans[strings.ToLower(value)]; right != "" {
			return fmt.Errorf("-%s is %q: write -%[1]s=%[3]s", name, value, right)
		}
		return fmt.Errorf("-%s is %q: want true or false", name, value)
	}
	return err
}

// defineKeys declares a flag for each key that has a help: with a dash for each
// underscore, and with the text of the value as in a file, decoded in the same way. A
// flag for a list is given once for each element. Mistakes go to the tables, since
// package flag would add the value and the name of the flag to an error.
func defineKeys(flags *flag.FlagSet, t *tables, keys []key) {
	for _, k := range keys {
		name := flagName(k.name)
		set := func(s string) error {
			k.decode(t, value{is: s, label: "-" + name, flag: true})
			return nil
		}

		if k.byDefault != nil {
			k.help += fmt.Sprintf(" (default %v)", k.byDefault)
		}
		if strings.Contains(k.help, "`") {
			flags.Func(name, k.help, set)
		} else if k.help != "" {
			flags.BoolFunc(name, k.help, set)
		}
	}
}

// Choices returns the words that the flag for a key takes; nil if it takes others.
func Choices(flag string) []string {
	if flag == "editor" {
		return httpd.Editors()
	}
	for _, k := range slices.Concat(new(Config).keys(), new(Config).serverKeys(), new(Route).keys()) {
		if flagName(k.name) != flag {
			continue
		}
		// The decoder has the words, and names them when it gets none of them.
		t := &tables{Report: new(Report)}
		k.decode(t, value{is: "", flag: true})
		for _, wrong := range t.Mistakes() {
			if _, words, ok := strings.Cut(wrong.Text, "want "+oneOfWords); ok {
				return strings.Split(words, ", ")
			}
		}
	}
	return nil
}

func flagName(key string) string { return strings.ReplaceAll(key, "_", "-") }

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
