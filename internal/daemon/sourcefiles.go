package daemon

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/execlog/execlogd/httpd"
	"github.com/execlog/execlogd/internal/config"
	"github.com/execlog/execlogd/job"
)

// sourceFiles are the files of which pages may show lines: those below the roots, and below
// the directory of the command that failed. Hidden files, which may hold secrets, are not
// among them, and neither is the configuration file.
type sourceFiles struct {
	roots  []string
	config string
}

// How much is read and shown of a file.
const (
	maxSourceFile = 4 << 20 // bytes; of a longer file no line is shown
	maxSourceLine = 240     // bytes
	linesAround   = 3       // on each side of the place
)

// pageError returns what pages show for the failure of a route.
func (f sourceFiles) pageError(route string, err error) *httpd.PageError {
	shown := &httpd.PageError{Title: route + ": " + err.Error()}
	failed, ok := errors.AsType[*job.Error](err)
	if !ok {
		return shown
	}

	shown.Output = string(failed.Run.Output)
	found := failed.Run.Problem
	if found.Message != "" {
		shown.Title, shown.Text = route+": "+found.Message, err.Error()
	}
	if found.File != "" {
		shown.Place = f.place(found, failed.Run.Dir)
	}
	return shown
}

// place returns the place of a problem of a command that ran in dir, with the lines around
// it if they may be shown.
func (f sourceFiles) place(found job.Problem, dir string) *httpd.Place {
	path, lines := f.find(found.File, dir)
	if found.BodyLine > 0 && lines != nil {
		found.Line = found.BodyLine + frontMatter(lines)
	}

	p := &httpd.Place{Name: found.Place(dir), File: path, Line: found.Line, Column: found.Column}
	if found.Line < 1 || found.Line > len(lines) {
		return p
	}
	p.First = max(1, found.Line-linesAround)
	for _, line := range lines[p.First-1 : min(len(lines), found.Line+linesAround)] {
		line = strings.TrimSuffix(line, "\r")
		p.Excerpt = append(p.Excerpt, strings.ToValidUTF8(line[:min(len(line), maxSourceLine)], "\ufffd"))
	}
	return p
}

// find returns the absolute path of a file that output names, and its lines. The path is
// empty if there is no such file below the roots and dir, and lines are nil if they may not
// be shown. Output names files relative to the directory of its command, or to one that the
// program takes for its own.
func (f sourceFiles) find(name, dir string) (path string, lines []string) {
	dirs := append([]string{dir}, f.roots...)
	if filepath.IsAbs(name) {
		for _, root := range dirs {
			if rel, ok := config.Below(root, name); ok {
				if lines, ok := f.read(root, rel); ok {
					return name, lines
				}
			}
		}
		return "", nil
	}
	for _, root := range dirs {
		if lines, ok := f.read(root, name); ok {
			return filepath.Join(root, name), lines
		}
	}
	return "", nil
}

// read returns the lines of a file, or nil if they may not be shown. ok is false if there is
// no such file, or if a link leads out of root.
func (f sourceFiles) read(root, rel string) (lines []string, ok bool) {
	dir, err := os.OpenRoot(root)
	if err != nil {
		return nil, false
	}
	defer dir.Close()
	// A pipe would wait for a writer.
	file, err := dir.OpenFile(rel, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, false
	}
	defer file.Close()
	if stat, err := file.Stat(); err != nil || !stat.Mode().IsRegular() {
		return nil, false
	}

	isHidden := func(name string) bool { return strings.HasPrefix(name, ".") && name != "." && name != ".." }
	if filepath.Join(root, rel) == f.config || slices.ContainsFunc(strings.Split(rel, "/"), isHidden) {
		return nil, true
	}
	text, err := io.ReadAll(io.LimitReader(file, maxSourceFile+1))
	if err != nil || len(text) > maxSourceFile || strings.Contains(string(text), "\x00") {
		return nil, true
	}
	return strings.Split(string(text), "\n"), true
}

// frontMatter returns how many lines the front matter takes with which a file begins, with
// its first and last line.
func frontMatter(lines []string) int {
	fence := strings.TrimRight(lines[0], " \t\r")
	if fence != "---" && fence != "+++" {
		return 0
	}
	for i, line := range lines[1:] {
		if strings.TrimRight(line, " \t\r") == fence {
			return i + 2
		}
	}
	return 0
}
