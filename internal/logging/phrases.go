package logging

import (
	"fmt"
	"os"
	"strings"

	"github.com/execlog/execlogd/job"
)

// Count returns a number and the noun for what it counts: one for 1, otherwise many.
func Count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// WatchedCount says in words how much is watched: a number of directories, and the
// roots that are files.
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

// LeftBehind says in words which processes a run has left behind; "" if none.
func LeftBehind(r job.Run) string {
	var said []string
	if r.Ended.Count > 0 {
		said = append(said, EndedBehind+": "+r.Ended.String())
	}
	if r.Left.Count > 0 {
		said = append(said, LeftRunning+": "+r.Left.String())
	}
	return strings.Join(said, "; ")
}
