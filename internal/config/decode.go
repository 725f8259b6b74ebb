package config

import (
	"cmp"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode"

	"golang.org/x/sys/unix"

	"github.com/execlog/execlogd/httpd"
	"github.com/execlog/execlogd/inotify"
	"github.com/execlog/execlogd/job"
	"github.com/execlog/execlogd/router"
)

// as returns a value of a file that is a T, or of a flag as parse reads it.
func as[T any](v value, parse func(string) (T, error)) (is T, ok bool) {
	if s, isString := v.is.(string); isString && v.flag {
		is, err := parse(s)
		return is, err == nil
	}
	is, ok = v.is.(T)
	return is, ok
}

// text returns a string, which may be empty only if that is said. Otherwise it reports
// what is wanted.
func (t *tables) text(v value, want string, mayBeEmpty bool) (s string, ok bool) {
	s, isString := v.is.(string)
	switch {
	case !isString:
		t.unwanted(v, want)
	case s == "" && !mayBeEmpty:
		t.Add(v.at, "%s is empty: want %s", v.label, want)
	case strings.Contains(s, "\x00"):
		t.Add(v.at, "%s has a NUL character: take it out", v.label)
	default:
		return s, true
	}
	return "", false
}

// parsed decodes a string by a function that reports whether it is what is wanted.
func parsed[T any](to *T, want string, parse func(string) (T, bool)) decoder {
	return func(t *tables, v value) {
		s, ok := t.text(v, want, false)
		if !ok {
			return
		}

		is, ok := parse(s)
		if !ok {
			t.Add(v.at, "%s is %q: want %s", v.label, s, want)
			return
		}
		*to = is
	}
}

func text(to *string, want string) decoder {
	return parsed(to, want, func(s string) (string, bool) { return s, true })
}

// path decodes a path, and makes it absolute.
func path(to *string, want string) decoder {
	return func(t *tables, v value) {
		s, ok := t.text(v, want, false)
		if !ok {
			return
		}
		if home, rest := os.Getenv("HOME"), strings.TrimPrefix(s, "~/"); rest != s && home != "" && !IsDir(filepath.Join(t.dir, "~")) {
			t.Add(v.at, "%s is %q, and only a shell knows what ~ is, at the beginning of a word: write %s", v.label, s, filepath.Join(home, rest))
			return
		}
		if !filepath.IsAbs(s) {
			s = filepath.Join(t.dir, s)
		}
		*to = filepath.Clean(s)
	}
}

// accessLog decodes where requests are logged.
func accessLog(to *string) decoder {
	file := path(to, `"stdout", "journal" or a file, as in "/var/log/execlogd/access.log"`)
	return func(t *tables, v value) {
		if v.is == AccessToStdout || v.is == AccessToJournal {
			*to = v.is.(string)
			return
		}
		file(t, v)
	}
}

// directory decodes the path of a directory, and makes it absolute.
func directory(to *string) decoder { return path(to, `a directory, as in "site"`) }

// routeName decodes a name that is one word in a log, and in a field of the
// journal.
func routeName(to *string) decoder {
	isOdd := func(c rune) bool { return unicode.IsSpace(c) || !unicode.IsPrint(c) || c == '"' || c == '=' }
	return parsed(to, `one word without ", = and what does not print, and not "reload" or "names", as in "build"`, func(s string) (string, bool) {
		return s, !strings.ContainsFunc(s, isOdd) && s != ReloadRoute && s != NamesRoute
	})
}

// oneOfWords is what messages have before the words that a key takes.
const oneOfWords = "one of "

// A choice maps the words that a key may have as its value to what they mean.
type choice[T any] map[string]T

// oneOf decodes one of several words.
func oneOf[T any](to *T, choices choice[T]) decoder {
	words := slices.Sorted(maps.Keys(choices))
	return parsed(to, oneOfWords+strings.Join(words, ", "), func(s string) (T, bool) {
		is, ok := choices[s]
		return is, ok
	})
}

// none is a duration of 0s for packages router and job, where 0 is the default.
const none = -1

const wantDuration = `a time with its unit, not negative, as in "100ms", "2s" or "1m30s"`

// duration decodes a duration. It stores zero for 0s.
func duration(to *time.Duration, zero time.Duration) decoder {
	decode := parsed(to, wantDuration, func(s string) (time.Duration, bool) { return parseDuration(s, zero) })
	return func(t *tables, v value) {
		if n, err := strconv.ParseInt(fmt.Sprint(v.is), 10, 64); err == nil && n > 0 {
			form := "%s is %d, without a unit: write \"%[2]dms\" or \"%[2]ds\""
			if v.flag {
				form = "%s is %d, without a unit: write %[1]s %[2]dms or %[1]s %[2]ds"
			}
			t.Add(v.at, form, v.label, n)
			return
		}
		decode(t, v)
	}
}

func parseDuration(s string, zero time.Duration) (d time.Duration, ok bool) {
	d, err := time.ParseDuration(s)
	return cmp.Or(d, zero), err == nil && d >= 0
}

// hold decodes how long a batch waits for files that are being written.
func hold(to *time.Duration) decoder {
	return parsed(to, wantDuration+`, or "until closed"`, func(s string) (time.Duration, bool) {
		if s == "until closed" {
			return router.UntilClosed, true
		}
		return parseDuration(s, none)
	})
}

// signal decodes a signal, as kill -l names it, with or without SIG.
func signal(to *syscall.Signal) decoder {
	const want = `a signal other than SIGSTOP and SIGCONT, as in "SIGINT"; kill -l lists them`
	return parsed(to, want, func(s string) (syscall.Signal, bool) {
		sig := unix.SignalNum("SIG" + strings.TrimPrefix(strings.ToUpper(s), "SIG"))
		return sig, sig != 0 && sig != unix.SIGSTOP && sig != unix.SIGCONT
	})
}

// readiness decodes how a service says that it is ready.
func readiness(to *job.Service) decoder {
	const want = `"notify", or the address that it listens on, as in "127.0.0.1:9000"`
	return parsed(&to.Address, want, func(s string) (string, bool) {
		if s == "notify" {
			to.Notify = true
			return "", true
		}

		_, port, err := net.SplitHostPort(s) // the host may be missing
		n, noPort := strconv.ParseUint(port, 10, 16)
		return s, err == nil && noPort == nil && n > 0
	})
}

// address decodes an address to listen on.
func address(to *string) decoder {
	return parsed(to, `an address with a port, as in "127.0.0.1:9100"`, func(s string) (string, bool) {
		host, port, err := net.SplitHostPort(s)
		_, noPort := strconv.ParseUint(port, 10, 16)
		return s, err == nil && noPort == nil && host != ""
	})
}

func number(to *int, least, most, example int) decoder {
	want := fmt.Sprintf("a number from %d to %d, as in %d", least, most, example)
	return func(t *tables, v value) {
		n, ok := as(v, func(s string) (int64, error) { return strconv.ParseInt(s, 10, 64) })
		if !ok || n < int64(least) || n > int64(most) {
			t.unwanted(v, want)
			return
		}
		*to = int(n)
	}
}

// AddressFlags returns the flags for an address to listen on. The host may be empty.
func AddressFlags(host, port string) string {
	flags := "-port " + port
	if host != "" {
		flags = "-host " + host + " " + flags
	}
	return flags
}

// host decodes an address to listen on.
func host(to *string) decoder {
	decode := text(to, `an address, as in "127.0.0.1"`)
	return func(t *tables, v value) {
		s, _ := v.is.(string)
		host, port, err := net.SplitHostPort(s)
		if _, notNumber := strconv.ParseUint(port, 10, 16); err != nil || notNumber != nil {
			decode(t, v)
			return
		}
		right := fmt.Sprintf("host = %q and port = %s", host, port)
		if v.flag {
			right = AddressFlags(host, port)
		}
		t.Add(v.at, "%s is %q: write %s", v.label, s, right)
	}
}

// port decodes the port of the server, which is then the one that is wanted.
func port(cfg *Config) decoder {
	decode := number(&cfg.Port, 0, 65535, 8000)
	return func(t *tables, v value) {
		cfg.AnyPort = false
		s, _ := v.is.(string)
		if host, port, err := net.SplitHostPort(s); err == nil && v.flag {
			right := AddressFlags(host, port)
			t.Add(v.at, "%s is %q: write %s", v.label, s, right)
			return
		}
		if n, err := net.LookupPort("tcp", s); err == nil && v.flag && strings.ContainsFunc(s, unicode.IsLetter) {
			t.Add(v.at, "%s is %q: write %[1]s %[3]d", v.label, s, n)
			return
		}
		decode(t, v)
	}
}

func boolean(to *bool) decoder {
	return func(t *tables, v value) {
		is, ok := as(v, strconv.ParseBool)
		if s, isString := v.is.(string); !ok && isString && booleans[strings.ToLower(s)] != "" {
			form := "%s is %q: write %s, without quotes"
			if v.flag {
				form = "%s is %q: write %[1]s=%[3]s"
			}
			t.Add(v.at, form, v.label, s, booleans[strings.ToLower(s)])
			return
		}
		if !ok {
			t.unwanted(v, "true or false")
			return
		}
		*to = is
	}
}

// list decodes an array of strings, or one string in its place. For each it calls
// add, whose error is reported.
func list(want string, add func(s string) error) decoder {
	return func(t *tables, v value) {
		all, isArray := v.elements()
		if !isArray {
			all = []value{v}
		}

		for _, e := range all {
			s, ok := t.text(e, want, true)
			if !ok {
				continue
			}
			if err := add(s); err != nil {
				t.Add(e.at, "%s: %v", e.label, err)
			}
		}
	}
}

// names decodes a list of names of routes.
func names(to *[]string) decoder {
	return checked(to, `names of routes, as in ["build"]`, func(string) error { return nil })
}

// checked decodes a list of strings, each of which a function may refuse.
func checked(to *[]string, want string, check func(string) error) decoder {
	return list(want, func(s string) error {
		err := check(s)
		if err == nil {
			*to = append(*to, s)
		}
		return err
	})
}

// editor decodes the name of an editor, or the pattern of its URLs.
func editor(to *string) decoder {
	return func(t *tables, v value) {
		s, ok := t.text(v, `the name of an editor, as in "vscode"`, false)
		if !ok {
			return
		}
		if err := httpd.CheckEditor(s); err != nil {
			t.Add(v.at, "%v", err)
			return
		}
		*to = s
	}
}

// crossOrigin decodes the origins whose scripts may read files: true is all of them, false
// none.
func crossOrigin(to *[]string) decoder {
	origins := checked(to, `true, or origins, as in ["https://example.com"]`, httpd.CheckCORS)
	return func(t *tables, v value) {
		all, ok := as(v, strconv.ParseBool)
		switch {
		case !ok:
			origins(t, v)
		case all:
			*to = append(*to, "*")
		default:
			*to = nil
		}
	}
}

// patterns decodes a list of patterns. An empty one drops those before it.
func patterns(to Patterns) decoder {
	return list(`patterns, as in ["*.md", "templates/**"]`, func(s string) error {
		if err := router.CheckPattern(s); err != nil && s != "" {
			return fmt.Errorf("pattern %q: %w", s, err)
		}
		to.Add(s)
		return nil
	})
}

// expressions decodes a list of regular expressions.
func expressions(to *[]string) decoder {
	return checked(to, `regular expressions, as in ["^Done in"]`, func(s string) error {
		_, err := regexp.Compile(s)
		return err
	})
}

// allEvents are the events that a route may ask for.
const allEvents = inotify.Changes | inotify.Access | inotify.Open | inotify.CloseNoWrite

// events decodes a list of names of events, as inotify(7) has them.
func events(to *inotify.Mask) decoder {
	known := strings.Split(allEvents.String(), "|")
	all := strings.Join(known, ", ")

	return list(oneOfWords+all, func(s string) error {
		mask, err := inotify.ParseMask(s)
		if err == nil && mask&^allEvents == 0 {
			*to |= mask
			return nil
		}

		if meant := Nearest(s, known); meant != "" {
			return fmt.Errorf("unknown event %q: is %s meant?", s, meant)
		}
		return fmt.Errorf("unknown event %q: want %s%s", s, oneOfWords, all)
	})
}

// leave decodes which processes may be left running: none, all, or some by name.
func leave(to *[]string) decoder {
	byName := checked(to, `true, false, or names of processes, as in ["java", "sccache"]`, job.CheckLeave)

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

// argv decodes a program and its arguments, which may be empty.
func argv(to *[]string) decoder {
	const want = `a list of words, as in ["go", "test", "./..."]`
	return func(t *tables, v value) {
		words, isArray := v.elements()
		if !isArray {
			t.unwanted(v, want+`; a line for the shell is shell = "..."`)
		} else if len(words) == 0 {
			t.Add(v.at, "%s has no program: want %s", v.label, want)
		}

		var all []string
		for i, w := range words {
			s, ok := t.text(w, "a word in quotes", i > 0)
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

// environment decodes a table of variables. A flag has one of them.
func environment(to *[]string) decoder {
	return func(t *tables, v value) {
		members, ok := v.is.(map[string]any)
		want := `a table of strings, as in { GOOS = "linux" }`
		if s, isString := v.is.(string); isString && v.flag {
			var name string
			name, s, ok = strings.Cut(s, "=")
			members, want = map[string]any{name: s}, "KEY=VALUE"
		}
		if !ok {
			t.unwanted(v, want)
			return
		}

		for _, name := range slices.Sorted(maps.Keys(members)) {
			m := value{is: members[name], label: inotify.Quote(name), at: v.at.Key(name)}
			if name == "" || strings.ContainsAny(name, "=\x00") {
				t.Add(m.at.key(), "%q is no name of a variable: want one without = and NUL", name)
			} else if strings.HasPrefix(name, "EXECLOGD_") {
				t.Add(m.at.key(), "%s: variables of this name are set for every job: choose another", name)
			} else if s, ok := t.text(m, "a string, in quotes", true); ok {
				*to = append(*to, name+"="+s)
			}
		}
	}
}
