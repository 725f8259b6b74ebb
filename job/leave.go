package job

import (
	"bytes"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// named are processes as a record has them.
func named(all []process) Processes {
	p := Processes{Count: len(all)}
	for _, one := range all[:min(len(all), maxProcesses)] {
		p.First = append(p.First, Process{one.id, one.name})
	}
	return p
}

// CheckLeave says what is wrong with an element of Command.Leave.
func CheckLeave(name string) error {
	switch _, err := path.Match(name, ""); {
	case err != nil:
		return fmt.Errorf("%q is no pattern: close its bracket, or put a backslash before it", name)
	case strings.Contains(name, "/"):
		return fmt.Errorf("%q has a slash, which the name of a process has not: write %q", name, path.Base(name))
	case name == "":
		return fmt.Errorf("%q is no name: want that of a program, as in %q", name, "java")
	}
	return nil
}

// split parts the processes that may stay from the others. What a process that may
// stay has started may stay as well. Each is listed after its parent.
func split(all []process, leave []string) (stay, rest []process) {
	stays := make(map[int]bool)
	for _, p := range all {
		if stays[p.parent] || p.isOne(leave) {
			stays[p.id] = true
			stay = append(stay, p)
		} else {
			rest = append(rest, p)
		}
	}
	return stay, rest
}

// isOne says whether a pattern matches the name that the kernel has for a
// process, or that which it was started by. A program may change the former.
func (p process) isOne(patterns []string) bool {
	if len(patterns) == 0 {
		return false
	}
	names := []string{p.name}
	if line, err := os.ReadFile("/proc/" + strconv.Itoa(p.id) + "/cmdline"); err == nil {
		first, _, _ := bytes.Cut(line, []byte{0})
		names = append(names, filepath.Base(string(first)))
	}
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		return slices.ContainsFunc(names, func(name string) bool {
			ok, err := path.Match(pattern, name)
			return ok && err == nil
		})
	})
}
