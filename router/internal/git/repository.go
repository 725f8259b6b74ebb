// Package git knows as much of git as a route needs: which files git ignores, and
// whether a git command is at work in a repository. It runs no command.
package git

import (
	"bytes"
	"os"
	"path/filepath"
	"time"
)

// maxGitFile is the most that a .git file, which names a directory, may have.
const maxGitFile = 1 << 13

// FindDir returns the top of the work tree that a directory is in, and the git directory of
// its repository; empty if it is in none. In a linked work tree, or in a submodule, a file
// called .git names that directory.
func FindDir(dir string) (top, gitDir string) {
	for {
		git := filepath.Join(dir, ".git")
		info, err := os.Stat(git)
		switch {
		case err == nil && info.IsDir():
			return dir, git
		case err == nil && info.Mode().IsRegular() && info.Size() < maxGitFile:
			text, err := os.ReadFile(git)
			name, ok := bytes.CutPrefix(bytes.TrimSpace(text), []byte("gitdir: "))
			if err != nil || !ok {
				return dir, ""
			}
			return dir, absolute(string(name), dir)
		}

		parent := filepath.Dir(dir)
		if parent == dir {
			return "", ""
		}
		dir = parent
	}
}

// IsBusy reports whether a git command is at work in the repository of a git
// directory: its index is locked, or the directory has changed within quiet, as it
// does between the steps of a rebase.
func IsBusy(gitDir string, quiet time.Duration) bool {
	if _, err := os.Lstat(filepath.Join(gitDir, "index.lock")); err == nil {
		return true
	}
	info, err := os.Stat(gitDir)
	return err == nil && time.Since(info.ModTime()).Abs() < quiet // either clock may be wrong
}

// excludeFile returns the info/exclude of the repository whose work tree has this top; empty
// if there is none. Linked work trees share that of the main one (commondir).
func excludeFile(top string) string {
	dir, git := FindDir(top)
	if git == "" || dir != top {
		return ""
	}
	if text, err := os.ReadFile(filepath.Join(git, "commondir")); err == nil {
		git = absolute(string(bytes.TrimSpace(text)), git)
	}
	return filepath.Join(git, "info", "exclude")
}

// absolute returns a path that may be relative to dir.
func absolute(path, dir string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}
