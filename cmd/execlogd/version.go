package main

import (
	"cmp"
	"fmt"
	"runtime/debug"
	"strings"
)

// What this program was built from. The Makefile sets it; otherwise, as after go install,
// what the go command knows is used.
var version, commit, date string

// versionLine returns what -version prints.
func versionLine() string {
	if info, ok := debug.ReadBuildInfo(); ok && version == "" {
		version = info.Main.Version
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				commit = s.Value
			case "vcs.time":
				date, _, _ = strings.Cut(s.Value, "T")
			}
		}
	}
	return fmt.Sprintf("execlogd %s (commit %s, %s)", cmp.Or(version, "dev"), cmp.Or(commit, "unknown"), cmp.Or(date, "date unknown"))
}
