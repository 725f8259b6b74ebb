package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/pelletier/go-toml/v2"

	"github.com/execlog/execlogd/router"
)

// Read reads the configuration in a file, and checks what can be checked without
// looking at anything else. What is wrong in the file is an error of type Mistakes,
// beside which the rest of the file is returned.
func Read(file string) (Config, error) {
	text, err := ReadFile(file)
	if err != nil {
		return Config{}, fmt.Errorf("config: %w", err)
	}
	path, err := filepath.Abs(file)
	if err != nil {
		return Config{}, err
	}

	cfg, wrong := parse(file, filepath.Dir(path), text)
	cfg.Path = path
	return cfg, wrong.Err()
}

// parse is Read of a text. Paths in it are relative to dir, which is also the root
// when it names none.
func parse(file, dir string, text []byte) (Config, Mistakes) {
	cfg := defaultConfig(dir)
	cfg.File, cfg.Text, cfg.Serve = file, text, false
	t := &tables{cfg.NewReport(), dir}

	content := make(map[string]any)
	if err := toml.Unmarshal(t.source, &content); err != nil {
		return Config{}, Mistakes{t.syntaxError(err)}
	}
	t.table(value{is: content}, cfg.keys())
	t.checkNames(&cfg)

	switch idle := len(cfg.Routes) == 0 && len(t.mistakes) == 0; {
	case idle && !cfg.Serve:
		t.Add(KeyPath{}, "there is nothing to do: add a [server] table, or a [[route]]")
	case idle && !cfg.Static && !cfg.LiveReload:
		t.Add(KeyPath{}, "static = false and livereload = false leave nothing to do: drop one of them, or add a [[route]]")
	}
	return cfg, t.Mistakes()
}

// syntaxError is an error of go-toml with the position that it names.
func (t *tables) syntaxError(err error) Mistake {
	wrong, ok := errors.AsType[*toml.DecodeError](err)
	if !ok {
		return Mistake{File: t.file, Text: err.Error()}
	}
	line, column := wrong.Position()
	text := strings.TrimPrefix(wrong.Error(), "toml: ")
	if strings.Contains(text, " already ") {
		text += ": keep one of them"
	}
	return Mistake{t.file, line, column, text}
}

// checkNames reports names of routes that are there twice, that After names and
// that are not there, and routes that come after each other in a cycle.
func (t *tables) checkNames(cfg *Config) {
	first := make(map[string]*Route)
	var routes []*router.Route
	for i := range cfg.Routes {
		c := &cfg.Routes[i]
		other, twice := first[c.Name]
		if !twice {
			first[c.Name] = c
			routes = append(routes, &c.Route)
		} else if c.Name != "" {
			line, _ := t.position(other.At("name"))
			t.Add(c.At("name"), "route %q: there is one of this name in line %d: rename one", c.Name, line)
		}
	}

	known := slices.Sorted(maps.Keys(first))
	check := func(at KeyPath, after []string) {
		for _, name := range after {
			if first[name] == nil && !t.full() {
				t.Add(at.Text(name), "after names a route %q%s", name, meantRoute(name, known))
			}
		}
	}
	check(KeyPath{}.Key("server").Key("after"), cfg.After)
	for _, c := range cfg.Routes {
		check(c.At("after"), c.After)
	}

	if cycle := router.Cycle(routes...); cycle != nil {
		c := first[cycle[0]]
		t.Add(c.At("after").Text(cycle[1]), "after goes in a circle, %s: take one of them out", strings.Join(cycle, " after "))
	}
}

// meantRoute says what an unknown name of a route may have been meant to be.
func meantRoute(name string, known []string) string {
	const most = 20 // names that anybody reads
	meant := Nearest(name, known)
	switch {
	case meant != "":
		return fmt.Sprintf(" that is not there: is %q meant?", meant)
	case len(known) == 0:
		return ", and there is no [[route]]: write it, or take it out"
	case len(known) > most:
		return fmt.Sprintf(" that is not there: want one of %q and %d more", known[:most], len(known)-most)
	}
	return fmt.Sprintf(" that is not there: want one of %q", known)
}

// MaxFile is how many bytes a configuration may have.
const MaxFile = 1 << 20

// ReadFile returns what is in a file, which has to be a regular file, or a link to
// one: others may be without an end, and what is read from them is lost for those
// whom it is for. It never blocks.
func ReadFile(file string) ([]byte, error) {
	if file == "-" || isDescriptor(file) {
		return nil, fmt.Errorf("%s has no place of its own, but paths in a configuration are relative to that, and SIGHUP reads it again: save it in a file and name that", file)
	}
	// To open a pipe would already wake its writer, so this looks first.
	info, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	if err := checkRegular(file, info); err != nil {
		return nil, err
	}

	f, err := os.OpenFile(file, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err = f.Stat(); err != nil {
		return nil, err
	}
	if err := checkRegular(file, info); err != nil {
		return nil, err // it was replaced meanwhile
	}
	text, err := io.ReadAll(io.LimitReader(f, MaxFile+1))
	if err == nil && len(text) > MaxFile {
		err = fmt.Errorf("%s has more than the %d KiB that a configuration may have: name another file", file, MaxFile>>10)
	}
	return text, err
}

// isDescriptor reports whether a path names an open file, as that of <(command) in
// a shell.
func isDescriptor(file string) bool {
	path, err := filepath.Abs(file)
	return err == nil && (path == "/dev/stdin" || slices.Contains([]string{"/dev/fd", "/proc/self/fd"}, filepath.Dir(path)))
}

// checkRegular says what to do about a file that is not a regular one.
func checkRegular(file string, info fs.FileInfo) error {
	switch mode := info.Mode(); {
	case mode.IsRegular():
		return nil
	case mode&fs.ModeNamedPipe != 0:
		return fmt.Errorf("%s is a pipe, which can be read but once: save what comes from it in a file and name that", file)
	case mode.IsDir():
		return fmt.Errorf("%s is a directory: name a file in it", file)
	}
	return fmt.Errorf("%s is %s: name a regular file", file, FileKind(info))
}
