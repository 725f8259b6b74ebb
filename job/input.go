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

// An Input is what a command reads from its standard input.
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

// expand fills in the names of a batch. They are absolute, so that none of
// them is an option, and whatever is in a name is part of one argument.
func expand(argv []string, batch []inotify.Event) ([]string, error) {
	var path, root string
	if len(batch) > 0 {
		path, root = name(batch[0]), absolute(batch[0].Root)
	}
	replacer := strings.NewReplacer(pathPlaceholder, path, rootPlaceholder, root)
	var full []string
	for _, arg := range argv {
		switch {
		case arg == pathsPlaceholder:
			full = append(full, names(batch)...)
			continue
		case len(batch) == 0 && (strings.Contains(arg, pathPlaceholder) || strings.Contains(arg, rootPlaceholder)):
			return nil, errors.New("there is no path to fill in: no event has led to this run")
		}
		full = append(full, replacer.Replace(arg))
	}
	return full, nil
}

// name is the absolute path of an event.
func name(e inotify.Event) string { return filepath.Join(absolute(e.Root), e.Path) }

func names(batch []inotify.Event) []string {
	list := make([]string, len(batch))
	for i, e := range batch {
		list[i] = name(e)
	}
	return list
}

// absolute is a directory by a name that is good in every other.
func absolute(dir string) string {
	if abs, err := filepath.Abs(dir); err == nil {
		return abs
	}
	return dir
}

// variables are what a batch adds to the environment of a command. List is
// false if EXECLOGD_PATHS is not among them, for it would be too long.
func variables(route string, batch []inotify.Event) (env []string, list bool) {
	env = []string{"EXECLOGD_ROUTE=" + route}
	if len(batch) == 0 {
		return env, true
	}
	env = append(env, "EXECLOGD_ROOT="+absolute(batch[0].Root), "EXECLOGD_PATH="+name(batch[0]))
	const paths = "EXECLOGD_PATHS="
	lines := slices.DeleteFunc(names(batch), func(s string) bool { return strings.Contains(s, "\n") })
	all := paths + strings.Join(lines, "\n")
	if len(all) >= maxVariable {
		return env, false
	}
	return append(env, all), true
}

// environment is what a command has whatever has changed: what it inherits
// and what is set, each variable once. What systemd told the service about
// itself is not inherited, and what each run sets anew is not in it.
func environment(inherited, set []string) []string {
	inherited = slices.DeleteFunc(slices.Clone(inherited), func(v string) bool {
		return strings.HasPrefix(v, "NOTIFY_SOCKET=") || strings.HasPrefix(v, "WATCHDOG_") || strings.HasPrefix(v, "LISTEN_")
	})
	taken := map[string]bool{
		"PWD": true, "EXECLOGD_ROUTE": true, "EXECLOGD_ROOT": true, "EXECLOGD_PATH": true, "EXECLOGD_PATHS": true,
		"EXECLOGD_STATUS": true, "EXECLOGD_EXIT": true,
	}
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

// encode returns a batch as standard input has it; nil for none.
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

func jsonLine(e inotify.Event) []byte {
	line := eventLine{Root: absolute(e.Root), Path: e.Path, From: e.From, Events: strings.Split(e.Mask.String(), "|")}
	if !utf8.ValidString(e.Path) {
		line.PathBytes = []byte(e.Path)
	}
	if !utf8.ValidString(e.From) {
		line.FromBytes = []byte(e.From)
	}
	text, err := json.Marshal(line)
	if err != nil {
		panic(err) // strings alone
	}
	return append(text, '\n')
}
