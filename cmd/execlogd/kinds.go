package main

import (
	"fmt"
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

// A setter reads a value of one kind, or says what it should be.
type setter func(*reader, value)

// What becomes of a string that was read.

func into(s *string) func(placed)      { return func(p placed) { *s = p.is } }
func keep(s *placed) func(placed)      { return func(p placed) { *s = p } }
func also(list *[]placed) func(placed) { return func(p placed) { *list = append(*list, p) } }

// text is a string that says something.
func (r *reader) text(v value, want string) (placed, bool) {
	s, ok := v.is.(string)
	switch {
	case !ok:
		r.mistaken(v, want)
	case s == "":
		r.wrong(v.at(), "%s is empty: want %s", v.label(), want)
	case strings.Contains(s, "\x00"):
		r.wrong(v.at(), "%s has a NUL, which no name or word can have: take it out", v.label())
	default:
		return placed{s, v.at()}, true
	}
	return placed{}, false
}

// list is the elements of an array, or one string in its place.
func (r *reader) list(v value, want string) []value {
	list, ok := v.elements()
	if _, single := v.is.(string); single {
		return []value{v}
	}
	if !ok {
		r.mistaken(v, want)
	}
	return list
}

func text(set func(placed), want string) setter {
	return func(r *reader, v value) {
		if p, ok := r.text(v, want); ok {
			set(p)
		}
	}
}

func texts(set func(placed), want string) setter {
	return func(r *reader, v value) {
		for _, e := range r.list(v, want) {
			text(set, want)(r, e)
		}
	}
}

// strangers reads who else may talk to the server.
func strangers(list *[]string, want string, check func(string) error) setter {
	return func(r *reader, v value) {
		for _, e := range r.list(v, want) {
			if p, ok := r.text(e, want); !ok {
				continue
			} else if err := check(p.is); err != nil {
				r.wrong(p.at, "%v", err)
			} else {
				*list = append(*list, p.is)
			}
		}
	}
}

// globs reads patterns. An empty one takes those before it away.
func globs(list *patterns) setter {
	const want = `patterns, as in ["*.md", "templates/**"]`
	return func(r *reader, v value) {
		for _, e := range r.list(v, want) {
			if e.is == "" {
				list.add(placed{})
			} else if p, ok := r.text(e, want); !ok {
				continue
			} else if err := router.CheckPattern(p.is); err != nil {
				r.wrong(p.at, "%s: pattern %q: %v", e.label(), p.is, err)
			} else {
				list.add(p)
			}
		}
	}
}

// askable is every event that a route may ask for.
const askable = inotify.Changes | inotify.Access | inotify.Open | inotify.CloseNoWrite

// events reads names of inotify(7).
func events(m *inotify.Mask) setter {
	known := strings.Split(askable.String(), "|")
	return func(r *reader, v value) {
		want := "events, of " + strings.Join(known, ", ")
		for _, e := range r.list(v, want) {
			p, ok := r.text(e, want)
			if !ok {
				continue
			}
			mask, err := inotify.ParseMask(p.is)
			if err == nil && mask&^askable == 0 {
				*m |= mask
			} else if meant := nearest(p.is, known); meant != "" {
				r.wrong(p.at, "unknown event %q: is %s meant?", p.is, meant)
			} else {
				r.wrong(p.at, "unknown event %q: want one of %s", p.is, strings.Join(known, ", "))
			}
		}
	}
}

// directory reads a path, and makes it absolute.
func directory(set func(placed)) setter { return path(set, `a directory, as in "site"`) }

func path(set func(placed), want string) setter {
	return func(r *reader, v value) {
		p, ok := r.text(v, want)
		if !ok {
			return
		}
		if !filepath.IsAbs(p.is) {
			p.is = filepath.Join(r.dir, p.is)
		}
		set(placed{filepath.Clean(p.is), p.at})
	}
}

// routeName reads a name that fits in one word of a log, and in a field of
// the journal.
func routeName(name *placed) setter {
	return func(r *reader, v value) {
		p, ok := r.text(v, `a name, as in "build"`)
		if !ok {
			return
		}
		odd := func(c rune) bool { return unicode.IsSpace(c) || !unicode.IsPrint(c) || c == '"' || c == '=' }
		switch {
		case strings.ContainsFunc(p.is, odd):
			r.wrong(p.at, `name is %q: want one word without ", = and what does not print`, p.is)
		case slices.Contains(reserved, p.is):
			r.wrong(p.at, "name is %q, which is the daemon's own route: choose another", p.is)
		default:
			*name = p
		}
	}
}

// argv reads a program and its arguments, which may be empty.
func argv(into *[]placed) setter {
	const want = `a list of words, as in ["go", "test", "./..."]`
	return func(r *reader, v value) {
		list, ok := v.elements()
		switch _, line := v.is.(string); {
		case line:
			r.wrong(v.at(), "run is a string: want %s; a line for the shell is shell = %q", want, v.is)
		case !ok:
			r.mistaken(v, want)
		case len(list) == 0:
			r.wrong(v.at(), "%s has no program: want %s", v.label(), want)
		}
		for i, w := range list {
			p, ok := placed{at: w.at()}, w.is == "" && i > 0
			if !ok {
				p, ok = r.text(w, "a word in quotes")
			}
			if !ok {
				*into = nil
				return
			}
			*into = append(*into, p)
		}
	}
}

// leave reads what may be left behind: nothing, everything, or processes by name.
func leave(names *[]placed) setter {
	const want = `true, false, or names of processes, as in ["java", "sccache"]`
	return func(r *reader, v value) {
		switch v.is {
		case true, "true":
			*names = append(*names, placed{"*", v.at()})
			return
		case false, "false":
			*names = nil
			return
		}
		for _, e := range r.list(v, want) {
			if p, ok := r.text(e, want); !ok {
				continue
			} else if err := job.CheckLeave(p.is); err != nil {
				r.wrong(p.at, "%s: %v", e.label(), err)
			} else {
				*names = append(*names, p)
			}
		}
	}
}

// environment reads a table of variables.
func environment(env *[]string) setter {
	const want = `a table of strings, as in { GOOS = "linux" }`
	return func(r *reader, v value) {
		members, ok := v.members()
		if !ok {
			r.mistaken(v, want)
		}
		for _, m := range members {
			s, ok := m.is.(string)
			switch {
			case m.name() == "" || strings.ContainsAny(m.name(), "=\x00"):
				r.wrong(m.key(), "%q is no name of a variable: want one without = and NUL", m.name())
			case strings.HasPrefix(m.name(), "EXECLOGD_"):
				r.wrong(m.key(), "%s: variables of this name are set for every job: choose another", m.name())
			case !ok:
				r.mistaken(m, "a string, in quotes")
			case strings.Contains(s, "\x00"):
				r.wrong(m.at(), "%s has a NUL, which no variable can have: take it out", m.label())
			default:
				*env = append(*env, m.name()+"="+s)
			}
		}
	}
}

func number(n *int, from, to int) setter {
	return func(r *reader, v value) {
		i, ok := v.is.(int64)
		switch {
		case !ok:
			r.mistaken(v, fmt.Sprintf("a number from %d to %d", from, to))
		case i < int64(from) || i > int64(to):
			r.wrong(v.at(), "%s is %d: want a number from %d to %d", v.label(), i, from, to)
		default:
			*n = int(i)
		}
	}
}

func boolean(b *bool) setter {
	return func(r *reader, v value) {
		if is, ok := v.is.(bool); ok {
			*b = is
		} else {
			r.mistaken(v, "true or false, without quotes")
		}
	}
}

const aTime = `a time with its unit, as in "100ms", "2s" or "1m30s"`

func duration(d *time.Duration) setter {
	return func(r *reader, v value) {
		p, ok := r.text(v, aTime)
		if !ok {
			return
		}
		switch is, err := time.ParseDuration(p.is); {
		case err != nil:
			r.wrong(p.at, "%s is %q: want %s", v.label(), p.is, aTime)
		case is < 0:
			r.wrong(p.at, "%s is %v: a time is not negative", v.label(), is)
		default:
			*d = is
		}
	}
}

// holding reads how long files that are being written are waited for.
func holding(d *time.Duration) setter {
	const untilClosed = "until closed"
	const want = `a time with its unit, as in "30s", or "` + untilClosed + `"`
	return func(r *reader, v value) {
		p, ok := r.text(v, want)
		if !ok {
			return
		}
		is, err := time.ParseDuration(p.is)
		switch {
		case p.is == untilClosed:
			*d = router.UntilClosed
		case err != nil:
			r.wrong(p.at, "%s is %q: want %s", v.label(), p.is, want)
		case is < 0:
			r.wrong(p.at, "%s is %v: a time is not negative", v.label(), is)
		default:
			*d = orNone(is)
		}
	}
}

func oneOf(s *string, choices ...string) setter {
	return func(r *reader, v value) {
		want := "one of " + strings.Join(choices, ", ")
		if p, ok := r.text(v, want); !ok {
			return
		} else if !slices.Contains(choices, p.is) {
			r.wrong(p.at, "%s is %q: want %s", v.label(), p.is, want)
		} else {
			*s = p.is
		}
	}
}

// isAddress says whether s is a host, which may be missing, and a port.
func isAddress(s string) bool {
	_, port, err := net.SplitHostPort(s)
	n, notNumber := strconv.Atoi(port)
	return err == nil && notNumber == nil && 0 < n && n <= 65535
}

// signalName reads a signal, as kill -l names it, with or without SIG.
func signalName(set func(syscall.Signal, place)) setter {
	const want = `a signal, as in "SIGINT"`
	return func(r *reader, v value) {
		p, ok := r.text(v, want)
		if !ok {
			return
		}
		name := strings.ToUpper(p.is)
		if !strings.HasPrefix(name, "SIG") {
			name = "SIG" + name
		}
		s := unix.SignalNum(name)
		switch {
		case s == 0:
			r.wrong(p.at, "%s is %q: want %s; kill -l lists them", v.label(), p.is, want)
		case s == syscall.SIGSTOP || s == syscall.SIGCONT:
			r.wrong(p.at, "%s is %q, which ends nothing and tells nothing: want %s", v.label(), p.is, want)
		default:
			set(s, p.at)
		}
	}
}

// readiness reads how one knows that a service is ready.
func readiness(s *string) setter {
	const want = `"notify", or the address that it listens on, as in "127.0.0.1:9000"`
	return func(r *reader, v value) {
		p, ok := r.text(v, want)
		if !ok {
			return
		}
		if p.is == "notify" || isAddress(p.is) {
			*s = p.is
		} else {
			r.wrong(p.at, "%s is %q: want %s", v.label(), p.is, want)
		}
	}
}

// nearest is the word that was probably meant by a wrong one; empty when none
// is near.
func nearest(wrong string, words []string) string {
	plain := strings.NewReplacer("-", "_").Replace(strings.ToLower(wrong))
	best, least := "", 1+min(2, len(plain)/3) // so many slips may be in it
	for _, w := range words {
		lower := strings.ToLower(w)
		if longer := len(lower) - len(plain); longer >= least || -longer >= least {
			continue // it takes as many slips
		}
		if d := distance(plain, lower); d < least {
			best, least = w, d
		}
	}
	return best
}

// distance counts the letters to insert, drop, replace or swap with their
// neighbour that make one word of the other.
func distance(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before, last, row = last, row, before
		row[0] = i + 1
		for j := range len(b) {
			d := last[j]
			if a[i] != b[j] {
				d = 1 + min(d, last[j+1], row[j])
			}
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				d = min(d, 1+before[j-1])
			}
			row[j+1] = d
		}
	}
	return row[len(b)]
}
