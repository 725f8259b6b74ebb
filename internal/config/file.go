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
	cfg.ignoreItself()
	return cfg, wrong.Err()
}

// ignoreItself has routes for all files leave out the configuration: a save of it is a
// reload, and no change of a source.
func (cfg *Config) ignoreItself() {
	for i := range cfg.Routes {
		c := &cfg.Routes[i]
		if rel, ok := Below(c.Root, cfg.Path); ok && rel != "." && len(c.Patterns) == 0 {
			c.Ignore = append(c.Ignore, "/"+literal.Replace(rel))
		}
	}
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
	cfg.decodeSites(t)
	t.checkNames(&cfg)
	if server, ok := content["server"].(map[string]any); ok {
		_, cfg.namesRoot = server["root"]
	}

	serves := cfg.Serve && cfg.hasContent()
	if len(cfg.Routes) == 0 && !serves && len(t.mistakes) == 0 {
		t.Add(KeyPath{}, "there is nothing to do: add a [[route]], or a [server] table with static or livereload")
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
	queues := make(map[string]*Route)
	var routes []*router.Route
	for i := range cfg.Routes {
		c := &cfg.Routes[i]
		if other := queues[c.Queue]; other != nil && c.Queue != "" {
			t.Add(c.At("queue"), "route %q: its queue %q is that of route %q: give it one of its own", c.Name, c.Queue, other.Name)
		}
		queues[c.Queue] = c
		if other := first[c.Name]; other == nil {
			first[c.Name], routes = c, append(routes, &c.Route)
		} else if c.Name != "" {
			line, _ := t.position(other.At("name"))
			t.Add(c.At("name"), "route %q: there is one of this name in line %d: rename one", c.Name, line)
		}
	}

	known := slices.Sorted(maps.Keys(first))
	check := func(at KeyPath, after []string) {
		for _, name := range after {
			if first[name] != nil || t.full() {
				continue
			}
			want := "name a [[route]]"
			if meant := Nearest(name, known); meant != "" {
				want = fmt.Sprintf("is %q meant?", meant)
			}
			t.Add(at.Text(name), "after names a route %q that is not there: %s", name, want)
		}
	}
	for _, site := range cfg.AllSites() {
		check(site.table.Key("after"), site.After)
	}
	for _, c := range cfg.Routes {
		check(c.At("after"), c.After)
	}

	if cycle := router.Cycle(routes...); cycle != nil {
		c := first[cycle[0]]
		t.Add(c.At("after").Text(cycle[1]), "after goes in a circle, %s: take one of them out", strings.Join(cycle, " after "))
	}
}

// MaxFile is how many bytes a configuration may have.
const MaxFile = 1 << 20

// ReadFile returns what is in a file, which has to be a regular file, or a link to
// one: others may be without an end, and what is read from them is lost for those
// whom it is for. It never blocks.
func ReadFile(file string) ([]byte, error) {
	path, err := filepath.Abs(file)
	if err != nil {
		return nil, err
	}
	// An open file, as that of <(command) in a shell.
	if dir := filepath.Dir(path); file == "-" || path == "/dev/stdin" || dir == "/dev/fd" || dir == "/proc/self/fd" {
		return nil, fmt.Errorf("%s has no place of its own, but paths in a configuration are relative to that, and SIGHUP reads it again: save it in a file and name that", file)
	}

	// To open a pipe would already wake its writer, so this looks first, and once more
	// at what was opened.
	isRegular := func(info fs.FileInfo, err error) error {
		if err == nil && !info.Mode().IsRegular() {
			err = fmt.Errorf("%s is %s: name a regular file", file, FileKind(info))
		}
		return err
	}
	if err := isRegular(os.Stat(file)); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(file, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := isRegular(f.Stat()); err != nil {
		return nil, err
	}

	text, err := io.ReadAll(io.LimitReader(f, MaxFile+1))
	if err == nil && len(text) > MaxFile {
		err = fmt.Errorf("%s has more than the %d KiB that a configuration may have: name another file", file, MaxFile>>10)
	}
	return text, err
}
