package config

import (
	"bufio"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// IsHidden reports whether nothing is at a path because systemd hides what is there from
// this process (ProtectHome=, PrivateTmp=, TemporaryFileSystem= and InaccessiblePaths= of
// systemd.exec(5)).
func IsHidden(path string) bool {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return false
	}
	defer f.Close()
	return isHidden(f, path)
}

// isHidden is IsHidden by a table of mounts (proc(5)). What hides the path is the mount in
// which it would be: a read-only tmpfs, where nobody can make anything, or what systemd
// mounts in place of directories.
func isHidden(mounts io.Reader, path string) (hidden bool) {
	unescape := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	longest := -1
	for lines := bufio.NewScanner(mounts); lines.Scan(); {
		field := strings.Fields(lines.Text())
		if len(field) < 10 {
			continue
		}
		from, at := field[3], unescape.Replace(field[4])
		if _, inside := Below(at, filepath.Clean(path)); !inside || len(at) < longest {
			continue
		}

		longest = len(at) // of two at the same place the later one counts
		_, fs, _ := strings.Cut(lines.Text(), " - ")
		readOnly := field[5] == "ro" || strings.HasPrefix(field[5], "ro,")
		hidden = strings.HasPrefix(fs, "tmpfs ") && readOnly ||
			strings.Contains(from, "/systemd/inaccessible/") || strings.Contains(from, "/systemd-private-")
	}
	return hidden
}
