package logging

import (
	"fmt"
	"os"
	"strings"

	"github.com/execlog/execlogd/inotify"
	"github.com/execlog/execlogd/job"
)

// Count returns a number with what it counts.
func Count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// WatchedCount says how much is watched: a number of directories, and the roots that are
// files.
func WatchedCount(directories int, roots []string) string {
	files := 0
	for _, root := range roots {
		if info, err := os.Stat(root); err == nil && info.Mode().IsRegular() {
			files++
		}
	}

	switch {
	case files == 0:
		return Count(directories, "directory", "directories")
	case directories == 0:
		return Count(files, "file", "files")
	}
	return Count(directories, "directory", "directories") + " and " + Count(files, "file", "files")
}

// What the log says of processes that a run has left behind.
const (
	EndedBehind = "ended what it left behind"
	LeftRunning = "left running"
)

// LeftBehind says in words what a run has left behind; empty if that is nothing.
func LeftBehind(r job.Run) string {
	var said []string
	for _, one := range []struct {
		what string
		job.Processes
	}{{EndedBehind, r.Ended}, {LeftRunning, r.Left}} {
		if one.Count > 0 {
			said = append(said, one.what+": "+one.String())
		}
	}
	return strings.Join(said, "; ")
}

// PathsOf is the paths of a batch.
func PathsOf(batch []inotify.Event) Paths {
	paths := make(Paths, len(batch))
	for i, e := range batch {
		paths[i] = e.Name()
	}
	return paths
}
