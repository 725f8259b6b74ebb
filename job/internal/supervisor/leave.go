package supervisor

import (
	"bytes"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
)

// splitLeft splits processes into those that may be left behind, as the patterns
// have it, with all that these have started, and the others. Each process must come
// after its parent.
func splitLeft(all []Process, patterns []string) (left, others []Process) {
	isLeft := make(map[int]bool)
	for _, p := range all {
		if isLeft[p.Parent] || p.matches(patterns) {
			isLeft[p.PID] = true
			left = append(left, p)
		} else {
			others = append(others, p)
		}
	}
	return left, others
}

// matches reports whether a pattern is for the name that the kernel has for the
// process, which its program may change, or for the name that it was started by.
func (p Process) matches(patterns []string) bool {
	if len(patterns) == 0 {
		return false
	}
	names := []string{p.Name}
	if line, err := os.ReadFile("/proc/" + strconv.Itoa(p.PID) + "/cmdline"); err == nil {
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
