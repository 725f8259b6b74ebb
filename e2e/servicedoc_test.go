package e2e

import (
	"fmt"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// A docBlock is a fenced block of a document. With the language sh it consists of
// commands, and with conf it is a file, whose path is in its first line.
type docBlock struct {
	language string
	lines    []string
}

func docBlocks(text string) []docBlock {
	var blocks []docBlock
	for _, match := range regexp.MustCompile("(?ms)^```(\\w+)\n(.*?)^```$").FindAllStringSubmatch(text, -1) {
		blocks = append(blocks, docBlock{match[1], strings.Split(strings.TrimSuffix(match[2], "\n"), "\n")})
	}
	return blocks
}

// A docExpectation is what a block does apart from succeeding.
type docExpectation struct {
	before func(h *host) // makes the situation of which the document speaks
	fail   []string      // beginnings of the commands that fail in it
	says   []string      // what the commands print
}

// serviceDocument has the blocks of docs/service.md by their first lines. Most just
// succeed.
var serviceDocument = map[string]docExpectation{
	"sudo systemctl enable --now execlogd  ": {says: []string{"Active: active (running)", "/srv/www"}},
	"systemctl status execlogd               # what": {
		before: func(h *host) {
			write(h.t, h.path("srv/www"), map[string]string{"a.md": "x"})
			h.run("timeout", "60", "sh", "-c", "until execlogd log | grep --quiet 'index .* ok after'; do sleep 0.05; done")
			h.run("test", "-s", "/srv/www/index.txt")
		},
		says: []string{"Active: active (running)", "index", "ok after"},
	},
	"systemctl status execlogd\n": {
		before: func(h *host) {
			h.run("sed", "--in-place=.right", "s/^match/mach/", "/etc/execlogd.toml")
			if h.command("systemctl", "restart", "execlogd").Run() == nil {
				h.t.Error("a wrong configuration is not refused")
			}
		},
		fail: []string{"systemctl status", "execlogd check"},
		says: []string{`execlogd.toml:8:1: unknown key "mach"`},
	},
	"sudo systemctl reset-failed": {
		before: func(h *host) { h.run("mv", "/etc/execlogd.toml.right", "/etc/execlogd.toml") },
	},
	"sudo ss ":     {says: []string{`"execlogd"`}},
	"execlogd why": {says: []string{"index"}},
	"journalctl EXECLOGD_ROUTE=index -n": {
		before: func(h *host) {
			h.run("chmod", "555", "/srv/www")
			h.run("rm", "/srv/www/index.txt")
			write(h.t, h.path("srv/www"), map[string]string{"a.md": "y"})
			h.run("timeout", "60", "sh", "-c", "until execlogd log | grep --quiet 'index .* exit status'; do sleep 0.05; done")
			h.run("journalctl", "--sync")
		},
		says: []string{"Permission denied", "User=www-data", "UMask=0022"},
	},
	"sysctl fs.inotify": {
		before: func(h *host) { // the real ones are those of the machine
			h.run("mount", "-t", "tmpfs", "tmpfs", "/proc/sys/fs/inotify")
			h.run("sh", "-c", "cd /proc/sys/fs/inotify && echo 8192 >max_user_watches && echo 128 >max_user_instances")
		},
		says: []string{"max_user_watches = 8192", "max_user_watches = 1048576"},
	},
	"systemctl show --property=NRestarts": {says: []string{"NRestarts="}},
	"sudo systemctl daemon-reload\nsudo systemctl stop": {
		before: func(h *host) { h.run("chmod", "755", "/srv/www") },
	},
	"journalctl -u execlogd -p err    ": {says: []string{"failed"}},
}

// TestServiceDocument runs every command of docs/service.md in a host, after those of the
// README, in the order of the document, and makes every file of it.
func TestServiceDocument(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("the document installs a package for amd64")
	}
	requireHost(t)
	t.Parallel()
	deb := makePackage(t, "v1.2.3")
	h := bootHost(t)
	write(t, h.path("root/bin/release"), map[string]string{"execlogd_1.2.3-1_amd64.deb": read(t, deb)})

	// What takes apt long: lists of packages, and the index of all manual pages.
	h.run("sh", "-c", "rm -rf /var/lib/apt/lists/* /var/lib/man-db/auto-update")

	for _, block := range docBlocks(read(t, "../README.md")) {
		if block.language == "sh" {
			h.runBlock(block, nil)
		}
	}
	var met []string
	for _, block := range docBlocks(read(t, "../docs/service.md")) {
		text := strings.Join(block.lines, "\n") + "\n"
		var expected docExpectation
		for begins, expectation := range serviceDocument {
			if strings.HasPrefix(text, begins) {
				expected = expectation
				met = append(met, begins)
			}
		}
		if expected.before != nil {
			expected.before(h)
		}
		switch block.language {
		case "sh":
			said := h.runBlock(block, expected.fail)
			for _, want := range expected.says {
				if !strings.Contains(said, want) {
					t.Errorf("no %q in what this prints:\n%s\n%s", want, text, said)
				}
			}
		case "conf":
			write(t, h.path("/"), map[string]string{strings.TrimPrefix(block.lines[0], "# "): text})
		default:
			t.Errorf("a block of the language %s is not tested:\n%s", block.language, text)
		}
	}
	for begins := range serviceDocument {
		if !slices.Contains(met, begins) {
			t.Errorf("no block of the document begins with %q", begins)
		}
	}
}

// runBlock runs commands as root in its home directory, and returns what they print.
func (h *host) runBlock(block docBlock, fail []string) string {
	h.t.Helper()
	// The package is made already, and root needs neither sudo nor questions.
	const shell = "cd && sudo() { \"$@\"; } && export DEBIAN_FRONTEND=noninteractive && apt() { command apt-get --yes \"$@\"; } &&\n" +
		"make() { ls -l bin/release/*.$1; }\n"
	var said strings.Builder
	for _, line := range block.lines {
		out, err := h.command("env", "HOME=/root", "bash", "-c", shell+line).CombinedOutput()
		fmt.Fprintf(&said, "# %s\n%s", line, out)
		if fails := slices.ContainsFunc(fail, func(begins string) bool { return strings.HasPrefix(line, begins) }); fails != (err != nil) {
			h.t.Errorf("%s: %v; an error is expected: %t\n%s", line, err, fails, out)
		}
	}
	return said.String()
}
