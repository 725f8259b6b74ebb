package main

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/execlog/execlogd/"

// Imports point one way, and each outside module enters through one package with its
// rooms. A package may import all of its rooms; what a room may import is said here.
var (
	mayImport = map[string][]string{
		"inotify":      {"internal/statelog"},
		"router":       {"inotify", "internal/statelog"},
		"bus":          {"inotify"}, // for the event
		"httpd":        {"inotify", "internal/ansi"},
		"job":          {"inotify", "router", "internal/ansi", "internal/diagnostic"}, // router for the outcome of a run
		"cmd/execlogd": {"bus", "inotify", "router", "httpd", "job", "internal/config", "internal/control", "internal/daemon", "internal/logging", "internal/project", "internal/runnable", "internal/tty"},

		"inotify/internal/dirfd":   {},
		"inotify/internal/dirtree": {},
		"inotify/internal/poll":    {"inotify/internal/dirfd"},

		"router/internal/git":      {"inotify", "router/internal/glob"},
		"router/internal/glob":     {},
		"router/internal/schedule": {},

		"httpd/internal/compress":  {},
		"httpd/internal/filetype":  {},
		"httpd/internal/ratelimit": {},
		"httpd/internal/inject":    {},
		"httpd/internal/livereload": {
			"internal/ansi",
			"httpd/internal/filetype",
			"httpd/internal/ratelimit",
			"httpd/internal/urlpath",
			"httpd/internal/waitgroup",
		},
		"httpd/internal/rules":     {},
		"httpd/internal/status":    {"httpd/internal/livereload", "internal/ansi"},
		"httpd/internal/urlpath":   {},
		"httpd/internal/waitgroup": {},

		"job/internal/supervisor": {},

		"internal/accesslog":  {"httpd", "internal/logging"},
		"internal/metrics":    {},
		"internal/ansi":       {},
		"internal/diagnostic": {"internal/ansi"},

		"internal/browser":     {},
		"internal/builders":    {},
		"internal/certificate": {},
		"internal/config":      {"bus", "inotify", "router", "httpd", "job", "internal/builders", "internal/certificate"},
		"internal/project":     {"internal/builders", "internal/config"},
		"internal/statelog":    {},
		"internal/testenv":     {}, // for tests alone
		"internal/control":     {"internal/config"},
		"internal/daemon": {
			"bus", "inotify", "router", "job", "httpd",
			"internal/accesslog", "internal/ansi", "internal/browser", "internal/certificate", "internal/config", "internal/control", "internal/logging", "internal/metrics", "internal/runnable", "internal/statelog", "internal/tty",
		},
		"internal/runnable": {"inotify", "router", "job", "internal/config", "internal/control", "internal/logging"},
		"internal/logging":  {"inotify", "router", "job", "internal/ansi"},
		"internal/tty":      {"job"},
	}
	enters = map[string]string{
		"github.com/bmatcuk/doublestar": "router",
		"github.com/coder/websocket":    "httpd/internal/livereload",
		"golang.org/x/net":              "httpd",
		"github.com/andybalholm/brotli": "httpd/internal/compress",
		"github.com/klauspost/compress": "httpd/internal/compress",
		"github.com/coreos/go-systemd":  "internal/daemon",
		"github.com/lmittmann/tint":     "internal/logging",
		"github.com/pelletier/go-toml":  "internal/config",
		"github.com/nats-io/":           "bus",
		"github.com/prometheus/":        "internal/metrics",
		"rsc.io/qr":                     "internal/daemon",
	}
)

func TestImports(t *testing.T) {
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", module+"...").Output()
	if err != nil {
		t.Fatal(err)
	}
	list := json.NewDecoder(strings.NewReader(string(out)))
	for {
		var pkg struct {
			ImportPath string
			Imports    []string
		}
		if err := list.Decode(&pkg); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
		from := strings.TrimPrefix(pkg.ImportPath, module)
		allowed, known := mayImport[from]
		if !known {
			t.Errorf("%s is not in the house: say here what it may import", from)
		}
		for _, path := range pkg.Imports {
			checkImport(t, from, path, allowed)
		}
	}
}

func checkImport(t *testing.T, from, path string, allowed []string) {
	if to, ours := strings.CutPrefix(path, module); ours {
		if !slices.Contains(allowed, to) && !strings.HasPrefix(to, from+"/internal/") {
			t.Errorf("%s imports %s", from, to)
		}
		return
	}
	if first, _, _ := strings.Cut(path, "/"); !strings.Contains(first, ".") {
		return // the standard library
	}
	if path == "golang.org/x/sys/unix" {
		return // for whoever speaks to the kernel
	}
	for mod, door := range enters {
		if strings.HasPrefix(path, mod) {
			if from != door && !strings.HasPrefix(from, door+"/internal/") {
				t.Errorf("%s imports %s, which is for %s alone", from, path, door)
			}
			return
		}
	}
	t.Errorf("%s imports %s: say here through which package it enters", from, path)
}
