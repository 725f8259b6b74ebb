package job

import (
	"encoding/json"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/execlog/execlogd/inotify"
)

// maxVariable is the longest "KEY=value" that the kernel takes, with the NUL
// at its end: MAX_ARG_STRLEN, 32 pages of 4 KiB. Arguments have the same limit.
const maxVariable = 128 << 10

// An Input is what a program reads from its standard input.
type Input uint8

const (
	// NoInput is an empty input.
	NoInput Input = iota

	// JSONLines is a JSON object a line for each event: its root, path
	// (relative to the root), from (likewise, of a rename) and events (the
	// names of its mask). A path that is not UTF-8 is there as path_bytes
	// too, in base64, and From as from_bytes.
	JSONLines

	// NULPaths is the paths, absolute, with a NUL after each, as xargs -0
	// reads them.
	NULPaths

	// TerminalInput is the Terminal of Options; without one it is NoInput.
	TerminalInput
)

// expand fills in the names of a batch. They are absolute, so that none is taken for
// an option, and each stays within one argument, whatever it holds.
func expand(argv []string, batch []inotify.Event) ([]string, error) {
	var path, root string
	if len(batch) > 0 {
		path, root = name(batch[0]), absolute(batch[0].Root)
	}
	replacer := strings.NewReplacer(pathPlaceholder, path, rootPlaceholder, root)

	var expanded []string
	for _, arg := range argv {
		switch {
		case arg == pathsPlaceholder:
			expanded = append(expanded, names(batch)...)
		case len(batch) == 0 && placeholders.MatchString(arg):
			return nil, errors.New("there is no path to fill in: no event has led to this run")
		default:
			expanded = append(expanded, replacer.Replace(arg))
		}
	}
	return expanded, nil
}

// name returns the absolute path of an event.
func name(e inotify.Event) string { return filepath.Join(absolute(e.Root), e.Path) }

func names(batch []inotify.Event) []string {
	list := make([]string, len(batch))
	for i, e := range batch {
		list[i] = name(e)
	}
	return list
}

// absolute returns the absolute path of a directory, or the path as it is if the
// working directory cannot be found out.
func absolute(dir string) string {
	if abs, err := filepath.Abs(dir); err == nil {
		return abs
	}
	return dir
}

// variables returns what a batch adds to the environment of a command. It is not
// complete if EXECLOGD_PATHS would be too long: then that is missing.
func variables(route string, batch []inotify.Event) (env []string, complete bool) {
	env = []string{"EXECLOGD_ROUTE=" + route}
	if len(batch) == 0 {
		return env, true
	}
	env = append(env, "EXECLOGD_ROOT="+absolute(batch[0].Root), "EXECLOGD_PATH="+name(batch[0]))

	lines := slices.DeleteFunc(names(batch), func(s string) bool { return strings.Contains(s, "\n") })
	paths := "EXECLOGD_PATHS=" + strings.Join(lines, "\n")
	if len(paths) >= maxVariable {
		return env, false
	}
	return append(env, paths), true
}

// environment returns the part of a command's environment that does not depend on a
// batch: what is inherited, and what is set, each variable once. What systemd has
// told the daemon about itself is not inherited, and variables that each run sets
// are not in it.
func environment(inherited, set []string) []string {
	inherited = slices.DeleteFunc(slices.Clone(inherited), func(v string) bool {
		return strings.HasPrefix(v, "NOTIFY_SOCKET=") || strings.HasPrefix(v, "WATCHDOG_") || strings.HasPrefix(v, "LISTEN_")
	})
	taken := map[string]bool{
		"PWD": true, "EXECLOGD_ROUTE": true, "EXECLOGD_ROOT": true, "EXECLOGD_PATH": true, "EXECLOGD_PATHS": true,
		"EXECLOGD_STATUS": true, "EXECLOGD_EXIT": true,
	}

	// The last of several values counts.
	var env []string
	for _, v := range slices.Backward(append(inherited, set...)) {
		if key, _, _ := strings.Cut(v, "="); !taken[key] {
			taken[key] = true
			env = append(env, v)
		}
	}
	slices.Reverse(env)
	return env
}

// encode returns what a program reads of a batch; nil if its input is not made of
// the batch.
func (in Input) encode(batch []inotify.Event) []byte {
	out := []byte{}
	switch in {
	case JSONLines:
		for _, e := range batch {
			out = append(out, jsonLine(e)...)
		}
	case NULPaths:
		for _, e := range batch {
			out = append(append(out, name(e)...), 0)
		}
	case NoInput, TerminalInput:
		return nil
	}
	return out
}

// An eventLine is an event as a line of JSON, as execlogd watch prints it.
type eventLine struct {
	Root      string   `json:"root"`
	Path      string   `json:"path"`
	From      string   `json:"from,omitempty"`
	Events    []string `json:"events"`
	PathBytes []byte   `json:"path_bytes,omitempty"`
	FromBytes []byte   `json:"from_bytes,omitempty"`
}

// jsonLine returns an event as a line for JSONLines.
func jsonLine(e inotify.Event) []byte {
	line := eventLine{Root: absolute(e.Root), Path: e.Path, From: e.From, Events: strings.Split(e.Mask.String(), "|")}

	// JSON has no other way to hold a name that is not UTF-8.
	if !utf8.ValidString(e.Path) {
		line.PathBytes = []byte(e.Path)
	}
	if !utf8.ValidString(e.From) {
		line.FromBytes = []byte(e.From)
	}

	text, err := json.Marshal(line)
	if err != nil {
		panic(err) // a struct of strings
	}
	return append(text, '\n')
}
