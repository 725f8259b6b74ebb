package config

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode"

	"golang.org/x/sys/unix"

	"github.com/execlog/execlogd/inotify"
	"github.com/execlog/execlogd/job"
	"github.com/execlog/execlogd/router"
)

// text returns a string that is not empty. Otherwise it reports what is wanted.
func (t *tables) text(v value, want string) (s string, ok bool) {
	s, isString := v.is.(string)
	switch {
	case !isString:
		t.wrongType(v, want)
	case s == "":
		t.Add(v.at, "%s is empty: want %s", v.label, want)
	case strings.Contains(s, "\x00"):
		t.Add(v.at, "%s has a NUL, which no name or word can have: take it out", v.label)
	default:
		return s, true
	}
	return "", false
}

// elements returns the elements of an array, or a string in place of one.
func (t *tables) elements(v value, want string) []value {
	switch is := v.is.(type) {
	case string:
		return []value{v}
	case []any:
		var all []value
		for i, e := range is {
			all = append(all, value{e, v.label, v.at.Element(i)})
		}
		return all
	}
	t.wrongType(v, want)
	return nil
}

// parsed decodes a string by a function whose error follows the name of the key.
func parsed[T any](to *T, want string, parse func(string) (T, error)) decoder {
	return func(t *tables, v value) {
		s, ok := t.text(v, want)
		if !ok {
			return
		}

		is, err := parse(s)
		if err != nil {
			t.Add(v.at, "%s %v", v.label, err)
			return
		}
		*to = is
	}
}

func text(to *string, want string) decoder {
	return parsed(to, want, func(s string) (string, error) { return s, nil })
}

// list decodes an array of strings, or one string in its place. For each it calls
// add, whose error is reported as it is.
func list(want string, add func(label, s string) error) decoder {
	return func(t *tables, v value) {
		for _, e := range t.elements(v, want) {
			s, ok := t.text(e, want)
			if !ok {
				continue
			}

			if err := add(e.label, s); err != nil {
				t.Add(e.at, "%v", err)
			}
		}
	}
}

// names decodes a list of names of routes.
func names(to *[]string) decoder {
	return list(`names of routes, as in ["build"]`, func(_, s string) error {
		*to = append(*to, s)
		return nil
	})
}

// access decodes a list of hosts or origins that may use the server.
func access(to *[]string, want string, check func(string) error) decoder {
	return list(want, func(_, s string) error {
		err := check(s)
		if err == nil {
			*to = append(*to, s)
		}
		return err
	})
}

// patterns decodes a list of patterns. An empty one drops those before it.
func patterns(to Patterns) decoder {
	const want = `patterns, as in ["*.md", "templates/**"]`

	add := list(want, func(label, s string) error {
		if err := router.CheckPattern(s); err != nil {
			return fmt.Errorf("%s: pattern %q: %w", label, s, err)
		}
		to.Add(s)
		return nil
	})

	return func(t *tables, v value) {
		for _, e := range t.elements(v, want) {
			if e.is == "" {
				to.Add("")
			} else {
				add(t, e)
			}
		}
	}
}

// allEvents are the events that a route may ask for.
const allEvents = inotify.Changes | inotify.Access | inotify.Open | inotify.CloseNoWrite

// events decodes a list of names of events, as inotify(7) has them.
func events(to *inotify.Mask) decoder {
	known := strings.Split(allEvents.String(), "|")
	all := strings.Join(known, ", ")
	return list("events, of "+all, func(_, s string) error {
		mask, err := inotify.ParseMask(s)
		if err == nil && mask&^allEvents == 0 {
			*to |= mask
			return nil
		}

		if meant := Nearest(s, known); meant != "" {
			return fmt.Errorf("unknown event %q: is %s meant?", s, meant)
		}
		return fmt.Errorf("unknown event %q: want one of %s", s, all)
	})
}

// directory decodes the path of a directory, and makes it absolute.
func directory(to *string) decoder { return path(to, `a directory, as in "site"`) }

// path decodes a path, and makes it absolute.
func path(to *string, want string) decoder {
	return func(t *tables, v value) {
		s, ok := t.text(v, want)
		if !ok {
			return
		}
		if !filepath.IsAbs(s) {
			s = filepath.Join(t.dir, s)
		}
		*to = filepath.Clean(s)
	}
}

// routeName decodes a name that is one word in a log, and in a field of the
// journal.
func routeName(to *string) decoder {
	isOdd := func(c rune) bool { return unicode.IsSpace(c) || !unicode.IsPrint(c) || c == '"' || c == '=' }
	return parsed(to, `a name, as in "build"`, func(s string) (string, error) {
		switch {
		case strings.ContainsFunc(s, isOdd):
			return "", fmt.Errorf(`is %q: want one word without ", = and what does not print`, s)
		case s == ReloadRoute || s == NamesRoute:
			return "", fmt.Errorf("is %q, which is the daemon's own route: choose another", s)
		}
		return s, nil
	})
}

// argv decodes a program and its arguments, which may be empty.
func argv(to *[]string) decoder {
	const want = `a list of words, as in ["go", "test", "./..."]`
	return func(t *tables, v value) {
		if line, ok := v.is.(string); ok {
			t.Add(v.at, "%s is a string: want %s; a line for the shell is shell = %q", v.label, want, line)
			return
		}
		words := t.elements(v, want)
		if is, ok := v.is.([]any); ok && len(is) == 0 {
			t.Add(v.at, "%s has no program: want %s", v.label, want)
		}

		var all []string
		for i, w := range words {
			s, ok := "", w.is == "" && i > 0
			if !ok {
				s, ok = t.text(w, "a word in quotes")
			}
			if !ok {
				return
			}
			all = append(all, s)
		}
		*to = all
	}
}

// followup decodes a command that follows a run: a list of words, or a line for the
// shell.
func followup(to *job.Command) decoder {
	return func(t *tables, v value) {
		if _, ok := v.is.(string); ok {
			text(&to.Shell, "a line for the shell")(t, v)
			return
		}
		argv(&to.Argv)(t, v)
	}
}

// leave decodes which processes may be left running: none, all, or some by name.
func leave(to *[]string) decoder {
	byName := list(`true, false, or names of processes, as in ["java", "sccache"]`, func(label, s string) error {
		if err := job.CheckLeave(s); err != nil {
			return fmt.Errorf("%s: %w", label, err)
		}
		*to = append(*to, s)
		return nil
	})

	return func(t *tables, v value) {
		switch v.is {
		case true, "true":
			*to = append(*to, "*")
		case false, "false":
			*to = nil
		default:
			byName(t, v)
		}
	}
}

// environment decodes a table of variables.
func environment(to *[]string) decoder {
	return func(t *tables, v value) {
		members, ok := v.is.(map[string]any)
		if !ok {
			t.wrongType(v, `a table of strings, as in { GOOS = "linux" }`)
		}

		for _, name := range slices.Sorted(maps.Keys(members)) {
			m := value{members[name], inotify.Quote(name), v.at.Key(name)}
			s, ok := m.is.(string)
			switch {
			case name == "" || strings.ContainsAny(name, "=\x00"):
				t.Add(m.at.key(), "%q is no name of a variable: want one without = and NUL", name)
			case strings.HasPrefix(name, "EXECLOGD_"):
				t.Add(m.at.key(), "%s: variables of this name are set for every job: choose another", name)
			case !ok:
				t.wrongType(m, "a string, in quotes")
			case strings.Contains(s, "\x00"):
				t.Add(m.at, "%s has a NUL, which no variable can have: take it out", m.label)
			default:
				*to = append(*to, name+"="+s)
			}
		}
	}
}

func number(to *int, least, most int) decoder {
	want := fmt.Sprintf("a number from %d to %d", least, most)
	return func(t *tables, v value) {
		n, ok := v.is.(int64)
		switch {
		case !ok:
			t.wrongType(v, want)
		case n < int64(least) || n > int64(most):
			t.Add(v.at, "%s is %d: want %s", v.label, n, want)
		default:
			*to = int(n)
		}
	}
}

func boolean(to *bool) decoder {
	return func(t *tables, v value) {
		is, ok := v.is.(bool)
		if !ok {
			t.wrongType(v, "true or false, without quotes")
			return
		}
		*to = is
	}
}

// inverse decodes a boolean whose opposite is stored.
func inverse(to *bool) decoder {
	return func(t *tables, v value) {
		is := !*to
		boolean(&is)(t, v)
		*to = !is
	}
}

const wantDuration = `a time with its unit, as in "100ms", "2s" or "1m30s"`

func duration(to *time.Duration) decoder {
	return parsed(to, wantDuration, func(s string) (time.Duration, error) { return parseDuration(s, wantDuration) })
}

func parseDuration(s, want string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	switch {
	case err != nil:
		return 0, fmt.Errorf("is %q: want %s", s, want)
	case d < 0:
		return 0, fmt.Errorf("is %v: a time is not negative", d)
	}
	return d, nil
}

// pause decodes a duration for package router or job, where 0 would be the default.
func pause(to *time.Duration) decoder {
	return parsed(to, wantDuration, func(s string) (time.Duration, error) {
		d, err := parseDuration(s, wantDuration)
		return orNone(d), err
	})
}

// hold decodes how long a batch waits for files that are being written.
func hold(to *time.Duration) decoder {
	const want = `a time with its unit, as in "30s", or "until closed"`
	return parsed(to, want, func(s string) (time.Duration, error) {
		if s == "until closed" {
			return router.UntilClosed, nil
		}
		d, err := parseDuration(s, want)
		return orNone(d), err
	})
}

// A choice is a word that a key may have as its value, and what the word is.
type choice[T any] struct {
	word string
	is   T
}

// oneOf decodes one of several words.
func oneOf[T any](to *T, choices ...choice[T]) decoder {
	var words []string
	for _, c := range choices {
		words = append(words, c.word)
	}
	want := "one of " + strings.Join(words, ", ")

	return parsed(to, want, func(s string) (is T, err error) {
		i := slices.Index(words, s)
		if i < 0 {
			return is, fmt.Errorf("is %q: want %s", s, want)
		}
		return choices[i].is, nil
	})
}

// signal decodes a signal, as kill -l names it, with or without SIG.
func signal(to *syscall.Signal) decoder {
	const want = `a signal, as in "SIGINT"`
	return parsed(to, want, func(s string) (syscall.Signal, error) {
		name := strings.ToUpper(s)
		if !strings.HasPrefix(name, "SIG") {
			name = "SIG" + name
		}

		switch sig := unix.SignalNum(name); sig {
		case 0:
			return 0, fmt.Errorf("is %q: want %s; kill -l lists them", s, want)
		case unix.SIGSTOP, unix.SIGCONT:
			return 0, fmt.Errorf("is %q, which ends nothing and tells nothing: want %s", s, want)
		default:
			return sig, nil
		}
	})
}

// readiness decodes how a service says that it is ready.
func readiness(to *job.Service) decoder {
	const want = `"notify", or the address that it listens on, as in "127.0.0.1:9000"`
	return parsed(&to.Address, want, func(s string) (string, error) {
		switch {
		case s == "notify":
			to.Notify = true
			return "", nil
		case !isAddress(s):
			return "", fmt.Errorf("is %q: want %s", s, want)
		}
		return s, nil
	})
}

// isAddress reports whether s is a host, which may be missing, and a port.
func isAddress(s string) bool {
	_, port, err := net.SplitHostPort(s)
	n, notNumber := strconv.Atoi(port)
	return errors.Join(err, notNumber) == nil && 0 < n && n <= 65535
}
