package job

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// lookPath finds the program that a command names: in the directories of the
// environment's PATH, or, if the name has a slash, relative to dir. Directories of
// PATH that are not absolute do not count, for they would run what lies in a watched
// tree.
func lookPath(program, dir string, env []string) (string, error) {
	if strings.Contains(program, "/") {
		path := program
		if !filepath.IsAbs(path) {
			path = filepath.Join(dir, path)
		}
		return path, checkProgram(path)
	}

	dirs := variable(env, "PATH")
	for _, dir := range filepath.SplitList(dirs) {
		if !filepath.IsAbs(dir) {
			continue
		}
		path := filepath.Join(dir, program)
		if checkProgram(path) == nil {
			return path, nil
		}
	}
	if strings.ContainsAny(program, " \t\n") {
		return "", fmt.Errorf("command %q is one word, and the name of no program: give each word by itself, or a line for the shell", program)
	}
	return "", fmt.Errorf("command %q is in no directory of PATH (%s): install it, or give its path", program, dirs)
}

// checkProgram says what is wrong with the program at a path.
func checkProgram(path string) error {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return fmt.Errorf("command %q is not there: give the path of a program, or a name that is in PATH: %w", path, err)
	case info.IsDir():
		return fmt.Errorf("command %q is a directory: give the path of a program", path)
	case unix.Access(path, unix.X_OK) != nil:
		return fmt.Errorf("command %q is not executable: chmod +x it, or name its interpreter before it", path)
	}
	return nil
}

// variable returns the value of a variable of an environment.
func variable(env []string, key string) string {
	for _, v := range slices.Backward(env) {
		if value, ok := strings.CutPrefix(v, key+"="); ok {
			return value
		}
	}
	return ""
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}
